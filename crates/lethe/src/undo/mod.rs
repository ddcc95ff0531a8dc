//! Repairs of a pre-trained encoder: its early stages stay as they are, its late stages and head are trained further.
//!
//! A new repair is one file and one line in [`REPAIRS`].

pub mod alignment;
pub mod coding_rate;
mod continuation;
pub mod during;
mod folder;
pub mod groups;
pub mod hypergradient;
pub mod inner;
pub mod job;
mod joint;
mod log;
pub mod matching;
pub mod outer;
mod split;
mod umm;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::encoders::{Encoder, Part};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::methods::Method;
use crate::nn::{Gradients, Mode, Weights};
use crate::optim::{self, WarmupCosine};
use crate::progress::Progress;

use alignment::Divergence;
pub use folder::UndoFolder;
use groups::Groups;
use hypergradient::{InnerOptimizer, Product};
pub use job::{Job, Outcome};
use log::StepLog;
pub use log::StepRow;
use outer::RateOf;

/// A way to go on with a pre-trained encoder.
pub struct Repair {
    pub name: &'static str,
    pub title: &'static str,
    pub paper: &'static str,
    /// One step: the gradients for the parameters of the late weights, and what to log.
    pub step: fn(&Problem, &Weights, &[Tensor]) -> Result<Step>,
}

pub const REPAIRS: &[Repair] = &[umm::REPAIR, joint::REPAIR, continuation::REPAIR];

/// # Errors
/// When there is no repair of this name; the hint lists them.
pub fn find(name: &str) -> Result<&'static Repair> {
    REPAIRS.iter().find(|repair| repair.name == name).ok_or_else(|| {
        let names: Vec<&str> = REPAIRS.iter().map(|repair| repair.name).collect();
        Error::usage(format!("unknown repair {name:?}")).hint(format!("one of: {}", names.join(", ")))
    })
}

/// What the objectives are made of.
#[derive(Clone, Copy)]
pub struct Problem<'a> {
    pub method: &'a dyn Method,
    /// The stages that are trained.
    pub late: &'a Part<'a>,
    pub settings: &'a Settings,
    /// Early features `[n, c, h, w]` of a held-out batch, one a view, for the outer loss; without it both losses are
    /// taken on the training batch.
    pub held_out: Option<&'a [Tensor]>,
}

impl Problem<'_> {
    /// `live` where batch-norm is live, [`Mode::Eval`] where it is frozen.
    pub fn mode(&self, live: Mode) -> Mode {
        match self.settings.batch_norm {
            BatchNorm::Live => live,
            BatchNorm::Frozen => Mode::Eval,
        }
    }
}

/// The batch-norm of the late stages and the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BatchNorm {
    /// Statistics of the batch; the running ones follow.
    Live,
    /// Running statistics of the checkpoint, left alone.
    Frozen,
}

/// The head that a repair starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// The checkpoint's, where it has one.
    Pretrained,
    New,
}

