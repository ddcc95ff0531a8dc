//! TiCo (Zhu et al. 2022, arXiv 2206.10698): a student agrees with its slowly moving teacher and keeps away from the
//! directions that a remembered covariance says are crowded.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::{Entry, Loss, Memory, Method, Recipe, Views, from_settings, heads, teacher, to_settings};
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, matmul, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "tico",
    title: "TiCo",
    paper: "arXiv 2206.10698",
    recipe: Recipe { optimizer: "lars", lr: 0.2, weight_decay: 1.5e-6, augmentation: "byol" },
    build: from_settings::<TiCo>,
};

/// Defaults as the paper's and lightly's for ImageNet.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TiCo {
    /// What the covariance keeps of the past in a step.
    pub beta: f64,
    /// Weight of the contrast with the covariance.
    pub rho: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
    /// The teacher's momentum at the start; it rises to `final_tau` along a cosine.
    pub base_tau: f64,
    pub final_tau: f64,
}

impl Default for TiCo {
    fn default() -> Self {
        Self { beta: 0.9, rho: 8.0, proj_hidden_dim: 4096, proj_output_dim: 256, base_tau: 0.99, final_tau: 1.0 }
    }
}

impl Method for TiCo {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let p = self.proj_output_dim;
        let mut w = heads::init("projector", &heads::mlp(&[dim, self.proj_hidden_dim, p]), rng);
        w.insert("memory.covariance", Tensor::zeros([p, p], (Kind::Float, Device::Cpu)));
        w
    }

    fn teach(&self, w: &mut Weights) {
        teacher::copy(w, &[]);
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let targets = teacher::projections(net, w, views, mode);
        let (representations, projections) = heads::project(net, w, &views.inputs, mode);
        // Both directions as one batch of 2n rows.
        let z = Tensor::cat(&[&projections[0], &projections[1]], 0);
        let target = Tensor::cat(&[&targets[1], &targets[0]], 0);
        let covariance = remembered(&z, w.get("memory.covariance"), self.beta);
        let [invariance, contrast] = tico(&z, &target, &covariance);
        let total = &invariance + self.rho * &contrast;
        let terms = vec![("invariance", invariance), ("contrast", contrast)];
        let memory = vec![Memory::Value { name: "covariance", value: covariance }];
        Ok(Loss { total, terms, representations, projections, memory })
    }

    fn after_step(&self, w: &Weights, progress: f64) {
        teacher::follow(w, teacher::momentum(self.base_tau, self.final_tau, progress));
    }
}

/// beta C + (1 - beta) Z'Z/n of the rows of `z` `[n, p]` scaled to unit length, as a constant `[p, p]`. As in lightly no
/// gradient goes through it; the paper does not say.
pub fn remembered(z: &Tensor, covariance: &Tensor, beta: f64) -> Tensor {
    let n = z.size()[0] as f64;
    let z = unit_rows(&z.detach());
    beta * covariance + (1.0 - beta) / n * matmul(&z.tr(), &z)
}

/// The two terms of projections and targets `[n, p]`, scaled to unit length: the mean of 1 - z't, and that of z'Cz with
/// the covariance C.
pub fn tico(z: &Tensor, target: &Tensor, covariance: &Tensor) -> [Tensor; 2] {
    let (z, target) = (unit_rows(z), unit_rows(target));
    let mean_product =
        |a: &Tensor, b: &Tensor| (a * b).sum_dim_intlist([1i64].as_slice(), false, None).mean(None::<Kind>);
    [1.0 - mean_product(&z, &target), mean_product(&matmul(&z, covariance), &z)]
}
