//! LARS (You et al. 2017, arXiv 1708.03888) as solo-learn sets it up: trust coefficient 0.02, the local rate clipped at
//! the global one, biases and normalisations neither decayed nor adapted.

use super::{Optimizer, moment};
use crate::nn::{Gradients, Weights};

pub struct Lars {
    momentum: f64,
    weight_decay: f64,
    eta: f64,
    state: Weights,
}

impl Lars {
    pub fn new(weight_decay: f64) -> Self {
        Self { momentum: 0.9, weight_decay, eta: 0.02, state: Weights::new() }
    }
}

impl Optimizer for Lars {
    fn step(&mut self, w: &Weights, gradients: &Gradients, lr: f64) {
        tch::no_grad(|| {
            for ((name, parameter), gradient) in w.parameters().zip(gradients) {
                let mut gradient = gradient.shallow_clone();
                if parameter.dim() > 1 {
                    let (size, slope) = (parameter.norm(), gradient.norm());
                    // clip_lr: the local rate is at most the global one.
                    let local = self.eta * &size / (&slope + self.weight_decay * &size + 1e-8);
                    let scale = (local / lr).clamp_max(1.0);
                    let adapts = size.gt(0.0).logical_and(&slope.gt(0.0));
                    let adapted = (&gradient + self.weight_decay * parameter) * scale;
                    gradient = adapted.where_self(&adapts, &gradient);
                }
                let mut momentum = moment(&mut self.state, &format!("momentum.{name}"), parameter);
                let _ = momentum.g_mul_scalar_(self.momentum).g_add_(&gradient);
                let _ = parameter.shallow_clone().g_sub_(&(lr * momentum));
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
