//! Cluster stability: Xu, Lowe and Trappenberg 2024, "Label-free Monitoring of Self-Supervised Learning Progress"
//! (arXiv 2409.06612), the agreement of repeated clusterings.

use ndarray::ArrayView2;

use crate::adjusted_mutual_information;
use crate::error::{MeasureError, Result};
use crate::kmeans::{self, Clustering};
use crate::rows::{Rows, check};

/// The mean [`adjusted_mutual_information`] over all pairs of `runs` of [`kmeans`](crate::kmeans()) of the rows of `z`
/// `[n, d]` in `k` clusters, each from a start of its own drawn from `seed`: 1 where every start finds the same
/// clusters, near 0 where each finds others.
///
/// `O(runs n k d)` time a round of k-means, and `O(runs^2 k n)`.
///
/// Known failures: high too where the rows are collapsed to few points or lie along a line; follows the linear probe
/// for SimCLR and MoCo-v2 but not for SimSiam; depends on `k`, so compare at equal `k` and n.
///
/// # Errors
/// Not finite, empty, fewer than two runs, a `k` below 2, or fewer different rows than `k`.
pub fn cluster_stability(z: ArrayView2<f64>, k: usize, runs: usize, seed: u64) -> Result<f64> {
    check(z)?;
    of_clusterings(&repeated(z, k, runs, seed)?)
}

pub(crate) fn of_rows(rows: &Rows) -> Result<f64> {
    of_clusterings(rows.clusterings()?)
}

/// Of checked rows.
pub(crate) fn repeated(z: ArrayView2<f64>, k: usize, runs: usize, seed: u64) -> Result<Vec<Clustering>> {
    if k < 2 {
        return Err(MeasureError::Clusters { clusters: k, rows: z.nrows() });
    }
    (0..runs as u64).map(|repeat| kmeans::run(z, k, seed, repeat)).collect()
}

fn of_clusterings(clusterings: &[Clustering]) -> Result<f64> {
    let runs = clusterings.len();
    if runs < 2 {
        return Err(MeasureError::TooFewRuns { runs, needed: 2 });
    }
    let mut sum = 0.0;
    for (i, first) in clusterings.iter().enumerate() {
        for second in &clusterings[i + 1..] {
            sum += adjusted_mutual_information(&first.labels, &second.labels)?;
        }
    }
    Ok(sum / (runs * (runs - 1) / 2) as f64)
}
