//! UMM without its two levels: one step on L_ssl + beta D(p || u) - lambda dR, all at the weights themselves.

use tch::Tensor;

use super::{Problem, Repair, Step, inner, outer};
use crate::error::Result;
use crate::nn::{Mode, Weights};

pub(super) const REPAIR: Repair =
    Repair { name: "joint", title: "both objectives of UMM in one plain step", paper: "docs/decisions/0002", step };

fn step(problem: &Problem, w: &Weights, early: &[Tensor]) -> Result<Step> {
    let inner = inner::inner(problem, w, early, problem.mode(Mode::Train))?;
    let keep = problem.mode(Mode::TrainKeepStats);
    let held_out = problem.held_out.map(|views| problem.method.loss(problem.late, w, views, keep)).transpose()?;
    let added = outer::added(problem, w, early, held_out.as_ref().unwrap_or(&inner.ssl), keep)?;
    let gradients = w.gradients(&(&inner.total + &added.total), false)?;
    let mut terms = inner.terms(problem);
    terms.extend(added.terms());
    Ok(Step { gradients, terms })
}
