//! Repairs of a pre-trained encoder: as a rule its early stages stay as they are, its late stages and head are trained
//! further.
//!
//! A new repair is one file and one line in [`REPAIRS`].

pub mod alignment;
mod average;
mod continuation;
pub mod distill;
pub mod during;
mod earlier;
mod folder;
pub mod groups;
pub mod hypergradient;
pub mod inner;
pub mod job;
mod joint;
mod log;
pub mod matching;
mod monitor;
mod others;
pub mod outer;
mod reinit;
pub mod repair;
mod sitting;
mod split;
mod umm;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::encoders::{Encoder, Part};
use crate::error::{Error, Result};
use crate::files;
use crate::interrupt;
use crate::methods::{self, Method, Views};
use crate::nn::{Mode, Weights};
use crate::optim::{self, WarmupCosine};
use crate::progress::Progress;

use alignment::Divergence;
pub use folder::UndoFolder;
use groups::Groups;
use hypergradient::{InnerOptimizer, Product, Solver};
pub use job::{Job, Outcome};
pub use lethe_diagnosis::records::{BothSides, Changes, EpochRow, Repaired, Row, Seen, StepRow};
use log::StepLog;
pub use monitor::{Judge, Look, Monitor, Verdict, changes, lost};
use outer::RateOf;
pub use repair::{Batch, REPAIRS, Repair, Snapshot, find};
use repair::{Forward, Start};

/// What the objectives are made of.
#[derive(Clone, Copy)]
pub struct Problem<'a> {
    pub method: &'a dyn Method,
    /// The stages that are trained.
    pub late: &'a Part<'a>,
    pub settings: &'a Settings,
    /// The whole encoder of an earlier checkpoint, for the repairs that look at one.
    pub teacher: Option<&'a Weights>,
    /// Early features `[n, c, h, w]` or `[n, t, c]` of a held-out batch, for the outer loss; without it both losses are taken on the
    /// training batch.
    pub held_out: Option<&'a Views>,
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

/// Every setting of a repair, by default of `umm`; docs/decisions/0002 argues the defaults the paper leaves open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub repair: String,
    /// The last stage that stays as it is; `auto` is the one before the first with an onset of the memorisation gap in
    /// the diagnosis of the checkpoint's run.
    pub split: String,
    pub head: Head,
    pub batch_norm: BatchNorm,
    /// Averaged with the given checkpoint (`average`); empty for the last ones that its run kept.
    #[serde(serialize_with = "files::as_texts")]
    pub with: Vec<PathBuf>,
    /// What `distill-*` holds stages to; none for the checkpoint in the middle of the run.
    #[serde(serialize_with = "files::as_text_or_none")]
    pub teacher: Option<PathBuf>,
    /// Weight of that distance.
    pub distill_weight: f64,
    /// `diagnosis.json` that `earlier` chooses by; none for that of the run.
    #[serde(serialize_with = "files::as_text_or_none")]
    pub diagnosis: Option<PathBuf>,
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
    /// Unlabelled images that the encoder was not trained on, for the outer loss or plain steps; the training batch without.
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
    /// Compute to spend instead of a number of epochs, in [passes](Forward::pass).
    pub passes: Option<u32>,
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
            with: Vec::new(),
            teacher: None,
            distill_weight: 1.0,
            diagnosis: None,
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
            lr: umm::LR,
            weight_decay: 0.0,
            epochs: 10,
            passes: None,
            batch_size: 256,
            seed: 0,
        }
    }
}

