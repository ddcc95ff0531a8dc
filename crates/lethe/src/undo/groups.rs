//! The groups of rows of a batch whose coding rate dR keeps small.

use std::fmt;
use std::str::FromStr;

use lethe_measures::kmeans;
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::cuda;
use crate::encoders::Part;
use crate::error::{Error, Result};
use crate::methods::coding_rate::{coding_rate, compressed_rate, pair_coding_rate_reduction};
use crate::native::torch;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Groups {
    /// The views of an image.
    Pairs,
    /// `kmeans:K`: the images of a batch in K clusters of their early features, pooled and averaged over two views. The
    /// frozen part alone decides, so that the groups stand still while the late part moves.
    KMeans(usize),
}

impl Groups {
    /// dR of rows `[n, d]` of two views, whose early feature maps are `early`, `[n, c, h, w]` each. `seed` starts the
    /// clusters.
    ///
    /// # Errors
    /// When libtorch cannot factor a Gram matrix, or there are fewer different images than clusters.
    pub fn coding_rate_reduction(
        self,
        [z1, z2]: [&Tensor; 2],
        early: &[Tensor],
        net: &Part,
        eps2: f64,
        seed: u64,
    ) -> Result<Tensor> {
        match self {
            Groups::Pairs => pair_coding_rate_reduction(z1, z2, eps2),
            Groups::KMeans(k) => {
                let groups = clusters(early, net, k, seed)?;
                let z = Tensor::cat(&[z1, z2], 0);
                Ok(coding_rate(&z, eps2)? - compressed_rate(&z, &groups, eps2)?)
            }
        }
    }
}

/// For every cluster of images the rows of its views, where the views of the batch stand one after the other.
fn clusters(early: &[Tensor], net: &Part, k: usize, seed: u64) -> Result<Vec<Tensor>> {
    let device = early[0].device();
    let pooled: Vec<Tensor> = early.iter().map(|z| net.pool_input(&z.detach())).collect();
    let mean = Tensor::stack(&pooled, 0).mean_dim([0i64].as_slice(), false, Kind::Double).to_device(Device::Cpu);
    let (n, c) = mean.size2().map_err(torch)?;
    let values = Vec::<f64>::try_from(mean.flatten(0, -1)).map_err(torch)?;
    let rows = Array2::from_shape_vec((n as usize, c as usize), values).expect("a value a cell");
    let found = kmeans(rows.view(), k, seed).map_err(|error| {
        Error::failed(format!("--groups {}: {error}", Groups::KMeans(k))).hint("ask for fewer clusters")
    })?;
    let of_cluster = |j: u32| {
        let images = || (0..n).zip(&found.labels).filter(move |&(_, label)| *label == j).map(|(i, _)| i);
        let rows: Vec<i64> = (0..early.len() as i64).flat_map(|view| images().map(move |i| view * n + i)).collect();
        cuda::upload(&Tensor::from_slice(&rows), device)
    };
    Ok((0..k as u32).map(of_cluster).filter(|rows| rows.numel() > 0).collect())
}

impl FromStr for Groups {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let k = |number: &str| number.parse().ok().filter(|k| *k >= 2);
        match text.split_once(':') {
            None if text == "pairs" => Ok(Groups::Pairs),
            Some(("kmeans", number)) if k(number).is_some() => Ok(Groups::KMeans(k(number).expect("just looked at"))),
            _ => Err(Error::usage(format!("--groups {text}: expected pairs, or kmeans:K with K of at least 2"))),
        }
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Groups::Pairs => f.write_str("pairs"),
            Groups::KMeans(k) => write!(f, "kmeans:{k}"),
        }
    }
}

impl TryFrom<String> for Groups {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Groups> for String {
    fn from(groups: Groups) -> Self {
        groups.to_string()
    }
}
