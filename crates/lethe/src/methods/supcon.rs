//! SupCon (Khosla et al. 2020, arXiv 2004.11362): every view finds all others of its class. With labels: a reference for
//! methods without.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Entry, Loss, Method, Recipe, Views, expect_labels, from_settings, heads, to_settings};
use crate::data::Dataset;
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, matmul, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "supcon",
    title: "SupCon",
    paper: "arXiv 2004.11362",
    recipe: Recipe { optimizer: "sgd", lr: 0.4, weight_decay: 1e-5, augmentation: "simclr" },
    build: from_settings::<SupCon>,
};

/// Defaults as solo-learn's for CIFAR. The loss is the one that the paper prefers, with the mean over the positives
/// outside the logarithm, as in the authors' code; solo-learn's has their sum inside.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupCon {
    pub temperature: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
}

impl Default for SupCon {
    fn default() -> Self {
        Self { temperature: 0.2, proj_hidden_dim: 2048, proj_output_dim: 256 }
    }
}

impl Method for SupCon {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn prepare(&mut self, images: &dyn Dataset, _batch_size: usize) -> Result<()> {
        expect_labels(ENTRY.name, images.labels())?;
        Ok(())
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        heads::init("projector", &heads::two_layers(dim, self.proj_hidden_dim, self.proj_output_dim), rng)
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let labels = expect_labels(ENTRY.name, views.labels.as_ref())?;
        let (representations, projections) = heads::project(net, w, &views.inputs, mode);
        let total = supcon(&projections[0], &projections[1], labels, self.temperature);
        Ok(Loss::of("supcon", total, representations, projections))
    }
}

/// Of two views' projections `[n, p]` and the classes `[n]` of their images: the mean over the 2n views of the mean over
/// the others of their class of the cross-entropy of each among the 2n - 1 others, with cosine similarities over
/// `temperature` as logits (L_out, equation 2 of the paper).
pub fn supcon(z1: &Tensor, z2: &Tensor, labels: &Tensor, temperature: f64) -> Tensor {
    let z = unit_rows(&Tensor::cat(&[z1, z2], 0));
    let itself = Tensor::eye(z.size()[0], (Kind::Bool, z.device()));
    let logits = (matmul(&z, &z.tr()) / temperature).masked_fill(&itself, f64::NEG_INFINITY);
    let log_p = logits.log_softmax(1, None::<Kind>).masked_fill(&itself, 0.0);
    let labels = labels.repeat([2]);
    let same = labels.unsqueeze(0).eq_tensor(&labels.unsqueeze(1)).logical_and(&itself.logical_not()).to_kind(z.kind());
    let sum = |x: &Tensor| x.sum_dim_intlist([1i64].as_slice(), false, None::<Kind>);
    -(sum(&(&same * log_p)) / sum(&same)).mean(None::<Kind>)
}
