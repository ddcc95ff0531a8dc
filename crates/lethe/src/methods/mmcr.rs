//! MMCR (Yerxa et al. 2023, arXiv 2303.03307): the views of an image lie close to their centroid, and the centroids fill
//! the space, both measured by nuclear norms.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Entry, Loss, Method, Recipe, Views, from_settings, heads, to_settings};
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "mmcr",
    title: "MMCR",
    paper: "arXiv 2303.03307",
    // For batches of 32 images in 40 views, which are no fewer views than 256 images in two.
    recipe: Recipe { optimizer: "adam", lr: 1e-3, weight_decay: 1e-6, augmentation: "byol" },
    build: from_settings::<Mmcr>,
};

/// Defaults as the authors' for CIFAR.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mmcr {
    /// Weight of the nuclear norm of an image's views, which long centroids keep small by themselves.
    pub local_weight: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
}

impl Default for Mmcr {
    fn default() -> Self {
        Self { local_weight: 0.0, proj_hidden_dim: 512, proj_output_dim: 128 }
    }
}

impl Method for Mmcr {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        heads::init("projector", &heads::plain_mlp(&[dim, self.proj_hidden_dim, self.proj_output_dim]), rng)
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let (representations, projections) = heads::project(net, w, &views.inputs, mode);
        let total = mmcr(&projections, self.local_weight);
        Ok(Loss::of("mmcr", total, representations, projections))
    }
}

/// Of `v` views' projections `[n, p]`, scaled to unit length: minus the nuclear norm of the centroids `[n, p]` of the
/// images, plus `local_weight` times the mean over the images of that of their views `[v, p]`.
pub fn mmcr(projections: &[Tensor], local_weight: f64) -> Tensor {
    let unit: Vec<Tensor> = projections.iter().map(unit_rows).collect();
    let views = Tensor::stack(&unit, 1);
    let global = nuclear_norm(&views.mean_dim([1i64].as_slice(), false, None)).sum(None::<Kind>);
    if local_weight == 0.0 {
        return -global;
    }
    local_weight * nuclear_norm(&views).mean(None::<Kind>) - global
}

/// Sums of singular values, of `[.., n, p]`.
fn nuclear_norm(x: &Tensor) -> Tensor {
    let (_, singular_values, _) = x.svd(true, true);
    singular_values.sum_dim_intlist([-1i64].as_slice(), false, None::<Kind>)
}
