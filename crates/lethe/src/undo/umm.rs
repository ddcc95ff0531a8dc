//! The Undoing Memorization Mechanism (Qiang et al. 2024, arXiv 2410.00772): minimise L_ssl - lambda dR at the weights
//! that a step on L_ssl + beta JS leads to.

use std::cell::OnceCell;

use super::hypergradient::{self, Bilevel};
use super::repair::{Batch, Forward, Repair, Step, Training, Trains, given};
use super::{Problem, Settings, inner, others, outer};
use crate::error::Result;
use crate::nn::{Mode, Weights};

pub(super) const REPAIR: Repair = Repair {
    name: "umm",
    title: "Undoing Memorization Mechanism",
    paper: "arXiv 2410.00772",
    others: others::none,
    start: given,
    training: Some(Training { trains: Trains::Late, step, cost }),
};

/// A gradient of the inner objective takes the convolutions of 6 forward passes of the late part with the alignment, of
/// second order, and of 3 without (docs/decisions/0003).
fn cost(settings: &Settings, forward: &Forward) -> f64 {
    let inner = if settings.beta == 0.0 { 3.0 } else { 6.0 };
    let inner_gradients =
        hypergradient::find(&settings.hypergradient).map_or(0, |entry| (entry.inner_gradients)(settings.inner_steps));
    forward.early + forward.late * (3.0 + inner * inner_gradients as f64)
}

/// The hypergradient at `w`. Batch-norm updates its running statistics in the pass at `w`, as a plain step does; the
/// passes at other weights leave them alone.
fn step(problem: &Problem, w: &Weights, &Batch { early, .. }: &Batch) -> Result<Step> {
    let settings = problem.settings;
    let at_w = OnceCell::new();
    let at_end = OnceCell::new();
    let inner = |w: &Weights| {
        let mode = if at_w.get().is_none() { Mode::Train } else { Mode::TrainKeepStats };
        let loss = inner::inner(problem, w, early, mode)?;
        at_w.get_or_init(|| {
            let mut terms = vec![("inner", loss.total.detach()), ("ssl", loss.ssl.detach())];
            terms.extend(loss.js.as_ref().map(|js| ("js", js.detach())));
            terms
        });
        Ok(loss.total)
    };
    let outer = |w: &Weights| {
        let loss = outer::outer(problem, w, early, Mode::TrainKeepStats)?;
        at_end.get_or_init(|| {
            vec![("outer", loss.total.detach()), ("coding_rate_reduction", loss.coding_rate_reduction.detach())]
        });
        Ok(loss.total)
    };
    let bilevel = Bilevel { inner: &inner, outer: &outer, alpha: settings.alpha, steps: settings.inner_steps };
    let gradients = (hypergradient::find(&settings.hypergradient)?.of)(&bilevel, w)?;
    let terms = [at_w.into_inner(), at_end.into_inner()].into_iter().flatten().flatten().collect();
    Ok(Step { gradients, terms })
}
