//! VICReg (Bardes et al. 2022, arXiv 2105.04906): views agree, every dimension varies, no two dimensions correlate.

use serde::{Deserialize, Serialize};
use tch::{Kind, Reduction, Tensor};

use super::{Entry, Loss, Method, Recipe, Views, from_settings, heads, to_settings};
use crate::encoders::Part;
use crate::error::Result;
use crate::nn::{Mode, Weights, matmul};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "vicreg",
    title: "VICReg",
    paper: "arXiv 2105.04906",
    recipe: Recipe { optimizer: "lars", lr: 0.3, weight_decay: 1e-4, augmentation: "vicreg" },
    build: from_settings::<VicReg>,
};

/// Defaults as solo-learn's for CIFAR; the variance term is halved as in the authors' code and lightly (solo-learn
/// sums the two views).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VicReg {
    pub invariance_weight: f64,
    pub variance_weight: f64,
    pub covariance_weight: f64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
}

impl Default for VicReg {
    fn default() -> Self {
        Self {
            invariance_weight: 25.0,
            variance_weight: 25.0,
            covariance_weight: 1.0,
            proj_hidden_dim: 2048,
            proj_output_dim: 2048,
        }
    }
}

impl Method for VicReg {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        let layers = heads::mlp(&[dim, self.proj_hidden_dim, self.proj_hidden_dim, self.proj_output_dim]);
        heads::init("projector", &layers, rng)
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let (representations, projections) = heads::project(net, w, &views.inputs, mode);
        let [invariance, variance, covariance] = vicreg(&projections[0], &projections[1]);
        let total = self.invariance_weight * &invariance
            + self.variance_weight * &variance
            + self.covariance_weight * &covariance;
        let terms = vec![("invariance", invariance), ("variance", variance), ("covariance", covariance)];
        Ok(Loss { total, terms, representations, projections, memory: Vec::new() })
    }
}

/// The three terms of two views' projections `[n, p]`: mean squared difference; hinge of the standard deviations at
/// 1, mean of the views; squared covariances off the diagonal over p, sum of the views (equations 1 to 5).
pub fn vicreg(z1: &Tensor, z2: &Tensor) -> [Tensor; 3] {
    let invariance = z1.mse_loss(z2, Reduction::Mean);
    let (v1, c1) = variance_and_covariance(z1);
    let (v2, c2) = variance_and_covariance(z2);
    [invariance, (v1 + v2) / 2.0, c1 + c2]
}

fn variance_and_covariance(z: &Tensor) -> (Tensor, Tensor) {
    let (n, p) = z.size2().expect("projections are [n, p]");
    let centred = z - z.mean_dim([0i64].as_slice(), true, None);
    let covariance = matmul(&centred.tr(), &centred) / (n - 1) as f64;
    let diagonal = covariance.diagonal(0, 0, 1);
    let deviation = (&diagonal + 1e-4).sqrt();
    let hinge = (deviation - 1.0).neg().relu().mean(None::<Kind>);
    let off_diagonal = covariance.square().sum(None::<Kind>) - diagonal.square().sum(None::<Kind>);
    (hinge, off_diagonal / p as f64)
}
