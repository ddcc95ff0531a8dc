//! TwoNN: Facco, d'Errico, Rodriguez and Laio 2017, "Estimating the intrinsic dimension of datasets by a minimal
//! neighborhood information" (arXiv 1803.06992).

use ndarray::{ArrayView2, Axis};
use rayon::prelude::*;

use crate::copies;
use crate::distances::{Distances, Nearest};
use crate::error::{MeasureError, Result};
use crate::rows::{Rows, check};

/// Share of the largest ratios that the fit leaves out, in per cent.
const DISCARDED: usize = 10;
/// Rows with fewer neighbours than this fit no line.
const LEAST_ROWS: usize = 10;

/// The intrinsic dimension of the set that the rows of `z` `[n, d]` lie on: the slope through the origin of
/// -ln(1 - F) on ln mu, mu the ratio of the distances to a row's second and first neighbour, F the share of rows with
/// a mu up to this one. Distances are Euclidean, of the raw rows.
///
/// Lethe's variant is the paper's: F(mu_i) = i/n, the largest 10 % of mu left out, least squares through the origin.
/// Of [copies](crate::copies()) only the first row is taken, as they have a neighbour at no distance. (The maximum
/// likelihood estimator that other tools offer, n / sum ln mu, is another number.)
///
/// `O(n^2 d)` time in products of matrices, memory of one copy of `z` and a block a thread.
///
/// Known failures: it reads the finest scale, so noise of any size counts as dimensions; above about 20 dimensions it
/// is too low unless n is huge (a 50-dimensional Gaussian of 1,000 rows reads about 30); rows that come in near pairs,
/// two views of an image, read as fewer dimensions than there are.
///
/// # Errors
/// Not finite, empty, fewer than ten different rows, or all neighbours at the same distance.
pub fn two_nn(z: ArrayView2<f64>) -> Result<f64> {
    check(z)?;
    of_kept(z, &copies::of_checked(z).kept)
}

/// Of [`Rows`], which keep it.
pub(crate) fn of_checked(rows: &Rows) -> Result<f64> {
    match rows.together() {
        Some(pairs) => of_ratios(pairs.ratios.clone()),
        None => of_kept(rows.z, &rows.copies().kept),
    }
}

/// Of the rows `kept` of a checked matrix.
fn of_kept(z: ArrayView2<f64>, kept: &[usize]) -> Result<f64> {
    if kept.len() == z.nrows() {
        return of_ratios(ratios(&Distances::new(z)));
    }
    of_ratios(ratios(&Distances::new(z.select(Axis(0), kept).view())))
}

fn of_ratios(mut ratios: Vec<f64>) -> Result<f64> {
    let n = ratios.len();
    if n < LEAST_ROWS {
        return Err(MeasureError::TooFewDistinctRows { found: n, needed: LEAST_ROWS });
    }
    ratios.sort_by(f64::total_cmp);
    let kept = n * (100 - DISCARDED) / 100;
    let (mut xy, mut xx) = (0.0, 0.0);
    for (i, ratio) in ratios[..kept].iter().enumerate() {
        let (x, y) = (ratio.ln(), -(-((i + 1) as f64) / n as f64).ln_1p());
        xy += x * y;
        xx += x * x;
    }
    if xx > 0.0 { Ok(xy / xx) } else { Err(MeasureError::EqualDistances) }
}

/// Of every row.
fn ratios(distances: &Distances) -> Vec<f64> {
    let starts = distances.starts();
    let of_block = |&i: &usize| {
        let mut nearest = vec![Nearest::default(); distances.rows_from(i)];
        for &j in &starts {
            for (k, (row, nearest)) in distances.squared(i, j).outer_iter().zip(&mut nearest).enumerate() {
                for (l, &square) in row.iter().enumerate() {
                    if i + k != j + l {
                        nearest.see(square, j + l);
                    }
                }
            }
        }
        nearest.iter().enumerate().filter_map(|(k, nearest)| nearest.ratio(i + k, distances)).collect::<Vec<f64>>()
    };
    starts.par_iter().map(of_block).collect::<Vec<_>>().concat()
}
