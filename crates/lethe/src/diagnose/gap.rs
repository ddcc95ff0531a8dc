//! The memorisation gap: how much further apart two views of an image lie when the encoder has not been trained on it.

use ndarray::{Array2, ArrayView2, Axis, Zip};
use rand::RngExt;

use crate::rng::{self, Purpose};

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2000;
/// Share of diagnoses in which all intervals hold what they should.
pub(super) const CONFIDENCE: f64 = 0.95;

/// A mean difference and an interval around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

impl From<Gap> for super::Estimate {
    fn from(gap: Gap) -> Self {
        Self { value: gap.mean, low: gap.low, high: gap.high }
    }
}

/// `||u - u'||^2` of the rows of two views `[n, d]`, scaled to unit length: the terms of the alignment of Wang & Isola
/// (2020). A row of zeros has no direction and counts as one at right angles to all others.
pub fn alignment_distances(first: ArrayView2<f32>, second: ArrayView2<f32>) -> Vec<f64> {
    let distance = |a: ndarray::ArrayView1<f32>, b: ndarray::ArrayView1<f32>| {
        let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
        for (&a, &b) in a.iter().zip(b) {
            let (a, b) = (f64::from(a), f64::from(b));
            aa += a * a;
            bb += b * b;
            ab += a * b;
        }
        let scale = (aa * bb).sqrt();
        if scale > 0.0 { (2.0 - 2.0 * ab / scale).max(0.0) } else { 2.0 }
    };
    first.rows().into_iter().zip(second.rows()).map(|(a, b)| distance(a, b)).collect()
}

/// Gaps of several cells (stages of checkpoints) measured on the same n images a side: `differences[cell][i]` is the
/// distance of unseen image i minus that of training image i, both seen through the same draws of the augmentation,
/// which takes the draws' own spread out of the difference.
///
/// The intervals come from a bootstrap over i, studentised by the largest deviation over all cells (Romano & Wolf 2005,
/// single step): they hold *together* with probability 0.95, so that one of many cells cannot leave 0 by luck.
pub fn gaps(differences: &[impl AsRef<[f64]>], seed: u64) -> Vec<Gap> {
    let Some(n) = differences.first().map(|cell| cell.as_ref().len()).filter(|&n| n > 0) else { return Vec::new() };
    let rows = Array2::from_shape_fn((n, differences.len()), |(i, cell)| differences[cell].as_ref()[i]);
    let means = rows.mean_axis(Axis(0)).expect("n > 0");
    let centred = &rows - &means;
    let deviations = resampling_weights(n, seed).dot(&centred);
    let errors = deviations.map_axis(Axis(0), |d| (d.dot(&d) / RESAMPLES as f64).sqrt());
    let mut largest: Vec<f64> = deviations
        .rows()
        .into_iter()
        .map(|row| {
            Zip::from(row).and(&errors).fold(0.0, |most: f64, d, &e| if e > 0.0 { most.max(d.abs() / e) } else { most })
        })
        .collect();
    largest.sort_by(f64::total_cmp);
    let critical = largest[(CONFIDENCE * RESAMPLES as f64) as usize];
    Zip::from(&means)
        .and(&errors)
        .map_collect(|&mean, &e| Gap { mean, low: mean - critical * e, high: mean + critical * e })
        .to_vec()
}

/// `[RESAMPLES, n]`: how often a resample of n holds each image, over n.
fn resampling_weights(n: usize, seed: u64) -> Array2<f64> {
    let mut weights = Array2::zeros((RESAMPLES, n));
    for (b, mut row) in weights.rows_mut().into_iter().enumerate() {
        let mut rng = rng::keyed(seed, Purpose::Bootstrap, 0, b as u64, 0);
        for _ in 0..n {
            row[rng.random_range(0..n)] += 1.0 / n as f64;
        }
    }
    weights
}
