//! A batch as a method sees it.

use tch::{Device, Kind, Tensor};

use crate::cuda;
use crate::loader::Batch;

/// The views of `n` images.
#[derive(Debug)]
pub struct Views {
    /// One a view: images `[n, 3, h, w]`, or early features where the network starts after a cut. Views of one size come
    /// first; smaller ones of multi-crop follow.
    pub inputs: Vec<Tensor>,
    /// The class of every image, `[n]` of i64, where the data has classes.
    pub labels: Option<Tensor>,
    /// Seeds what a loss draws by chance, so that it draws the same at other weights.
    pub draw: u64,
    /// Epochs of pre-training that are over, with fractions; infinite once it has ended, so that what is only for its
    /// beginning is done with.
    pub epoch: f64,
}

impl Views {
    /// On `device`, as of an encoder whose pre-training has ended.
    pub fn of(batch: &Batch, device: Device, kind: Kind) -> Self {
        let labels = batch.labels().map(|labels| cuda::upload(&Tensor::from_slice(labels), device));
        Self { inputs: batch.tensors(device, kind), labels, draw: batch.draw, epoch: f64::INFINITY }
    }

    /// Those of full size, which multi-crop calls global.
    pub fn full(&self) -> &[Tensor] {
        let size = self.inputs[0].size();
        &self.inputs[..self.inputs.iter().take_while(|x| x.size() == size).count()]
    }

    /// The same images, each view of them passed through `f`.
    pub fn map(&self, f: impl Fn(&Tensor) -> Tensor) -> Self {
        let labels = self.labels.as_ref().map(Tensor::shallow_clone);
        Self { inputs: self.inputs.iter().map(f).collect(), labels, draw: self.draw, epoch: self.epoch }
    }
}

/// Without labels, at the end of a training.
impl From<Vec<Tensor>> for Views {
    fn from(inputs: Vec<Tensor>) -> Self {
        Self { inputs, labels: None, draw: 0, epoch: f64::INFINITY }
    }
}
