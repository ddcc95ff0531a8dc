//! The features that an encoder gives of both sides.

use std::sync::Arc;

use indexmap::IndexMap;
use lethe_diagnosis::{CheckpointFeatures, Extra, SideFeatures, StageFeatures};
use ndarray::{Array2, Array3, Axis};
use tch::Device;

use super::Settings;
use crate::data::Dataset;
use crate::error::Result;
use crate::evaluate::{Features, Model, PROTOCOLS, Sight, extract};
use crate::loader::{Loader, LoaderSettings, Order};
use crate::progress::{self, Progress};
use crate::rng::Purpose;
use crate::views::{self, Augmentation, Normalize};

/// Batches computed ahead.
const PREFETCH: usize = 2;
/// The protocol that needs tensors; the diagnosis takes k-NN from the features.
const LINEAR: &str = "linear";

/// One set of images, as they are and as random views.
pub(super) struct Shown {
    plain: Loader,
    pairs: Loader,
    views: usize,
}

/// A loader of images as they are.
pub(super) fn plain(dataset: Arc<dyn Dataset>, sight: &Sight, settings: &Settings) -> Result<Loader> {
    loader(dataset, Augmentation::plain(sight.size, Normalize::named(&sight.normalize)?), settings)
}

fn loader(dataset: Arc<dyn Dataset>, augmentation: Augmentation, settings: &Settings) -> Result<Loader> {
    let settings = LoaderSettings {
        batch_size: settings.batch_size,
        order: Order::Sequential,
        seed: settings.seed,
        purpose: Purpose::Look,
        threads: settings.threads,
        prefetch: PREFETCH,
        ..LoaderSettings::default()
    };
    Loader::new(dataset, augmentation, settings)
}

/// Features of one set of images.
pub(super) struct OneSide {
    plain: Features,
    /// Two views of every image in each.
    draws: Vec<Features>,
    views: usize,
}

impl Shown {
    pub(super) fn new(
        dataset: Arc<dyn Dataset>,
        sight: &Sight,
        augmentation: &str,
        settings: &Settings,
    ) -> Result<Self> {
        let pairs = views::augmentation(augmentation, sight.size, Normalize::named(&sight.normalize)?)?.pair();
        let plain = plain(Arc::clone(&dataset), sight, settings)?;
        Ok(Self { plain, pairs: loader(dataset, pairs, settings)?, views: settings.views })
    }

    /// Images that pass through an encoder, a pair of views counted once.
    pub(super) fn images(&self) -> usize {
        (1 + self.views.div_ceil(2)) * self.plain.dataset().len()
    }

    pub(super) fn features(&self, model: &Model, stages: &[usize], progress: &Progress) -> Result<OneSide> {
        let features = |loader, draw| extract(model.encoder.as_ref(), &model.weights, loader, draw, stages, progress);
        let draws = (0..self.views.div_ceil(2) as u32).map(|draw| features(&self.pairs, draw));
        Ok(OneSide { plain: features(&self.plain, 0)?, draws: draws.collect::<Result<_>>()?, views: self.views })
    }

    pub(super) fn say_bad_samples(&self) {
        self.plain.say_bad_samples();
    }
}

impl OneSide {
    /// The random views of a stage, `[q, n, d]`, and the images as they are, `[n, d]`.
    pub(super) fn arrays(&self, stage: usize) -> (Array3<f32>, Array2<f32>) {
        let plain = self.plain.view(stage, 0);
        let mut views = Array3::zeros((self.views, plain.nrows(), plain.ncols()));
        for (view, mut rows) in views.axis_iter_mut(Axis(0)).enumerate() {
            rows.assign(&self.draws[view / 2].view(stage, view % 2));
        }
        (views, plain.to_owned())
    }

    /// The features of a stage as float64.
    fn stage(&self, stage: usize) -> SideFeatures {
        let (views, plain) = self.arrays(stage);
        SideFeatures { views: views.mapv(f64::from), plain: Some(plain.mapv(f64::from)) }
    }
}

/// What one checkpoint gave.
pub(super) struct Extracted {
    name: String,
    epoch: Option<u32>,
    sides: Vec<OneSide>,
    /// For each stage, whether the linear probe is right about each image of each side.
    linear: Vec<[Option<Vec<bool>>; 2]>,
    pub(super) transfer: Option<Vec<Vec<bool>>>,
    pub(super) gradients: Option<Vec<f64>>,
    pub(super) losses: Option<[Vec<f64>; 2]>,
}

impl Extracted {
    pub(super) fn new(model: &Model, sides: Vec<OneSide>) -> Self {
        Self {
            name: model.name.clone(),
            epoch: model.epoch,
            sides,
            linear: Vec::new(),
            transfer: None,
            gradients: None,
            losses: None,
        }
    }

    /// Fits the linear probe of every stage where there are labels. Unseen images are asked about where they have some.
    pub(super) fn answer(&mut self, device: Device) {
        let protocol = PROTOCOLS.iter().find(|protocol| protocol.name == LINEAR).expect("a protocol");
        for stage in 0..self.sides[0].plain.stages.len() {
            let Some(bank) = self.sides[0].plain.labelled(stage) else { return };
            let asked = self.sides.get(1).and_then(|side| side.plain.labelled(stage));
            let one = || -> Result<[Option<Vec<bool>>; 2]> {
                let classifier = (protocol.fit)(bank, device)?;
                Ok([Some(classifier.on_training()?), asked.map(|asked| classifier.on(asked)).transpose()?])
            };
            self.linear.push(one().unwrap_or_else(|error| {
                let stage = &self.sides[0].plain.stages[stage].0;
                progress::say(&format!("warning: {}, {stage}: no {LINEAR}: {error}", self.name));
                [None, None]
            }));
        }
    }
}

impl CheckpointFeatures for Extracted {
    fn path(&self) -> &str {
        &self.name
    }

    fn epoch(&self) -> Option<u32> {
        self.epoch
    }

    fn stage(&self, stage: usize) -> Result<StageFeatures> {
        let right = |side: usize| -> IndexMap<&'static str, Vec<bool>> {
            self.linear
                .get(stage)
                .and_then(|sides| sides[side].clone())
                .map(|right| (LINEAR, right))
                .into_iter()
                .collect()
        };
        Ok(StageFeatures {
            train: self.sides[0].stage(stage),
            unseen: self.sides.get(1).map(|side| side.stage(stage)),
            extra: Extra {
                right: [right(0), right(1)],
                transfer: self.transfer.as_ref().map(|transfer| transfer[stage].clone()),
                batch_gradient_norm_squared: self.gradients.as_ref().map(|gradients| gradients[stage]),
            },
        })
    }

    fn losses(&self) -> Option<&[Vec<f64>; 2]> {
        self.losses.as_ref()
    }
}
