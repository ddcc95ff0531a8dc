//! Alignment: Wang and Isola 2020, "Understanding Contrastive Representation Learning through Alignment and Uniformity
//! on the Hypersphere" (arXiv 2005.10242), section 4.1 with alpha = 2.

use ndarray::{Array2, ArrayView2, Axis, Zip};

use crate::error::Result;
use crate::rows::{Rows, check, check_views, unit_rows};

/// Mean of ||u - u'||^2 over all pairs of unit rows u, u' that are views of one image: from 0 (views coincide) to 4;
/// smaller is better aligned. Row `v n/views + i` of `z` `[n, d]` is view `v` of image `i`.
///
/// # Errors
/// Not finite, empty, fewer than two views, rows that do not fall into groups of `views`, a row of zeros.
pub fn alignment(z: ArrayView2<f64>, views: usize) -> Result<f64> {
    check(z)?;
    check_views(z.nrows(), views)?;
    Ok(of_unit(unit_rows(z)?.view(), views))
}

pub(crate) fn of_rows(rows: &Rows) -> Result<f64> {
    let views = rows.views()?;
    Ok(of_unit(rows.unit()?, views))
}

/// The squared distances of the pairs of q views sum to q times those of the views to their mean.
fn of_unit(unit: ArrayView2<f64>, views: usize) -> f64 {
    let images = unit.nrows() / views;
    let by_view = || unit.axis_chunks_iter(Axis(0), images);
    let mut means = Array2::zeros((images, unit.ncols()));
    by_view().for_each(|view| means += &view);
    means /= views as f64;
    let to_mean =
        |view: ArrayView2<f64>| Zip::from(view).and(&means).fold(0.0, |sum, u, mean| sum + (u - mean).powi(2));
    let sum: f64 = by_view().map(to_mean).sum();
    let pairs = images * (views - 1);
    2.0 * sum / pairs as f64
}
