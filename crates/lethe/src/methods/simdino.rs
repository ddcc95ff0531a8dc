//! SimDINO (Wu et al. 2025, arXiv 2502.10385): views of the student agree with the teacher's, and a large coding rate takes
//! the place of DINO's prototypes, centre and temperatures.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::coding_rate::coding_rate_as_is;
use super::dino::{init_bottleneck, project};
use super::{Entry, Loss, Method, Recipe, Views, from_settings, teacher, to_settings};
use crate::encoders::Part;
use crate::error::Result;
use crate::native::torch;
use crate::nn::{Mode, Weights, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "simdino",
    title: "SimDINO",
    paper: "arXiv 2502.10385",
    recipe: Recipe { optimizer: "adamw", lr: 5e-4, weight_decay: 0.04, augmentation: "dino" },
    build: from_settings::<SimDino>,
};

/// Defaults as the authors' (for ImageNet; solo-learn has none).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimDino {
    pub similarity_weight: f64,
    /// Squared precision of the coding rate.
    pub eps2: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
    /// Batch-norm before every GELU of the head.
    pub use_bn_in_head: bool,
    /// The teacher's momentum at the start; it rises to `final_tau` along a cosine.
    pub base_tau: f64,
    pub final_tau: f64,
}

impl Default for SimDino {
    fn default() -> Self {
        Self {
            similarity_weight: 1.0,
            eps2: 0.5,
            proj_hidden_dim: 2048,
            proj_output_dim: 256,
            use_bn_in_head: false,
            base_tau: 0.996,
            final_tau: 1.0,
        }
    }
}

impl Method for SimDino {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        init_bottleneck([dim, self.proj_hidden_dim, self.proj_output_dim], self.use_bn_in_head, rng)
    }

    fn teach(&self, w: &mut Weights) {
        teacher::copy(w, &[]);
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let (_, targets) = tch::no_grad(|| project(net, &w.under("teacher."), views.full(), mode));
        let (representations, projections) = project(net, w, &views.inputs, mode);
        let [similarity, rate] = simdino(&projections, &targets, self.eps2)?;
        let total = -self.similarity_weight * &similarity - &rate;
        let terms = vec![("similarity", similarity), ("coding_rate", rate)];
        Ok(Loss { total, terms, representations, projections, memory: Vec::new() })
    }

    fn after_step(&self, w: &Weights, progress: f64) {
        teacher::follow(w, teacher::momentum(self.base_tau, self.final_tau, progress));
    }
}

/// Of the student's projections `[n, p]` of all views and the teacher's of the first ones, all scaled to unit length: the
/// mean cosine over pairs of different views, and gamma times the mean over the teacher's views of the coding rate
/// 1/2 logdet(I + p/(n eps2) Z'Z), gamma = (p + n)/(p n). Both are to be large.
///
/// Z is the mean of student and teacher as in the authors' code, `expa_type` 1; the paper's equation 12 has the student's.
///
/// # Errors
/// When libtorch cannot factor the Gram matrix.
pub fn simdino(student: &[Tensor], teacher: &[Tensor], eps2: f64) -> Result<[Tensor; 2]> {
    let (n, p) = student[0].size2().map_err(torch)?;
    let student: Vec<Tensor> = student.iter().map(unit_rows).collect();
    let teacher: Vec<Tensor> = teacher.iter().map(unit_rows).collect();
    let mut cosines = Vec::new();
    for (i, target) in teacher.iter().enumerate() {
        for (_, z) in student.iter().enumerate().filter(|(view, _)| *view != i) {
            cosines.push((target * z).sum_dim_intlist([1i64].as_slice(), false, None::<Kind>).mean(None::<Kind>));
        }
    }
    let rate = |(z, target): (&Tensor, &Tensor)| -> Result<Tensor> { coding_rate_as_is(&((z + target) / 2.0), eps2) };
    let rates: Vec<Tensor> = student.iter().zip(&teacher).map(rate).collect::<Result<_>>()?;
    let gamma = (p + n) as f64 / (p * n) as f64;
    Ok([Tensor::stack(&cosines, 0).mean(None::<Kind>), gamma * Tensor::stack(&rates, 0).mean(None::<Kind>)])
}
