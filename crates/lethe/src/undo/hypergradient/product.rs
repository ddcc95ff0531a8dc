//! Products of the inner Hessian with a vector.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{Objective, gradient, norm};
use crate::error::Result;
use crate::native::torch;
use crate::nn::{Gradients, Weights};

/// How the product H v is taken, H the Hessian of the inner objective at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Product {
    /// (grad L_in(theta + e v) - grad L_in(theta)) / e, e = 0.1 / ||v||, the second gradient being at hand. With ReLUs,
    /// whose every flip makes the gradient jump, it is nearer to the exact product than the central form, at two inner
    /// gradients a point instead of three.
    ForwardDifference,
    /// (grad L_in(theta + e v) - grad L_in(theta - e v)) / (2e), e = 0.01 / ||v|| (equation 8 of DARTS).
    FiniteDifference,
    /// The gradient of grad L_in(theta)'v. Of an inner objective of second order it is a third derivative.
    Exact,
}

/// v -> H v at a point.
pub(super) type HessianProduct<'a> = Box<dyn Fn(&Gradients) -> Result<Gradients> + 'a>;

impl Product {
    /// At `theta`, where `slope` is the gradient of `inner`. What several products share is computed once here.
    pub(super) fn at<'a>(
        self,
        inner: Objective<'a>,
        theta: &'a Weights,
        slope: &'a Gradients,
    ) -> Result<HessianProduct<'a>> {
        Ok(match self {
            Product::ForwardDifference => Box::new(move |v| {
                let e = displacement(0.1, v);
                let ahead = gradient(inner, &moved(theta, &e, v))?;
                Ok(difference(&ahead, slope, &e))
            }),
            Product::FiniteDifference => Box::new(move |v| {
                let e = displacement(0.01, v);
                let ahead = gradient(inner, &moved(theta, &e, v))?;
                let behind = gradient(inner, &moved(theta, &-&e, v))?;
                Ok(difference(&ahead, &behind, &(2.0 * e)))
            }),
            Product::Exact => {
                let slope = theta.gradients(&inner(theta)?, true)?;
                Box::new(move |v| {
                    let along: Vec<Tensor> =
                        slope.iter().zip(v).map(|(slope, v)| (slope * v).sum(slope.kind())).collect();
                    let along = Tensor::stack(&along, 0).sum(along[0].kind());
                    let parameters: Vec<&Tensor> = theta.parameters().map(|(_, t)| t).collect();
                    let product = Tensor::f_run_backward(&[along], &parameters, true, false).map_err(torch)?;
                    let or_zeros = |(h, p): (Tensor, &&Tensor)| if h.defined() { h } else { p.zeros_like() };
                    Ok(product.into_iter().zip(&parameters).map(or_zeros).collect())
                })
            }
        })
    }
}

/// e such that ||e v|| = `distance`, in the norm of all parameters together.
fn displacement(distance: f64, v: &Gradients) -> Tensor {
    distance / norm(v).clamp_min(f64::from(f32::MIN_POSITIVE))
}

/// `theta + e v`, `e` a scalar on the device.
fn moved(theta: &Weights, e: &Tensor, v: &Gradients) -> Weights {
    let step: Gradients = v.iter().map(|v| e * v).collect();
    theta.plus(1.0, &step)
}

fn difference(ahead: &Gradients, behind: &Gradients, width: &Tensor) -> Gradients {
    ahead.iter().zip(behind).map(|(ahead, behind)| (ahead - behind) / width).collect()
}