impl Settings {
    /// # Errors
    /// Names the first setting that is out of its range.
    pub fn check(&self) -> Result<()> {
        let repair = find(&self.repair)?;
        let hypergradient = hypergradient::find(&self.hypergradient)?;
        optim::build(&self.optimizer, self.weight_decay)?;
        let weights = [
            ("alpha", self.alpha),
            ("beta", self.beta),
            ("lambda", self.lambda),
            ("match", self.matching),
            ("distill-weight", self.distill_weight),
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
        let idle = [
            ("outer-data", self.outer_data.is_some() && !repair.outer_data),
            ("match", self.matching > 0.0 && !repair.matching),
        ];
        if let Some((flag, _)) = idle.into_iter().find(|(_, idle)| *idle) {
            return Err(Error::usage(format!("--{flag}: nothing in {} looks at it", self.repair)).hint("leave it out"));
        }
        if self.matching > 0.0 && self.outer_data.is_none() {
            return Err(Error::usage(format!("--match {}: there is nothing to match", self.matching))
                .hint("name held-out images with --outer-data"));
        }
        if self.inner_optimizer == InnerOptimizer::Adam && !hypergradient.takes_adam {
            return Err(Error::usage(format!("--hypergradient {}: needs --inner-optimizer sgd", self.hypergradient))
                .hint("it solves the proximal problem that steps of plain gradient descent stand for"));
        }
        Ok(())
    }

    fn solver(&self) -> Solver {
        Solver { product: self.hessian, steps: self.solver_steps }
    }

    /// Steps that make up `epochs`, or that `passes` pay for.
    fn steps(&self, per_epoch: u64, passes_per_step: f64) -> Result<u64> {
        let Some(passes) = self.passes else { return Ok(u64::from(self.epochs) * per_epoch) };
        match (f64::from(passes) / passes_per_step).floor() as u64 {
            0 => Err(Error::usage(format!(
                "--passes {passes}: one step of {} takes {passes_per_step:.2} passes",
                self.repair
            ))),
            steps => Ok(steps),
        }
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
    /// Of other checkpoints, for the repairs that look at some.
    pub others: &'a [Snapshot],
}

/// What a repair leaves.
#[derive(Debug)]
pub struct Undone {
    /// Of the whole encoder.
    pub weights: Weights,
    /// Projector, predictor and teacher (`teacher.*`, of the trained stages only).
    pub head: Weights,
    pub steps: u64,
    /// Compute spent, in [passes](Forward::pass).
    pub passes: f64,
    pub seconds: f64,
    /// The last step's numbers.
    pub last: Option<StepRow>,
    /// Why it ended early: a signal, a number that is not finite, or a collapse. The weights are then the last that are known
    /// to be good.
    pub stopped: Option<Error>,
}

/// Batches for the repair: the number in an epoch, and the images of each.
pub struct Batches<'a> {
    pub per_epoch: u64,
    pub epoch: &'a mut dyn FnMut(u32) -> Box<dyn Iterator<Item = Result<Views>> + 'a>,
    /// Views of held-out images from a step on, without end.
    pub held_out: Option<HeldOut<'a>>,
}

/// The batches of held-out images from a step on.
pub type HeldOut<'a> = &'a dyn Fn(u64) -> Box<dyn Iterator<Item = Result<Views>> + 'a>;

/// How far a repair has come: with the subject and the settings, all that the rest of it depends on.
#[derive(Debug)]
pub struct Reached {
    pub step: u64,
    pub seconds: f64,
    /// Trained stages, head and teacher.
    pub weights: Weights,
    /// The optimiser's moments.
    pub optimizer: Weights,
}

/// What is told while a repair goes on.
pub enum Event<'a> {
    /// A step's numbers, some steps late.
    Step(&'a StepRow),
    /// An epoch is over, and the numbers of all its steps have been told.
    Epoch(&'a EpochEnd<'a>),
}

pub struct EpochEnd<'a> {
    /// Epochs done.
    pub epoch: u32,
    pub passes: f64,
    /// What to go on from.
    pub reached: Reached,
    /// What the repair would leave now.
    pub now: Snapshot,
    /// To say something above the bar.
    pub progress: &'a Progress,
}

/// Hears what happens; after an epoch it may end the repair.
pub type Watch<'a> = &'a mut dyn FnMut(Event) -> Result<ControlFlow<()>>;

