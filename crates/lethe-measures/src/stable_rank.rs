//! Stable rank: Rudelson and Vershynin 2007, "Sampling from large matrices: an approach through geometric functional
//! analysis"; as a measure of embeddings: Tsitsulin, Munkhoeva and Perozzi 2023, "Unsupervised Embedding Quality
//! Evaluation" (arXiv 2305.16562).

use ndarray::ArrayView2;

use crate::error::{MeasureError, Result};
use crate::rows::{Rows, check};
use crate::spectrum;

/// ||Z||_F^2 / ||Z||_2^2 = sum(s^2) / s_1^2, s the singular values of the raw rows of `z` `[n, d]`, s_1 the largest:
/// from 1 to `min(n, d)`.
///
/// It counts directions by their share of the squared length, so small ones hardly count and noise moves it less than
/// it moves [`effective_rank`](crate::effective_rank()). [`nesum`](crate::nesum()) is the same of the centred rows.
///
/// Known failures: an offset that all rows share is one long direction, and the number falls to 1; one long direction
/// decides it.
///
/// # Errors
/// Not finite, empty, or all zeros.
pub fn stable_rank(z: ArrayView2<f64>) -> Result<f64> {
    check(z)?;
    of_singular_values(&spectrum::singular_values(z))
}

pub(crate) fn of_rows(rows: &Rows) -> Result<f64> {
    of_singular_values(rows.singular_values())
}

fn of_singular_values(values: &[f64]) -> Result<f64> {
    if values[0] == 0.0 {
        return Err(MeasureError::AllZero);
    }
    Ok(squares_over_largest(values))
}

/// sum(s^2) / s_1^2 of singular values that are not all 0, largest first.
pub(crate) fn squares_over_largest(values: &[f64]) -> f64 {
    values.iter().map(|value| (value / values[0]).powi(2)).sum()
}
