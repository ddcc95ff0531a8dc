//! Plain further steps of the method with the same part frozen: what any repair has to beat. On the images of `--outer-data`
//! where there are some, which are then memorised in place of the first ones (docs/results/umm.md).

use super::repair::{Batch, Forward, Repair, Step, Training, Trains, given};
use super::{Problem, others};
use crate::error::Result;
use crate::methods::coding_rate::pair_coding_rate_reduction;
use crate::nn::{Mode, Weights};

pub(super) const REPAIR: Repair = Repair {
    name: "continue",
    title: "plain further steps, the same part frozen",
    paper: "",
    outer_data: true,
    matching: false,
    others: others::none,
    start: given,
    training: Some(PLAIN),
};

/// The steps of the method itself.
pub(super) const PLAIN: Training =
    Training { trains: Trains::Late, lr: 1e-4, step, cost: |_, forward: &Forward| forward.pass() };

fn step(problem: &Problem, w: &Weights, batch: &Batch) -> Result<Step> {
    let views = problem.held_out.unwrap_or(batch.early);
    let loss = problem.method.loss(problem.late, w, views, problem.mode(Mode::Train))?;
    let gradients = w.gradients(&loss.total, false)?;
    let [z1, z2, ..] = loss.projections.as_slice() else { unreachable!("methods give a projection a view") };
    let reduction = tch::no_grad(|| pair_coding_rate_reduction(z1, z2, problem.settings.eps2))?;
    let terms = vec![("ssl", loss.total.detach()), ("coding_rate_reduction", reduction)];
    Ok(Step::of(loss, gradients, terms))
}