/// Repairs `subject`, from the beginning or from the end of an epoch that an earlier sitting `reached`.
///
/// # Errors
/// On settings out of range, a split that is not there, or an error of the batches or of `watch`.
pub fn undo(
    subject: &Subject,
    settings: &Settings,
    mut batches: Batches,
    reached: Option<Reached>,
    watch: Watch,
) -> Result<Undone> {
    settings.check()?;
    let repair = find(&settings.repair)?;
    let forward = Forward::of(subject.encoder, &settings.split)?;
    let earlier = reached.as_ref().map_or(0.0, |reached| reached.seconds);
    let begun = Instant::now().checked_sub(Duration::from_secs_f64(earlier)).unwrap_or_else(Instant::now);
    let Start { from, cost } = (repair.start)(subject, settings, &mut batches)?;
    let passes = cost / forward.pass();
    let Some(training) = &repair.training else {
        let (weights, head) = (from.weights.frozen_copy(), from.head.frozen_copy());
        let seconds = begun.elapsed().as_secs_f64();
        return Ok(Undone { weights, head, steps: 0, passes, seconds, last: None, stopped: None });
    };
    let passes_per_step = (training.cost)(settings, &forward) / forward.pass();
    let total_steps = settings.steps(batches.per_epoch, passes_per_step)?;
    let epochs = total_steps.div_ceil(batches.per_epoch.max(1)) as u32;

    let (early, late) = training.trains.cut(subject.encoder, &settings.split)?;
    let teacher = subject.others.first().map(|other| &other.weights);
    let problem = Problem { method: subject.method, late: &late, settings, teacher, held_out: None };
    let frozen = early.weights(&from.weights).frozen();
    let mut w = late.weights(&from.weights);
    w.extend(from.head.filter(|name| !name.starts_with("teacher.")));
    let mut w = w.copy().trainable();
    subject.method.teach(&mut w);
    let mut optimizer = optim::build(&settings.optimizer, settings.weight_decay)?;
    let mut step = 0;
    if let Some(reached) = reached {
        w = w.filled_from(&reached.weights)?;
        optimizer.resume(reached.optimizer);
        step = reached.step;
    }
    // What `w` stands for: the whole encoder, and the head.
    let whole = |w: &Weights| {
        let mut weights = from.weights.frozen_copy();
        weights.extend(late.weights(w).frozen_copy());
        Snapshot { weights, head: w.filter(|name| from.weights.find(name).is_none()).frozen_copy() }
    };

    let schedule = WarmupCosine { base: settings.lr, warmup_steps: 0, total_steps };
    let spent = |step: u64| passes + step as f64 * passes_per_step;
    let mut log = StepLog::new(repair.name, &w, begun);
    let progress = Progress::new("undo", "steps", total_steps);
    progress.resume_at(step);
    let mut stopped = None;
    let mut held_out = batches.held_out.map(|from| from(step));
    'epochs: for epoch in (step / batches.per_epoch.max(1)) as u32..epochs {
        if step == total_steps {
            break; // the last epoch of a budget is a part of one
        }
        for images in (batches.epoch)(epoch) {
            let images = images?;
            let features = |views: &Views| tch::no_grad(|| views.map(|x| early.forward(&frozen, x, Mode::Eval)));
            let unseen = held_out.as_mut().and_then(Iterator::next).transpose()?.map(|views| features(&views));
            let problem = Problem { held_out: unseen.as_ref(), ..problem };
            let made = (training.step)(&problem, &w, &Batch { images: &images, early: &features(&images) })?;
            let lr = schedule.at(step);
            optimizer.step(&w, &made.gradients, lr);
            step += 1;
            methods::remember(&w, &made.memory);
            subject.method.after_step(&w, step as f64 / total_steps as f64);
            log.push(epoch, step, spent(step), lr, made);
            stopped = interrupt::asked();
            if log.is_due() || stopped.is_some() {
                stopped = log.flush(&w, watch)?.or(stopped);
            }
            progress.advance_with(1, || log.note(epoch, epochs));
            if stopped.is_some() {
                break 'epochs;
            }
            if step == total_steps {
                break;
            }
        }
        stopped = log.flush(&w, watch)?;
        if stopped.is_some() {
            break;
        }
        let end = EpochEnd {
            epoch: epoch + 1,
            passes: spent(step),
            reached: Reached {
                step,
                seconds: begun.elapsed().as_secs_f64(),
                weights: w.frozen(),
                optimizer: optimizer.state().frozen(),
            },
            now: whole(&w),
            progress: &progress,
        };
        if watch(Event::Epoch(&end))?.is_break() {
            break;
        }
    }
    let (w, last) = log.finish(w);
    let (passes, seconds) = (spent(step), begun.elapsed().as_secs_f64());
    let Snapshot { weights, head } = whole(&w);
    Ok(Undone { weights, head, steps: step, passes, seconds, last, stopped })
}
