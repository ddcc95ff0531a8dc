//! The inner objective L_in = L_ssl + beta D(p || u), D a divergence, as a function of the late weights.

use tch::Tensor;

use super::alignment::alignment;
use super::repair::Forward;
use super::{Problem, Settings};
use crate::error::Result;
use crate::methods::{Loss, Views};
use crate::nn::{Mode, Weights};

/// The inner objective and its parts, in the graph.
pub struct Inner {
    pub total: Tensor,
    pub ssl: Loss,
    /// D(p || u); absent with `beta` = 0, which leaves the alignment and its second-order pass out.
    pub divergence: Option<Tensor>,
}

impl Inner {
    /// For the log.
    pub(super) fn terms(&self, problem: &Problem) -> Vec<(&'static str, Tensor)> {
        let mut terms = vec![("inner", self.total.detach()), ("ssl", self.ssl.total.detach())];
        terms.extend(self.divergence.as_ref().map(|value| (problem.settings.divergence.name(), value.detach())));
        terms
    }
}

/// Multiply-adds of a gradient of L_in: the convolutions of 6 forward passes of the late part with the alignment, of
/// second order, and of 3 without (docs/decisions/0003).
pub(super) fn cost(settings: &Settings, forward: &Forward) -> f64 {
    forward.late * if settings.beta == 0.0 { 3.0 } else { 6.0 }
}

/// L_in of the late weights `w` on early features `[n, c, h, w]` or `[n, t, c]`.
///
/// # Errors
/// When libtorch cannot compute it.
pub fn inner(problem: &Problem, w: &Weights, early: &Views, mode: Mode) -> Result<Inner> {
    let beta = problem.settings.beta;
    if beta == 0.0 {
        let ssl = problem.method.loss(problem.late, w, early, mode)?;
        return Ok(Inner { total: ssl.total.shallow_clone(), ssl, divergence: None });
    }
    let early = early.map(|z| z.detach().set_requires_grad(true));
    let ssl = problem.method.loss(problem.late, w, &early, mode)?;
    let divergence = alignment(&ssl.total, &early.inputs, problem.settings.divergence)?;
    Ok(Inner { total: &ssl.total + beta * &divergence, ssl, divergence: Some(divergence) })
}
