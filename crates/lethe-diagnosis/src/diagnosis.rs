//! What a diagnosis finds: the content of `diagnosis.json`.

use std::path::Path;

use indexmap::IndexMap;
use lethe_data::error::{Error, Result};
use lethe_data::files;
use lethe_measures::{Estimate, Memorisation, Shift};
use serde::{Deserialize, Serialize};

use super::cell::{Cell, CheckpointRow};
use super::findings::{ControlKind, Findings};
use super::{Choice, ImageScore, Onset};

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

    /// Whether a trained checkpoint's membership lies above chance, and above the control's where there is a control. The
    /// untrained start has memorised nothing, whatever its membership is.
    pub fn is_seen(&self, cell: &Cell) -> bool {
        let above = |estimate: Estimate, level: f64| estimate.low > level;
        let chance = cell.memorisation.as_ref().is_some_and(|found| above(found.membership, 0.5));
        let trained = !self.checkpoints[cell.checkpoint].is_untrained();
        trained && chance && cell.membership_above_control.is_none_or(|found| above(found, 0.0))
    }

    /// The cell of a stage at a checkpoint.
    pub fn cell(&self, checkpoint: usize, stage: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.checkpoint == checkpoint && cell.stage == stage)
    }
}
