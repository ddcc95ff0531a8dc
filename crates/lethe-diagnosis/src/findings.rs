//! Typed answers to the four questions that a diagnosis is asked. [`words`](super::words) says them.

use lethe_measures::{Estimate, LEAST_IMAGES_FOR_A_VERDICT};
use serde::{Deserialize, Serialize};

use super::diagnose::SHIFT_STAGES;
use super::diagnosis::{Cell, ControlKind, Diagnosis, Relation};
use super::per_image::{MEMORISATION_GAP, VIEW_RETRIEVAL};

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
    /// The findings of the numbers in `d`.
    pub fn of(d: &Diagnosis) -> Self {
        let memorises = memorises(d);
        let stages = memorises.place().filter(|_| memorises.is_seen()).map_or_else(Vec::new, |most| stages(d, most));
        let since = since(d, &memorises);
        Self { stages, since, keep: keep(d), doubts: doubts(d), memorises }
    }

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

/// Whether a trained checkpoint's membership lies above chance, and above the control's where there is a control. The
/// untrained start has memorised nothing, whatever its membership is.
pub fn is_seen(d: &Diagnosis, cell: &Cell) -> bool {
    let above = |estimate: Estimate, level: f64| estimate.low > level;
    let chance = cell.memorisation.as_ref().is_some_and(|found| above(found.membership, 0.5));
    let trained = !d.checkpoints[cell.checkpoint].is_untrained();
    trained && chance && cell.membership_above_control.is_none_or(|found| above(found, 0.0))
}

fn memorises(d: &Diagnosis) -> Memorises {
    let Some(sides) = &d.sides else { return Memorises::NotMeasured };
    if sides.images < LEAST_IMAGES_FOR_A_VERDICT {
        return Memorises::TooFewImages { images: sides.images, needed: LEAST_IMAGES_FOR_A_VERDICT };
    }
    let trained = || d.cells.iter().filter(|cell| !d.checkpoints[cell.checkpoint].is_untrained());
    let largest = |cells: &mut dyn Iterator<Item = &Cell>| {
        let places = cells.filter_map(|cell| Some((cell, cell.memorisation.as_ref()?.membership.value)));
        places.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(cell, _)| place(d, cell))
    };
    if let Some(most) = largest(&mut trained().filter(|cell| is_seen(d, cell))) {
        let reference = d.control.as_ref().is_some_and(|control| control.kind == ControlKind::Reference);
        let known = (sides.relation == Relation::RandomSplit && d.control.is_some()) || reference;
        return if known { Memorises::Yes { most } } else { Memorises::YesOrSidesDiffer { most } };
    }
    if let Some(cell) = trained().next_back().filter(|cell| cell.collapsed) {
        return Memorises::Collapsed { checkpoint: cell.checkpoint, stage: cell.stage.clone() };
    }
    // Where only the untrained start was given, its largest membership is what there is to say.
    match largest(&mut trained()).or_else(|| largest(&mut d.cells.iter())) {
        Some(most) => Memorises::NoneSeen { most },
        None => Memorises::NotMeasured,
    }
}

/// # Panics
/// A cell without memorisation numbers.
fn place(d: &Diagnosis, cell: &Cell) -> Place {
    let found = cell.memorisation.as_ref().expect("checked by the caller");
    let stage = d.stages.iter().position(|stage| *stage == cell.stage);
    let control = d.control.as_ref().and_then(|control| control.stages.get(stage?));
    Place {
        checkpoint: cell.checkpoint,
        stage: cell.stage.clone(),
        membership: found.membership,
        control: control.map(|control| control.membership),
        above_control: cell.membership_above_control,
        relative_gap: found.relative_gap,
        d_train: found.d_train.value,
        d_unseen: found.d_unseen.value,
        d_between: found.d_between.value,
    }
}

fn stages(d: &Diagnosis, most: &Place) -> Vec<StageFinding> {
    let cells = d.stages.iter().filter_map(|stage| d.cell(most.checkpoint, stage));
    cells
        .filter_map(|cell| {
            let membership = cell.memorisation.as_ref()?.membership;
            let seen = is_seen(d, cell);
            let leading = seen && membership.high >= most.membership.low;
            Some(StageFinding { stage: cell.stage.clone(), membership, seen, leading })
        })
        .collect()
}

