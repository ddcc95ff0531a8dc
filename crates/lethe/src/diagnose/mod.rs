//! The diagnosis: measures of every stage of every checkpoint, on training images and on unseen ones.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

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
    /// Where memorisation sets in, a stage at a time; empty when none is seen.
    #[serde(default)]
    pub onsets: Vec<Onset>,
    /// What the gaps say, in a few sentences.
    #[serde(default)]
    pub summary: String,
}

/// The first checkpoint of a stage from which on every interval of the gap lies above 0.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Onset {
    pub stage: String,
    /// Index into `checkpoints`.
    pub checkpoint: usize,
    pub confidence: f64,
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
    /// The 95 % bootstrap interval of the gap, simultaneous over all cells.
    #[serde(default)]
    pub gap_low: Option<f64>,
    #[serde(default)]
    pub gap_high: Option<f64>,
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
    /// Accuracy by protocol (`knn-20`, `knn-200`, `linear`), leave-one-out for k-NN on the training side; empty without labels.
    pub accuracy: IndexMap<String, f64>,
}
