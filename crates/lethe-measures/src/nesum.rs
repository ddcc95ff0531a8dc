//! NESum, the sum of normalised eigenvalues: He and Ozay 2022, "Exploring the Gap between Collapsed & Whitened Features
//! in Self-Supervised Learning" (ICML 2022), definition 4.1.

use ndarray::ArrayView2;

use crate::error::Result;
use crate::rows::{Rows, centred_singular_values, check};
use crate::stable_rank::squares_over_largest;

/// sum(l) / l_1, l the eigenvalues of the covariance of the columns of `z` `[n, d]`, l_1 the largest: 1 where the rows
/// vary along one line, `min(n - 1, d)` where they are whitened.
///
/// The paper indexes the sum from the largest eigenvalue on, as here. It is the [stable rank](crate::stable_rank()) of
/// the column-centred rows.
///
/// Known failures: one long direction decides it, whatever the others do; whitened noise has the highest value.
///
/// # Errors
/// Not finite, empty, or all rows the same.
pub fn nesum(z: ArrayView2<f64>) -> Result<f64> {
    check(z)?;
    Ok(squares_over_largest(&centred_singular_values(z)?))
}

pub(crate) fn of_rows(rows: &Rows) -> Result<f64> {
    Ok(squares_over_largest(rows.centred_singular_values()?))
}
