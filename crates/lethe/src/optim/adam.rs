//! Adam (Kingma & Ba 2015, arXiv 1412.6980) and AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101), as `torch.optim` has
//! them with its default betas and epsilon, by libtorch's fused kernel (`csrc/adam.cpp`).

use std::ffi::c_char;

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use super::{Optimizer, moment};
use crate::native::checked;
use crate::nn::{Gradients, Weights};

unsafe extern "C" {
    fn lethe_adam(
        n: i64,
        parameters: *const *mut C_tensor,
        gradients: *const *mut C_tensor,
        first: *const *mut C_tensor,
        second: *const *mut C_tensor,
        step: *const C_tensor,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
        decoupled: bool,
        error: *mut *mut c_char,
    ) -> *mut C_tensor;
}

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

    /// Steps made, with this one.
    fn count_step(&mut self) -> i64 {
        let step = self.state.find("step").map_or(0, |step| step.int64_value(&[])) + 1;
        self.state.insert("step", Tensor::from(step).to_kind(Kind::Int64));
        step
    }
}

impl Optimizer for Adam {
    fn step(&mut self, w: &Weights, gradients: &Gradients, lr: f64) {
        let step = self.count_step();
        let (mut parameters, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
        for (name, parameter) in w.parameters() {
            first.push(moment(&mut self.state, &format!("first.{name}"), parameter));
            second.push(moment(&mut self.state, &format!("second.{name}"), parameter));
            parameters.push(parameter.shallow_clone());
        }
        let Some(any) = parameters.first() else { return };
        let step = Tensor::full([0i64; 0], step, (Kind::Float, any.device()));
        assert_eq!(parameters.len(), gradients.len(), "a gradient a parameter");
        let pointers = |tensors: &mut [Tensor]| tensors.iter_mut().map(Tensor::as_mut_ptr).collect::<Vec<_>>();
        let mut gradients: Vec<Tensor> = gradients.iter().map(Tensor::shallow_clone).collect();
        let (p, g) = (pointers(&mut parameters), pointers(&mut gradients));
        let (m, v) = (pointers(&mut first), pointers(&mut second));
        // SAFETY: four lists of as many tensors, which live through the call; the function keeps to the contract of
        // `checked`.
        let _ = checked(|error| unsafe {
            lethe_adam(
                p.len() as i64,
                p.as_ptr(),
                g.as_ptr(),
                m.as_ptr(),
                v.as_ptr(),
                step.as_ptr(),
                lr,
                self.beta1,
                self.beta2,
                self.weight_decay,
                self.eps,
                self.decay == Decay::Decoupled,
                error,
            )
        });
    }

    fn state(&self) -> &Weights {
        &self.state
    }

    fn resume(&mut self, state: Weights) {
        self.state = state;
    }
}
