//! alpha-ReQ: Agrawal et al. 2022, "alpha-ReQ: Assessing Representation Quality in Self-Supervised Learning by measuring
//! eigenspectrum decay" (NeurIPS 2022).

use ndarray::ArrayView2;

use crate::error::{MeasureError, Result};
use crate::rows::{Rows, centred_singular_values, check};

/// First eigenvalue of the fit, counted from 1.
const FIRST: usize = 10;
/// Last one.
const LAST: usize = 100;

/// The exponent alpha of lambda_j ~ j^-alpha, the eigenvalues of the covariance of `z` `[n, d]`, largest first: minus
/// the slope of ln lambda_j on ln j, j = 10 to min(100, d), by least squares with weights 1/j. Good features are said
/// to lie near 1; below, the spectrum is flat, above, few directions hold nearly all variance.
///
/// The paper leaves the range open and its authors' scripts use several (4 to 50, 4 to 100, 12 to 100); the number
/// depends on it. Where the rank is below min(100, d) the fit ends at the rank.
///
/// # Errors
/// Not finite, empty, all rows the same, or a rank below 11.
pub fn alpha_req(z: ArrayView2<f64>) -> Result<f64> {
    check(z)?;
    of_singular_values(&centred_singular_values(z)?)
}

pub(crate) fn of_rows(rows: &Rows) -> Result<f64> {
    of_singular_values(rows.centred_singular_values()?)
}

fn of_singular_values(values: &[f64]) -> Result<f64> {
    let rank = values.iter().take_while(|&&value| value > 0.0).count();
    if rank <= FIRST {
        return Err(MeasureError::TooFewDirections { found: rank, needed: FIRST + 1 });
    }
    let points: Vec<(f64, f64, f64)> =
        (FIRST..=LAST.min(rank)).map(|j| (1.0 / j as f64, (j as f64).ln(), 2.0 * values[j - 1].ln())).collect();
    let weights: f64 = points.iter().map(|(w, _, _)| w).sum();
    let mean_x = points.iter().map(|(w, x, _)| w * x).sum::<f64>() / weights;
    let mean_y = points.iter().map(|(w, _, y)| w * y).sum::<f64>() / weights;
    let covariance: f64 = points.iter().map(|(w, x, y)| w * (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(w, x, _)| w * (x - mean_x).powi(2)).sum();
    Ok(-covariance / variance)
}
