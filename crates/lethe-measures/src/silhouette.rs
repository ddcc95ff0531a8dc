//! Silhouette: Rousseeuw 1987, "Silhouettes: A graphical aid to the interpretation and validation of cluster analysis".

use ndarray::{Array2, ArrayView1, ArrayView2};
use rayon::prelude::*;

use crate::distances::Distances;
use crate::error::{MeasureError, Result};
use crate::rows::{Rows, check, check_labels};

/// The mean over the rows of `z` `[n, d]` of (b - a) / max(a, b), a the mean Euclidean distance to the other rows with
/// the same label, b the least mean distance to the rows of another label: from -1 (in the wrong cluster) over 0 to 1
/// (tight clusters far apart). A row that is alone counts 0, as in scikit-learn.
///
/// All distances are taken: `O(n^2 d)` time in products of matrices, memory of one copy of `z` and a block a thread.
///
/// Known failures: favours round clusters and few of them; collapsed rows score high; distances of many dimensions are
/// all alike, so values are near 0.
///
/// # Errors
/// Not finite, empty, another number of labels than rows, one label only, or one for every row.
pub fn silhouette(z: ArrayView2<f64>, labels: &[u32]) -> Result<f64> {
    check(z)?;
    check_labels(z.nrows(), labels)?;
    of_checked(z, labels)
}

/// Of unit rows in the tightest of the repeated clusterings.
pub(crate) fn of_rows(rows: &Rows) -> Result<f64> {
    let labels = &rows.tightest()?.labels;
    let Some(pairs) = rows.together().filter(|pairs| pairs.by_cluster.ncols() > 0) else {
        return of_checked(rows.unit()?, labels);
    };
    let clusters = Clusters::of(labels)?;
    // k-means leaves no cluster empty, so the clusters' numbers are their places.
    let scores = pairs.by_cluster.outer_iter().zip(&clusters.labels).map(|(sums, &own)| clusters.score(sums, own));
    Ok(scores.sum::<f64>() / labels.len() as f64)
}

struct Clusters {
    /// For every row the place of its label among the labels that occur.
    labels: Vec<usize>,
    counts: Vec<usize>,
}

impl Clusters {
    fn of(labels: &[u32]) -> Result<Self> {
        let mut names = labels.to_vec();
        names.sort_unstable();
        names.dedup();
        if names.len() < 2 || names.len() >= labels.len() {
            return Err(MeasureError::Clusters { clusters: names.len(), rows: labels.len() });
        }
        let labels: Vec<usize> =
            labels.iter().map(|label| names.binary_search(label).expect("one of the names")).collect();
        let mut counts = vec![0; names.len()];
        labels.iter().for_each(|&label| counts[label] += 1);
        Ok(Self { labels, counts })
    }

    /// Of a row of cluster `own` by the sums of its distances to the rows of each cluster.
    fn score(&self, sums: ArrayView1<f64>, own: usize) -> f64 {
        let Self { counts, .. } = self;
        if counts[own] == 1 {
            return 0.0;
        }
        let within = sums[own] / (counts[own] - 1) as f64;
        let others = (0..counts.len()).filter(|&label| label != own);
        let between = others.map(|label| sums[label] / counts[label] as f64).fold(f64::INFINITY, f64::min);
        let larger = within.max(between);
        if larger > 0.0 { (between - within) / larger } else { 0.0 }
    }
}

fn of_checked(z: ArrayView2<f64>, labels: &[u32]) -> Result<f64> {
    let n = z.nrows();
    let clusters = Clusters::of(labels)?;
    let labels = &clusters.labels;
    let distances = Distances::new(z);
    let starts = distances.starts();
    let of_block = |&i: &usize| {
        let mut sums = Array2::<f64>::zeros((distances.rows_from(i), clusters.counts.len()));
        for &j in &starts {
            let mut block = distances.squared(i, j);
            if i == j {
                block.diag_mut().fill(0.0);
            }
            for (row, mut sums) in block.outer_iter().zip(sums.outer_iter_mut()) {
                for (square, &label) in row.iter().zip(&labels[j..]) {
                    sums[label] += square.sqrt();
                }
            }
        }
        sums.outer_iter().zip(&labels[i..]).map(|(sums, &own)| clusters.score(sums, own)).sum::<f64>()
    };
    Ok(starts.par_iter().map(of_block).collect::<Vec<f64>>().iter().sum::<f64>() / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Groups;

    #[test]
    fn of_several_clusterings_the_tightest_counts() {
        let z = Array2::from_shape_fn((90, 3), |(i, j)| ((i * i + 3) as f64 * (j + 2) as f64).sin());
        let rows = Rows::new(z.view(), Groups::None, 0.5).unwrap();
        let mut clusterings: Vec<_> = rows.clusterings().unwrap().iter().collect();
        clusterings.sort_by(|a, b| a.inertia.total_cmp(&b.inertia));
        assert!(clusterings[0].inertia < clusterings[1].inertia);
        assert_eq!(of_rows(&rows), silhouette(rows.unit().unwrap(), &clusterings[0].labels));
    }
}
