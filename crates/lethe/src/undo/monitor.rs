//! A repair watched on unseen images, without labels: how much is memorised, and whether the features are still of use.

use std::ops::Range;
use std::sync::Arc;

use lethe_diagnosis::LEAST_IMAGES;
use lethe_diagnosis::records::{BothSides, Changes, Seen};
use lethe_measures::{
    Estimate, MeasureError, RetrievalHits, StageViews, ViewDistances, mean_change, membership, memorisation_change,
    view_rates,
};
use ndarray::ArrayView3;
use serde::{Deserialize, Serialize};

use crate::data::{self, Dataset};
use crate::encoders::Encoder;
use crate::error::{Error, Result};
use crate::evaluate::extract;
use crate::loader::{Loader, LoaderSettings, Order};
use crate::nn::Weights;
use crate::progress::Progress;
use crate::rng::Purpose;
use crate::views::Augmentation;

/// Images a side that are looked at after every epoch; as many again at most, and others, for the table at the end.
const EPOCH_IMAGES: usize = 256;
const TABLE_IMAGES: usize = 1024;
/// Standard errors: one-sided 0.13 %, so that in up to 38 epochs nothing is taken for worse by luck with 95 %
/// (Bonferroni).
const ERRORS: f64 = 3.0;
/// With fewer images found by the given weights, losing all of them would be within the error.
const LEAST_FOUND: f64 = 10.0;
/// Epochs in a row that end a repair.
const PATIENCE: u32 = 2;

/// What was seen of the last stage of an encoder, and the numbers of single images behind it.
pub struct Look {
    pub seen: Seen,
    /// Between two views of every image.
    pub distances: ViewDistances,
    /// How often every image is found by its other view.
    pub retrieval: RetrievalHits,
}

/// What a repair has changed, after minus before, with 95 % intervals: the images are drawn, the two encoders given.
///
/// # Errors
/// Looks at other images.
pub fn changes(before: &Look, after: &Look) -> Result<Changes> {
    let found = memorisation_change(&before.distances, &after.distances, true).map_err(measured)?;
    let view_retrieval = mean_change(&before.retrieval.unseen, &after.retrieval.unseen).map_err(measured)?;
    Ok(Changes {
        membership: found.membership,
        memorisation_gap: found.memorisation_gap,
        relative_gap: found.relative_gap,
        d_train: found.d_train,
        d_unseen: found.d_unseen,
        view_retrieval,
    })
}

fn measured(error: MeasureError) -> Error {
    Error::failed(format!("watching the repair: {error}"))
}

/// Shows the same images to any weights.
pub struct Monitor {
    train: Loader,
    unseen: Loader,
    eps2: f64,
}

impl Monitor {
    /// One for every epoch, and one with other images for the table at the end: an epoch that is chosen on some images
    /// looks better on them than it is. Both compare the [pair](Augmentation::pair) of `augmentation`.
    ///
    /// # Errors
    /// When there are too few images.
    pub fn pair(
        train: &Arc<dyn Dataset>,
        unseen: &Arc<dyn Dataset>,
        augmentation: &Augmentation,
        settings: &LoaderSettings,
        eps2: f64,
    ) -> Result<(Self, Self)> {
        let images = train.len().min(unseen.len());
        let first = EPOCH_IMAGES.min(images / 2);
        if first < LEAST_IMAGES {
            return Err(Error::usage(format!(
                "{images} images a side are too few to watch a repair, expected {}",
                2 * LEAST_IMAGES
            )));
        }
        let last = Self::looked_at(train.len(), unseen.len());
        let of = |range: Range<usize>| -> Result<Self> {
            let loader = |dataset: &Arc<dyn Dataset>| {
                let part = data::part(Arc::clone(dataset), range.clone(), settings.seed);
                let settings = LoaderSettings { order: Order::Sequential, purpose: Purpose::Look, ..settings.clone() };
                Loader::new(part, augmentation.pair(), settings)
            };
            Ok(Self { train: loader(train)?, unseen: loader(unseen)?, eps2 })
        };
        Ok((of(0..first)?, of(first..last)?))
    }

    /// Images a side that a [pair](Self::pair) looks at, of so many: the first of the permutation drawn from its seed.
    pub(super) fn looked_at(train: usize, unseen: usize) -> usize {
        let images = train.min(unseen);
        images.min(EPOCH_IMAGES.min(images / 2) + TABLE_IMAGES)
    }

