//! SwAV (Caron et al. 2020, arXiv 2006.09882): a view predicts the code that another view of the image gets, an assignment
//! to prototypes that uses all of them equally.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Entry, Loss, Memory, Method, Recipe, Views, from_settings, heads, memory, to_settings};
use crate::data::Dataset;
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{self, Mode, Weights, matmul, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "swav",
    title: "SwAV",
    paper: "arXiv 2006.09882",
    recipe: Recipe { optimizer: "lars", lr: 0.6, weight_decay: 1e-6, augmentation: "swav" },
    build: from_settings::<SwAv>,
};

/// The queues of the two views that get codes.
const QUEUES: [&str; 2] = ["queue1", "queue2"];

/// Defaults as solo-learn's for CIFAR. Prototypes are of unit length after every step, as in the authors' code
/// (solo-learn trains their lengths too).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SwAv {
    pub temperature: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
    pub num_prototypes: i64,
    /// Sharpness of the codes and rounds of the Sinkhorn-Knopp algorithm that makes them.
    pub sk_epsilon: f64,
    pub sk_iters: i64,
    /// Earlier projections of each of two views that get codes along with the batch; 0 for none.
    pub queue_size: i64,
    /// Epochs before they do, and before the prototypes are trained.
    pub epoch_queue_starts: u32,
    pub freeze_prototypes_epochs: u32,
}

impl Default for SwAv {
    fn default() -> Self {
        Self {
            temperature: 0.1,
            proj_hidden_dim: 2048,
            proj_output_dim: 128,
            num_prototypes: 3000,
            sk_epsilon: 0.05,
            sk_iters: 3,
            queue_size: 3840,
            epoch_queue_starts: 50,
            freeze_prototypes_epochs: 2,
        }
    }
}

impl Method for SwAv {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn prepare(&mut self, images: &dyn Dataset, batch_size: usize) -> Result<()> {
        if self.queue_size == 0 { Ok(()) } else { memory::check_queue(self.queue_size, images.len(), batch_size) }
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let mut w = heads::init("projector", &heads::mlp(&[dim, self.proj_hidden_dim, self.proj_output_dim]), rng);
        w.extend(nn::linear_init("prototypes", self.proj_output_dim, self.num_prototypes, false, rng));
        normalize_prototypes(&w);
        if self.queue_size > 0 {
            for queue in QUEUES {
                w.extend(memory::queue(queue, self.queue_size, self.proj_output_dim, rng));
            }
        }
        w
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let (representations, projections) = heads::project(net, w, &views.inputs, mode);
        let prototypes = w.get("prototypes.weight");
        let frozen = views.epoch < f64::from(self.freeze_prototypes_epochs);
        let prototypes = if frozen { prototypes.detach() } else { prototypes.shallow_clone() };
        let score = |z: &Tensor| matmul(z, &prototypes.tr());
        let units: Vec<Tensor> = projections.iter().map(unit_rows).collect();
        let scores: Vec<Tensor> = units.iter().map(score).collect();

        let full = &scores[..views.full().len()];
        let with_queue = self.queue_size > 0 && views.epoch >= f64::from(self.epoch_queue_starts);
        let codes: Vec<Tensor> = tch::no_grad(|| {
            let code = |(scores, queue): (&Tensor, &str)| {
                let n = scores.size()[0];
                let queued = with_queue.then(|| score(w.get(&format!("memory.{queue}"))));
                let all = Tensor::cat(&std::iter::once(scores).chain(&queued).collect::<Vec<_>>(), 0);
                sinkhorn(&all, self.sk_epsilon, self.sk_iters).narrow(0, 0, n)
            };
            full.iter().zip(QUEUES).map(code).collect()
        });
        let logits: Vec<Tensor> = scores.iter().map(|scores| scores / self.temperature).collect();
        let total = swapped_prediction(&codes, &logits);
        let rows = |(z, name): (&Tensor, &'static str)| Memory::Rows { name, rows: z.detach() };
        let queues = if self.queue_size > 0 { QUEUES.as_slice() } else { &[] };
        Ok(Loss {
            memory: units.iter().zip(queues.iter().copied()).map(rows).collect(),
            ..Loss::of("swapped_prediction", total, representations, projections)
        })
    }

    fn after_step(&self, w: &Weights, _progress: f64) {
        normalize_prototypes(w);
    }
}

fn normalize_prototypes(w: &Weights) {
    tch::no_grad(|| {
        let prototypes = w.get("prototypes.weight");
        prototypes.shallow_clone().copy_(&unit_rows(prototypes));
    });
}

/// Codes of samples with cosines `[n, k]` to prototypes: the assignment with rows that sum to 1 and columns that sum to
/// about n/k that maximises sum(codes * scores) + epsilon * entropy, after `rounds` of Sinkhorn-Knopp (section 3.1 of the
/// paper).
pub fn sinkhorn(scores: &Tensor, epsilon: f64, rounds: i64) -> Tensor {
    let normalized = |q: Tensor, dim: i64| &q / q.sum_dim_intlist([dim].as_slice(), true, None::<Kind>);
    let scaled = scores / epsilon;
    // The largest is taken off so that nothing overflows; the first division takes it back.
    let kernel = (&scaled - scaled.max()).exp();
    (0..rounds).fold(kernel, |q, _| normalized(normalized(q, 0), 1))
}

/// The mean over pairs of different views of the cross-entropy from the target `[n, k]` of the one, whose rows sum to 1, to
/// the softmax of the logits `[n, k]` of the other; the first views of `logits` are those of `targets`.
pub fn swapped_prediction(targets: &[Tensor], logits: &[Tensor]) -> Tensor {
    let predictions: Vec<Tensor> = logits.iter().map(|logits| logits.log_softmax(1, None::<Kind>)).collect();
    let mut losses = Vec::new();
    for (i, target) in targets.iter().enumerate() {
        for (_, prediction) in predictions.iter().enumerate().filter(|(view, _)| *view != i) {
            losses.push(
                -(target * prediction).sum_dim_intlist([1i64].as_slice(), false, None::<Kind>).mean(None::<Kind>),
            );
        }
    }
    Tensor::stack(&losses, 0).mean(None::<Kind>)
}
