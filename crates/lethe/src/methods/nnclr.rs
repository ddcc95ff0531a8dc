//! NNCLR (Dwibedi et al. 2021, arXiv 2104.14548): the positive of a view is the nearest neighbour of its twin in a
//! support set of earlier projections.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{
    Entry, Loss, Memory, Method, Recipe, Views, from_settings, full_precision, heads, memory, own_of_batch, to_settings,
};
use crate::data::Dataset;
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, matmul, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "nnclr",
    title: "NNCLR",
    paper: "arXiv 2104.14548",
    recipe: Recipe { optimizer: "lars", lr: 0.4, weight_decay: 1e-5, augmentation: "byol" },
    build: from_settings::<NnClr>,
};

/// Defaults as solo-learn's for CIFAR.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NnClr {
    pub temperature: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
    pub pred_hidden_dim: i64,
    /// Projections of first views that the support set holds.
    pub queue_size: i64,
}

impl Default for NnClr {
    fn default() -> Self {
        Self { temperature: 0.2, proj_hidden_dim: 2048, proj_output_dim: 256, pred_hidden_dim: 4096, queue_size: 65536 }
    }
}

impl Method for NnClr {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn prepare(&mut self, images: &dyn Dataset, batch_size: usize) -> Result<()> {
        memory::check_queue(self.queue_size, images.len(), batch_size)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let (hidden, output) = (self.proj_hidden_dim, self.proj_output_dim);
        let mut projector = heads::mlp(&[dim, hidden, hidden, output]);
        projector.push(heads::Layer::BatchNorm(output));
        let mut w = heads::init("projector", &projector, rng);
        w.extend(heads::init("predictor", &heads::mlp(&[output, self.pred_hidden_dim, output]), rng));
        w.extend(memory::queue("support", self.queue_size, output, rng));
        w
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let support = w.get("memory.support");
        let (representations, projections) = heads::project_as_is(net, w, &views.inputs, mode);
        let prediction = |view: usize| full_precision(&heads::forward(w, "predictor", &projections[view], mode));
        let predictions = [prediction(0), prediction(1)];
        let projections: Vec<Tensor> = projections.iter().map(full_precision).collect();
        let contrast = |view: usize| {
            let neighbours = nearest(&projections[view], support);
            nnclr(&neighbours, &predictions[1 - view], self.temperature)
        };
        let total = (contrast(0) + contrast(1)) / 2.0;
        let rows = unit_rows(&projections[0].detach());
        Ok(Loss {
            memory: vec![Memory::Rows { name: "support", rows }],
            ..Loss::of("nnclr", total, representations, projections)
        })
    }
}

/// For every row of `[n, p]` the one of the unit rows `[k, p]` of `support` with the largest cosine, in no graph.
pub fn nearest(z: &Tensor, support: &Tensor) -> Tensor {
    let nearest = matmul(&unit_rows(&z.detach()), &support.tr()).argmax(1, false);
    support.index_select(0, &nearest)
}

/// The mean cross-entropy of a neighbour's own prediction among those of the batch, both `[n, p]`, with cosine
/// similarities over `temperature` as logits (equation 2 of the paper; lightly's takes NT-Xent instead, in which the
/// neighbours compete too).
pub fn nnclr(neighbours: &Tensor, predictions: &Tensor, temperature: f64) -> Tensor {
    own_of_batch(&(matmul(&unit_rows(neighbours), &unit_rows(predictions).tr()) / temperature))
}
