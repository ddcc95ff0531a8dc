//! CLID, cluster learnability and intrinsic dimension: Lu, Liu, Baratin, Laroche, Courville and Sordoni 2023, "Using
//! Representation Expressiveness and Learnability to Evaluate Self-Supervised Learning Methods" (arXiv 2206.01251).

use ndarray::{ArrayView2, Axis};

use crate::error::{MeasureError, Result};
use crate::random::Draws;
use crate::rows::{Rows, check, check_labels, unit_rows};
use crate::{kmeans, knn, two_nn};

/// Fewer rows make fewer than three clusters.
const LEAST_ROWS: usize = 9;
/// Keeps the draw of the halves apart from the starts of k-means, which have the repeats from 0 on.
const HALVES: u64 = 1 << 32;

/// The two parts, which the paper also reports alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clid {
    /// CL, 0 to 1: the share of one half of the rows whose nearest row of the other half is of their own cluster.
    pub learnability: f64,
    /// ID, by [`two_nn`](crate::two_nn()) of the raw rows.
    pub dimension: f64,
    /// ID over the number of columns.
    pub relative_dimension: f64,
}

impl Clid {
    /// CL + ID/d; higher is better.
    pub fn total(&self) -> f64 {
        self.learnability + self.relative_dimension
    }
}

/// CLID of the rows of `z` `[n, d]`: cluster learnability plus intrinsic dimension over `d`.
///
/// The unit rows are put in floor(sqrt(n)) clusters by [`kmeans`](crate::kmeans()) from `seed`; a random half of the
/// rows, drawn from `seed`, then predicts the cluster of each row of the other half by its nearest row, by cosine.
///
/// **Lethe's variant.** The paper combines the two numbers to compare many models. Here ID is divided by the number of
/// columns, so that one matrix has a number; compare only at equal n and d. The number of clusters, the one neighbour,
/// the cosine and the halves are those of public reimplementations.
///
/// `O(n^1.5 d)` a round of k-means, `O(n^2 d)` for the neighbours.
///
/// Known failures: random features have the highest dimension and so may score high; the clusters follow n, not the
/// data, and another start finds others; copies of rows predict themselves; ID/d hardly counts where columns are many;
/// the known failures of TwoNN.
///
/// # Errors
/// Not finite, empty, a row of zeros, fewer than nine rows, fewer different rows than clusters, those of
/// [`two_nn`](crate::two_nn()).
pub fn clid(z: ArrayView2<f64>, seed: u64) -> Result<Clid> {
    check(z)?;
    Ok(Clid::of(learnability_of_unit(unit_rows(z)?.view(), seed)?, two_nn(z)?, z.ncols()))
}

pub(crate) fn of_rows(rows: &Rows, seed: u64) -> Result<f64> {
    let learnability = learnability_of_unit(rows.unit()?, seed)?;
    Ok(Clid::of(learnability, rows.two_nn()?, rows.z.ncols()).total())
}

impl Clid {
    fn of(learnability: f64, dimension: f64, columns: usize) -> Self {
        Self { learnability, dimension, relative_dimension: dimension / columns as f64 }
    }
}

pub(crate) fn learnability_of_unit(unit: ArrayView2<f64>, seed: u64) -> Result<f64> {
    let n = unit.nrows();
    if n < LEAST_ROWS {
        return Err(MeasureError::TooFewRows { rows: n, needed: LEAST_ROWS });
    }
    let labels = kmeans::run(unit, n.isqrt(), seed, 0)?.labels;
    of_clusters(unit, &labels, &Draws::keyed(seed, HALVES).subset(n, n / 2))
}

/// CL for given clusters, one label a row of `z` `[n, d]`, and given rows that predict those of the others.
///
/// # Errors
/// Not finite, empty, a row of zeros, another number of labels than rows, no row on one of the sides.
pub fn cluster_learnability(z: ArrayView2<f64>, labels: &[u32], first: &[usize]) -> Result<f64> {
    check(z)?;
    check_labels(z.nrows(), labels)?;
    of_clusters(unit_rows(z)?.view(), labels, first)
}

fn of_clusters(unit: ArrayView2<f64>, labels: &[u32], first: &[usize]) -> Result<f64> {
    let mut second: Vec<bool> = vec![true; unit.nrows()];
    first.iter().for_each(|&row| second[row] = false);
    let second: Vec<usize> = (0..unit.nrows()).filter(|&row| second[row]).collect();
    let half = |rows: &[usize]| {
        let labels: Vec<u32> = rows.iter().map(|&row| labels[row]).collect();
        (unit.select(Axis(0), rows).mapv(|value| value as f32), labels)
    };
    let ((bank, bank_labels), (query, query_labels)) = (half(first), half(&second));
    // One neighbour has all the votes, whatever the temperature.
    let right = knn::against(bank.view(), &bank_labels, query.view(), &query_labels, 1, 1.0)?;
    Ok(knn::accuracy(&right))
}
