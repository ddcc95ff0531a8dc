//! Lines of the files that a training and a repair write, as a page reads them.

use indexmap::IndexMap;
use lethe_measures::Estimate;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Means over the steps since the last row.
    Step,
    /// Means over the epoch.
    Epoch,
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MetricRow {
    pub kind: Kind,
    /// Epochs begun, counted from 1.
    pub epoch: u32,
    /// Optimiser steps done.
    pub step: u64,
    pub loss: f64,
    pub terms: IndexMap<String, f64>,
    pub lr: f64,
    /// Mean standard deviation of the unit-length projections times sqrt(p): 1 is healthy, 0 is a collapse.
    pub spread: f64,
    pub images_per_s: f64,
    /// Share of the time in which training waited for images.
    pub data_wait: f64,
    /// Seconds since the start of the run, without interruptions.
    pub seconds: f64,
}

/// A line of `undo.jsonl` about a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    pub kind: Kind,
    /// Steps done.
    pub step: u64,
    /// Epochs begun, counted from 1.
    pub epoch: u32,
    pub repair: String,
    /// `ssl`, `inner` and `js` before the step, `outer` and `coding_rate_reduction` after the inner one, as far as the
    /// repair has them.
    #[serde(flatten)]
    pub terms: IndexMap<String, f64>,
    /// Joint norm of the gradients given to the optimiser.
    pub grad_norm: f64,
    pub lr: f64,
    /// Compute so far, in passes forward and backward of the late stages over a batch. It is counted, not timed.
    pub passes: f64,
    /// Seconds since the start, when the step was handed to the device.
    pub seconds: f64,
}

/// A line of `undo.jsonl` about an epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EpochRow {
    pub kind: Kind,
    /// Epochs done; 0 for the given checkpoint.
    pub epoch: u32,
    pub step: u64,
    pub repair: String,
    pub passes: f64,
    #[serde(flatten)]
    pub seen: Seen,
    /// View retrieval of the given checkpoint minus that now.
    pub view_retrieval_lost: Estimate,
    /// Whether these weights are the best so far.
    pub kept: bool,
}

/// The last stage of an encoder on training images and on unseen ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    /// Images a side.
    pub images: usize,
    /// AUC of telling training images from unseen ones.
    pub membership: f64,
    pub memorisation_gap: f64,
    pub relative_gap: f64,
    /// Mean squared distance between the views of a training image.
    pub d_train: f64,
    /// Mean squared distance between the views of an unseen image.
    pub d_unseen: f64,
    /// dR with the two views of an image as a group.
    pub coding_rate_reduction: BothSides,
    /// Share of unseen images that their other view retrieves.
    pub view_retrieval: f64,
}

/// A number of training images and the number of unseen ones.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct BothSides {
    pub train: f64,
    pub unseen: f64,
}

/// What a repair has changed: after minus before, with 95 % intervals over the images.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Changes {
    pub membership: Estimate,
    pub memorisation_gap: Estimate,
    pub relative_gap: Estimate,
    pub d_train: Estimate,
    pub d_unseen: Estimate,
    pub view_retrieval: Estimate,
}

/// The same encoder before and after a repair, on images that chose nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Repaired {
    pub before: Seen,
    pub after: Seen,
    pub changes: Changes,
}

/// A line of `undo.jsonl`; its `kind` tells which.
#[derive(Debug, Clone)]
pub enum Row {
    Epoch(EpochRow),
    Step(StepRow),
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let row = match value["kind"].as_str() {
            Some("epoch") => serde_json::from_value(value).map(Row::Epoch),
            _ => serde_json::from_value(value).map(Row::Step),
        };
        row.map_err(D::Error::custom)
    }
}
