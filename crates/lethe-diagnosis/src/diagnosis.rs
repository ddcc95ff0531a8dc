//! What a diagnosis finds: the content of `diagnosis.json`.

use std::path::Path;

use indexmap::IndexMap;
use lethe_data::error::{Error, Result};
use lethe_data::files;
use lethe_measures::{ClassRateGap, Estimate, Memorisation, Shift};
use serde::{Deserialize, Serialize};

use super::findings::Findings;
use super::{AgainstReference, Choice, ImageScore, Onset};

/// The content of `diagnosis.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Version of Lethe that wrote it.
    pub lethe: String,
    /// Name of the encoder, as in `--encoder`; "features" where only features were given.
    pub encoder: String,
    /// Every setting of the command, in its resolved form (data, unseen, eps2, seed, image counts, ...).
    pub settings: IndexMap<String, serde_json::Value>,
    pub stages: Vec<String>,
    pub checkpoints: Vec<CheckpointRow>,
    /// The two sets of images and how they compare; absent where no unseen images were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sides: Option<Sides>,
    /// An encoder that never saw the images, on the same images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
    /// One cell for each checkpoint and stage, checkpoints outermost.
    pub cells: Vec<Cell>,
    /// Since when training and unseen images differ, for each difference and stage where a rise is seen.
    #[serde(default)]
    pub onsets: Vec<Onset>,
    /// Which checkpoint each criterion keeps.
    #[serde(default)]
    pub choices: Vec<Choice>,
    /// The training images with the highest scores, highest first; see `images.csv` for all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub most_memorised: Vec<ImageScore>,
    /// As many training images drawn at random, for comparison.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub random_images: Vec<ImageScore>,
    /// Typed answers to the four questions.
    pub findings: Findings,
    /// The findings in words, a line for each question.
    pub summary: String,
}

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

/// The two sets of images.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sides {
    /// Images a side, after copies and unreadable images were left out.
    pub images: usize,
    /// Random views of every image.
    pub views: usize,
    /// What is known of how the sides were drawn.
    pub relation: Relation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<CopiesFound>,
    /// Why the sides may be told apart without any memory: "every training image is a JPEG, every unseen one a PNG".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
}

/// How the two sides were drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// One set, split at random.
    RandomSplit,
    /// Nothing says so.
    Unknown,
}

/// Copies between the two sides.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CopiesFound {
    /// Unseen images that were compared.
    pub unseen: usize,
    /// Training images that they were compared with.
    pub train: usize,
    /// Pairs that were left out of both sides: a training image and its copy.
    pub left_out: Vec<[String; 2]>,
}

/// The numbers of an encoder that never saw the images.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Control {
    pub kind: ControlKind,
    /// Path of a reference or of a features file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// One for each stage.
    pub stages: Vec<Memorisation>,
    /// Whether plain features of the control tell the two sides apart, for each stage that was tested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shift: Vec<Option<Shift>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlKind {
    /// The untrained start of the run.
    UntrainedStart,
    /// Fresh weights of the same encoder.
    FreshEncoder,
    /// An encoder that the user says never saw the images.
    Reference,
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
    /// Class dR of the last stage, training less unseen images, with equal counts of every class; beside it the same of
    /// two halves of the unseen images.
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
    /// Linear CKA of the training images' features with those of the same stage at the checkpoint before: 1 where
    /// nothing but a rotation and a scale has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cka_checkpoint: Option<f64>,
    /// Mean over batches of view pairs of training images of the squared length of the gradient of the method's loss
    /// for the stage's parameters (`--gradients`); its level depends on the batch size.
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
        let found = diagnosis.findings.checkpoints();
        match cells.chain(onsets).chain(choices).chain(found).find(|checkpoint| *checkpoint >= count) {
            Some(beyond) => {
                Err(Error::failed(format!("speaks of checkpoint {beyond}, counted from 0, but has {count}")).at(path))
            }
            None => Ok(diagnosis),
        }
    }

    /// The checkpoint that it keeps without labels: the earliest that is as good within the margin. None where it could
    /// not choose.
    pub fn keeps(&self) -> Option<usize> {
        let without_labels = self.choices.iter().filter(|choice| !choice.needs_labels);
        without_labels.filter_map(|choice| choice.earliest.as_ref()).map(|earliest| earliest.checkpoint).next()
    }

    /// `epoch 60`, or the path of a checkpoint that does not say.
    pub fn checkpoint_name(&self, checkpoint: usize) -> String {
        let row = &self.checkpoints[checkpoint];
        row.epoch.map_or_else(|| row.path.clone(), |epoch| format!("epoch {epoch}"))
    }

    /// The cell of a stage at a checkpoint.
    pub fn cell(&self, checkpoint: usize, stage: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.checkpoint == checkpoint && cell.stage == stage)
    }
}
