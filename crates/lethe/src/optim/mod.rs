//! Optimisers over `Weights`; their state is `Weights` too, so that it can be saved.

mod adam;
mod lars;
mod schedule;
mod sgd;

use tch::Tensor;

use crate::error::{Error, Result};
use crate::nn::{Gradients, Weights};

pub use adam::{Adam, Decay};
pub use lars::Lars;
pub use schedule::WarmupCosine;
pub use sgd::Sgd;

pub trait Optimizer {
    /// One step in place on the parameters of `w`; `gradients` are in the order of [`Weights::parameters`].
    fn step(&mut self, w: &Weights, gradients: &Gradients, lr: f64);

    /// The moments, for a checkpoint; empty before the first step.
    fn state(&self) -> &Weights;

    /// Takes up the moments of a checkpoint.
    fn resume(&mut self, state: Weights);
}

pub struct Entry {
    pub name: &'static str,
    pub build: fn(weight_decay: f64) -> Box<dyn Optimizer>,
}

pub const OPTIMIZERS: &[Entry] = &[
    Entry { name: "sgd", build: |weight_decay| Box::new(Sgd::new(weight_decay)) },
    Entry { name: "adam", build: |weight_decay| Box::new(Adam::new(weight_decay, Decay::OfGradient)) },
    Entry { name: "adamw", build: |weight_decay| Box::new(Adam::new(weight_decay, Decay::Decoupled)) },
    Entry { name: "lars", build: |weight_decay| Box::new(Lars::new(weight_decay)) },
];

/// # Errors
/// When there is no optimiser of this name.
pub fn build(name: &str, weight_decay: f64) -> Result<Box<dyn Optimizer>> {
    let entry = OPTIMIZERS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<&str> = OPTIMIZERS.iter().map(|entry| entry.name).collect();
        Error::usage(format!("unknown optimizer {name:?}")).hint(format!("one of: {}", names.join(", ")))
    })?;
    Ok((entry.build)(weight_decay))
}

/// Scales gradients so that their joint norm is at most `max_norm`, without waiting for the device.
pub fn clip_norm(gradients: &Gradients, max_norm: f64) {
    tch::no_grad(|| {
        let norms: Vec<Tensor> = gradients.iter().map(Tensor::norm).collect();
        let norm = Tensor::stack(&norms, 0).norm();
        let scale = (max_norm / (norm + 1e-6)).clamp_max(1.0);
        for gradient in gradients {
            let _ = gradient.shallow_clone().g_mul_(&scale);
        }
    });
}

/// The tensor of the state under `name`, made of zeros in the shape of `like` on first use.
fn moment(state: &mut Weights, name: &str, like: &Tensor) -> Tensor {
    if state.find(name).is_none() {
        state.insert(name, like.detach().zeros_like());
    }
    state.get(name).shallow_clone()
}
