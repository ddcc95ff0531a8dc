//! The method's own loss on training images and on unseen ones: the plainest measure of over-fitting.

use std::sync::Arc;

use tch::Kind;

use super::{Settings, Subject};
use crate::data::Dataset;
use crate::encoders::Part;
use crate::error::Result;
use crate::evaluate::{Model, Sight};
use crate::loader::{Loader, LoaderSettings, Order};
use crate::methods::Views;
use crate::nn::Mode;
use crate::progress::Progress;
use crate::rng::Purpose;
use crate::views::{self, Normalize};

/// Batches a side from which the gap has an interval.
const BATCHES: usize = 8;

/// Batches of both sides, of one size and number.
pub(super) struct Losses {
    loaders: [Loader; 2],
    batches: usize,
    batch_size: usize,
}

impl Losses {
    pub(super) fn new(
        sides: [&Arc<dyn Dataset>; 2],
        sight: &Sight,
        augmentation: &str,
        settings: &Settings,
    ) -> Result<Self> {
        let images = sides[0].len();
        let batch_size = settings.batch_size.min((images / BATCHES).max(1));
        let loader = |dataset: &Arc<dyn Dataset>| {
            let augmentation = views::augmentation(augmentation, sight.size, Normalize::named(&sight.normalize)?)?;
            let settings = LoaderSettings {
                batch_size,
                order: Order::Shuffled,
                seed: settings.seed,
                purpose: Purpose::Look,
                threads: settings.threads,
                ..LoaderSettings::default()
            };
            Loader::new(Arc::clone(dataset), augmentation, settings)
        };
        let loaders = [loader(sides[0])?, loader(sides[1])?];
        Ok(Self { batches: loaders[0].batches_per_epoch(), loaders, batch_size })
    }

    pub(super) fn images(&self) -> usize {
        2 * self.batches * self.batch_size
    }

    /// The loss of each batch of training images and of unseen ones, with the trained head in evaluation mode. None where
    /// the head is not known, where the views are not the method's, or where a loss is not a number.
    pub(super) fn of(&self, subject: &Subject, model: &Model, progress: &Progress) -> Result<Option<[Vec<f64>; 2]>> {
        let images = self.images() as u64;
        let Some((method, head)) = subject.method()? else {
            progress.advance(images);
            return Ok(None);
        };
        let device = model.device();
        let net = Part::whole(model.encoder.as_ref());
        let mut w = model.weights.frozen();
        w.extend(head.to_device(device));
        let mut losses = [Vec::new(), Vec::new()];
        for (losses, loader) in losses.iter_mut().zip(&self.loaders) {
            for batch in loader.epoch(0, 0) {
                let views = Views::of(&batch?, device, Kind::Float);
                // A method may refuse these views or labels: it then has no such number.
                let loss = tch::no_grad(|| method.loss(&net, &w, &views, Mode::Eval));
                let Ok(loss) = loss else {
                    progress.advance(images);
                    return Ok(None);
                };
                losses.push(loss.total.double_value(&[]));
                progress.advance(self.batch_size as u64);
            }
        }
        let finite = losses.iter().flatten().all(|loss| loss.is_finite());
        Ok(finite.then_some(losses))
    }
}
