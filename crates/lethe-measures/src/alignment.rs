//! Alignment: Wang and Isola 2020, "Understanding Contrastive Representation Learning through Alignment and Uniformity
//! on the Hypersphere" (arXiv 2005.10242), section 4.1 with alpha = 2.

use ndarray::{ArrayView2, Zip, s};

use crate::error::Result;
use crate::rows::{Rows, check, check_views, unit_rows};

/// Mean of ||u - u'||^2 over the pairs of unit rows `i` and `i + n/2` of `z` `[n, d]`: from 0 (views coincide) to 4;
/// smaller is better aligned.
///
/// # Errors
/// Not finite, empty, an odd number of rows, a row of zeros.
pub fn alignment(z: ArrayView2<f64>) -> Result<f64> {
    check(z)?;
    check_views(z.nrows(), 2)?;
    Ok(of_unit(unit_rows(z)?.view()))
}

pub(crate) fn of_rows(rows: &Rows) -> Result<f64> {
    Ok(of_unit(rows.unit()?))
}

fn of_unit(unit: ArrayView2<f64>) -> f64 {
    let pairs = unit.nrows() / 2;
    let (first, second) = (unit.slice(s![..pairs, ..]), unit.slice(s![pairs.., ..]));
    let sum = Zip::from(&first).and(&second).fold(0.0, |sum, u, v| sum + (u - v) * (u - v));
    sum / pairs as f64
}
