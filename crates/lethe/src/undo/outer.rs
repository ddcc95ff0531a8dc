//! The outer objective L_out = L_ssl - lambda dR as a function of the late weights.

use tch::Tensor;

use super::Problem;
use super::coding_rate::pair_coding_rate_reduction;
use crate::error::Result;
use crate::nn::{Mode, Weights};

/// The outer objective and its parts, in the graph.
pub struct Outer {
    pub total: Tensor,
    pub ssl: Tensor,
    /// Of the projections, with the two views of an image as groups.
    pub coding_rate_reduction: Tensor,
}

/// L_out of the late weights `w` on early features `[n, c, h, w]`, one a view.
///
/// # Errors
/// When libtorch cannot compute it.
pub fn outer(problem: &Problem, w: &Weights, early: &[Tensor], mode: Mode) -> Result<Outer> {
    let loss = problem.method.loss(problem.late, w, early, mode)?;
    let [z1, z2, ..] = loss.projections.as_slice() else { unreachable!("methods give a projection a view") };
    let coding_rate_reduction = pair_coding_rate_reduction(z1, z2, problem.settings.eps2)?;
    let total = &loss.total - problem.settings.lambda * &coding_rate_reduction;
    Ok(Outer { total, ssl: loss.total, coding_rate_reduction })
}
