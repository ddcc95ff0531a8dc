//! BYOL (Grill et al. 2020, arXiv 2006.07733): a predictor on the student meets a slowly moving teacher.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Entry, Loss, Method, Recipe, Views, from_settings, full_precision, heads, teacher, to_settings};
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "byol",
    title: "BYOL",
    paper: "arXiv 2006.07733",
    recipe: Recipe { optimizer: "lars", lr: 1.0, weight_decay: 1e-5, augmentation: "byol" },
    build: from_settings::<Byol>,
};

/// Defaults as solo-learn's for CIFAR.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Byol {
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
    pub pred_hidden_dim: i64,
    /// The teacher's momentum at the start; it rises to `final_tau` along a cosine.
    pub base_tau: f64,
    pub final_tau: f64,
}

impl Default for Byol {
    fn default() -> Self {
        Self { proj_hidden_dim: 4096, proj_output_dim: 256, pred_hidden_dim: 4096, base_tau: 0.99, final_tau: 1.0 }
    }
}

impl Method for Byol {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let mut w = heads::init("projector", &heads::mlp(&[dim, self.proj_hidden_dim, self.proj_output_dim]), rng);
        let predictor = heads::mlp(&[self.proj_output_dim, self.pred_hidden_dim, self.proj_output_dim]);
        w.extend(heads::init("predictor", &predictor, rng));
        w
    }

    fn teach(&self, w: &mut Weights) {
        teacher::copy(w, &["predictor."]);
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let targets = teacher::projections(net, w, views, mode);
        let (representations, projections) = heads::project_as_is(net, w, &views.inputs, mode);
        let predict = |z: &Tensor| full_precision(&heads::forward(w, "predictor", z, mode));
        let total = distance(&predict(&projections[0]), &targets[1]) + distance(&predict(&projections[1]), &targets[0]);
        let projections = projections.iter().map(full_precision).collect();
        Ok(Loss::of("regression", total, representations, projections))
    }

    fn after_step(&self, w: &Weights, progress: f64) {
        teacher::follow(w, teacher::momentum(self.base_tau, self.final_tau, progress));
    }
}

/// Mean of ||p/|p| - t/|t|||^2 = 2 - 2 cos over the rows of `[n, p]` (equation 2 of the paper).
pub fn distance(prediction: &Tensor, target: &Tensor) -> Tensor {
    let cosine = (unit_rows(prediction) * unit_rows(target)).sum_dim_intlist([1i64].as_slice(), false, None::<Kind>);
    2.0 - 2.0 * cosine.mean(None)
}
