//! What a repair is: other checkpoints it looks at, the weights it starts from, and the steps it makes from there.
//!
//! A new repair is one file and one line in [`REPAIRS`].

use std::path::PathBuf;

use tch::Tensor;

use super::others::Given;
use super::{Batches, Problem, Settings, Subject};
use super::{average, continuation, distill, earlier, joint, reinit, umm};
use crate::encoders::{Encoder, Part};
use crate::error::{Error, Result};
use crate::methods::{Loss, Memory, Views};
use crate::nn::{Gradients, Weights};
use crate::train::spread;

/// A way to go on with a pre-trained encoder.
pub struct Repair {
    pub name: &'static str,
    pub title: &'static str,
    pub paper: &'static str,
    /// Whether it looks at the images of `--outer-data`.
    pub outer_data: bool,
    /// Whether `--match` weighs something in it.
    pub matching: bool,
    /// The checkpoints it looks at besides the given one, which come to it in [`Subject::others`].
    pub others: fn(&Given) -> Result<Vec<PathBuf>>,
    /// What it starts from.
    pub start: fn(&Subject, &Settings, &mut Batches) -> Result<Start>,
    /// What it does from there; one without training ends with its start.
    pub training: Option<Training>,
}

pub const REPAIRS: &[Repair] = &[
    umm::REPAIR,
    joint::REPAIR,
    continuation::REPAIR,
    reinit::REPAIR,
    average::REPAIR,
    distill::LATE,
    distill::EARLY,
    earlier::REPAIR,
];

/// # Errors
/// When there is no repair of this name; the hint lists them.
pub fn find(name: &str) -> Result<&'static Repair> {
    REPAIRS.iter().find(|repair| repair.name == name).ok_or_else(|| {
        let names: Vec<&str> = REPAIRS.iter().map(|repair| repair.name).collect();
        Error::usage(format!("unknown repair {name:?}")).hint(format!("one of: {}", names.join(", ")))
    })
}

/// An encoder of the subject's kind, whole, and its head.
#[derive(Debug)]
pub struct Snapshot {
    pub weights: Weights,
    pub head: Weights,
}

/// The weights a repair starts from, and what they cost.
pub struct Start {
    pub from: Snapshot,
    /// Multiply-adds, in the unit of [`Forward`].
    pub cost: f64,
}

/// The given weights, for nothing.
pub(super) fn given(subject: &Subject, _: &Settings, _: &mut Batches) -> Result<Start> {
    let from = Snapshot { weights: subject.weights.frozen(), head: subject.head.frozen() };
    Ok(Start { from, cost: 0.0 })
}

pub struct Training {
    pub trains: Trains,
    /// Learning rate unless told, by docs/results/umm.md.
    pub lr: f64,
    /// One step: the gradients for the parameters of the trained weights, and what to log.
    pub step: fn(&Problem, &Weights, &Batch) -> Result<Step>,
    /// Multiply-adds of a step, in the unit of [`Forward`]: a backward pass is two forward passes.
    pub cost: fn(&Settings, &Forward) -> f64,
}

/// The stages that are trained; the head always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trains {
    /// Those after the split; the others stay as they are.
    Late,
    All,
}

impl Trains {
    /// The frozen part, which may have no stage, and the trained one.
    ///
    /// # Errors
    /// When there is no such split.
    pub(super) fn cut<'a>(self, encoder: &'a dyn Encoder, split: &str) -> Result<(Part<'a>, Part<'a>)> {
        let cut = Part::cut(encoder, split)?;
        Ok(match self {
            Trains::Late => cut,
            Trains::All => (Part::none(encoder), Part::whole(encoder)),
        })
    }
}

/// What a step sees.
pub struct Batch<'a> {
    pub images: &'a Views,
    /// What leaves the frozen part: the images themselves where all stages are trained.
    pub early: &'a Views,
}

/// What a step of a repair gives.
pub struct Step {
    /// In the order of the trained weights' parameters.
    pub gradients: Gradients,
    /// Scalars for the log, cut from any graph, on the device.
    pub terms: Vec<(&'static str, Tensor)>,
    /// Of the method's projections, a scalar on the device: [`spread`].
    pub spread: Tensor,
    /// Of the method's loss.
    pub memory: Vec<Memory>,
}

impl Step {
    /// `ssl` is the method's loss at the weights stepped from.
    pub(super) fn of(ssl: Loss, gradients: Gradients, terms: Vec<(&'static str, Tensor)>) -> Self {
        Self { gradients, terms, spread: spread(&ssl.projections[0]), memory: ssl.memory }
    }
}

/// Multiply-adds of a forward pass over the views of a batch, of the stages on either side of the split: of convolutions
/// and products of matrices only, in units that cancel. Heads, losses, optimisers and a method's own teacher are left out.
#[derive(Debug, Clone, Copy)]
pub struct Forward {
    pub early: f64,
    pub late: f64,
}

impl Forward {
    pub(super) fn of(encoder: &dyn Encoder, split: &str) -> Result<Self> {
        let (early, late) = Part::cut(encoder, split)?;
        Ok(Self { early: early.work(), late: late.work() })
    }

    /// A *pass*, the unit in which compute is told: one forward and backward pass of the late part over the views of a
    /// batch, with the forward pass of the early part that it needs; a step of `continue`.
    pub fn pass(&self) -> f64 {
        self.early + 3.0 * self.late
    }
}
