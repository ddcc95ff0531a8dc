//! k-means: Lloyd 1982, started by k-means++ (Arthur and Vassilvitskii 2007).

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::distances::squared;
use crate::error::{MeasureError, Result, positive};
use crate::random::Draws;
use crate::rows::check;

/// Rounds after which the clusters are taken as they are.
const ROUNDS: usize = 300;
/// Chunks that the rows are cut into, whatever the number of threads: sums are taken in the same order.
const CHUNKS: usize = 32;
/// Rows of one product with the centres.
const BLOCK: usize = 256;

/// Rows in clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustering {
    /// `[k, d]`, the means of the clusters.
    pub centres: Array2<f64>,
    /// For every row the index of the nearest centre.
    pub labels: Vec<u32>,
    /// Sum over rows of the squared distance to the nearest centre.
    pub inertia: f64,
    /// Passes over the rows; 300 where the clusters still changed, and `centres` may then be short of the means.
    pub rounds: usize,
}

/// The rows of `z` `[n, d]` in `k` clusters by squared Euclidean distance: one start by k-means++ drawn from `seed`,
/// then Lloyd's rounds until no row changes its cluster, at most 300. A cluster that empties starts anew at the row
/// that is farthest from its centre. The same for any number of threads.
///
/// `O(n k d)` time a round, memory of `32 k d`.
///
/// Known failures: it finds a local minimum, another for another seed, which is what
/// [`cluster_stability`](crate::cluster_stability()) measures; it cuts long and unequal clusters.
///
/// # Errors
/// Not finite, empty, a `k` of 0, or fewer different rows than `k`.
pub fn kmeans(z: ArrayView2<f64>, k: usize, seed: u64) -> Result<Clustering> {
    check(z)?;
    run(z, k, seed, 0)
}

/// Of checked rows; `repeat` is the number of the start.
pub(crate) fn run(z: ArrayView2<f64>, k: usize, seed: u64, repeat: u64) -> Result<Clustering> {
    positive("k", k as f64)?;
    let z = z.as_standard_layout();
    rounds(z.view(), plus_plus(z.view(), k, &mut Draws::keyed(seed, repeat))?)
}

/// Lloyd's rounds from the given `centres` `[k, d]`, otherwise as [`kmeans`].
///
/// # Errors
/// Not finite, empty, another number of columns, or fewer different rows than centres.
pub fn lloyd(z: ArrayView2<f64>, centres: ArrayView2<f64>) -> Result<Clustering> {
    check(z)?;
    check(centres)?;
    if z.ncols() != centres.ncols() {
        return Err(MeasureError::Columns { first: z.ncols(), second: centres.ncols() });
    }
    rounds(z.as_standard_layout().view(), centres.to_owned())
}

fn slice<'a>(row: ArrayView1<'a, f64>) -> &'a [f64] {
    row.to_slice().expect("standard layout")
}

/// `k` rows, each drawn with a chance in proportion to the squared distance to the nearest one drawn before.
fn plus_plus(z: ArrayView2<f64>, k: usize, draws: &mut Draws) -> Result<Array2<f64>> {
    let n = z.nrows();
    if n < k {
        return Err(MeasureError::TooFewRows { rows: n, needed: k });
    }
    let mut chosen = vec![draws.below(n)];
    let mut far = vec![f64::INFINITY; n];
    while chosen.len() < k {
        let newest = slice(z.row(*chosen.last().expect("at least one")));
        let rows = far.par_iter_mut().enumerate().with_min_len(BLOCK);
        rows.for_each(|(i, far)| *far = far.min(squared(slice(z.row(i)), newest)));
        let total: f64 = far.iter().sum();
        let target = draws.uniform() * total;
        let mut passed = 0.0;
        let beyond = far.iter().position(|far| {
            passed += far;
            passed > target
        });
        let farthest = || far.iter().rposition(|&far| far > 0.0);
        let needed = MeasureError::TooFewDistinctRows { found: chosen.len(), needed: k };
        chosen.push(beyond.or_else(farthest).ok_or(needed)?);
    }
    Ok(z.select(Axis(0), &chosen))
}

/// The nearest centre of every row, and its squared distance.
struct Nearest {
    labels: Vec<u32>,
    squares: Vec<f64>,
    /// `[k, d]`, the sum of the rows of each cluster less `origin`.
    sums: Array2<f64>,
    counts: Vec<usize>,
}

