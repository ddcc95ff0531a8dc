//! Everything that is drawn at random for an interval: signs of images, runs, and the largest of many correlated
//! errors; and the quantiles of what was drawn.

use nalgebra::{Cholesky, DMatrix};
use ndarray::{Array2, ArrayView2, Axis};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use rand_distr::{Distribution, Uniform};

use crate::distributions::normal_quantile;
use crate::random::Draws;

/// Share of intervals, or of families of them, that miss what they should hold.
pub(crate) const MISSES: f64 = 0.05;
/// Draws of the largest error of a family.
const FAMILY_DRAWS: usize = 1999;
/// Added to the diagonal of a correlation matrix, which rounding can leave with an eigenvalue below 0.
const JITTER: f64 = 1e-9;

/// The value that a share `beyond` of the draws exceeds: of B draws number ceil((B + 1)(1 - beyond)) from below, so
/// that one more draw from the same distribution exceeds it with probability `beyond` at most (Davison and Hinkley
/// 1997, 4.2).
pub(crate) fn upper_quantile(mut draws: Vec<f64>, beyond: f64) -> f64 {
    let rank = ((draws.len() + 1) as f64 * (1.0 - beyond)).ceil() as usize;
    let index = rank.clamp(1, draws.len()) - 1;
    *draws.select_nth_unstable_by(index, f64::total_cmp).1
}

/// The two ends that leave 2.5 % of the draws out on either side.
pub(crate) fn percentiles(mut draws: Vec<f64>) -> [f64; 2] {
    draws.sort_by(f64::total_cmp);
    [0.025, 0.975].map(|share| draws[(share * (draws.len() - 1) as f64).round() as usize])
}

/// `[images, replicates]` of 1 and -1.
pub(crate) fn signs(images: usize, replicates: usize, rng: &mut ChaCha8Rng) -> Array2<f64> {
    let mut signs = Array2::zeros((images, replicates));
    for mut row in signs.outer_iter_mut() {
        for mut block in row.axis_chunks_iter_mut(Axis(0), 64) {
            let mut bits = rng.next_u64();
            block.mapv_inplace(|_: f64| {
                let sign = if bits & 1 == 1 { 1.0 } else { -1.0 };
                bits >>= 1;
                sign
            });
        }
    }
    signs
}

/// The members of as many groups as there are, drawn with replacement.
pub(crate) fn drawn_groups(groups: &[Vec<usize>], rng: &mut ChaCha8Rng) -> Vec<usize> {
    let group = Uniform::new(0, groups.len()).expect("at least one group");
    (0..groups.len()).flat_map(|_| groups[group.sample(rng)].clone()).collect()
}

/// How many standard errors hold all errors of a family together.
///
/// A multiplier bootstrap weighs every image's terms with one standard normal draw, the same for all cells. Given the
/// terms, the means that come out are normal with the covariance of the terms' means, so they are drawn as that: the
/// draws are those of the bootstrap, at a cost that does not grow with the images.
pub(crate) struct Family {
    /// `[cells, draws]`: independent standard normal.
    normals: Array2<f64>,
}

impl Family {
    pub(crate) fn new(cells: usize, seed: u64) -> Self {
        let mut draws = Draws::keyed(seed, 0);
        let normals = if cells > 1 {
            Array2::from_shape_simple_fn((cells, FAMILY_DRAWS), || draws.normal())
        } else {
            Array2::zeros((cells, 0))
        };
        Self { normals }
    }

    /// For errors that are normal with this covariance, what the largest of their sizes, each over its standard error,
    /// exceeds in 5 % of draws; at most what Bonferroni's inequality gives. An error that is always 0 does not count.
    pub(crate) fn critical(&self, covariance: ArrayView2<f64>) -> f64 {
        let active: Vec<usize> = (0..covariance.nrows()).filter(|&cell| covariance[(cell, cell)] > 0.0).collect();
        let cells = active.len().max(1);
        let bonferroni = normal_quantile(1.0 - MISSES / (2 * cells) as f64);
        if cells == 1 {
            return bonferroni;
        }
        let error = |i: usize| covariance[(active[i], active[i])].sqrt();
        let correlation = DMatrix::from_fn(cells, cells, |i, j| {
            let value = covariance[(active[i], active[j])] / (error(i) * error(j));
            if i == j { 1.0 + JITTER } else { value }
        });
        let Some(root) = Cholesky::new(correlation).map(Cholesky::unpack) else { return bonferroni };
        let root = Array2::from_shape_fn((cells, cells), |(i, j)| root[(i, j)]);
        let errors = root.dot(&self.normals.slice(ndarray::s![..cells, ..]));
        let largest = errors.map_axis(Axis(0), |draw| draw.iter().fold(0.0, |most: f64, error| most.max(error.abs())));
        upper_quantile(largest.to_vec(), MISSES).min(bonferroni)
    }
}
