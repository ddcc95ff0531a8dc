//! Since when a stage memorises: the onset of every difference between training and unseen images.

use lethe_measures::onsets;
use serde::{Deserialize, Serialize};

use super::per_image::{DIFFERENCES, PerImage, curves_from_start};
use super::{Diagnosis, Estimate};

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
    pub epoch: f64,
    pub interval: [f64; 2],
    /// Whether the curve allows an abrupt onset; if not, the interval begins at the first checkpoint.
    pub abrupt: bool,
    /// From before the onset to the last checkpoint.
    pub rise: Estimate,
    /// Of a curve without any rise, over all stages together.
    pub p: f64,
}

/// All onsets, the memorisation gap's first.
///
/// A random split of images has no difference before training, so that where the untrained encoder is not among the
/// checkpoints a 0 stands for it.
pub(super) fn find(diagnosis: &Diagnosis, cells: &[PerImage], epochs: &[f64], seed: u64) -> Vec<Onset> {
    let mut found = Vec::new();
    for of in DIFFERENCES {
        let Some(curves) = curves_from_start(cells, epochs, seed, |cell| cell.differences.get(of)) else { continue };
        let added = curves.checkpoints() - epochs.len();
        for (stage, onset) in diagnosis.stages.iter().zip(onsets(&curves)) {
            found.extend(onset.map(|onset| Onset {
                of: of.into(),
                stage: stage.clone(),
                checkpoint: onset.checkpoint - added,
                epoch: onset.epoch,
                interval: onset.interval,
                abrupt: onset.abrupt,
                rise: onset.rise.into(),
                p: onset.p,
            }));
        }
    }
    found
}
