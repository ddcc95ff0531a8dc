//! SimCLR (Chen et al. 2020, arXiv 2002.05709): every view tells its twin from all other views of the batch.

use serde::{Deserialize, Serialize};
use tch::{Kind, Reduction, Tensor};

use super::{Entry, Loss, Method, Recipe, Views, from_settings, heads, to_settings};
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, matmul, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "simclr",
    title: "SimCLR",
    paper: "arXiv 2002.05709",
    recipe: Recipe { optimizer: "lars", lr: 0.4, weight_decay: 1e-4, augmentation: "simclr" },
    build: from_settings::<SimClr>,
};

/// Defaults as solo-learn's for CIFAR.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimClr {
    pub temperature: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
}

impl Default for SimClr {
    fn default() -> Self {
        Self { temperature: 0.2, proj_hidden_dim: 2048, proj_output_dim: 256 }
    }
}

impl Method for SimClr {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let layers = heads::two_layers(dim, self.proj_hidden_dim, self.proj_output_dim);
        heads::init("projector", &layers, rng)
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let (representations, projections) = heads::project(net, w, &views.inputs, mode);
        let total = nt_xent(&projections[0], &projections[1], self.temperature);
        Ok(Loss::of("nt_xent", total, representations, projections))
    }
}

/// NT-Xent of two views' projections `[n, p]`: the mean over the 2n views of the cross-entropy of the twin among
/// the 2n - 1 others, with cosine similarities over `temperature` as logits (equation 1 of the paper).
pub fn nt_xent(z1: &Tensor, z2: &Tensor, temperature: f64) -> Tensor {
    let n = z1.size()[0];
    let z = unit_rows(&Tensor::cat(&[z1, z2], 0));
    let itself = Tensor::eye(2 * n, (Kind::Bool, z.device()));
    let logits = (matmul(&z, &z.tr()) / temperature).masked_fill(&itself, f64::NEG_INFINITY);
    let twin = (Tensor::arange(2 * n, (Kind::Int64, z.device())) + n).remainder(2 * n);
    logits.cross_entropy_loss(&twin, None::<&Tensor>, Reduction::Mean, -100, 0.0)
}
