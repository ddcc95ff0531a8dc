//! Alignment: Wang and Isola 2020, "Understanding Contrastive Representation Learning through Alignment and Uniformity
//! on the Hypersphere" (arXiv 2005.10242), section 4.1 with alpha = 2.

use ndarray::{Array1, ArrayView2};

use crate::distances::squared;
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

fn of_unit(unit: ArrayView2<f64>, views: usize) -> f64 {
    let images = unit.nrows() / views;
    let row = |i: usize| unit.row(i).to_slice().expect("standard layout");
    if views == 2 {
        return (0..images).map(|i| squared(row(i), row(images + i))).sum::<f64>() / images as f64;
    }
    // The squared distances of the pairs of q views sum to q times those of the views to their mean.
    let mut mean = Array1::zeros(unit.ncols());
    let mut sum = 0.0;
    for image in 0..images {
        mean.fill(0.0);
        (0..views).for_each(|view| mean += &unit.row(view * images + image));
        mean /= views as f64;
        let mean = mean.as_slice().expect("standard layout");
        sum += (0..views).map(|view| squared(row(view * images + image), mean)).sum::<f64>();
    }
    2.0 * sum / (images * (views - 1)) as f64
}
