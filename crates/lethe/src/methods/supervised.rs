//! Supervised classification by a linear layer on the representation. With labels: a reference for methods without.

use serde::{Deserialize, Serialize};
use tch::{Kind, Reduction, Tensor};

use super::{Entry, Loss, Method, Recipe, Views, expect_labels, from_settings, full_precision, to_settings};
use crate::data::Dataset;
use crate::encoders::Part;
use crate::error::Result;
use crate::native::torch;
use crate::nn::{self, Mode, Weights};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "supervised",
    title: "supervised cross-entropy",
    paper: "arXiv 2004.11362",
    recipe: Recipe { optimizer: "sgd", lr: 0.2, weight_decay: 1e-4, augmentation: "vicreg" },
    build: from_settings::<Supervised>,
};

/// The recipe is that of SupCon's authors for their reference on CIFAR.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Supervised {
    /// As many as the images have, whatever is given.
    pub classes: i64,
}

impl Default for Supervised {
    fn default() -> Self {
        Self { classes: 10 }
    }
}

impl Method for Supervised {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn prepare(&mut self, images: &dyn Dataset, _batch_size: usize) -> Result<()> {
        expect_labels(ENTRY.name, images.labels())?;
        self.classes = images.classes().len() as i64;
        Ok(())
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        nn::linear_init("classifier", dim, self.classes, true, rng)
    }

    /// The projections are the logits `[n, classes]`; the loss is the mean of the views' cross-entropies.
    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let labels = expect_labels(ENTRY.name, views.labels.as_ref())?;
        let representations: Vec<Tensor> = views.inputs.iter().map(|x| net.represent(w, x, mode)).collect();
        let classify = |r| full_precision(&nn::linear(w, "classifier", r));
        let logits: Vec<Tensor> = representations.iter().map(classify).collect();
        let total = classification(&logits, labels)?;
        Ok(Loss::of("cross_entropy", total, representations, logits))
    }
}

/// The mean over views of the mean cross-entropy of the classes `[n]` by logits `[n, classes]`.
///
/// # Errors
/// When a class is none of those that there are logits for.
pub fn classification(logits: &[Tensor], labels: &Tensor) -> Result<Tensor> {
    let of_view = |logits: &Tensor| logits.f_cross_entropy_loss(labels, None::<&Tensor>, Reduction::Mean, -100, 0.0);
    let of_views = logits.iter().map(of_view).collect::<std::result::Result<Vec<_>, _>>().map_err(torch)?;
    Ok(Tensor::stack(&of_views, 0).mean(None::<Kind>))
}