    pub(super) fn unseen(&self) -> &Loader {
        &self.unseen
    }

    /// # Errors
    /// Those of the images; features that are not finite or all 0.
    pub fn look(&self, encoder: &dyn Encoder, w: &Weights) -> Result<Look> {
        let last = encoder.stages().len() - 1;
        let side = |loader| extract(encoder, w, loader, 0, &[last], &Progress::hidden());
        let (train, unseen) = (side(&self.train)?, side(&self.unseen)?);
        let images = train.images;
        let [train, unseen] = [train, unseen].map(|mut side| side.stages.swap_remove(0).1);
        let views = [&train, &unseen].map(|rows| -> ArrayView3<f32> {
            rows.view().into_shape_with_order((2, images, rows.ncols())).expect("two views of every image")
        });
        let views = StageViews::new(views[0], views[1]).map_err(measured)?;
        let (distances, retrieval) = (views.distances(), views.retrieval(0));
        let rate = |pairs: &ndarray::Array2<f32>| -> Result<f64> {
            Ok(view_rates(pairs.mapv(f64::from).view(), 2, self.eps2).map_err(measured)?.coding_rate_reduction())
        };
        let near = |distances: &[f64]| distances.iter().map(|distance| -distance).collect::<Vec<f64>>();
        let told = membership(&near(&distances.train), &near(&distances.unseen), true).map_err(measured)?;
        let (d_train, d_unseen) = (mean(&distances.train), mean(&distances.unseen));
        let gap = d_unseen - d_train;
        let seen = Seen {
            images,
            membership: told.auc.value,
            memorisation_gap: gap,
            relative_gap: if distances.between > 0.0 { gap / distances.between } else { 0.0 },
            d_train,
            d_unseen,
            coding_rate_reduction: BothSides { train: rate(&train)?, unseen: rate(&unseen)? },
            view_retrieval: mean(&retrieval.unseen),
        };
        Ok(Look { seen, distances, retrieval })
    }
}

/// How much view retrieval `now` has lost against `base`, with three standard errors of the mean of the images'
/// differences to either side.
pub fn lost(base: &Look, now: &Look) -> Estimate {
    let (base, now) = (&base.retrieval.unseen, &now.retrieval.unseen);
    let differences: Vec<f64> = base.iter().zip(now).map(|(base, now)| base - now).collect();
    let value = mean(&differences);
    let n = differences.len() as f64;
    let variance = differences.iter().map(|d| (d - value).powi(2)).sum::<f64>() / (n - 1.0);
    let width = ERRORS * (variance / n).sqrt();
    Estimate { value, low: value - width, high: value + width }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Chooses the epoch to keep, and when to stop; docs/decisions/0009 argues it.
///
/// Kept is the epoch with the smallest relative gap among those whose view retrieval on unseen images is not measurably
/// below that of the given checkpoint, which is among them. What a repair has achieved is judged by membership, on other
/// images. A repair ends after two epochs in a row that are measurably below and no better than the one before: one that
/// recovers goes on. Where the given checkpoint finds so few views that nothing could be measured, the last epoch is kept,
/// as without held-out images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    /// Epochs done of the best weights; 0 for the given checkpoint.
    pub kept: u32,
    /// Nothing can be measured.
    pub blind: bool,
    gap: f64,
    before: f64,
    falling: u32,
}

/// What a judge says of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub keep: bool,
    pub stop: bool,
}

impl Judge {
    pub fn new(base: &Look) -> Self {
        let blind = base.retrieval.unseen.iter().sum::<f64>() < LEAST_FOUND;
        Self { kept: 0, blind, gap: base.seen.relative_gap, before: base.seen.view_retrieval, falling: 0 }
    }

    pub fn hear(&mut self, epoch: u32, look: &Look, lost: &Estimate) -> Verdict {
        let seen = &look.seen;
        let worse = !self.blind && lost.low > 0.0;
        let keep = self.blind || (!worse && seen.relative_gap < self.gap);
        if keep {
            (self.kept, self.gap) = (epoch, seen.relative_gap);
        }
        self.falling = if worse && seen.view_retrieval <= self.before { self.falling + 1 } else { 0 };
        self.before = seen.view_retrieval;
        Verdict { keep, stop: self.falling >= PATIENCE }
    }
}
