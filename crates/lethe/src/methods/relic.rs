//! ReLIC (Mitrovic et al. 2020, arXiv 2010.07922): instance discrimination whose prediction is held to be the same
//! whichever views were drawn.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Entry, Loss, Method, Recipe, Views, from_settings, heads, own_of_batch, teacher, to_settings};
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, matmul, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "relic",
    title: "ReLIC",
    paper: "arXiv 2010.07922",
    recipe: Recipe { optimizer: "lars", lr: 0.3, weight_decay: 1e-6, augmentation: "byol" },
    build: from_settings::<Relic>,
};

/// Neither the authors nor solo-learn give values for CIFAR: `alpha` and the teacher's momentum are those of
/// github.com/filipbasara0/relic there, the rest is solo-learn's of MoCo v3, the nearest relative.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Relic {
    pub temperature: f64,
    /// Weight of the invariance.
    pub alpha: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
    /// The teacher's momentum at the start; it rises to `final_tau` along a cosine.
    pub base_tau: f64,
    pub final_tau: f64,
}

impl Default for Relic {
    fn default() -> Self {
        Self {
            temperature: 0.2,
            alpha: 1.0,
            proj_hidden_dim: 4096,
            proj_output_dim: 256,
            base_tau: 0.99,
            final_tau: 1.0,
        }
    }
}

impl Method for Relic {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        heads::init("projector", &heads::mlp(&[dim, self.proj_hidden_dim, self.proj_output_dim]), rng)
    }

    fn teach(&self, w: &mut Weights) {
        teacher::copy(w, &[]);
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let keys = teacher::projections(net, w, views, mode);
        let (representations, projections) = heads::project(net, w, &views.inputs, mode);
        let [contrast, invariance] = relic([&projections[0], &projections[1]], [&keys[0], &keys[1]], self.temperature);
        let total = &contrast + self.alpha * &invariance;
        let terms = vec![("contrast", contrast), ("invariance", invariance)];
        Ok(Loss { total, terms, representations, projections, memory: Vec::new() })
    }

    fn after_step(&self, w: &Weights, progress: f64) {
        teacher::follow(w, teacher::momentum(self.base_tau, self.final_tau, progress));
    }
}

/// Contrast and invariance of two views' queries and keys, all `[n, p]`. p_lk(j | i) is the softmax over the keys j of view
/// k of their cosine similarities to query i of view l, over `temperature`. Contrast: -ln p_lk(i | i); invariance:
/// KL(p_12 || p_21) and KL(p_21 || p_12); each the mean over images and both orders (equation 3 of the paper, which sums).
/// github.com/filipbasara0/relic compares p_12 with the softmax over the queries of the same similarities instead.
pub fn relic(queries: [&Tensor; 2], keys: [&Tensor; 2], temperature: f64) -> [Tensor; 2] {
    let logits = |l: usize| matmul(&unit_rows(queries[l]), &unit_rows(keys[1 - l]).tr()) / temperature;
    let logits = [logits(0), logits(1)];
    let contrast = (own_of_batch(&logits[0]) + own_of_batch(&logits[1])) / 2.0;
    let [p12, p21] = logits.map(|logits| logits.log_softmax(1, None::<Kind>));
    // KL(p || q) + KL(q || p) = sum (p - q) (ln p - ln q)
    let both = (p12.exp() - p21.exp()) * (&p12 - &p21);
    let invariance = both.sum_dim_intlist([1i64].as_slice(), false, None::<Kind>).mean(None::<Kind>) / 2.0;
    [contrast, invariance]
}
