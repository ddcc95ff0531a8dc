//! The alignment of UMM: each sample's density under the late part, held to the uniform distribution.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::native::torch;

/// How far the density p of n views is from the uniform u, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Divergence {
    /// Jensen-Shannon: with m = (p + u)/2, 1/2 KL(p || m) + 1/2 KL(u || m). At most ln 2.
    Js,
    /// KL(p || u) = sum p ln(p/u). At most ln n.
    Kl,
}

impl Divergence {
    /// Its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Divergence::Js => "js",
            Divergence::Kl => "kl",
        }
    }

    /// Of p proportional to 1/norms, `[n]`; the scale of the norms has no effect.
    pub fn from_uniform(self, norms: &Tensor) -> Tensor {
        // A view without any gradient would have an infinite density; it gets one that swamps the others instead.
        let p = (-norms.clamp_min(f64::from(f32::MIN_POSITIVE)).log()).softmax(0, None::<Kind>);
        let u = 1.0 / norms.size()[0] as f64;
        // p ln(p/m) tends to 0 with p; the bound keeps its gradient finite where p underflows.
        let log_p = p.clamp_min(f64::from(f32::MIN_POSITIVE)).log();
        match self {
            Divergence::Js => {
                let log_middle = ((&p + u) / 2.0).log();
                0.5 * (&p * (log_p - &log_middle) + u * (u.ln() - log_middle)).sum(None::<Kind>)
            }
            Divergence::Kl => (&p * (log_p - u.ln())).sum(None::<Kind>),
        }
    }
}

/// The `divergence` of the density p over the views of a batch from the uniform u.
///
/// By change of variables the late part gives view i a density p_i proportional to 1/||dL/dz_i||, where z_i is the
/// whole early feature map of the view. `early` holds the features that `loss` was computed from, one `[n, ...]` a
/// view, all requiring a gradient; p runs jointly over all those that the student saw (a view that only a teacher sees has
/// no density under the student). The result is differentiable *through* the gradient norms, so its gradient is of second
/// order.
///
/// # Errors
/// When `loss` depends on no view.
pub fn alignment(loss: &Tensor, early: &[Tensor], divergence: Divergence) -> Result<Tensor> {
    let gradients = Tensor::f_run_backward(&[loss], early, true, true).map_err(torch)?;
    let norms: Vec<Tensor> = gradients
        .iter()
        .filter(|gradient| gradient.defined())
        .map(|gradient| gradient.flatten(1, -1).norm_scalaropt_dim(2.0, [1], false))
        .collect();
    if norms.is_empty() {
        return Err(Error::failed("the loss does not depend on the early features"));
    }
    Ok(divergence.from_uniform(&Tensor::cat(&norms, 0)))
}
