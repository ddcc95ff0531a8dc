//! The numbers of one stage of one checkpoint.

use indexmap::IndexMap;
use lethe_measures::{ClassRateGap, Estimate, Memorisation};
use serde::{Deserialize, Serialize};

use super::AgainstReference;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckpointRow {
    pub path: String,
    /// Epochs trained; absent for a foreign checkpoint that does not say.
    pub epoch: Option<u32>,
    /// The method's own loss on unseen minus training images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_gap: Option<LossGap>,
}

impl CheckpointRow {
    /// Whether it is the start of a training.
    pub fn is_untrained(&self) -> bool {
        self.epoch == Some(0)
    }
}

/// The method's own loss, trained head, evaluation mode, batches of one size and number on both sides.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LossGap {
    pub train: f64,
    pub unseen: f64,
    /// Unseen minus training.
    pub gap: f64,
    /// From 8 batches on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Estimate>,
    /// Batches a side.
    pub batches: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    /// Index into `checkpoints`.
    pub checkpoint: usize,
    pub stage: String,
    /// On images the encoder was trained on.
    pub train: Side,
    /// On images it has not seen.
    pub unseen: Option<Side>,
    /// How training images are told from unseen ones; the intervals hold together for all cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memorisation: Option<Memorisation>,
    /// Membership minus that of the control on the same images and views; the intervals hold together for all cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership_above_control: Option<Estimate>,
    /// Class dR of the last stage, training less unseen images, with equal counts of every class; beside it the same of two
    /// halves of the unseen images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_rate_gap: Option<ClassRateGap>,
    /// Most images have the same features at this stage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub collapsed: bool,
    /// k-NN accuracy (20 neighbours) on another data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<f64>,
    /// Linear CKA of the training images' features with those of the stage before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cka_stage: Option<f64>,
    /// Linear CKA of the training images' features with those of the same stage at the checkpoint before: 1 where nothing
    /// but a rotation and a scale has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cka_checkpoint: Option<f64>,
    /// Mean over batches of view pairs of training images of the squared length of the gradient of the method's loss for
    /// the stage's parameters (`--gradients`); its level depends on the batch size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_gradient_norm_squared: Option<f64>,
    /// Beside an encoder that was not trained on the images (`--reference`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<AgainstReference>,
}

/// The numbers of one stage on one set of images.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Side {
    /// Measures that need rows only (`coding_rate`, `rankme`, `effective_rank`, `alpha_req`, `uniformity`).
    pub measures: IndexMap<String, f64>,
    /// `coding_rate`, `compressed_rate`, `coding_rate_reduction` with classes as groups; empty without labels.
    pub by_class: IndexMap<String, f64>,
    /// Measures with the views of an image as a group, and `alignment`, `lidar`.
    pub by_pair: IndexMap<String, f64>,
    /// Why a measure is absent, by its name: `alpha_req` of a stage with fewer than 11 directions.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub skipped: IndexMap<String, String>,
    /// Accuracy by protocol (`knn-20`, `knn-200`, `linear`), leave-one-out for k-NN on the training side; empty without
    /// labels.
    pub accuracy: IndexMap<String, f64>,
}
