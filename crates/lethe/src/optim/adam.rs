//! Adam (Kingma & Ba 2015, arXiv 1412.6980) and AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101), as `torch.optim` has
//! them with its default betas and epsilon.

use tch::{Kind, Tensor};

use super::{Optimizer, moment};
use crate::nn::{Gradients, Weights};

/// How the weight decay comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// As a part of the gradient: Adam.
    OfGradient,
    /// Beside the gradient's step: AdamW.
    Decoupled,
}

pub struct Adam {
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    decay: Decay,
    state: Weights,
}

impl Adam {
    pub fn new(weight_decay: f64, decay: Decay) -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay, decay, state: Weights::new() }
    }

    fn count_step(&mut self) -> i32 {
        let step = self.state.find("step").map_or(0, |step| step.int64_value(&[])) + 1;
        self.state.insert("step", Tensor::from(step).to_kind(Kind::Int64));
        step as i32
    }
}

impl Optimizer for Adam {
    fn step(&mut self, w: &Weights, gradients: &Gradients, lr: f64) {
        let step = self.count_step();
        let (bias1, bias2) = (1.0 - self.beta1.powi(step), 1.0 - self.beta2.powi(step));
        tch::no_grad(|| {
            for ((name, parameter), gradient) in w.parameters().zip(gradients) {
                let mut parameter = parameter.shallow_clone();
                let mut first = moment(&mut self.state, &format!("first.{name}"), &parameter);
                let mut second = moment(&mut self.state, &format!("second.{name}"), &parameter);
                let gradient = match self.decay {
                    Decay::OfGradient => gradient + self.weight_decay * &parameter,
                    Decay::Decoupled => {
                        let _ = parameter.g_mul_scalar_(1.0 - lr * self.weight_decay);
                        gradient.shallow_clone()
                    }
                };
                let _ = first.lerp_(&gradient, 1.0 - self.beta1);
                let _ = second.g_mul_scalar_(self.beta2).g_add_(&((1.0 - self.beta2) * gradient.square()));
                let denominator = second.sqrt() / bias2.sqrt() + self.eps;
                let _ = parameter.g_sub_(&((lr / bias1) * &first / denominator));
            }
        });
    }

    fn state(&self) -> &Weights {
        &self.state
    }

    fn resume(&mut self, state: Weights) {
        self.state = state;
    }
}
