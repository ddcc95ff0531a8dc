//! The Undoing Memorization Mechanism (Qiang et al. 2024, arXiv 2410.00772): minimise L_ssl - lambda dR at the weights
//! that a step on L_ssl + beta JS leads to.

use std::cell::OnceCell;

use tch::Tensor;

use super::hypergradient::{self, Bilevel};
use super::repair::{Batch, Forward, Repair, Step, Training, Trains, given};
use super::{Problem, Settings, inner, others, outer};
use crate::error::Result;
use crate::methods::{Loss, Views};
use crate::nn::{Gradients, Mode, Weights};

/// Learning rate unless told.
pub(super) const LR: f64 = 3e-3;

pub(super) const REPAIR: Repair = Repair {
    name: "umm",
    title: "Undoing Memorization Mechanism",
    paper: "arXiv 2410.00772",
    outer_data: true,
    matching: true,
    others: others::none,
    start: given,
    training: Some(Training { trains: Trains::Late, lr: LR, step, cost }),
};

fn cost(settings: &Settings, forward: &Forward) -> f64 {
    let entry = hypergradient::find(&settings.hypergradient);
    let inner_gradients = entry.map_or(0, |entry| (entry.inner_gradients)(settings.inner_steps, settings.solver()));
    forward.early
        + inner::cost(settings, forward) * inner_gradients as f64
        + 3.0 * forward.late
        + outer::cost_of_held_out(settings, forward)
}

fn step(problem: &Problem, w: &Weights, batch: &Batch) -> Result<Step> {
    let OuterStep { gradients, terms, ssl } = outer_step(problem, w, batch.early)?;
    Ok(Step::of(ssl, gradients, terms))
}

/// An outer step at the weights `w`.
pub(super) struct OuterStep {
    pub(super) gradients: Gradients,
    pub(super) terms: Vec<(&'static str, Tensor)>,
    /// L_ssl at `w`.
    pub(super) ssl: Loss,
}

/// The hypergradient at `w`, and L_ssl there. Batch-norm updates its running statistics in the pass at `w`, as a plain
/// step does; the passes at other weights leave them alone.
pub(super) fn outer_step(problem: &Problem, w: &Weights, early: &Views) -> Result<OuterStep> {
    let settings = problem.settings;
    let at_w = OnceCell::new();
    let at_end = OnceCell::new();
    let inner = |w: &Weights| {
        let mode = if at_w.get().is_none() { Mode::Train } else { Mode::TrainKeepStats };
        let loss = inner::inner(problem, w, early, problem.mode(mode))?;
        at_w.get_or_init(|| (loss.terms(problem), loss.ssl.detach()));
        Ok(loss.total)
    };
    let outer = |w: &Weights| {
        let loss = outer::outer(problem, w, early, problem.mode(Mode::TrainKeepStats))?;
        at_end.get_or_init(|| {
            let mut terms = vec![("outer", loss.total.detach())];
            terms.extend(loss.added.terms());
            terms
        });
        Ok(loss.total)
    };
    let bilevel = Bilevel {
        inner: &inner,
        outer: &outer,
        alpha: settings.alpha,
        steps: settings.inner_steps,
        optimizer: settings.inner_optimizer,
        solver: settings.solver(),
    };
    let gradients = (hypergradient::find(&settings.hypergradient)?.of)(&bilevel, w)?;
    let (mut terms, ssl) = at_w.into_inner().expect("every hypergradient begins at w");
    terms.extend(at_end.into_inner().expect("and ends with the outer objective"));
    Ok(OuterStep { gradients, terms, ssl })
}
