//! EMP-SSL (Tong et al. 2023, arXiv 2304.03977): many patches of an image agree with their mean, and each patch's batch
//! has a large coding rate.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::coding_rate::coding_rate;
use super::{Entry, Loss, Method, Recipe, Views, from_settings, heads, to_settings};
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, unit_rows};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "emp-ssl",
    title: "EMP-SSL",
    paper: "arXiv 2304.03977",
    // The authors' 0.3 is for batches of 100.
    recipe: Recipe { optimizer: "lars", lr: 0.768, weight_decay: 1e-4, augmentation: "emp-ssl" },
    build: from_settings::<EmpSsl>,
};

/// Defaults as the authors' for CIFAR.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmpSsl {
    pub similarity_weight: f64,
    /// Squared precision of the coding rate.
    pub eps2: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
}

impl Default for EmpSsl {
    fn default() -> Self {
        Self { similarity_weight: 200.0, eps2: 0.2, proj_hidden_dim: 4096, proj_output_dim: 1024 }
    }
}

impl Method for EmpSsl {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let layers = heads::mlp(&[dim, self.proj_hidden_dim, self.proj_hidden_dim, self.proj_output_dim]);
        heads::init("projector", &layers, rng)
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let (representations, projections) = heads::project(net, w, &views.inputs, mode);
        let [similarity, rate] = emp_ssl(&projections, self.eps2)?;
        let total = -self.similarity_weight * &similarity - &rate;
        let terms = vec![("similarity", similarity), ("coding_rate", rate)];
        Ok(Loss { total, terms, representations, projections, memory: Vec::new() })
    }
}

/// Of any number of views' projections `[n, p]`, scaled to unit length: the mean cosine of a view and the mean of its
/// image's views, and the mean over the views of their [`coding_rate`]. Both are to be large; lightly 1.6 adds the rate to
/// what is minimised, the authors' code subtracts it.
///
/// # Errors
/// As [`coding_rate`].
pub fn emp_ssl(projections: &[Tensor], eps2: f64) -> Result<[Tensor; 2]> {
    let unit: Vec<Tensor> = projections.iter().map(unit_rows).collect();
    let views = Tensor::stack(&unit, 0);
    let centre = views.mean_dim([0i64].as_slice(), false, None);
    let cosines = (views * unit_rows(&centre)).sum_dim_intlist([-1i64].as_slice(), false, None::<Kind>);
    let rates: Vec<Tensor> = unit.iter().map(|z| coding_rate(z, eps2)).collect::<Result<_>>()?;
    Ok([cosines.mean(None::<Kind>), Tensor::stack(&rates, 0).mean(None::<Kind>)])
}