/// What a step of a repair gives.
pub struct Step {
    /// In the order of the late weights' parameters.
    pub gradients: Gradients,
    /// Scalars for the log, cut from any graph, on the device.
    pub terms: Vec<(&'static str, Tensor)>,
}

/// Every setting of a repair; docs/decisions/0002 argues the defaults the paper leaves open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub repair: String,
    /// The last stage that stays as it is; `auto` is the one before the first with an onset of the memorisation gap in
    /// the diagnosis of the checkpoint's run.
    pub split: String,
    pub head: Head,
    pub batch_norm: BatchNorm,
    pub hypergradient: String,
    /// How the hypergradients `neumann` and `cg` multiply with the inner Hessian, and how often.
    pub hessian: Product,
    pub solver_steps: usize,
    /// Step size of the inner problem.
    pub alpha: f64,
    /// Weight of the alignment in the inner problem; 0 switches it off.
    pub beta: f64,
    pub divergence: Divergence,
    /// Weight of the coding rate reduction in the outer problem; 0 switches it off.
    pub lambda: f64,
    /// Squared precision of the coding rate.
    pub eps2: f64,
    pub rate_of: RateOf,
    pub groups: Groups,
    /// Unlabelled images that the encoder was not trained on, for the outer loss; the training batch without.
    pub outer_data: Option<String>,
    /// Weight in the outer problem of the distance between the late features of training and held-out batch.
    #[serde(rename = "match")]
    pub matching: f64,
    /// Inner steps K before the outer loss is taken.
    pub inner_steps: usize,
    pub inner_optimizer: InnerOptimizer,
    pub optimizer: String,
    /// Learning rate of the outer problem; it falls to zero along a cosine.
    pub lr: f64,
    pub weight_decay: f64,
    pub epochs: u32,
    pub batch_size: usize,
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            repair: "umm".into(),
            split: "stage2".into(),
            head: Head::Pretrained,
            batch_norm: BatchNorm::Live,
            hypergradient: "forward-difference".into(),
            hessian: Product::ForwardDifference,
            solver_steps: 5,
            alpha: 0.01,
            beta: 100.0,
            divergence: Divergence::Js,
            lambda: 0.05,
            eps2: 0.5,
            rate_of: RateOf::Projections,
            groups: Groups::Pairs,
            outer_data: None,
            matching: 0.0,
            inner_steps: 1,
            inner_optimizer: InnerOptimizer::Sgd,
            optimizer: "adamw".into(),
            lr: 3e-4,
            weight_decay: 0.0,
            epochs: 10,
            batch_size: 256,
            seed: 0,
        }
    }
}

impl Settings {
    /// # Errors
    /// Names the first setting that is out of its range.
    pub fn check(&self) -> Result<()> {
        find(&self.repair)?;
        hypergradient::find(&self.hypergradient)?;
        optim::build(&self.optimizer, self.weight_decay)?;
        let weights = [
            ("alpha", self.alpha),
            ("beta", self.beta),
            ("lambda", self.lambda),
            ("match", self.matching),
            ("weight-decay", self.weight_decay),
        ];
        if let Some((name, value)) = weights.into_iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            return Err(Error::usage(format!("--{name} {value}: expected a number of at least 0")));
        }
        for (name, value) in [("eps2", self.eps2), ("lr", self.lr)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::usage(format!("--{name} {value}: expected a number above 0")));
            }
        }
        let counts = [
            ("inner-steps", self.inner_steps, 1),
            ("solver-steps", self.solver_steps, 1),
            ("epochs", self.epochs as usize, 1),
            ("batch-size", self.batch_size, 2),
        ];
        if let Some((name, value, least)) = counts.into_iter().find(|(_, value, least)| value < least) {
            return Err(Error::usage(format!("--{name} {value}: expected at least {least}")));
        }
        if let Groups::KMeans(k) = self.groups
            && k > self.batch_size
        {
            return Err(Error::usage(format!("--groups {}: a batch has {} images", self.groups, self.batch_size)));
        }
        if self.matching > 0.0 && self.outer_data.is_none() {
            return Err(Error::usage(format!("--match {}: there is nothing to match", self.matching))
                .hint("name held-out images with --outer-data"));
        }
        let implicit = ["neumann", "cg"].contains(&self.hypergradient.as_str());
        if implicit && self.inner_optimizer != InnerOptimizer::Sgd {
            return Err(Error::usage(format!("--hypergradient {}: needs --inner-optimizer sgd", self.hypergradient))
                .hint("it solves the proximal problem that steps of plain gradient descent stand for"));
        }
        Ok(())
    }
}

/// What is repaired; it is left as it is.
pub struct Subject<'a> {
    pub encoder: &'a dyn Encoder,
    pub method: &'a dyn Method,
    /// Of the whole encoder.
    pub weights: &'a Weights,
    /// Projector and predictor; a teacher in it is passed over and made anew as a copy of the student.
    pub head: &'a Weights,
}

