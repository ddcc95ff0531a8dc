//! Stochastic gradient descent with momentum, as `torch.optim.SGD`.

use super::{Optimizer, moment};
use crate::nn::{Gradients, Weights};

pub struct Sgd {
    momentum: f64,
    weight_decay: f64,
    state: Weights,
}

impl Sgd {
    /// Momentum 0.9; the decay is added to the gradient.
    pub fn new(weight_decay: f64) -> Self {
        Self { momentum: 0.9, weight_decay, state: Weights::new() }
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, w: &Weights, gradients: &Gradients, lr: f64) {
        tch::no_grad(|| {
            for ((name, parameter), gradient) in w.parameters().zip(gradients) {
                let mut momentum = moment(&mut self.state, &format!("momentum.{name}"), parameter);
                let gradient = gradient + self.weight_decay * parameter;
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
