//! RankMe: Garrido et al. 2023, "RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised
//! Representations by Their Rank" (arXiv 2210.02885), equation 4.

use ndarray::ArrayView2;

use crate::error::{MeasureError, Result};
use crate::rows::{Rows, check};
use crate::spectrum;

/// exp(-sum p ln p) with p = s / sum(s) + 1e-7, s the `min(n, d)` singular values of `z` `[n, d]`: a smooth count of
/// the directions that the rows use, from 1 to about `min(n, d)`.
///
/// Tools differ, and their numbers must not be mixed. The paper, and Lethe: raw rows (not centred, not of unit length),
/// 1e-7 added after the division. stable-pretraining: the same with 1e-5. reptrix: *eigenvalues of the centred
/// covariance* in the place of singular values, which gives a smaller number. The paper takes 25,600 rows; fewer give
/// a smaller number too.
///
/// # Errors
/// Not finite, empty, or all zeros.
pub fn rankme(z: ArrayView2<f64>) -> Result<f64> {
    check(z)?;
    of_singular_values(&spectrum::singular_values(z))
}

pub(crate) fn of_rows(rows: &Rows) -> Result<f64> {
    of_singular_values(rows.singular_values())
}

fn of_singular_values(values: &[f64]) -> Result<f64> {
    let sum: f64 = values.iter().sum();
    if sum == 0.0 {
        return Err(MeasureError::AllZero);
    }
    Ok(spectrum::exp_entropy(values.iter().map(|value| value / sum + 1e-7)))
}
