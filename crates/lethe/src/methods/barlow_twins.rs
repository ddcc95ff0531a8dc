//! Barlow Twins (Zbontar et al. 2021, arXiv 2103.03230): the correlations between two views' dimensions become the
//! identity.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Entry, Loss, Method, Recipe, Views, from_settings, heads, to_settings};
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{self, Mode, Weights, matmul};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "barlow-twins",
    title: "Barlow Twins",
    paper: "arXiv 2103.03230",
    recipe: Recipe { optimizer: "lars", lr: 0.3, weight_decay: 1e-4, augmentation: "byol" },
    build: from_settings::<BarlowTwins>,
};

/// Defaults as solo-learn's for CIFAR.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BarlowTwins {
    pub redundancy_weight: f64,
    /// Of the whole loss.
    pub scale_loss: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
}

impl Default for BarlowTwins {
    fn default() -> Self {
        Self { redundancy_weight: 0.0051, scale_loss: 0.1, proj_hidden_dim: 2048, proj_output_dim: 2048 }
    }
}

impl Method for BarlowTwins {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let layers = heads::mlp(&[dim, self.proj_hidden_dim, self.proj_hidden_dim, self.proj_output_dim]);
        heads::init("projector", &layers, rng)
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let (representations, projections) = heads::project(net, w, &views.inputs, mode);
        let [invariance, redundancy] = barlow_twins(&projections[0], &projections[1]);
        let total = self.scale_loss * (&invariance + self.redundancy_weight * &redundancy);
        let terms = vec![("invariance", invariance), ("redundancy", redundancy)];
        Ok(Loss { total, terms, representations, projections, memory: Vec::new() })
    }
}

/// The two terms of two views' projections `[n, p]`, of the correlations C `[p, p]` between their dimensions over the
/// batch: the sum of (1 - C_ii)^2 and the sum of the others squared (equation 1).
pub fn barlow_twins(z1: &Tensor, z2: &Tensor) -> [Tensor; 2] {
    let n = z1.size()[0] as f64;
    // As the authors do it: in the statistics of the batch at hand, whatever the mode of the network.
    let standard = |z: &Tensor| nn::batch_norm(&Weights::new(), "", z, Mode::TrainKeepStats);
    let correlations = matmul(&standard(z1).tr(), &standard(z2)) / n;
    let diagonal = correlations.diagonal(0, 0, 1);
    let invariance = (&diagonal - 1.0).square().sum(None::<Kind>);
    let redundancy = correlations.square().sum(None::<Kind>) - diagonal.square().sum(None::<Kind>);
    [invariance, redundancy]
}
