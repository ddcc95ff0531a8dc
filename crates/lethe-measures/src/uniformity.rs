//! Uniformity: Wang and Isola 2020 (arXiv 2005.10242), section 4.1 with t = 2.

use ndarray::{ArrayView2, s};
use rayon::prelude::*;

use crate::error::{MeasureError, Result};
use crate::rows::{Rows, check, unit_rows};

/// Rows of one side of a block of cosines.
const BLOCK: usize = 256;

/// ln of the mean over i < j of exp(-2 ||u_i - u_j||^2), for the unit rows of `z` `[n, d]`: from -8 (two opposite
/// points) to 0 (all rows alike), about -4 for rows spread evenly in many dimensions; smaller is more uniform.
///
/// All n(n-1)/2 distances are taken, block by block: `O(n^2 d)` time, memory of a block a thread.
///
/// # Errors
/// Not finite, fewer than two rows, a row of zeros.
pub fn uniformity(z: ArrayView2<f64>) -> Result<f64> {
    check(z)?;
    of_unit(unit_rows(z)?.view())
}

pub(crate) fn of_rows(rows: &Rows) -> Result<f64> {
    let unit = rows.unit()?;
    match rows.together().filter(|_| unit.nrows() > 1) {
        Some(pairs) => Ok(of_sum(pairs.potential, unit.nrows())),
        None => of_unit(unit),
    }
}

fn of_unit(unit: ArrayView2<f64>) -> Result<f64> {
    let n = unit.nrows();
    if n < 2 {
        return Err(MeasureError::TooFewRows { rows: n, needed: 2 });
    }
    let starts: Vec<usize> = (0..n).step_by(BLOCK).collect();
    let rows = |start: usize| unit.slice(s![start..(start + BLOCK).min(n), ..]);
    let sums: Vec<f64> = starts
        .par_iter()
        .map(|&i| {
            let block = |&j: &usize| {
                let cosines = rows(i).dot(&rows(j).t());
                let potential = |c: &f64| (4.0 * c - 4.0).exp();
                if j > i {
                    return cosines.iter().map(potential).sum::<f64>();
                }
                let above =
                    cosines.outer_iter().enumerate().map(|(k, row)| row.iter().skip(k + 1).map(potential).sum::<f64>());
                above.sum()
            };
            starts.iter().filter(|&&j| j >= i).map(block).sum()
        })
        .collect();
    Ok(of_sum(sums.iter().sum(), n))
}

fn of_sum(potential: f64, n: usize) -> f64 {
    (potential / (n as f64 * (n - 1) as f64 / 2.0)).ln()
}
