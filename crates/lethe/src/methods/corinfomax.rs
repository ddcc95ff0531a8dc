//! CorInfoMax (Ozsoy et al. 2022, arXiv 2209.07999): views agree, and each view's covariance, remembered from batch to
//! batch, has a large determinant.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Reduction, Tensor};

use super::coding_rate::logdet;
use super::{Entry, Loss, Memory, Method, Recipe, Views, from_settings, heads, to_settings};
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, matmul, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "corinfomax",
    title: "CorInfoMax",
    paper: "arXiv 2209.07999",
    // The authors' 0.5 is for batches of 512.
    recipe: Recipe { optimizer: "sgd", lr: 0.25, weight_decay: 1e-4, augmentation: "byol" },
    build: from_settings::<CorInfoMax>,
};

/// Defaults as the authors' for CIFAR-10.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorInfoMax {
    /// Weight of the mean squared difference of the views.
    pub similarity_weight: f64,
    /// What the mean and the covariance keep of the past in a step.
    pub forgetting: f64,
    /// Added to the covariance's diagonal.
    pub diagonal: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
}

impl Default for CorInfoMax {
    fn default() -> Self {
        Self { similarity_weight: 250.0, forgetting: 0.01, diagonal: 1e-8, proj_hidden_dim: 2048, proj_output_dim: 64 }
    }
}

/// The buffers of a view.
const VIEWS: [[&str; 2]; 2] = [["mean1", "covariance1"], ["mean2", "covariance2"]];

impl Method for CorInfoMax {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let (hidden, p) = (self.proj_hidden_dim, self.proj_output_dim);
        let layers = [
            heads::Layer::Linear { input: dim, output: hidden },
            heads::Layer::Relu,
            heads::Layer::Linear { input: hidden, output: hidden },
            heads::Layer::Relu,
            heads::Layer::PlainLinear { input: hidden, output: p },
        ];
        let mut w = heads::init("projector", &layers, rng);
        let f64s = (Kind::Double, Device::Cpu);
        for [mean, covariance] in VIEWS {
            w.insert(format!("memory.{mean}"), Tensor::zeros([p], f64s));
            w.insert(format!("memory.{covariance}"), Tensor::eye(p, f64s));
        }
        w
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let (representations, projections) = heads::project(net, w, &views.inputs, mode);
        let projections: Vec<Tensor> = projections.iter().map(unit_rows).collect();
        let similarity = projections[0].mse_loss(&projections[1], Reduction::Mean);
        let mut memory = Vec::new();
        let mut spreads = Vec::new();
        for (names, z) in VIEWS.into_iter().zip(&projections) {
            let past = names.map(|name| w.get(&format!("memory.{name}")));
            let now = remembered(z, past, self.forgetting);
            spreads.push(spread(&now[1], self.diagonal)?);
            memory.extend(names.into_iter().zip(now).map(|(name, now)| Memory::Value { name, value: now.detach() }));
        }
        let spread = (&spreads[0] + &spreads[1]).to_kind(similarity.kind());
        let total = self.similarity_weight * &similarity - &spread;
        let terms = vec![("similarity", similarity), ("spread", spread)];
        Ok(Loss { total, terms, representations, projections, memory })
    }
}

/// Mean `[p]` and covariance `[p, p]` of `z` `[n, p]`, with the share `forgetting` of the past in them, in float64; the
/// covariance is about that mean.
pub fn remembered(z: &Tensor, [mean, covariance]: [&Tensor; 2], forgetting: f64) -> [Tensor; 2] {
    let n = z.size()[0] as f64;
    let z = z.to_kind(Kind::Double);
    let mean =
        forgetting * mean.to_kind(Kind::Double) + (1.0 - forgetting) * z.mean_dim([0i64].as_slice(), false, None);
    let centred = z - &mean;
    let of_batch = matmul(&centred.tr(), &centred) / n;
    [mean, forgetting * covariance.to_kind(Kind::Double) + (1.0 - forgetting) * of_batch]
}

/// ln det(R + diagonal I)/p of a covariance R `[p, p]`.
///
/// # Errors
/// When libtorch cannot factor it.
pub fn spread(covariance: &Tensor, diagonal: f64) -> Result<Tensor> {
    let p = covariance.size()[0];
    let identity = Tensor::eye(p, (covariance.kind(), covariance.device()));
    Ok(logdet(&(covariance + diagonal * identity))? / p as f64)
}
