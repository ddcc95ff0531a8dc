//! UMM without its two levels: one step on L_ssl + beta D(p || u) - lambda dR, all at the weights themselves.

use super::repair::{Batch, Forward, Repair, Step, Training, Trains, given};
use super::{Problem, Settings, inner, others, outer};
use crate::error::Result;
use crate::nn::{Mode, Weights};

pub(super) const REPAIR: Repair = Repair {
    name: "joint",
    title: "both objectives of UMM in one plain step",
    paper: "docs/decisions/0002",
    outer_data: true,
    matching: true,
    others: others::none,
    start: given,
    training: Some(Training { trains: Trains::Late, lr: 3e-4, step, cost }),
};

fn cost(settings: &Settings, forward: &Forward) -> f64 {
    let held_out = if settings.outer_data.is_some() { 3.0 * forward.late } else { 0.0 };
    forward.early + inner::cost(settings, forward) + held_out + outer::cost_of_held_out(settings, forward)
}

fn step(problem: &Problem, w: &Weights, &Batch { early, .. }: &Batch) -> Result<Step> {
    let inner = inner::inner(problem, w, early, problem.mode(Mode::Train))?;
    let keep = problem.mode(Mode::TrainKeepStats);
    let held_out = problem.held_out.map(|views| problem.method.loss(problem.late, w, views, keep)).transpose()?;
    let added = outer::added(problem, w, early, held_out.as_ref().unwrap_or(&inner.ssl), keep)?;
    let gradients = w.gradients(&(&inner.total + &added.total), false)?;
    let mut terms = inner.terms(problem);
    terms.extend(added.terms());
    Ok(Step::of(inner.ssl, gradients, terms))
}
