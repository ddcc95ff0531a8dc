//! Linear centred kernel alignment: Kornblith, Norouzi, Lee and Hinton 2019, "Similarity of Neural Network
//! Representations Revisited" (ICML 2019, arXiv 1905.00414), section 3.

use ndarray::{Array2, ArrayView2, Axis, Zip};
use rayon::prelude::*;

use crate::error::{MeasureError, Result};
use crate::rows::check;

/// Rows of one block of a Gram matrix.
const BLOCK: usize = 256;

/// ||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F) of the column-centred `x` `[n, d]` and `y` `[n, e]`, whose rows are the same
/// images: from 0 (no linear relation) to 1 (equal but for rotation, scale and offset).
///
/// Products of the smaller side are taken: `O(n (d^2 + d e + e^2))` or `O(n^2 (d + e))` time, memory of a copy of both
/// and of `d x e`, never of `n x n`.
///
/// Known failures: it nears 1 for any features once n is not well above d and e, where [`debiased_linear_cka`] helps; a
/// few directions of large variance, or a few far rows, decide it.
///
/// # Errors
/// Not finite, empty, another number of rows, or all rows of one side the same.
pub fn linear_cka(x: ArrayView2<f64>, y: ArrayView2<f64>) -> Result<f64> {
    let [x, y] = [centred(x)?, centred(y)?];
    same_rows(&x, &y)?;
    let [xy, xx, yy] = [product(&x, &y), product(&x, &x), product(&y, &y)];
    Ok((xy / xx.sqrt() / yy.sqrt()).min(1.0))
}

/// The same with each of the three products replaced by an unbiased estimate of it (Song et al. 2012), as in the
/// authors' code: 0 on average for independent features however few the rows, and it may be negative.
///
/// # Errors
/// As for [`linear_cka`]; fewer than four rows; rows so few and even that an estimate of a side with itself is not
/// above 0.
pub fn debiased_linear_cka(x: ArrayView2<f64>, y: ArrayView2<f64>) -> Result<f64> {
    let [x, y] = [centred(x)?, centred(y)?];
    same_rows(&x, &y)?;
    let rows = x.nrows();
    if rows < 4 {
        return Err(MeasureError::TooFewRows { rows, needed: 4 });
    }
    let squares = |z: &Array2<f64>| z.outer_iter().map(|row| row.dot(&row)).collect::<Vec<f64>>();
    let [a, b] = [squares(&x), squares(&y)];
    let n = rows as f64;
    let debiased = |product: f64, a: &[f64], b: &[f64]| {
        let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        let sums = a.iter().sum::<f64>() * b.iter().sum::<f64>();
        product - n / (n - 2.0) * dot + sums / ((n - 1.0) * (n - 2.0))
    };
    let [xy, xx, yy] =
        [debiased(product(&x, &y), &a, &b), debiased(product(&x, &x), &a, &a), debiased(product(&y, &y), &b, &b)];
    if xx > 0.0 && yy > 0.0 { Ok(xy / xx.sqrt() / yy.sqrt()) } else { Err(MeasureError::NoVariance) }
}

fn same_rows(x: &Array2<f64>, y: &Array2<f64>) -> Result<()> {
    let (first, second) = (x.nrows(), y.nrows());
    if first == second { Ok(()) } else { Err(MeasureError::RowCounts { first, second }) }
}

/// Column-centred, and scaled so that the largest value is 1: fourth powers of large values would leave float64.
fn centred(z: ArrayView2<f64>) -> Result<Array2<f64>> {
    check(z)?;
    let mean = z.mean_axis(Axis(0)).expect("checked: at least one row");
    let mut centred = &z - &mean;
    let largest = z.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let scale = centred.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    if scale <= largest * f64::EPSILON * 4.0 {
        return Err(MeasureError::NoVariance);
    }
    centred /= scale;
    Ok(centred)
}

/// ||x'y||_F^2, which is also the sum of the entries of xx' times those of yy'.
fn product(x: &Array2<f64>, y: &Array2<f64>) -> f64 {
    let (n, d, e) = (x.nrows(), x.ncols(), y.ncols());
    let parts: Vec<f64> = if d * e <= n * (d + e) {
        let columns: Vec<ArrayView2<f64>> = x.axis_chunks_iter(Axis(1), BLOCK).collect();
        columns.into_par_iter().map(|columns| columns.t().dot(y).iter().map(|value| value * value).sum()).collect()
    } else {
        let blocks: Vec<(ArrayView2<f64>, ArrayView2<f64>)> =
            x.axis_chunks_iter(Axis(0), BLOCK).zip(y.axis_chunks_iter(Axis(0), BLOCK)).collect();
        let of_block = |(a, b): (ArrayView2<f64>, ArrayView2<f64>)| {
            Zip::from(&a.dot(&x.t())).and(&b.dot(&y.t())).fold(0.0, |sum, a, b| sum + a * b)
        };
        blocks.into_par_iter().map(of_block).collect()
    };
    parts.iter().sum()
}
