//! View retrieval: whether an image's other view is the nearest of all images' other views. On images that were not
//! trained on it is the held-out accuracy of instance discrimination (Wu et al. 2018, arXiv 1805.01978), the task of
//! contrastive methods: a label-free number that each image has by itself, so that its error is known.

use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;

use crate::error::Result;
use crate::rows::{check, check_views, unit_rows};

/// Rows of one block of cosines.
const BLOCK: usize = 256;

/// For every image, with views in row `i` and row `i + n/2` of `z` `[n, d]`: 1 if each of its views is nearer to the
/// other, by cosine, than that view of any other image is; 0.5 if one of the two is; 0 if none. Ties are misses.
///
/// `O(n^2 d)`, in blocks.
///
/// # Errors
/// Not finite, empty, an odd number of rows, a row of zeros.
pub fn view_retrieval(z: ArrayView2<f64>) -> Result<Vec<f64>> {
    check(z)?;
    check_views(z.nrows(), 2)?;
    let unit = unit_rows(z)?;
    let images = z.nrows() / 2;
    let (first, second) = (unit.slice(s![..images, ..]), unit.slice(s![images.., ..]));
    let [there, back] = [found(first, second), found(second, first)];
    Ok(there
        .iter()
        .zip(back)
        .map(|(&there, back)| f64::midpoint(f64::from(u8::from(there)), f64::from(u8::from(back))))
        .collect())
}

/// Whether row i of `others` is the nearest to row i of `rows`.
fn found(rows: ArrayView2<f64>, others: ArrayView2<f64>) -> Vec<bool> {
    let starts: Vec<usize> = (0..rows.nrows()).step_by(BLOCK).collect();
    let block = |&start: &usize| {
        let cosines: Array2<f64> = rows.slice(s![start..(start + BLOCK).min(rows.nrows()), ..]).dot(&others.t());
        let nearest = |(i, row): (usize, ndarray::ArrayView1<f64>)| {
            let own = row[start + i];
            row.iter().enumerate().all(|(j, &cosine)| j == start + i || cosine < own)
        };
        cosines.outer_iter().enumerate().map(nearest).collect::<Vec<bool>>()
    };
    starts.par_iter().flat_map_iter(block).collect()
}
