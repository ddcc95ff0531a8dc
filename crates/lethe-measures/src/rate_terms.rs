//! What every row adds to the coding rate reduction by class, so that its error is known without a bootstrap of
//! determinants.
//!
//! dR is a function of the distribution of labelled rows. Its influence function (Hampel 1974) is the derivative in the
//! direction of one more row of a kind; dR plus a row's influence is the row's term. The mean of the terms is dR, and
//! the error of that mean is the error of dR to first order: the infinitesimal jackknife (Jaeckel 1972).

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::error::{MeasureError, Result};
use crate::rows::check_labels;
use crate::{coding_rate, spectrum};

/// One number a row of `z` `[n, d]`, whose mean is dR by class of the unit rows.
///
/// With A = I + d/(n eps2) Z'Z and A_j the same of class j and its n_j rows, the influence of row z of class j is, up to
/// its mean, d/(2 eps2) z'A^-1 z - 1/2 ln det A_j - d/(2 eps2) (z'A_j^-1 z - their mean over the class).
///
/// One solve more than dR itself: `O(n d min(n, d))` for R and every class.
///
/// # Errors
/// Those of [`class_rates`](crate::class_rates); an `eps2` so small that rounding loses the identity beside Z'Z.
pub fn class_rate_terms(z: ArrayView2<f64>, labels: &[u32], eps2: f64) -> Result<Vec<f64>> {
    coding_rate::checked(z, eps2)?;
    check_labels(z.nrows(), labels)?;
    let unit = crate::rows::unit_rows(z)?;
    let (n, d) = unit.dim();
    let scale = d as f64 / eps2;
    let whole = Part::of(unit.view(), scale)?;
    let mut terms = &whole.leverages * (0.5 * scale);
    let mut compressed = 0.0;
    let mut by_label: Vec<usize> = (0..n).collect();
    by_label.sort_by_key(|&row| labels[row]);
    for rows in by_label.chunk_by(|&i, &j| labels[i] == labels[j]) {
        let class = Part::of(unit.select(Axis(0), rows).view(), scale)?;
        let mean = class.leverages.mean().expect("a class has rows");
        compressed += 0.5 * class.log_det * rows.len() as f64 / n as f64;
        for (&row, leverage) in rows.iter().zip(&class.leverages) {
            terms[row] -= 0.5 * class.log_det + 0.5 * scale * (leverage - mean);
        }
    }
    let shift = 0.5 * whole.log_det - compressed - terms.mean().expect("a row at least");
    Ok((terms + shift).to_vec())
}

/// Of m rows Z: ln det A, A = I + scale/m Z'Z, and z'A^-1 z of every row.
struct Part {
    log_det: f64,
    leverages: Array1<f64>,
}

impl Part {
    fn of(unit: ArrayView2<f64>, scale: f64) -> Result<Self> {
        let (m, d) = unit.dim();
        let c = scale / m as f64;
        let mut a: Array2<f64> = spectrum::small_gram(unit) * c;
        a.diag_mut().mapv_inplace(|value| value + 1.0);
        let (log_det, inverse) = spectrum::log_det_and_inverse(a).ok_or(MeasureError::Indefinite)?;
        let leverages = if d <= m {
            // z' A^-1 z
            (&unit.dot(&inverse) * &unit).sum_axis(Axis(1))
        } else {
            // By the small side: z' A^-1 z = (1 - (I + c ZZ')^-1_ii) / c.
            inverse.diag().mapv(|value| (1.0 - value) / c)
        };
        Ok(Self { log_det, leverages })
    }
}
