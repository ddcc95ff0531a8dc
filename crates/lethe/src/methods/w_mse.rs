//! W-MSE (Ermolov et al. 2021, arXiv 2007.06346): views agree after each has been whitened, so that they cannot
//! collapse.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::{Entry, Loss, Method, Recipe, Views, byol, from_settings, heads, to_settings};
use crate::cuda;
use crate::data::Dataset;
use crate::encoders::Part;
use crate::error::{Error, Result};
use crate::native::torch;
use crate::nn::{Mode, Weights, matmul};
use crate::rng::{self, Purpose, Rng};

pub(super) const ENTRY: Entry = Entry {
    name: "w-mse",
    title: "W-MSE",
    paper: "arXiv 2007.06346",
    recipe: Recipe { optimizer: "adam", lr: 2e-3, weight_decay: 1e-6, augmentation: "w-mse" },
    build: from_settings::<WMse>,
};

/// Defaults as solo-learn's for CIFAR.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WMse {
    /// The fewest images that are whitened together, where a batch has them.
    pub whitening_size: i64,
    pub proj_hidden_dim: i64,
    pub proj_output_dim: i64,
}

impl Default for WMse {
    fn default() -> Self {
        Self { whitening_size: 128, proj_hidden_dim: 1024, proj_output_dim: 64 }
    }
}

impl Method for WMse {
    fn settings(&self) -> toml::Table {
        to_settings(self)
    }

    fn prepare(&mut self, _images: &dyn Dataset, batch_size: usize) -> Result<()> {
        let (fewest, p) = ((batch_size as i64).min(self.whitening_size), self.proj_output_dim);
        if fewest > p {
            return Ok(());
        }
        Err(Error::usage(format!("w-mse cannot whiten {fewest} images in proj_output_dim {p}"))
            .hint("more images than dimensions: raise --batch-size and whitening_size, or lower proj_output_dim"))
    }

    fn init(&self, dim: i64, rng: &mut Rng) -> Weights {
        heads::init("projector", &heads::mlp(&[dim, self.proj_hidden_dim, self.proj_output_dim]), rng)
    }

    fn loss(&self, net: &Part, w: &Weights, views: &Views, mode: Mode) -> Result<Loss> {
        let (representations, projections) = heads::project(net, w, &views.inputs, mode);
        let n = projections[0].size()[0];
        let sub_batches = sub_batches(n, self.whitening_size, views.draw, projections[0].device());
        let total = w_mse(&projections, &sub_batches)?;
        Ok(Loss::of("w_mse", total, representations, projections))
    }
}

/// The images 0..n in a random order, a function of `draw`, in parts of at least `size`, or in one where there are fewer.
fn sub_batches(n: i64, size: i64, draw: u64, device: Device) -> Vec<Tensor> {
    let mut order: Vec<i64> = (0..n).collect();
    order.shuffle(&mut rng::keyed(draw, Purpose::Loss, 0, 0, 0));
    let order = cuda::upload(&Tensor::from_slice(&order), device);
    let parts = (n / size.max(1)).max(1);
    (0..parts).map(|i| order.slice(0, i * n / parts, (i + 1) * n / parts, 1)).collect()
}

/// Of the projections `[n, p]` of views, each whitened within the same sub-batches of rows: the mean over the pairs of
/// views of 2 - 2 cos. The gradient goes through both views, as in the authors' code and lightly; solo-learn stops that of
/// the second. NaN where a sub-batch has no more rows than dimensions.
///
/// # Errors
/// When libtorch cannot factor a covariance.
pub fn w_mse(projections: &[Tensor], sub_batches: &[Tensor]) -> Result<Tensor> {
    let whitened = |z: &Tensor| -> Result<Tensor> {
        let parts = sub_batches.iter().map(|rows| whitened(&z.index_select(0, rows)));
        Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0))
    };
    let views: Vec<Tensor> = projections.iter().map(whitened).collect::<Result<_>>()?;
    let pairs = views.iter().enumerate().flat_map(|(i, a)| views[i + 1..].iter().map(move |b| byol::distance(a, b)));
    Ok(Tensor::stack(&pairs.collect::<Vec<_>>(), 0).mean(None::<Kind>))
}

/// Rows `[n, p]` centred and multiplied by the inverse of the Cholesky factor of their covariance, which makes it the
/// identity.
fn whitened(z: &Tensor) -> Result<Tensor> {
    let n = z.size()[0] as f64;
    let centred = z - z.mean_dim([0i64].as_slice(), true, None);
    let covariance = matmul(&centred.tr(), &centred) / (n - 1.0);
    let (lower, _status) = covariance.f_linalg_cholesky_ex(false, false).map_err(torch)?;
    Ok(lower.f_linalg_solve_triangular(&centred.tr(), false, true, false).map_err(torch)?.tr())
}
