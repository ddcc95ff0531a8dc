//! MEC (Liu et al. 2022, arXiv 2210.11464): representations of maximum entropy, measured by the length of a lossy code
//! of one view's predictions and the other's targets from a teacher.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Entry, Loss, Method, Recipe, Views, from_settings, full_precision, heads, simsiam, teacher, to_settings};
use crate::encoders::Part;
use crate::error::Result;
use crate::native::torch;
use crate::nn::{Mode, Weights, matmul, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "mec",
    title: "MEC",
    paper: "arXiv 2210.11464",
    recipe: Recipe { optimizer: "sgd", lr: 0.5, weight_decay: 1e-5, augmentation: "byol" },
    build: from_settings::<Mec>,
};

/// 1/lambda starts at so many times its value.
const WARMUP_FACTOR: f64 = 8.0;

/// Defaults as the authors' for ImageNet; they have none for CIFAR. The Taylor series converges where no direction holds
/// more than eps2/d of the projections' unit rows, 1/32 here: a small encoder fills no 32 directions, and needs a smaller
/// `proj_output_dim`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mec {
    /// Squared distortion of the code, for all dimensions together.
    pub eps2: f64,
    /// Epochs in which 1/lambda falls to its value, so that the Taylor series converges from the start.
    pub lambda_warmup_epochs: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
    pub pred_hidden_dim: i64,
    /// The teacher's momentum at the start; it rises to `final_tau` along a cosine.
    pub base_tau: f64,
    pub final_tau: f64,
}

impl Default for Mec {
    fn default() -> Self {
        Self {
            eps2: 64.0,
            lambda_warmup_epochs: 10.0,
            proj_hidden_dim: 2048,
            proj_output_dim: 2048,
            pred_hidden_dim: 512,
            base_tau: 0.996,
            final_tau: 1.0,
        }
    }
}

impl Mec {
    /// 1/lambda = m eps2/d for m images and projections of dimension d.
    fn inverse_lambda(&self, m: i64, d: i64, epoch: f64) -> f64 {
        let done = if epoch < self.lambda_warmup_epochs { epoch / self.lambda_warmup_epochs } else { 1.0 };
        (WARMUP_FACTOR + done * (1.0 - WARMUP_FACTOR)) * m as f64 * self.eps2 / d as f64
    }
}

impl Method for Mec {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let layers = simsiam::projector(dim, self.proj_hidden_dim, self.proj_output_dim);
        let mut w = heads::init("projector", &layers, rng);
        w.extend(heads::init("predictor", &simsiam::predictor(self.proj_output_dim, self.pred_hidden_dim), rng));
        w
    }

    fn teach(&self, w: &mut Weights) {
        teacher::copy(w, &["predictor."]);
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let targets = teacher::projections(net, w, views, mode);
        let (representations, projections) = heads::project_as_is(net, w, &views.inputs, mode);
        let predict = |z: &Tensor| full_precision(&heads::forward(w, "predictor", z, mode));
        let predictions: Vec<Tensor> = projections.iter().map(predict).collect();
        let (m, d) = targets[0].size2().map_err(torch)?;
        let inverse_lambda = self.inverse_lambda(m, d, views.epoch);
        let total = -(code_length(&predictions[0], &targets[1], inverse_lambda)
            + code_length(&predictions[1], &targets[0], inverse_lambda))
            / 2.0;
        Ok(Loss {
            terms: vec![("code_length", -&total)],
            total,
            representations,
            projections: projections.iter().map(full_precision).collect(),
            memory: Vec::new(),
        })
    }

    fn after_step(&self, w: &Weights, progress: f64) {
        teacher::follow(w, teacher::momentum(self.base_tau, self.final_tau, progress));
    }
}

/// Of predictions and targets `[m, d]`, scaled to unit length, with C = P Z' lambda: logdet(I + C)/(lambda m) by the first
/// four terms of its Taylor series, tr(C - C^2/2 + C^3/3 - C^4/4) (equation 2, scaled as the authors' code does).
pub fn code_length(predictions: &Tensor, targets: &Tensor, inverse_lambda: f64) -> Tensor {
    let (m, d) = predictions.size2().expect("predictions are [m, d]");
    let (p, z) = (unit_rows(predictions), unit_rows(targets));
    // P Z' and Z' P have powers of the same traces.
    let c = if d <= m { matmul(&z.tr(), &p) } else { matmul(&p, &z.tr()) } / inverse_lambda;
    let squared = matmul(&c, &c);
    let trace = |a: &Tensor, b: &Tensor| (a * b.tr()).sum(None::<Kind>);
    let series = c.diagonal(0, 0, 1).sum(None::<Kind>) - trace(&c, &c) / 2.0 + trace(&squared, &c) / 3.0
        - trace(&squared, &squared) / 4.0;
    series * (inverse_lambda / m as f64)
}
