//! DINO (Caron et al. 2021, arXiv 2104.14294): small and large views of the student predict what a teacher, centred and
//! sharpened, says of the large ones.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::swav::swapped_prediction;
use super::{Entry, Loss, Memory, Method, Recipe, Views, from_settings, full_precision, heads, teacher, to_settings};
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{self, Mode, Weights, matmul, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "dino",
    title: "DINO",
    paper: "arXiv 2104.14294",
    recipe: Recipe { optimizer: "lars", lr: 0.3, weight_decay: 1e-6, augmentation: "dino" },
    build: from_settings::<Dino>,
};

/// Of the teacher's centre, from step to step.
const CENTRE_MOMENTUM: f64 = 0.9;

/// Defaults as solo-learn's for CIFAR.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dino {
    pub proj_hidden_dim: i64,
    /// Width of the bottleneck before the prototypes.
    pub proj_output_dim: i64,
    pub num_prototypes: i64,
    /// Batch-norm before every GELU of the head, which lightly has for its ResNets.
    pub use_bn_in_head: bool,
    pub student_temperature: f64,
    /// Of the teacher in the first epoch; it rises to `teacher_temperature` epoch by epoch.
    pub warmup_teacher_temperature: f64,
    pub teacher_temperature: f64,
    pub warmup_teacher_temperature_epochs: u32,
    /// Epochs before the prototypes are trained.
    pub freeze_last_layer: u32,
    /// The teacher's momentum at the start; it rises to `final_tau` along a cosine.
    pub base_tau: f64,
    pub final_tau: f64,
}

impl Default for Dino {
    fn default() -> Self {
        Self {
            proj_hidden_dim: 2048,
            proj_output_dim: 256,
            num_prototypes: 4096,
            use_bn_in_head: false,
            student_temperature: 0.1,
            warmup_teacher_temperature: 0.04,
            teacher_temperature: 0.07,
            warmup_teacher_temperature_epochs: 50,
            freeze_last_layer: 1,
            base_tau: 0.9995,
            final_tau: 1.0,
        }
    }
}

impl Method for Dino {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let mut w = init_bottleneck([dim, self.proj_hidden_dim, self.proj_output_dim], self.use_bn_in_head, rng);
        w.extend(nn::linear_init("prototypes", self.proj_output_dim, self.num_prototypes, false, rng));
        w.insert("memory.centre", Tensor::zeros([self.num_prototypes], (Kind::Float, Device::Cpu)));
        w
    }

    fn teach(&self, w: &mut Weights) {
        teacher::copy(w, &[]);
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let said = tch::no_grad(|| {
            let w = w.under("teacher.");
            let (_, projections) = project(net, &w, views.full(), mode);
            let prototypes = w.get("prototypes.weight");
            projections.iter().map(|z| score(z, prototypes)).collect::<Vec<Tensor>>()
        });
        let (representations, projections) = project(net, w, &views.inputs, mode);
        let prototypes = w.get("prototypes.weight");
        let frozen = views.epoch < f64::from(self.freeze_last_layer);
        let prototypes = if frozen { prototypes.detach() } else { prototypes.shallow_clone() };
        let logits: Vec<Tensor> =
            projections.iter().map(|z| score(z, &prototypes) / self.student_temperature).collect();
        let centre = w.get("memory.centre");
        let sharpened =
            |said: &Tensor| ((said - centre) / self.teacher_temperature_at(views.epoch)).softmax(1, None::<Kind>);
        let targets: Vec<Tensor> = tch::no_grad(|| said.iter().map(sharpened).collect());
        let total = swapped_prediction(&targets, &logits);
        let mean = Tensor::cat(&said, 0).mean_dim([0i64].as_slice(), false, None::<Kind>);
        let value = CENTRE_MOMENTUM * centre + (1.0 - CENTRE_MOMENTUM) * mean;
        Ok(Loss {
            memory: vec![Memory::Value { name: "centre", value }],
            ..Loss::of("cross_entropy", total, representations, projections)
        })
    }

    fn after_step(&self, w: &Weights, progress: f64) {
        teacher::follow(w, teacher::momentum(self.base_tau, self.final_tau, progress));
    }
}

impl Dino {
    /// Equal steps from the first epoch to the last of the warm-up.
    fn teacher_temperature_at(&self, epoch: f64) -> f64 {
        let last = f64::from(self.warmup_teacher_temperature_epochs) - 1.0;
        if epoch.floor() > last {
            return self.teacher_temperature;
        }
        let rise = self.teacher_temperature - self.warmup_teacher_temperature;
        self.warmup_teacher_temperature + rise * epoch.floor() / last.max(1.0)
    }
}

/// The head `projector` of DINO and SimDINO: three linear layers, GELU between them, weights normal with deviation 0.02.
pub(super) fn init_bottleneck([dim, hidden, output]: [i64; 3], batch_norm: bool, rng: &mut Rng) -> Weights {
    use heads::Layer::{BatchNorm, Gelu, Linear};
    let mut layers = Vec::new();
    for input in [dim, hidden] {
        layers.push(Linear { input, output: hidden });
        layers.extend(batch_norm.then_some(BatchNorm(hidden)));
        layers.push(Gelu);
    }
    layers.push(Linear { input: hidden, output });
    let mut w = heads::init("projector", &layers, rng);
    let matrices: Vec<String> = w.iter().filter(|(_, t)| t.dim() == 2).map(|(name, _)| name.to_owned()).collect();
    for name in matrices {
        let shape = w.get(&name).size();
        w.insert(name.clone(), nn::normal(&shape, 0.02, rng));
        let bias = name.replace("weight", "bias");
        w.insert(bias.clone(), w.get(&bias).detach().zeros_like().set_requires_grad(true));
    }
    w
}

/// Representations `[n, d]` and bottlenecks `[n, p]` of every view by the weights `w`.
pub(super) fn project(net: &Part, w: &Weights, inputs: &[Tensor], mode: Mode) -> (Vec<Tensor>, Vec<Tensor>) {
    let both = |x: &Tensor| {
        let r = net.represent(w, x, mode);
        let z = full_precision(&heads::forward_by(w, "projector", &r, mode, nn::gelu));
        (r, z)
    };
    inputs.iter().map(both).unzip()
}

/// Cosines `[n, k]` of rows `[n, p]` with prototypes `[k, p]`: the last layer with its weights normalised and no lengths.
fn score(z: &Tensor, prototypes: &Tensor) -> Tensor {
    matmul(&unit_rows(z), &unit_rows(prototypes).tr())
}
