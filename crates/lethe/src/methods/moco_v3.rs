//! MoCo v3 (Chen et al. 2021, arXiv 2104.02057): a predictor's query finds its teacher's key among those of the batch.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{
    Entry, Loss, Method, Recipe, Views, from_settings, full_precision, heads, own_of_batch, teacher, to_settings,
};
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, matmul, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "moco-v3",
    title: "MoCo v3",
    paper: "arXiv 2104.02057",
    recipe: Recipe { optimizer: "lars", lr: 0.3, weight_decay: 1e-6, augmentation: "byol" },
    build: from_settings::<MoCoV3>,
};

/// Defaults as solo-learn's for CIFAR; the heads are those of the authors for a ResNet, for a ViT they have
/// `proj_layers = 3` and `pred_batch_norm = true`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MoCoV3 {
    pub temperature: f64,
    pub proj_layers: i64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
    pub pred_hidden_dim: i64,
    /// Whether the predictor, too, ends in a batch-norm, without scale and shift.
    pub pred_batch_norm: bool,
    /// The teacher's momentum at the start; it rises to `final_tau` along a cosine.
    pub base_tau: f64,
    pub final_tau: f64,
}

impl Default for MoCoV3 {
    fn default() -> Self {
        Self {
            temperature: 0.2,
            proj_layers: 2,
            proj_hidden_dim: 4096,
            proj_output_dim: 256,
            pred_hidden_dim: 4096,
            pred_batch_norm: false,
            base_tau: 0.99,
            final_tau: 1.0,
        }
    }
}

impl Method for MoCoV3 {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let mut dims = vec![dim];
        dims.extend((1..self.proj_layers).map(|_| self.proj_hidden_dim));
        dims.push(self.proj_output_dim);
        let mut projector = heads::plain_mlp(&dims);
        projector.push(heads::Layer::PlainBatchNorm(self.proj_output_dim));
        let mut predictor = heads::plain_mlp(&[self.proj_output_dim, self.pred_hidden_dim, self.proj_output_dim]);
        if self.pred_batch_norm {
            predictor.push(heads::Layer::PlainBatchNorm(self.proj_output_dim));
        }
        let mut w = heads::init("projector", &projector, rng);
        w.extend(heads::init("predictor", &predictor, rng));
        w
    }

    fn teach(&self, w: &mut Weights) {
        teacher::copy(w, &["predictor."]);
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let keys = teacher::projections(net, w, views, mode);
        let (representations, projections) = heads::project_as_is(net, w, &views.inputs, mode);
        let query = |view: usize| full_precision(&heads::forward(w, "predictor", &projections[view], mode));
        let total = contrast(&query(0), &keys[1], self.temperature) + contrast(&query(1), &keys[0], self.temperature);
        Ok(Loss::of("contrast", total, representations, projections.iter().map(full_precision).collect()))
    }

    fn after_step(&self, w: &Weights, progress: f64) {
        teacher::follow(w, teacher::momentum(self.base_tau, self.final_tau, progress));
    }
}

/// Of queries `[n, p]` and keys `[n, p]`: 2 T times the mean cross-entropy of a query's own key among those of the batch,
/// with cosine similarities over the temperature T as logits (algorithm 1 of the paper).
pub fn contrast(query: &Tensor, key: &Tensor, temperature: f64) -> Tensor {
    own_of_batch(&(matmul(&unit_rows(query), &unit_rows(key).tr()) / temperature)) * (2.0 * temperature)
}
