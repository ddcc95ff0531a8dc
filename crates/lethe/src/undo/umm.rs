//! The Undoing Memorization Mechanism (Qiang et al. 2024, arXiv 2410.00772): minimise L_ssl - lambda dR at the weights
//! that a step on L_ssl + beta JS leads to.

use std::cell::OnceCell;

use tch::Tensor;

use super::hypergradient::{self, Bilevel};
use super::{Problem, Repair, Step, inner, outer};
use crate::error::Result;
use crate::nn::{Mode, Weights};

pub(super) const REPAIR: Repair =
    Repair { name: "umm", title: "Undoing Memorization Mechanism", paper: "arXiv 2410.00772", step };

/// The hypergradient at `w`. Batch-norm updates its running statistics in the pass at `w`, as a plain step does; the
/// passes at other weights leave them alone.
fn step(problem: &Problem, w: &Weights, early: &[Tensor]) -> Result<Step> {
    let settings = problem.settings;
    let at_w = OnceCell::new();
    let at_end = OnceCell::new();
    let inner = |w: &Weights| {
        let mode = if at_w.get().is_none() { Mode::Train } else { Mode::TrainKeepStats };
        let loss = inner::inner(problem, w, early, problem.mode(mode))?;
        at_w.get_or_init(|| loss.terms(problem));
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
        product: settings.hessian,
        solver_steps: settings.solver_steps,
    };
    let gradients = (hypergradient::find(&settings.hypergradient)?.of)(&bilevel, w)?;
    let terms = [at_w.into_inner(), at_end.into_inner()].into_iter().flatten().flatten().collect();
    Ok(Step { gradients, terms })
}
