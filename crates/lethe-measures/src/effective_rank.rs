//! Effective rank: Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality", definition 1.

use ndarray::ArrayView2;

use crate::error::Result;
use crate::rows::{Rows, centred_singular_values, check};
use crate::spectrum;

/// exp(-sum p ln p) with p = s / sum(s), s the singular values of the column-centred `z` `[n, d]`; from 1 to
/// `min(n - 1, d)`.
///
/// Roy and Vetterli define it for any matrix; centring makes it one of the spread of the features around their mean,
/// which a common offset does not change. [`rankme`](crate::rankme()) does not centre.
///
/// # Errors
/// Not finite, empty, or all rows the same.
pub fn effective_rank(z: ArrayView2<f64>) -> Result<f64> {
    check(z)?;
    Ok(of_singular_values(&centred_singular_values(z)?))
}

pub(crate) fn of_rows(rows: &Rows) -> Result<f64> {
    Ok(of_singular_values(rows.centred_singular_values()?))
}

fn of_singular_values(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    spectrum::exp_entropy(values.iter().map(|value| value / sum))
}