/// What a repair leaves.
#[derive(Debug)]
pub struct Undone {
    /// Of the whole encoder; those up to the cut are the subject's.
    pub weights: Weights,
    /// Projector, predictor and teacher (`teacher.*`, of the late stages only).
    pub head: Weights,
    pub steps: u64,
    /// The last step's numbers.
    pub last: Option<StepRow>,
    /// Why it ended early: a signal, or a number that is not finite. The weights are then the last that gave a finite
    /// loss.
    pub stopped: Option<Error>,
}

/// Batches for the repair: the number in an epoch, and the views `[n, 3, h, w]` of each.
pub struct Batches<'a> {
    pub per_epoch: u64,
    pub epoch: &'a mut dyn FnMut(u32) -> Box<dyn Iterator<Item = Result<Vec<Tensor>>> + 'a>,
    /// Views of held-out images from a step on, without end.
    pub held_out: Option<HeldOut<'a>>,
}

/// The batches of held-out images from a step on.
pub type HeldOut<'a> = &'a dyn Fn(u64) -> Box<dyn Iterator<Item = Result<Vec<Tensor>>> + 'a>;

/// Trains the stages after the cut and the head; `record` receives every step's numbers, some steps late.
///
/// # Errors
/// On settings out of range, a split that is not there, or an error of the batches or of `record`.
pub fn undo(
    subject: &Subject,
    settings: &Settings,
    batches: Batches,
    record: &mut dyn FnMut(&StepRow) -> Result<()>,
) -> Result<Undone> {
    settings.check()?;
    let (early, late) = Part::cut(subject.encoder, &settings.split)?;
    let problem = Problem { method: subject.method, late: &late, settings, held_out: None };
    let repair = find(&settings.repair)?;
    let frozen = early.weights(subject.weights).frozen();
    let mut w = late.weights(subject.weights);
    w.extend(subject.head.filter(|name| !name.starts_with("teacher.")));
    let mut w = w.copy().trainable();
    subject.method.teach(&mut w);

    let mut optimizer = optim::build(&settings.optimizer, settings.weight_decay)?;
    let total_steps = u64::from(settings.epochs) * batches.per_epoch;
    let schedule = WarmupCosine { base: settings.lr, warmup_steps: 0, total_steps };
    let mut log = StepLog::new(repair.name, &w);
    let progress = Progress::new("undo", "steps", total_steps);
    let mut stopped = None;
    let mut step = 0;
    let mut held_out = batches.held_out.map(|from| from(step));
    'epochs: for epoch in 0..settings.epochs {
        for inputs in (batches.epoch)(epoch) {
            let inputs = inputs?;
            let features = |views: Vec<Tensor>| -> Vec<Tensor> {
                tch::no_grad(|| views.iter().map(|x| early.forward(&frozen, x, Mode::Eval)).collect())
            };
            let views = features(inputs);
            let held_out = held_out.as_mut().and_then(Iterator::next).transpose()?.map(features);
            let problem = Problem { held_out: held_out.as_deref(), ..problem };
            let Step { gradients, terms } = (repair.step)(&problem, &w, &views)?;
            let lr = schedule.at(step);
            optimizer.step(&w, &gradients, lr);
            step += 1;
            subject.method.after_step(&w, step as f64 / total_steps as f64);
            log.push(epoch, step, lr, terms, &gradients);
            stopped = interrupt::asked();
            if (log.is_due() || stopped.is_some() || step == total_steps)
                && let Some(error) = log.flush(&w, record)?
            {
                stopped = Some(error);
            }
            progress.advance_with(1, || log.note(epoch, settings.epochs));
            if stopped.is_some() {
                break 'epochs;
            }
        }
    }
    let (w, last) = log.finish(w);
    let mut weights = subject.weights.frozen_copy();
    weights.extend(late.weights(&w).frozen());
    let head = w.filter(|name| subject.weights.find(name).is_none()).frozen();
    Ok(Undone { weights, head, steps: step, last, stopped })
}
