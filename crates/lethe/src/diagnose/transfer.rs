//! How far the features carry: k-NN on labelled images of another kind.

use std::sync::Arc;

use lethe_diagnosis::KNN;

use super::extraction::plain;
use super::{Images, Settings};
use crate::data;
use crate::error::{Error, Result};
use crate::evaluate::{Model, PROTOCOLS, Protocol, Sight, extract};
use crate::loader::Loader;
use crate::progress::Progress;

/// A bank of labelled images and others that are asked about, each at most as many as the diagnosis shows.
pub(super) struct Transfer {
    sides: [Loader; 2],
    protocol: &'static Protocol,
}

impl Transfer {
    /// # Errors
    /// Sets without labels, of different classes or with too few images.
    pub(super) fn new(sets: [&Images; 2], sight: &Sight, settings: &Settings) -> Result<Self> {
        let protocol = PROTOCOLS.iter().find(|protocol| protocol.name == KNN).expect("a protocol");
        for set in sets {
            if set.dataset.labels().is_none() {
                return Err(Error::usage(format!("{}: the images have no labels", set.spec)));
            }
        }
        if sets[0].dataset.classes() != sets[1].dataset.classes() {
            return Err(Error::usage(format!("{} and {} have different classes", sets[0].spec, sets[1].spec)));
        }
        let [bank, asked] = sets.map(|set| {
            let images = set.dataset.len().min(settings.images);
            plain(data::sample(Arc::clone(&set.dataset), images, settings.seed), sight, settings)
        });
        let (bank, asked) = (bank?, asked?);
        if bank.dataset().len() < protocol.least_images {
            return Err(Error::usage(format!(
                "{}: {} images are too few, expected {}",
                sets[0].spec,
                bank.dataset().len(),
                protocol.least_images
            )));
        }
        Ok(Self { sides: [bank, asked], protocol })
    }

    pub(super) fn say_bad_samples(&self) {
        self.sides.iter().for_each(Loader::say_bad_samples);
    }

    pub(super) fn images(&self) -> usize {
        self.sides.iter().map(|side| side.dataset().len()).sum()
    }

    /// Whether each image asked about is labelled right, for every stage.
    pub(super) fn answers(&self, model: &Model, stages: &[usize], progress: &Progress) -> Result<Vec<Vec<bool>>> {
        let features = |side| extract(model.encoder.as_ref(), &model.weights, side, 0, stages, progress);
        let [bank, asked] = self.sides.each_ref().map(features);
        let (bank, asked) = (bank?, asked?);
        let labelled = "checked: both sides have labels";
        stages
            .iter()
            .map(|&stage| {
                let bank = bank.labelled(stage).expect(labelled);
                (self.protocol.fit)(bank, model.device())?.on(asked.labelled(stage).expect(labelled))
            })
            .collect()
    }
}
