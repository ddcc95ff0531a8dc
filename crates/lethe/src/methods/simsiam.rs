//! SimSiam (Chen & He 2021, arXiv 2011.10566): a predictor on one view meets the other view, whose gradient is stopped.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Entry, Loss, Method, Recipe, Views, from_settings, full_precision, heads, to_settings};
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "simsiam",
    title: "SimSiam",
    paper: "arXiv 2011.10566",
    recipe: Recipe { optimizer: "sgd", lr: 0.5, weight_decay: 1e-5, augmentation: "simclr-weak" },
    build: from_settings::<SimSiam>,
};

/// Defaults as solo-learn's for CIFAR; there, as in the authors' code, the predictor's learning rate stays as it is at the
/// start, here it follows the schedule with all others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimSiam {
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
    pub pred_hidden_dim: i64,
}

impl Default for SimSiam {
    fn default() -> Self {
        Self { proj_hidden_dim: 2048, proj_output_dim: 2048, pred_hidden_dim: 512 }
    }
}

impl Method for SimSiam {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let mut w = heads::init("projector", &projector(dim, self.proj_hidden_dim, self.proj_output_dim), rng);
        w.extend(heads::init("predictor", &predictor(self.proj_output_dim, self.pred_hidden_dim), rng));
        w
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let (representations, projections) = heads::project_as_is(net, w, &views.inputs, mode);
        let predict = |z: &Tensor| full_precision(&heads::forward(w, "predictor", z, mode));
        let predictions: Vec<Tensor> = projections.iter().map(predict).collect();
        let projections: Vec<Tensor> = projections.iter().map(full_precision).collect();
        let total = (negative_cosine(&predictions[0], &projections[1])
            + negative_cosine(&predictions[1], &projections[0]))
            / 2.0;
        Ok(Loss::of("negative_cosine", total, representations, projections))
    }
}

/// Three layers, each with a batch-norm, the last without scale and shift.
pub(super) fn projector(dim: i64, hidden: i64, output: i64) -> Vec<heads::Layer> {
    let mut layers = heads::plain_mlp(&[dim, hidden, hidden, output]);
    layers.push(heads::Layer::PlainBatchNorm(output));
    layers
}

/// A bottleneck.
pub(super) fn predictor(dim: i64, hidden: i64) -> Vec<heads::Layer> {
    let mut layers = heads::mlp(&[dim, hidden, dim]);
    layers[0] = heads::Layer::PlainLinear { input: dim, output: hidden };
    layers
}

/// Mean of -cos over the rows of `[n, p]`; the target is taken as a constant (equation 3 of the paper, one direction).
pub fn negative_cosine(prediction: &Tensor, target: &Tensor) -> Tensor {
    let cosine = (unit_rows(prediction) * unit_rows(&target.detach())).sum_dim_intlist([1i64].as_slice(), false, None);
    -cosine.mean(None::<Kind>)
}
