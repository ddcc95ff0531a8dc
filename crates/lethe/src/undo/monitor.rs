//! A repair watched on held-out images, without labels: how much is memorised, and whether the features are still of use.

use std::ops::Range;
use std::sync::Arc;

use lethe_measures::{membership, membership_change, pair_rates, view_retrieval};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::data::{self, Dataset};
use crate::diagnose::{Estimate, LEAST_IMAGES, alignment_distances, gaps};
use crate::encoders::Encoder;
use crate::error::{Error, Result};
use crate::evaluate::{Features, extract};
use crate::loader::{Loader, LoaderSettings, Order};
use crate::nn::Weights;
use crate::progress::Progress;
use crate::rng::Purpose;
use crate::run::Kind;
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

/// The last stage of an encoder, on two deterministic views of training images and of unseen ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    /// Images a side.
    pub images: usize,
    /// Mean alignment distance of view pairs on unseen images minus that on training images.
    pub memorisation_gap: f64,
    /// Of telling training images from unseen ones by how near their views lie.
    pub membership_auc: f64,
    /// dR with the two views of an image as a group.
    pub coding_rate_reduction: Sides,
    /// Share of unseen images whose other view is the nearest of all.
    pub view_retrieval: f64,
    #[serde(skip)]
    pub by_image: ByImage,
}

/// What was seen of every image.
#[derive(Debug, Clone, Default)]
pub struct ByImage {
    /// Alignment distances of the view pairs of training images and of unseen ones.
    pub train: Vec<f64>,
    pub unseen: Vec<f64>,
    /// View retrieval of the unseen ones.
    pub retrieved: Vec<f64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sides {
    pub train: f64,
    pub unseen: f64,
}

/// What a repair has changed, after less before, with 95 % intervals: the images are drawn, the two encoders given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Changes {
    pub memorisation_gap: Estimate,
    pub membership_auc: Estimate,
    pub view_retrieval: Estimate,
}

impl Changes {
    /// Of the same images, `before` and `after`.
    ///
    /// # Errors
    /// Distances that are not numbers.
    pub fn of(before: &Seen, after: &Seen, seed: u64) -> Result<Self> {
        let (before, after) = (&before.by_image, &after.by_image);
        let minus = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
        let paired = |a: &[f64], b: &[f64]| Estimate::from(gaps(&[minus(a, b)], seed)[0]);
        let gap = |side: &ByImage| minus(&side.unseen, &side.train);
        let scores = |side: &ByImage| [&side.train, &side.unseen].map(|distances| near(distances));
        let (old, new) = (scores(before), scores(after));
        let auc = membership_change(old.each_ref().map(|s| &s[..]), new.each_ref().map(|s| &s[..]));
        Ok(Self {
            memorisation_gap: paired(&gap(after), &gap(before)),
            membership_auc: auc.map_err(measured)?.into(),
            view_retrieval: paired(&after.retrieved, &before.retrieved),
        })
    }
}

/// Scores of membership: the nearer the views, the higher.
fn near(distances: &[f64]) -> Vec<f64> {
    distances.iter().map(|distance| -distance).collect()
}

fn measured(error: lethe_measures::MeasureError) -> Error {
    Error::failed(format!("watching the repair: {error}"))
}

/// A line of `undo.jsonl` about an epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EpochRow {
    pub kind: Kind,
    /// Epochs done; 0 for the given checkpoint.
    pub epoch: u32,
    pub step: u64,
    pub repair: String,
    pub passes: f64,
    #[serde(flatten)]
    pub seen: Seen,
    /// View retrieval of the given checkpoint minus that now.
    pub view_retrieval_lost: Estimate,
    /// Whether these weights are the best so far.
    pub kept: bool,
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
    pub fn look(&self, encoder: &dyn Encoder, w: &Weights) -> Result<Seen> {
        let last = encoder.stages().len() - 1;
        let side = |loader| -> Result<(Features, Vec<f64>, Array2<f64>)> {
            let features = extract(encoder, w, loader, 0, &[last], &Progress::hidden())?;
            let distances = alignment_distances(features.view(0, 0), features.view(0, 1));
            let pairs = features.stages[0].1.mapv(f64::from);
            Ok((features, distances, pairs))
        };
        let ((features, of_train, train), (_, of_unseen, unseen)) = (side(&self.train)?, side(&self.unseen)?);
        let rate = |pairs: &Array2<f64>| pair_rates(pairs.view(), self.eps2).map_err(measured);
        let retrieved = view_retrieval(unseen.view()).map_err(measured)?;
        Ok(Seen {
            images: features.images,
            memorisation_gap: mean(&of_unseen) - mean(&of_train),
            membership_auc: membership(&near(&of_train), &near(&of_unseen)).map_err(measured)?.auc,
            coding_rate_reduction: Sides {
                train: rate(&train)?.coding_rate_reduction(),
                unseen: rate(&unseen)?.coding_rate_reduction(),
            },
            view_retrieval: mean(&retrieved),
            by_image: ByImage { train: of_train, unseen: of_unseen, retrieved },
        })
    }
}

/// How much view retrieval `now` has lost against `base`, with three standard errors of the mean of the images'
/// differences to either side.
pub fn lost(base: &Seen, now: &Seen) -> Estimate {
    let (base, now) = (&base.by_image.retrieved, &now.by_image.retrieved);
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
/// Kept is the epoch with the smallest memorisation gap among those whose view retrieval on unseen images is not
/// measurably below that of the given checkpoint, which is among them. A repair ends after two epochs in a row that are
/// measurably below and no better than the one before: one that recovers goes on. Where the given checkpoint finds so few
/// views that nothing could be measured, the last epoch is kept, as without held-out images.
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
    pub fn new(base: &Seen) -> Self {
        let blind = base.by_image.retrieved.iter().sum::<f64>() < LEAST_FOUND;
        Self { kept: 0, blind, gap: base.memorisation_gap, before: base.view_retrieval, falling: 0 }
    }

    pub fn hear(&mut self, epoch: u32, seen: &Seen, lost: &Estimate) -> Verdict {
        let worse = !self.blind && lost.low > 0.0;
        let keep = self.blind || (!worse && seen.memorisation_gap < self.gap);
        if keep {
            (self.kept, self.gap) = (epoch, seen.memorisation_gap);
        }
        self.falling = if worse && seen.view_retrieval <= self.before { self.falling + 1 } else { 0 };
        self.before = seen.view_retrieval;
        Verdict { keep, stop: self.falling >= PATIENCE }
    }
}
