//! Since when a stage memorises: the onset of every difference between training and unseen images.

use lethe_measures::{Curves, Draw, Estimate, onsets};
use ndarray::{Array3, ArrayView3, s};
use serde::{Deserialize, Serialize};

use super::per_image::{DIFFERENCES, PerImage, REPLICATES, stacked};

/// Since when a difference between training and unseen images of a stage grows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Onset {
    /// The difference: `memorisation_gap`, `coding_rate_reduction` (by class), `knn-20` (on training images
    /// leave-one-out).
    pub of: String,
    pub stage: String,
    /// Index into `checkpoints`: the first one after the onset.
    pub checkpoint: usize,
    /// The last epoch at which it has not grown yet, with a 95 % interval.
    pub epoch: Estimate,
    /// Whether the curve allows an abrupt onset; if not, the interval begins at the first checkpoint.
    pub abrupt: bool,
    /// From before the onset to the last checkpoint.
    pub rise: Estimate,
    /// p value of a curve without any rise, over all stages together.
    pub p: f64,
}

/// All onsets, the memorisation gap's first.
pub(crate) fn find(stages: &[String], cells: &[PerImage], epochs: &[f64], seed: u64) -> Vec<Onset> {
    let of_difference = |of| {
        let numbers = stacked(cells, epochs.len(), |cell| cell.differences.get(of));
        numbers.map_or_else(Vec::new, |numbers| of_runs(of, stages, &[numbers.view()], epochs, Draw::Images, seed))
    };
    DIFFERENCES.into_iter().flat_map(of_difference).collect()
}

/// The onsets of a difference; each run is an array `[stages, checkpoints, images]`.
///
/// A random split of images has no difference before training, so that where the untrained encoder is not among the
/// checkpoints a 0 stands for it.
pub(crate) fn of_runs(
    of: &str,
    stages: &[String],
    runs: &[ArrayView3<f64>],
    epochs: &[f64],
    draw: Draw,
    seed: u64,
) -> Vec<Onset> {
    let added = usize::from(epochs[0] > 0.0);
    let epochs: Vec<f64> = std::iter::repeat_n(0.0, added).chain(epochs.iter().copied()).collect();
    let from_start = |run: &ArrayView3<f64>| {
        let (stages, checkpoints, images) = run.dim();
        let mut whole = Array3::zeros((stages, checkpoints + added, images));
        whole.slice_mut(s![.., added.., ..]).assign(run);
        whole
    };
    let runs: Vec<Array3<f64>> = runs.iter().map(from_start).collect();
    let runs: Vec<ArrayView3<f64>> = runs.iter().map(Array3::view).collect();
    let Ok(curves) = Curves::from_images(&epochs, &runs, draw, REPLICATES, seed) else { return Vec::new() };
    let found = stages.iter().zip(onsets(&curves));
    found
        .filter_map(|(stage, onset)| {
            let onset = onset?;
            Some(Onset {
                of: of.into(),
                stage: stage.clone(),
                checkpoint: onset.checkpoint - added,
                epoch: Estimate { value: onset.epoch, low: onset.interval[0], high: onset.interval[1] },
                abrupt: onset.abrupt,
                rise: onset.rise,
                p: onset.p,
            })
        })
        .collect()
}
