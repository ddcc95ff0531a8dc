//! MoCo v2+ (Chen & He 2020, arXiv 2011.10566, after He et al. 2019, arXiv 1911.05722): a query finds its teacher's key
//! among those of a queue, in both directions.

use serde::{Deserialize, Serialize};
use tch::{Kind, Reduction, Tensor};

use super::{Entry, Loss, Memory, Method, Recipe, Views, from_settings, heads, memory, teacher, to_settings};
use crate::data::Dataset;
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, matmul, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "moco-v2",
    title: "MoCo v2+",
    paper: "arXiv 2011.10566",
    recipe: Recipe { optimizer: "sgd", lr: 0.3, weight_decay: 1e-4, augmentation: "simclr-weak" },
    build: from_settings::<MoCoV2>,
};

/// Defaults as solo-learn's for CIFAR.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MoCoV2 {
    pub temperature: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
    /// Keys that each of the two queues holds.
    pub queue_size: i64,
    /// The teacher's momentum at the start; it rises to `final_tau` along a cosine.
    pub base_tau: f64,
    pub final_tau: f64,
}

impl Default for MoCoV2 {
    fn default() -> Self {
        Self {
            temperature: 0.2,
            proj_hidden_dim: 2048,
            proj_output_dim: 256,
            queue_size: 32768,
            base_tau: 0.99,
            final_tau: 0.999,
        }
    }
}

/// One queue a view, as in solo-learn.
const QUEUES: [&str; 2] = ["queue1", "queue2"];

impl Method for MoCoV2 {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn prepare(&mut self, images: &dyn Dataset, batch_size: usize) -> Result<()> {
        memory::check_queue(self.queue_size, images.len(), batch_size)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let layers = heads::two_layers(dim, self.proj_hidden_dim, self.proj_output_dim);
        let mut w = heads::init("projector", &layers, rng);
        for name in QUEUES {
            w.extend(memory::queue(name, self.queue_size, self.proj_output_dim, rng));
        }
        w
    }

    fn teach(&self, w: &mut Weights) {
        teacher::copy(w, &[]);
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let keys = teacher::projections(net, w, views, mode);
        let (representations, projections) = heads::project(net, w, &views.inputs, mode);
        let contrast = |view: usize| {
            let other = 1 - view;
            let queue = w.get(&format!("memory.{}", QUEUES[other]));
            info_nce(&projections[view], &keys[other], queue, self.temperature)
        };
        let total = (contrast(0) + contrast(1)) / 2.0;
        let memory = QUEUES.iter().zip(&keys).map(|(&name, key)| Memory::Rows { name, rows: unit_rows(key) }).collect();
        Ok(Loss { memory, ..Loss::of("info_nce", total, representations, projections) })
    }

    fn after_step(&self, w: &Weights, progress: f64) {
        teacher::follow(w, teacher::momentum(self.base_tau, self.final_tau, progress));
    }
}

/// InfoNCE of queries `[n, p]` and keys `[n, p]`: the mean cross-entropy of a query's own key among it and the unit rows
/// `[k, p]` of a queue, with cosine similarities over `temperature` as logits (equation 1 of arXiv 1911.05722).
pub fn info_nce(query: &Tensor, key: &Tensor, queue: &Tensor, temperature: f64) -> Tensor {
    let (query, key) = (unit_rows(query), unit_rows(key));
    let own = (&query * key).sum_dim_intlist([1i64].as_slice(), true, None::<Kind>);
    let logits = Tensor::cat(&[own, matmul(&query, &queue.tr())], 1) / temperature;
    let first = Tensor::zeros([query.size()[0]], (Kind::Int64, query.device()));
    logits.cross_entropy_loss(&first, None::<&Tensor>, Reduction::Mean, -100, 0.0)
}