fn rounds(z: ArrayView2<f64>, mut centres: Array2<f64>) -> Result<Clustering> {
    let origin = z.mean_axis(Axis(0)).expect("checked: at least one row");
    centres -= &origin;
    let mut labels = Vec::new();
    for round in 1..=ROUNDS {
        let mut nearest = nearest(z, &origin, &centres);
        if nearest.labels == labels || round == ROUNDS {
            let inertia = nearest.squares.iter().sum();
            return Ok(Clustering { centres: centres + &origin, labels: nearest.labels, inertia, rounds: round });
        }
        fill_empty(z, &origin, &mut nearest)?;
        for ((mut centre, sum), &count) in centres.outer_iter_mut().zip(nearest.sums.outer_iter()).zip(&nearest.counts)
        {
            centre.assign(&(&sum / count as f64));
        }
        labels = nearest.labels;
    }
    unreachable!("the last round returns")
}

fn nearest(z: ArrayView2<f64>, origin: &Array1<f64>, centres: &Array2<f64>) -> Nearest {
    let (n, (k, d)) = (z.nrows(), centres.dim());
    let halves: Vec<f64> = centres.outer_iter().map(|centre| 0.5 * centre.dot(&centre)).collect();
    let chunk = n.div_ceil(CHUNKS).max(BLOCK);
    let of_chunk = |chunk: ArrayView2<f64>| {
        let mut found =
            Nearest { labels: Vec::new(), squares: Vec::new(), sums: Array2::zeros((k, d)), counts: vec![0; k] };
        for block in chunk.axis_chunks_iter(Axis(0), BLOCK) {
            let block = &block - origin;
            for (row, products) in block.outer_iter().zip(block.dot(&centres.t()).outer_iter()) {
                // 1/2 ||row - centre||^2 less 1/2 ||row||^2, which is the same for all centres.
                let less = |(best, least): (usize, f64), (j, (product, half)): (usize, (&f64, &f64))| {
                    if half - product < least { (j, half - product) } else { (best, least) }
                };
                let (best, least) = products.iter().zip(&halves).enumerate().fold((0, f64::INFINITY), less);
                found.labels.push(best as u32);
                found.squares.push((row.dot(&row) + 2.0 * least).max(0.0));
                found.counts[best] += 1;
                let mut sum = found.sums.row_mut(best);
                sum += &row;
            }
        }
        found
    };
    let chunks: Vec<ArrayView2<f64>> = z.axis_chunks_iter(Axis(0), chunk).collect();
    let parts: Vec<Nearest> = chunks.into_par_iter().map(of_chunk).collect();
    let merge = |mut all: Nearest, part: Nearest| {
        all.labels.extend(part.labels);
        all.squares.extend(part.squares);
        all.sums += &part.sums;
        all.counts.iter_mut().zip(part.counts).for_each(|(all, part)| *all += part);
        all
    };
    parts.into_iter().reduce(merge).expect("checked: at least one row")
}

/// Gives every empty cluster the row that is farthest from its own centre.
fn fill_empty(z: ArrayView2<f64>, origin: &Array1<f64>, nearest: &mut Nearest) -> Result<()> {
    for empty in 0..nearest.counts.len() {
        if nearest.counts[empty] > 0 {
            continue;
        }
        let shares = |i: usize| nearest.counts[nearest.labels[i] as usize] > 1;
        let candidates = nearest.squares.iter().copied().enumerate().filter(|&(i, square)| square > 0.0 && shares(i));
        let Some((row, _)) = candidates.reduce(|best, next| if next.1 > best.1 { next } else { best }) else {
            let found = nearest.counts.iter().filter(|&&count| count > 0).count();
            return Err(MeasureError::TooFewDistinctRows { found, needed: nearest.counts.len() });
        };
        let values = &z.row(row) - origin;
        let old = nearest.labels[row] as usize;
        let mut sum = nearest.sums.row_mut(old);
        sum -= &values;
        nearest.counts[old] -= 1;
        nearest.sums.slice_mut(s![empty, ..]).assign(&values);
        nearest.counts[empty] = 1;
        nearest.labels[row] = empty as u32;
        nearest.squares[row] = 0.0;
    }
    Ok(())
}
