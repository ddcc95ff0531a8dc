//! Copied rows: what a feature matrix holds when an image stands in a set twice. They make neighbours at no distance
//! and trees that grow too slowly, so [`two_nn`](crate::two_nn()) and [`idest`](crate::idest()) leave them out.

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

use crate::distances::squared;
use crate::error::Result;
use crate::random::Draws;
use crate::rows::{SEED, check};

/// A row is nearly a copy of another within this share of the typical distance of two rows.
const NEAR: f64 = 1e-5;
/// Pairs of rows whose median distance is the typical one.
const PAIRS: usize = 1000;
/// Directions that rows are projected on. Rows that are near one another are near in each of them.
const DIRECTIONS: usize = 4;
/// A distance seen along a random unit direction in d dimensions is about 1/sqrt(d) of it; it is more than six times
/// that with a chance of 2e-9.
const DEVIATIONS: f64 = 6.0;
/// Keeps the draws here apart from those of the measures.
const PURPOSE: u64 = 1 << 48;
/// Columns whose squared differences are summed before the sum is looked at.
const COLUMNS: usize = 32;

/// What [`copies`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// Rows that equal an earlier row in every column.
    pub copied: usize,
    /// Further rows that lie nearer to an earlier row than 1e-5 of the typical distance of two rows.
    pub nearly: usize,
    /// The other rows, in order: one of every set of copies, the first.
    pub kept: Vec<usize>,
}

/// The copied rows and the nearly copied rows of `z` `[n, d]`.
///
/// The typical distance is the median of 1,000 pairs of rows drawn at random, so a shared offset, a common scale, a
/// rotation and a few far rows change nothing. 1e-5 of it covers the rounding of float32 in another order of summation;
/// it does not cover half precision, or an image that was compressed anew.
///
/// All rows are projected on four random directions and sorted by the first. Rows that are near one another lie in a
/// narrow window of that order and agree in the other three, and only such pairs are compared. Copies project to the
/// same bits, so each of them is found; a nearly copied row is missed with a chance below 1e-8.
///
/// `O(n d + n log n)` time; where thousands of rows crowd within some 1e-4 of the typical distance, every two of them
/// compare four numbers. The same for any number of threads.
///
/// # Errors
/// Not finite, or empty.
pub fn copies(z: ArrayView2<f64>) -> Result<Copies> {
    check(z)?;
    Ok(of_checked(z))
}

/// What a row is to the rows before it.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Kept,
    Nearly,
    Copied,
}

pub(crate) fn of_checked(z: ArrayView2<f64>) -> Copies {
    let z = &z.as_standard_layout();
    let (n, d) = z.dim();
    let row = |i: usize| z.row(i).to_slice().expect("standard layout");
    let near = NEAR * NEAR * typical_square(n, &row);
    // Squares of tiny rows are lost to rounding; then only copies are looked for.
    let near = (near >= f64::MIN_POSITIVE).then_some(near);
    let window = DEVIATIONS * (near.unwrap_or(0.0) / d as f64).sqrt();

    let along = projected(z.view());
    let mut order: Vec<usize> = (0..n).collect();
    order.par_sort_unstable_by(|&a, &b| along[a][0].total_cmp(&along[b][0]).then(a.cmp(&b)));
    let kind = |(place, &i): (usize, &usize)| {
        // Equal projections stand in the order of the rows, so an earlier copy stands just before.
        let before = || order[..place].iter().rev().copied();
        if before().take_while(|&j| along[j][0] == along[i][0]).any(|j| row(j) == row(i)) {
            return Kind::Copied;
        }
        let Some(near) = near else { return Kind::Kept };
        let agree = |j: usize| along[j].iter().zip(&along[i]).all(|(a, b)| (a - b).abs() <= window);
        let nearby = |j: usize| j < i && agree(j) && within_square(row(i), row(j), near);
        let within = |j: &usize| (along[*j][0] - along[i][0]).abs() <= window;
        let after = order[place + 1..].iter().copied();
        let found = before().take_while(within).any(nearby) || after.take_while(within).any(nearby);
        if found { Kind::Nearly } else { Kind::Kept }
    };
    let mut kinds = vec![Kind::Kept; n];
    let found: Vec<Kind> = order.par_iter().enumerate().map(kind).collect();
    order.iter().zip(found).for_each(|(&i, kind)| kinds[i] = kind);
    let of = |wanted: Kind| kinds.iter().enumerate().filter(move |(_, kind)| **kind == wanted).map(|(i, _)| i);
    Copies { copied: of(Kind::Copied).count(), nearly: of(Kind::Nearly).count(), kept: of(Kind::Kept).collect() }
}

/// The median squared distance of pairs of rows drawn at random.
fn typical_square<'a>(n: usize, row: &impl Fn(usize) -> &'a [f64]) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let mut draws = Draws::keyed(SEED, PURPOSE);
    let mut pair = || {
        let first = draws.below(n);
        squared(row(first), row((first + 1 + draws.below(n - 1)) % n))
    };
    let mut squares: Vec<f64> = (0..PAIRS).map(|_| pair()).collect();
    *squares.select_nth_unstable_by(PAIRS / 2, f64::total_cmp).1
}

/// The rows around their mean, along random unit directions.
fn projected(z: ArrayView2<f64>) -> Vec<[f64; DIRECTIONS]> {
    let mean = z.mean_axis(Axis(0)).expect("checked: at least one row");
    let mut draws = Draws::keyed(SEED, PURPOSE + 1);
    // Standard normal numbers, by Box and Muller.
    let mut directions = Array2::from_shape_simple_fn((z.ncols(), DIRECTIONS), || {
        (-2.0 * (1.0 - draws.uniform()).ln()).sqrt() * (std::f64::consts::TAU * draws.uniform()).cos()
    });
    for mut direction in directions.columns_mut() {
        let length = direction.dot(&direction).sqrt();
        direction /= length;
    }
    let (directions, _) = directions.as_slice().expect("standard layout").as_chunks::<DIRECTIONS>();
    let along = |row: ArrayView1<f64>| {
        let mut sums = [0.0; DIRECTIONS];
        for ((value, mean), direction) in row.iter().zip(&mean).zip(directions) {
            let centred = value - mean;
            sums.iter_mut().zip(direction).for_each(|(sum, along)| *sum += centred * along);
        }
        sums
    };
    (0..z.nrows()).into_par_iter().map(|i| along(z.row(i))).collect()
}

/// Whether `||a - b||^2` is no more than `near`.
fn within_square(a: &[f64], b: &[f64], near: f64) -> bool {
    let mut sum = 0.0;
    a.chunks(COLUMNS).zip(b.chunks(COLUMNS)).all(|(a, b)| {
        sum += squared(a, b);
        sum <= near
    })
}
