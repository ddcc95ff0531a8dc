//! The inner objective L_in = L_ssl + beta JS(p || u) as a function of the late weights.

use tch::Tensor;

use super::Problem;
use super::alignment::alignment;
use crate::error::Result;
use crate::nn::{Mode, Weights};

/// The inner objective and its parts, in the graph.
pub struct Inner {
    pub total: Tensor,
    pub ssl: Tensor,
    /// Absent with `beta` = 0, which leaves the alignment and its second-order pass out.
    pub js: Option<Tensor>,
}

/// L_in of the late weights `w` on early features `[n, c, h, w]`, one a view.
///
/// # Errors
/// When libtorch cannot compute it.
pub fn inner(problem: &Problem, w: &Weights, early: &[Tensor], mode: Mode) -> Result<Inner> {
    let beta = problem.settings.beta;
    if beta == 0.0 {
        let ssl = problem.method.loss(problem.late, w, early, mode)?.total;
        return Ok(Inner { total: ssl.shallow_clone(), ssl, js: None });
    }
    let early: Vec<Tensor> = early.iter().map(|z| z.detach().set_requires_grad(true)).collect();
    let ssl = problem.method.loss(problem.late, w, &early, mode)?.total;
    let js = alignment(&ssl, &early)?;
    Ok(Inner { total: &ssl + beta * &js, ssl, js: Some(js) })
}
