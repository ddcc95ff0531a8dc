//! Decoupled contrastive learning (Yeh et al. 2021, arXiv 2110.06848): NT-Xent without the twin in the denominator, and
//! with pairs that are far apart weighted up (DCLW).

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Entry, Loss, Method, Recipe, Views, from_settings, heads, to_settings};
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, matmul, unit_rows};
use crate::rng::Rng;

/// As lightly's benchmark on CIFAR-10, whose rate of 0.06 is for a batch of 128; there nothing is blurred.
const RECIPE: Recipe = Recipe { optimizer: "sgd", lr: 0.12, weight_decay: 5e-4, augmentation: "simclr-weak" };

pub(super) const DCL: Entry =
    Entry { name: "dcl", title: "DCL", paper: "arXiv 2110.06848", recipe: RECIPE, build: from_settings::<Dcl> };

pub(super) const DCLW: Entry =
    Entry { name: "dclw", title: "DCLW", paper: "arXiv 2110.06848", recipe: RECIPE, build: from_settings::<Dclw> };

/// Defaults as lightly's for CIFAR-10 (the authors' temperature there is 0.07).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dcl {
    pub temperature: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
}

impl Default for Dcl {
    fn default() -> Self {
        Self { temperature: 0.1, proj_hidden_dim: 512, proj_output_dim: 128 }
    }
}

/// Defaults as lightly's for CIFAR-10.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dclw {
    pub temperature: f64,
    /// Temperature of the weights.
    pub sigma: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
}

impl Default for Dclw {
    fn default() -> Self {
        let Dcl { temperature, proj_hidden_dim, proj_output_dim } = Dcl::default();
        Self { temperature, sigma: 0.5, proj_hidden_dim, proj_output_dim }
    }
}

impl Method for Dcl {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        heads::init("projector", &projector(dim, self.proj_hidden_dim, self.proj_output_dim), rng)
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        Ok(loss(net, w, views, mode, |z1, z2| dcl(z1, z2, self.temperature, None)))
    }
}

impl Method for Dclw {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        heads::init("projector", &projector(dim, self.proj_hidden_dim, self.proj_output_dim), rng)
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        Ok(loss(net, w, views, mode, |z1, z2| dcl(z1, z2, self.temperature, Some(self.sigma))))
    }
}

/// lightly's head of SimCLR, in which a batch-norm comes last too.
fn projector(dim: i64, hidden: i64, output: i64) -> Vec<heads::Layer> {
    let mut layers = heads::plain_mlp(&[dim, hidden, output]);
    layers.push(heads::Layer::BatchNorm(output));
    layers
}

fn loss(net: &Part, w: &Weights, views: &Views, mode: Mode, of: impl Fn(&Tensor, &Tensor) -> Tensor) -> Loss {
    let (representations, projections) = heads::project(net, w, &views.inputs, mode);
    let total = of(&projections[0], &projections[1]);
    Loss::of("dcl", total, representations, projections)
}

/// DCL of two views' projections `[n, p]`: the mean over the 2n views of -w_i s_i + ln sum exp s, with s_i the cosine
/// similarity to the twin over `temperature` and the sum over the 2n - 2 views of other images (equation 6 of the paper).
/// w_i is 1, or with a `sigma` 2 - n softmax_i(cosine over sigma), through which no gradient goes, as in lightly's.
pub fn dcl(z1: &Tensor, z2: &Tensor, temperature: f64, sigma: Option<f64>) -> Tensor {
    let n = z1.size()[0];
    let z = unit_rows(&Tensor::cat(&[z1, z2], 0));
    let halves = z.chunk(2, 0);
    let cosine = (&halves[0] * &halves[1]).sum_dim_intlist([1i64].as_slice(), false, None::<Kind>);
    let own = match sigma {
        None => cosine.mean(None::<Kind>),
        Some(sigma) => {
            let weights: Tensor = 2.0 - n as f64 * (cosine.detach() / sigma).softmax(0, None::<Kind>);
            (weights * cosine).mean(None::<Kind>)
        }
    };
    let same_image = Tensor::eye(n, (Kind::Bool, z.device())).repeat([2, 2]);
    let others = (matmul(&z, &z.tr()) / temperature).masked_fill(&same_image, f64::NEG_INFINITY);
    others.logsumexp([1i64].as_slice(), false).mean(None::<Kind>) - own / temperature
}
