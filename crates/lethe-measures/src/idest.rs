//! IdEst: Mordacq, Kalogeiton and Oudot 2026, "IdEst: Assessing Self-Supervised Learning Representations via Intrinsic
//! Dimension" (arXiv 2606.03338), by the growth of a minimum spanning tree.

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use crate::copies;
use crate::distances::squared;
use crate::error::{MeasureError, Result};
use crate::random::Draws;
use crate::rows::{Rows, check};

/// The smallest subsample is this share of the rows...
const SMALLEST_SHARE: usize = 16;
/// ...but has no fewer rows than this.
const SMALLEST: usize = 8;
/// Sizes below which a line through ln L is no more than a guess.
const LEAST_SIZES: usize = 3;
/// Subsamples of each size.
const REPEATS: u64 = 5;
/// Multiplications that are worth handing to another thread.
const WORK: usize = 1 << 16;

/// The intrinsic dimension d = 1/(1 - a) of the set that the rows of `z` `[n, d]` lie on, a the slope of ln L on ln m,
/// L the length of the Euclidean minimum spanning tree of m of the rows: L grows as m^((d-1)/d). Lower is better, says
/// the paper.
///
/// Lethe's variant: raw rows, of [copies](crate::copies()) only the first; m is n, n/2, n/4, n/8 and n/16, as far as it
/// is 8 or more; five subsamples without replacement of each m below n, drawn from `seed`, and the mean of their ln L;
/// ordinary least squares over the sizes. With another seed the number changes by some 4 % for 2,000 rows.
///
/// The paper takes 50,000 rows; fewer give less in high dimensions, so compare at equal n.
///
/// `O(n^2 d)` time at the speed of memory (trees are grown a row at a time, ten times slower than a product of matrices
/// while the rows fit a cache and thirty times where they do not: 10,000 rows of 2,048 take 78 s on two cores), memory
/// of the subsamples.
///
/// Known failures: blind in the first epochs; falls with training whatever the quality for VICReg, DINO and I-JEPA;
/// too low above about 10 dimensions; tight clusters read as fewer dimensions.
///
/// # Errors
/// Not finite, empty, fewer than 32 different rows, or a tree that grows as fast as its rows or faster.
pub fn idest(z: ArrayView2<f64>, seed: u64) -> Result<f64> {
    check(z)?;
    of_kept(z, &copies::of_checked(z).kept, seed)
}

pub(crate) fn of_rows(rows: &Rows, seed: u64) -> Result<f64> {
    of_kept(rows.z, &rows.copies().kept, seed)
}

/// Of the rows `kept` of a checked matrix, all of which differ.
fn of_kept(z: ArrayView2<f64>, kept: &[usize], seed: u64) -> Result<f64> {
    let n = kept.len();
    let least = SMALLEST << (LEAST_SIZES - 1);
    if z.nrows() < least {
        return Err(MeasureError::TooFewRows { rows: z.nrows(), needed: least });
    }
    if n == 1 {
        return Err(MeasureError::NoVariance);
    }
    if n < least {
        return Err(MeasureError::TooFewDistinctRows { found: n, needed: least });
    }
    let length = |rows: &Vec<usize>| (rows.len(), length_of_tree(z.select(Axis(0), rows)));
    dimension_of_trees(&subsamples(kept, seed).par_iter().map(length).collect::<Vec<_>>())
}

/// Of the `rows`, given in order; the largest subsample first. Whether a row is drawn hangs on its own place in the
/// matrix, not on how many others there are: where copies are left out, the others are drawn nearly as before.
fn subsamples(rows: &[usize], seed: u64) -> Vec<Vec<usize>> {
    let size = |share: usize| rows.len() / share;
    let shares = (0..).map(|halvings| 1 << halvings).take_while(|&share| share <= SMALLEST_SHARE);
    let shares = shares.filter(|&share| size(share) >= SMALLEST);
    let repeats = |share| (0..if share == 1 { 1 } else { REPEATS }).map(move |repeat| (share, repeat));
    let draw = |(share, repeat): (usize, u64)| {
        let mut draws = Draws::keyed(seed, repeat << 32 | share as u64);
        let chances: Vec<f64> = (0..=rows[rows.len() - 1]).map(|_| draws.uniform()).collect();
        let mut drawn = rows.to_vec();
        drawn.sort_unstable_by(|&a, &b| chances[a].total_cmp(&chances[b]).then(a.cmp(&b)));
        drawn.truncate(size(share));
        drawn.sort_unstable();
        drawn
    };
    shares.flat_map(repeats).map(draw).collect()
}

