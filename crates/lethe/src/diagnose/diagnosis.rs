//! What a diagnosis finds: the content of `diagnosis.json`.

use std::path::Path;

use indexmap::IndexMap;
use lethe_measures::{Interval, membership};
use serde::{Deserialize, Serialize};

use super::{AgainstReference, Choice, ImageScore, Onset};
use crate::error::{Error, Result};
use crate::files;

/// The content of `diagnosis.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Version of Lethe that wrote it.
    pub lethe: String,
    /// Name of the encoder, as in `--encoder`.
    pub encoder: String,
    /// Every setting of the command, in its resolved form (data, unseen, eps2, seed, image counts, ...).
    pub settings: IndexMap<String, serde_json::Value>,
    pub stages: Vec<String>,
    pub checkpoints: Vec<CheckpointRow>,
    /// One cell a checkpoint and stage, checkpoints outermost.
    pub cells: Vec<Cell>,
    /// Since when training and unseen images differ, a difference and stage at a time; empty when none is seen, or not
    /// asked because checkpoints name no epochs.
    #[serde(default)]
    pub onsets: Vec<Onset>,
    /// Which checkpoint each criterion keeps.
    #[serde(default)]
    pub choices: Vec<Choice>,
    /// The training images that the last stage of the last checkpoint holds most, highest score first: how far the
    /// distance of an image's views lies below the mean of unseen images, or SSLMem's score beside a reference. Empty
    /// where there are neither.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub most_memorised: Vec<ImageScore>,
    /// As many drawn at random, to hold them to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub random_images: Vec<ImageScore>,
    /// What the gaps say, in a few sentences.
    #[serde(default)]
    pub summary: String,
}

/// A number with the two ends of its 95 % interval.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl From<Interval> for Estimate {
    fn from(interval: Interval) -> Self {
        Self { value: interval.estimate, low: interval.low, high: interval.high }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckpointRow {
    pub path: String,
    /// Epochs trained; absent for a foreign checkpoint that does not say.
    pub epoch: Option<u32>,
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
    /// Mean alignment distance of view pairs on unseen images minus that on training images.
    pub memorisation_gap: Option<f64>,
    /// 95 % interval of the gap, lowest and highest: a bootstrap over images, simultaneous over all cells.
    #[serde(default)]
    pub gap_interval: Option<[f64; 2]>,
    /// k-NN accuracy (20 neighbours) on another data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<f64>,
    /// How well training images are told from unseen ones by how near their views lie.
    #[serde(default)]
    pub membership: Option<Membership>,
    /// Linear CKA of the training images' features with those of the stage before, and with those of the same stage at
    /// the checkpoint before: 1 where nothing but a rotation has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cka_stage: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cka_checkpoint: Option<f64>,
    /// Mean over batches of view pairs of training images of the squared length of the gradient of the method's loss
    /// for the stage's parameters (`--fisher`); its level depends on the batch size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fisher_trace: Option<f64>,
    /// Beside an encoder that was not trained on the images (`--reference`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<AgainstReference>,
}

/// Membership inference by one number an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Membership {
    /// Area under the ROC curve; 0.5 tells nothing.
    pub auc: Estimate,
    /// The share of training images found where 1 % of unseen ones are taken for training images.
    pub true_positives_at_1_percent: f64,
}

/// The numbers of one stage on one set of images.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Side {
    /// Measures that need rows only (`coding_rate`, `rankme`, `effective_rank`, `alpha_req`, `uniformity`).
    pub measures: IndexMap<String, f64>,
    /// `coding_rate`, `compressed_rate`, `coding_rate_reduction` with classes as groups; empty without labels.
    pub by_class: IndexMap<String, f64>,
    /// The same with the two views of an image as groups, and `alignment`, `lidar`.
    pub by_pair: IndexMap<String, f64>,
    /// Why a measure is not there, by its name: `alpha_req` of a stage with fewer than 11 directions.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub skipped: IndexMap<String, String>,
    /// Accuracy by protocol (`knn-20`, `knn-200`, `linear`), leave-one-out for k-NN on the training side; empty without labels.
    pub accuracy: IndexMap<String, f64>,
}

impl Diagnosis {
    /// # Errors
    /// When the file is no diagnosis, or speaks of a checkpoint that it does not have.
    pub fn read(path: &Path) -> Result<Self> {
        let diagnosis: Self = files::read_json(path)?;
        let count = diagnosis.checkpoints.len();
        let cells = diagnosis.cells.iter().map(|cell| cell.checkpoint);
        let onsets = diagnosis.onsets.iter().map(|onset| onset.checkpoint);
        let choices = diagnosis.choices.iter().flat_map(|choice| {
            std::iter::once(choice.checkpoint).chain(choice.earliest.as_ref().map(|earliest| earliest.checkpoint))
        });
        match cells.chain(onsets).chain(choices).find(|checkpoint| *checkpoint >= count) {
            Some(beyond) => {
                Err(Error::failed(format!("speaks of checkpoint {beyond}, counted from 0, but has {count}")).at(path))
            }
            None => Ok(diagnosis),
        }
    }

    /// The checkpoint that it keeps without labels: the earliest that is not measurably worse. Nothing where it could not
    /// choose.
    pub fn keeps(&self) -> Option<usize> {
        let without_labels = self.choices.iter().filter(|choice| !choice.needs_labels);
        without_labels.filter_map(|choice| choice.earliest.as_ref()).map(|earliest| earliest.checkpoint).next()
    }

    /// `epoch 60`, or the path of a checkpoint that does not say.
    pub fn checkpoint_name(&self, checkpoint: usize) -> String {
        let row = &self.checkpoints[checkpoint];
        row.epoch.map_or_else(|| row.path.clone(), |epoch| format!("epoch {epoch}"))
    }
}

impl Membership {
    /// Of scores that are higher for training images; nothing where they are too few or not numbers.
    pub(super) fn of(train: &[f64], unseen: &[f64]) -> Option<Self> {
        let found = membership(train, unseen).ok()?;
        let (low, high) = found.interval;
        let auc = Estimate { value: found.auc, low, high };
        Some(Self { auc, true_positives_at_1_percent: found.true_positives_at_1_percent })
    }
}
