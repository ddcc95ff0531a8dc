//! Typed answers to the four questions that a diagnosis is asked. [`words`](super::words) says them.

use lethe_measures::Estimate;
use serde::{Deserialize, Serialize};

/// The answers, and what makes them doubtful.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    pub memorises: Memorises,
    /// Stages at the checkpoint where most is memorised, in the order of the network; empty where none is seen.
    pub stages: Vec<StageFinding>,
    pub since: Since,
    pub keep: Keep,
    pub doubts: Vec<Doubt>,
}

/// An encoder that never saw the images.
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

/// Does it memorise?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Memorises {
    /// No unseen images were given.
    NotMeasured,
    TooFewImages {
        images: usize,
        needed: usize,
    },
    /// The features of the last stage are the same for most images.
    Collapsed {
        checkpoint: usize,
        stage: String,
    },
    /// No stage of a trained checkpoint lies above chance and above the control. `most` is the largest membership.
    NoneSeen {
        most: Place,
    },
    /// The sides are a random split, or a reference that never saw the images is the control.
    Yes {
        most: Place,
    },
    /// Nothing says that the sides are a random split.
    YesOrSidesDiffer {
        most: Place,
    },
}

/// A stage at a checkpoint with what decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub checkpoint: usize,
    pub stage: String,
    pub membership: Estimate,
    /// Membership of the control at this stage.
    pub control: Option<Estimate>,
    pub above_control: Option<Estimate>,
    pub relative_gap: Option<Estimate>,
    pub d_train: f64,
    pub d_unseen: f64,
    pub d_between: f64,
}

/// Where?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageFinding {
    pub stage: String,
    pub membership: Estimate,
    /// Above chance and above the control.
    pub seen: bool,
    /// Its interval reaches that of the largest.
    pub leading: bool,
}

/// Since when?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Since {
    /// Nothing is memorised, or nothing was measured.
    NoneSeen,
    OneCheckpoint,
    EpochsUnknown,
    /// It is seen, but in no stage does it grow beyond doubt.
    NoRise,
    /// One for each stage where a rise is seen, earliest first.
    Onsets {
        onsets: Vec<OnsetFinding>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OnsetFinding {
    pub stage: String,
    /// The epoch after which it grows; low and high are the 95 % interval.
    pub epoch: Estimate,
    /// Whether the curve allows an abrupt onset. If not, only `epoch.high` is an answer: "by then at the latest".
    pub abrupt: bool,
}

/// What to keep?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Keep {
    OneCheckpoint,
    /// No unseen images, or epochs that are not known.
    NotMeasured,
    Checkpoint {
        /// Best by view retrieval on unseen images among the trained checkpoints.
        best: usize,
        /// The earliest that is within the margin, where one can be shown.
        earliest: usize,
        /// How much worse the earliest is.
        loss: Estimate,
        /// How much worse it may be.
        margin: f64,
        /// The least margin that these images could show.
        least_margin: Option<f64>,
        /// Best minus earliest membership gap.
        spared: Option<Estimate>,
        /// The stage with the best view retrieval at `earliest`; it has no interval.
        stage: Option<String>,
    },
}

/// What makes an answer doubtful.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "doubt")]
pub enum Doubt {
    /// The control tells the two sides apart.
    SidesDifferInKind { stage: String, membership: Estimate, control: ControlKind },
    /// Plain features of the control tell the two sides apart.
    Shift { stage: String, auc: f64, p: f64 },
    /// A trained encoder holds unseen images closer than training images.
    UnseenCloser { checkpoint: usize, stage: String, membership: Estimate },
    /// The files of the two sides differ.
    FilesDiffer { difference: String },
    /// Copies were left out of both sides.
    CopiesLeftOut { pairs: usize },
    /// There was no control.
    NoControl,
}

impl Findings {
    /// Indices of all checkpoints that the findings name.
    pub(crate) fn checkpoints(&self) -> Vec<usize> {
        let memorises = match &self.memorises {
            Memorises::Collapsed { checkpoint, .. } => Some(*checkpoint),
            other => other.place().map(|place| place.checkpoint),
        };
        let keep = match &self.keep {
            Keep::Checkpoint { best, earliest, .. } => vec![*best, *earliest],
            _ => Vec::new(),
        };
        let doubts = self.doubts.iter().filter_map(|doubt| match doubt {
            Doubt::UnseenCloser { checkpoint, .. } => Some(*checkpoint),
            _ => None,
        });
        memorises.into_iter().chain(keep).chain(doubts).collect()
    }
}

impl Memorises {
    /// Whether memorisation is seen, be it with the doubt that the sides may differ.
    pub fn is_seen(&self) -> bool {
        matches!(self, Memorises::Yes { .. } | Memorises::YesOrSidesDiffer { .. })
    }

    /// The stage and checkpoint with the largest membership, where it was measured.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Memorises::NoneSeen { most } | Memorises::Yes { most } | Memorises::YesOrSidesDiffer { most } => Some(most),
            _ => None,
        }
    }
}

impl Findings {
    /// Before anything is measured.
    pub(crate) fn unknown() -> Self {
        let (since, keep) = (Since::NoneSeen, Keep::NotMeasured);
        Self { memorises: Memorises::NotMeasured, stages: Vec::new(), since, keep, doubts: Vec::new() }
    }
}
