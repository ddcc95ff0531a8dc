//! ReSSL (Zheng et al. 2021, arXiv 2107.09282): a strong view relates to the keys of a queue as the teacher's weak view
//! does.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Entry, Loss, Memory, Method, Recipe, Views, from_settings, heads, memory, teacher, to_settings};
use crate::data::Dataset;
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, matmul, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "ressl",
    title: "ReSSL",
    paper: "arXiv 2107.09282",
    recipe: Recipe { optimizer: "sgd", lr: 0.05, weight_decay: 1e-4, augmentation: "ressl" },
    build: from_settings::<ReSsl>,
};

/// Defaults as solo-learn's for CIFAR.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReSsl {
    /// Of the student's relation, and of the teacher's, which is to be the sharper.
    pub temperature_q: f64,
    pub temperature_k: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
    /// Keys that the queue holds.
    pub queue_size: i64,
    /// The teacher's momentum at the start; it rises to `final_tau` along a cosine.
    pub base_tau: f64,
    pub final_tau: f64,
}

impl Default for ReSsl {
    fn default() -> Self {
        Self {
            temperature_q: 0.1,
            temperature_k: 0.04,
            proj_hidden_dim: 4096,
            proj_output_dim: 256,
            queue_size: 65536,
            base_tau: 0.99,
            final_tau: 1.0,
        }
    }
}

impl Method for ReSsl {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn prepare(&mut self, images: &dyn Dataset, batch_size: usize) -> Result<()> {
        memory::check_queue(self.queue_size, images.len(), batch_size)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let layers = heads::two_layers(dim, self.proj_hidden_dim, self.proj_output_dim);
        let mut w = heads::init("projector", &layers, rng);
        w.extend(memory::queue("queue", self.queue_size, self.proj_output_dim, rng));
        w
    }

    fn teach(&self, w: &mut Weights) {
        teacher::copy(w, &[]);
    }

    /// Of the first view by the student and of the second, the weak one, by the teacher alone; the second representation
    /// and projection are therefore the teacher's.
    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let (strong, weak) = views.inputs.split_at(1);
        let (mut representations, mut projections) = heads::project(net, w, strong, mode);
        let (of_teacher, key) = teacher::project(net, w, weak, mode);
        representations.extend(of_teacher);
        projections.extend(key);
        let temperatures = [self.temperature_q, self.temperature_k];
        let total = relation(&projections[0], &projections[1], w.get("memory.queue"), temperatures);
        let rows = unit_rows(&projections[1]);
        Ok(Loss {
            memory: vec![Memory::Rows { name: "queue", rows }],
            ..Loss::of("relation", total, representations, projections)
        })
    }

    fn after_step(&self, w: &Weights, progress: f64) {
        teacher::follow(w, teacher::momentum(self.base_tau, self.final_tau, progress));
    }
}

/// The mean over the rows of `[n, p]` of the cross-entropy from the key's relation to the query's: softmaxes over the unit
/// rows `[k, p]` of a queue of cosine similarities over the two temperatures (equations 1 to 4 of the paper).
pub fn relation(query: &Tensor, key: &Tensor, queue: &Tensor, [of_query, of_key]: [f64; 2]) -> Tensor {
    let similarities = |z: &Tensor| matmul(&unit_rows(z), &queue.tr());
    let target = (similarities(&key.detach()) / of_key).softmax(1, None::<Kind>);
    let found = (similarities(query) / of_query).log_softmax(1, None::<Kind>);
    -(target * found).sum_dim_intlist([1i64].as_slice(), false, None::<Kind>).mean(None::<Kind>)
}
