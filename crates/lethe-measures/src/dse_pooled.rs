//! DSE: Dai et al. 2025, "Exploring Structural Degradation in Dense Representations for Self-supervised Learning"
//! (NeurIPS 2025, arXiv 2510.17299), for pooled features.

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, Zip};
use rayon::prelude::*;

use crate::error::{MeasureError, Result};
use crate::kmeans;
use crate::rows::{Rows, check, check_labels, unit_rows};
use crate::spectrum;

/// The parts of the estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DsePooled {
    /// M_inter: mean distance of a row to the nearest centre but its own, over the mean distance to the centre of all.
    pub between: f64,
    /// M_dim: effective rank over `min(n, d)`.
    pub dimension: f64,
    /// M_intra: mean over clusters of m rows of the sum of singular values of the centred rows over
    /// sqrt(max(m - 1, d)), over the mean distance to the centre of all.
    pub within: f64,
}

impl DsePooled {
    /// M_inter + M_dim - M_intra; higher is better.
    pub fn total(&self) -> f64 {
        self.between + self.dimension - self.within
    }
}

/// The dense representation structure estimator of the unit rows of `z` `[n, d]` in `clusters` clusters by
/// [`kmeans`](crate::kmeans()) from `seed`.
///
/// **This is Lethe's variant, and its numbers are not the paper's.** The paper clusters the places of a feature map: 3
/// clusters an image and 24 over groups of 8 images, and takes M_inter + lambda M_dim - 1/2 (M_intra over the group +
/// M_intra within an image). Pooled features have one row an image, so here all rows are clustered at once, there is no
/// M_intra within an image and the one over all rows counts in full; lambda is 1, rows have unit length, and M_dim is
/// the exp entropy of s/sum(s), s the singular values of the rows, not centred, as in lightly's `DSERegularizer`.
///
/// `O(n clusters d)` a round of k-means, and `O(n d min(n, d))` for the singular values, by way of Gram matrices: the
/// parts are good to about 1e-5.
///
/// Known failures: M_intra grows as the root of the rows of a cluster and outweighs the rest where rows are many, so
/// compare only at equal n and d; made for dense tasks and for feature maps, and untested by its authors on pooled
/// rows; it jumps with the clusters found; M_dim is a rank measure and follows the whole training.
///
/// # Errors
/// Not finite, empty, a row of zeros, fewer than two clusters, fewer rows than two a cluster, fewer different rows than
/// clusters.
pub fn dse_pooled(z: ArrayView2<f64>, clusters: usize, seed: u64) -> Result<DsePooled> {
    check(z)?;
    let unit = unit_rows(z)?;
    of_unit(unit.view(), clusters, seed, &spectrum::small_gram(unit.view()))
}

/// The same for given clusters, one label a row; their centres are the means of their rows.
///
/// # Errors
/// Not finite, empty, a row of zeros, another number of labels than rows, one label only, one for every row, or all
/// rows the same.
pub fn dse_pooled_of_clusters(z: ArrayView2<f64>, labels: &[u32]) -> Result<DsePooled> {
    check(z)?;
    check_labels(z.nrows(), labels)?;
    let unit = unit_rows(z)?;
    of_clusters(unit.view(), labels, &spectrum::small_gram(unit.view()))
}

pub(crate) fn of_rows(rows: &Rows, clusters: usize, seed: u64) -> Result<f64> {
    Ok(of_unit(rows.unit()?, clusters, seed, rows.unit_gram()?)?.total())
}

fn of_unit(unit: ArrayView2<f64>, clusters: usize, seed: u64, gram: &Array2<f64>) -> Result<DsePooled> {
    let n = unit.nrows();
    if clusters < 2 {
        return Err(MeasureError::Clusters { clusters, rows: n });
    }
    if n / 2 < clusters {
        return Err(MeasureError::TooFewRows { rows: n, needed: clusters.saturating_mul(2) });
    }
    of_clusters(unit, &kmeans::run(unit, clusters, seed, 0)?.labels, gram)
}

/// `gram` is that of the smaller side of the unit rows.
fn of_clusters(unit: ArrayView2<f64>, labels: &[u32], gram: &Array2<f64>) -> Result<DsePooled> {
    let (n, d) = unit.dim();
    let mut by_label: Vec<usize> = (0..n).collect();
    by_label.sort_by_key(|&row| labels[row]);
    let clusters: Vec<&[usize]> = by_label.chunk_by(|&i, &j| labels[i] == labels[j]).collect();
    if clusters.len() < 2 || clusters.len() == n {
        return Err(MeasureError::Clusters { clusters: clusters.len(), rows: n });
    }
    let centre = unit.mean_axis(Axis(0)).expect("checked: at least one row");
    let length = |row: ArrayView1<f64>| Zip::from(row).and(&centre).fold(0.0, |sum, a, b| sum + (a - b).powi(2));
    let spread = unit.outer_iter().map(|row| length(row).sqrt()).sum::<f64>() / n as f64;
    if spread <= f64::EPSILON {
        return Err(MeasureError::NoVariance);
    }

    let rows: Vec<Array2<f64>> = clusters.iter().map(|rows| unit.select(Axis(0), rows)).collect();
    let mut centres = Array2::zeros((rows.len(), d));
    for (mut to, rows) in centres.outer_iter_mut().zip(&rows) {
        to.assign(&rows.mean_axis(Axis(0)).expect("clusters have rows"));
    }
    let squares: Vec<f64> = centres.outer_iter().map(|centre| centre.dot(&centre)).collect();
    let distances = |(own, rows): (usize, &Array2<f64>)| {
        let nearest_other = |(row, products): (ArrayView1<f64>, ArrayView1<f64>)| {
            let others = products.iter().zip(&squares).enumerate().filter(|(other, _)| *other != own);
            let least = others.map(|(_, (product, square))| square - 2.0 * product).fold(f64::INFINITY, f64::min);
            (row.dot(&row) + least).max(0.0).sqrt()
        };
        rows.outer_iter().zip(rows.dot(&centres.t()).outer_iter()).map(nearest_other).sum::<f64>()
    };
    let between: Vec<f64> = rows.par_iter().enumerate().map(distances).collect();
    let compactness = |(rows, centre): (&Array2<f64>, ArrayView1<f64>)| {
        spectrum::nuclear_norm((rows - &centre).view()) / ((rows.nrows() - 1).max(d) as f64).sqrt()
    };
    let several: Vec<_> = rows.iter().zip(centres.outer_iter()).filter(|(rows, _)| rows.nrows() > 1).collect();
    let within: Vec<f64> = several.into_par_iter().map(compactness).collect();

    let values = spectrum::singular_values_of_gram(gram, n.max(d));
    let sum: f64 = values.iter().sum();
    Ok(DsePooled {
        between: between.iter().sum::<f64>() / n as f64 / spread,
        dimension: spectrum::exp_entropy(values.iter().map(|value| value / sum)) / n.min(d) as f64,
        within: within.iter().sum::<f64>() / within.len() as f64 / spread,
    })
}