/// The dimension 1/(1 - a), a the slope of ln length on ln rows of some trees `(rows, length)`, where several trees of
/// as many rows count as one with their mean ln length.
///
/// # Errors
/// Trees of fewer than two sizes, a length of 0, or a slope of 1 or more.
pub fn dimension_of_trees(trees: &[(usize, f64)]) -> Result<f64> {
    if trees.iter().any(|&(rows, length)| rows == 0 || length.is_nan() || length <= 0.0) {
        return Err(MeasureError::NoVariance);
    }
    let mut trees = trees.to_vec();
    trees.sort_by_key(|&(rows, _)| rows);
    let points: Vec<(f64, f64)> = trees
        .chunk_by(|a, b| a.0 == b.0)
        .map(|same| {
            let mean = same.iter().map(|(_, length)| length.ln()).sum::<f64>() / same.len() as f64;
            ((same[0].0 as f64).ln(), mean)
        })
        .collect();
    if points.len() < 2 {
        return Err(MeasureError::TooFewRows { rows: points.len(), needed: 2 });
    }
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / points.len() as f64;
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * y).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = covariance / variance;
    if slope < 1.0 { Ok(1.0 / (1.0 - slope)) } else { Err(MeasureError::TreeGrowth { slope }) }
}

/// Length of the Euclidean minimum spanning tree of the rows of `z` `[n, d]`; 0 of one row. By Prim's algorithm:
/// `O(n^2 d)` time, `O(n)` memory beside the rows.
///
/// # Errors
/// Not finite, or empty.
pub fn tree_length(z: ArrayView2<f64>) -> Result<f64> {
    check(z)?;
    Ok(length_of_tree(z.to_owned()))
}

fn length_of_tree(z: Array2<f64>) -> f64 {
    let z = if z.is_standard_layout() { z } else { z.as_standard_layout().into_owned() };
    let d = z.ncols();
    let values = z.as_slice().expect("standard layout");
    let row = |i: usize| &values[i * d..(i + 1) * d];
    // Rows outside the tree, each with the least squared distance to a row inside.
    let mut outside: Vec<(f64, usize)> = (1..z.nrows()).map(|i| (f64::INFINITY, i)).collect();
    let (mut newest, mut length) = (0, 0.0);
    while !outside.is_empty() {
        let update = |(place, (least, i)): (usize, &mut (f64, usize))| {
            *least = least.min(squared(row(newest), row(*i)));
            (*least, place)
        };
        let nearer = |a: (f64, usize), b: (f64, usize)| if (b.0, b.1) < (a.0, a.1) { b } else { a };
        let (least, place) = outside
            .par_iter_mut()
            .enumerate()
            .with_min_len((WORK / d).max(1))
            .map(update)
            .reduce(|| (f64::INFINITY, usize::MAX), nearer);
        length += least.sqrt();
        newest = outside.swap_remove(place).1;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsamples_differ_and_hold_no_row_twice() {
        let rows: Vec<usize> = (0..100).collect();
        let drawn = subsamples(&rows, 3);
        assert_eq!(
            drawn.iter().map(Vec::len).collect::<Vec<_>>(),
            [[100].as_slice(), &[50; 5], &[25; 5], &[12; 5]].concat()
        );
        for (i, rows) in drawn.iter().enumerate() {
            assert!(rows.is_sorted_by(|a, b| a < b) && rows[rows.len() - 1] < 100);
            assert!(drawn[..i].iter().all(|other| other != rows));
        }
        let mut times = [0; 100];
        (0..400).flat_map(|seed| subsamples(&rows, seed).swap_remove(1)).for_each(|row| times[row] += 1);
        assert!(times.iter().all(|times| (150..250).contains(times)), "{times:?}");
        // Five rows fewer: the others are drawn nearly as before.
        let (fewer, before) = (&subsamples(&rows[5..], 3)[2], &drawn[2]);
        let changed = before.iter().filter(|row| **row >= 5 && !fewer.contains(row)).count();
        assert!(fewer.len() == 47 && changed <= 3, "{before:?} {fewer:?}");
    }
}
