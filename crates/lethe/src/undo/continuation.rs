//! Plain further steps of the method with the same part frozen: what any repair has to beat.

use tch::Tensor;

use super::coding_rate::pair_coding_rate_reduction;
use super::{Problem, Repair, Step};
use crate::error::Result;
use crate::nn::{Mode, Weights};

pub(super) const REPAIR: Repair =
    Repair { name: "continue", title: "plain further steps, the same part frozen", paper: "", step };

fn step(problem: &Problem, w: &Weights, early: &[Tensor]) -> Result<Step> {
    let loss = problem.method.loss(problem.late, w, early, problem.mode(Mode::Train))?;
    let gradients = w.gradients(&loss.total, false)?;
    let [z1, z2, ..] = loss.projections.as_slice() else { unreachable!("methods give a projection a view") };
    let reduction = tch::no_grad(|| pair_coding_rate_reduction(z1, z2, problem.settings.eps2))?;
    Ok(Step { gradients, terms: vec![("ssl", loss.total.detach()), ("coding_rate_reduction", reduction)] })
}