fn since(d: &Diagnosis, memorises: &Memorises) -> Since {
    if !memorises.is_seen() {
        return Since::NoneSeen;
    }
    if d.checkpoints.len() < 2 {
        return Since::OneCheckpoint;
    }
    if d.checkpoints.iter().any(|row| row.epoch.is_none()) {
        return Since::EpochsUnknown;
    }
    // A stage is named only where it is seen after the onset.
    let seen_after = |stage: &str, checkpoint: usize| {
        d.cells.iter().any(|cell| cell.stage == stage && cell.checkpoint >= checkpoint && is_seen(d, cell))
    };
    let named = d.onsets.iter().filter(|onset| onset.of == MEMORISATION_GAP);
    let mut onsets: Vec<OnsetFinding> = named
        .filter(|onset| seen_after(&onset.stage, onset.checkpoint))
        .map(|onset| OnsetFinding { stage: onset.stage.clone(), epoch: onset.epoch, abrupt: onset.abrupt })
        .collect();
    onsets.sort_by(|a, b| a.epoch.value.total_cmp(&b.epoch.value));
    if onsets.is_empty() { Since::NoRise } else { Since::Onsets { onsets } }
}

fn keep(d: &Diagnosis) -> Keep {
    if d.checkpoints.iter().filter(|row| !row.is_untrained()).count() < 2 {
        return Keep::OneCheckpoint;
    }
    let choice = d.choices.iter().find(|choice| choice.criterion == VIEW_RETRIEVAL);
    let Some((choice, earliest)) = choice.and_then(|choice| Some((choice, choice.earliest.as_ref()?))) else {
        return Keep::NotMeasured;
    };
    Keep::Checkpoint {
        best: choice.checkpoint,
        earliest: earliest.checkpoint,
        loss: earliest.loss,
        margin: earliest.margin,
        least_margin: earliest.least_margin,
        spared: earliest.spared,
        stage: choice.stage.clone(),
    }
}

fn doubts(d: &Diagnosis) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    let Some(sides) = d.sides.as_ref().filter(|sides| sides.images >= LEAST_IMAGES_FOR_A_VERDICT) else {
        return doubts;
    };
    match &d.control {
        None => doubts.push(Doubt::NoControl),
        Some(control) => {
            let excludes = |found: &Estimate| found.low > 0.5 || found.high < 0.5;
            let far = |found: &Estimate| (found.value - 0.5).abs();
            let told = d.stages.iter().zip(&control.stages).map(|(stage, found)| (stage, found.membership));
            if let Some((stage, membership)) =
                told.filter(|(_, found)| excludes(found)).max_by(|a, b| far(&a.1).total_cmp(&far(&b.1)))
            {
                let (stage, control) = (stage.clone(), control.kind);
                doubts.push(Doubt::SidesDifferInKind { stage, membership, control });
            }
            let shifted = d.stages.iter().zip(&control.shift).filter_map(|(stage, test)| Some((stage, test.as_ref()?)));
            let shifted = shifted.filter(|(_, test)| test.p <= 0.05 / SHIFT_STAGES as f64);
            if let Some((stage, test)) = shifted.max_by(|a, b| a.1.auc.total_cmp(&b.1.auc)) {
                doubts.push(Doubt::Shift { stage: stage.clone(), auc: test.auc, p: test.p });
            }
        }
    }
    let below = d.cells.iter().filter_map(|cell| Some((cell, cell.memorisation.as_ref()?.membership)));
    let below = below.filter(|(cell, found)| !d.checkpoints[cell.checkpoint].is_untrained() && found.high < 0.5);
    if let Some((cell, membership)) = below.min_by(|a, b| a.1.value.total_cmp(&b.1.value)) {
        let (checkpoint, stage) = (cell.checkpoint, cell.stage.clone());
        doubts.push(Doubt::UnseenCloser { checkpoint, stage, membership });
    }
    if let Some(difference) = &sides.difference {
        doubts.push(Doubt::FilesDiffer { difference: difference.clone() });
    }
    if let Some(copies) = sides.copies.as_ref().filter(|copies| !copies.left_out.is_empty()) {
        doubts.push(Doubt::CopiesLeftOut { pairs: copies.left_out.len() });
    }
    doubts
}

impl Findings {
    /// Before anything is measured.
    pub(crate) fn unknown() -> Self {
        let (since, keep) = (Since::NoneSeen, Keep::NotMeasured);
        Self { memorises: Memorises::NotMeasured, stages: Vec::new(), since, keep, doubts: Vec::new() }
    }
}
