//! The squared length of the batch gradient of the loss that an encoder was trained with, for each stage.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::{Settings, Subject};
use crate::data::Dataset;
use crate::encoders::{Encoder, Part};
use crate::error::{Error, Result};
use crate::evaluate::{Model, Sight};
use crate::loader::{Loader, LoaderSettings, Order};
use crate::methods::{self, Views};
use crate::native::torch;
use crate::nn::{Mode, Weights};
use crate::progress::{self, Progress};
use crate::rng::Purpose;
use crate::views::{self, Augmentation, Normalize};

/// The most batches: each costs a backward pass.
const BATCHES: usize = 8;

/// Views of training images in shuffled batches.
pub(super) struct Gradient {
    augmentation: Augmentation,
    loader: Loader,
    batches: usize,
    batch_size: usize,
    /// Whether it has been said that a checkpoint cannot be asked.
    said: bool,
}

impl Gradient {
    pub(super) fn new(
        dataset: Arc<dyn Dataset>,
        sight: &Sight,
        augmentation: &str,
        settings: &Settings,
    ) -> Result<Self> {
        let augmentation = views::augmentation(augmentation, sight.size, Normalize::named(&sight.normalize)?)?;
        let batch_size = settings.batch_size.min(dataset.len());
        let loader = LoaderSettings {
            batch_size,
            order: Order::Shuffled,
            seed: settings.seed,
            purpose: Purpose::Look,
            threads: settings.threads,
            ..LoaderSettings::default()
        };
        let loader = Loader::new(dataset, augmentation.clone(), loader)?;
        Ok(Self { batches: loader.batches_per_epoch().min(BATCHES), augmentation, loader, batch_size, said: false })
    }

    pub(super) fn images(&self) -> usize {
        self.batches * self.batch_size
    }

    /// The mean over the batches of [`squares`] of the method's loss; nothing, and the first time a reason, where the
    /// head is not known.
    ///
    /// It is no trace of a Fisher information, which is the mean over single images of a likelihood's gradients: a contrastive
    /// loss has no likelihood of an image by itself. Compare at equal batch sizes and views only.
    pub(super) fn of(&mut self, subject: &Subject, model: &Model, progress: &Progress) -> Result<Option<Vec<f64>>> {
        let Some((method, head)) = subject.method()? else {
            progress.advance(self.images() as u64);
            if !std::mem::replace(&mut self.said, true) {
                progress::say(&format!(
                    "warning: no batch gradients of {}: it comes without its method's head",
                    model.name
                ));
            }
            return Ok(None);
        };
        if let Some(name) = &model.method {
            methods::find(name)?.check_views(&self.augmentation)?;
        }
        let device = model.device();
        let mut w = model.weights.frozen();
        w.extend(head.to_device(device));
        let w = w.trainable();
        let net = Part::whole(model.encoder.as_ref());
        let mut sums = vec![0.0; net.stages().len()];
        for batch in self.loader.epoch(0, 0).take(self.batches) {
            let views = Views::of(&batch?, device, Kind::Float);
            let loss = method.loss(&net, &w, &views, Mode::TrainKeepStats)?;
            let squares = squares(model.encoder.as_ref(), &w, &loss.total)?;
            sums.iter_mut().zip(squares).for_each(|(sum, square)| *sum += square);
            progress.advance(self.batch_size as u64);
        }
        let squares: Vec<f64> = sums.into_iter().map(|sum| sum / self.batches as f64).collect();
        if squares.iter().all(|square| square.is_finite()) {
            return Ok(Some(squares));
        }
        Err(Error::failed(format!("{}: the gradients of its loss are not finite", model.name)))
    }
}

/// `||grad loss||^2` for the parameters of every stage of an encoder in `w`.
///
/// # Errors
/// When libtorch cannot compute it.
pub fn squares(encoder: &dyn Encoder, w: &Weights, loss: &Tensor) -> Result<Vec<f64>> {
    let zero = Tensor::zeros([0i64; 0], (Kind::Double, loss.device()));
    let mut squares: Vec<Tensor> = encoder.stages().iter().map(|_| zero.shallow_clone()).collect();
    for ((name, _), gradient) in w.parameters().zip(w.gradients(loss, false)?) {
        if let Some(stage) = (0..squares.len()).find(|&stage| encoder.owns(stage, name)) {
            squares[stage] = &squares[stage] + gradient.square().sum(Kind::Double);
        }
    }
    Vec::try_from(Tensor::stack(&squares, 0).to_device(Device::Cpu)).map_err(torch)
}
