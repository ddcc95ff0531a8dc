//! One set of images: its features and their numbers.

use std::sync::Arc;

use indexmap::IndexMap;
use lethe_measures::{Cost, Groups, MEASURES, Measure, MeasureError, Needs, Rows};
use ndarray::Array2;
use tch::Device;

use super::gap::alignment_distances;
use super::{Settings, Side};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::{Features, Labelled, Model, PROTOCOLS, Protocol, Sight, extract};
use crate::loader::{Loader, LoaderSettings, Order};
use crate::progress::{self, Progress};
use crate::rng::Purpose;
use crate::views::{self, Augmentation, Normalize};

/// Batches computed ahead.
const PREFETCH: usize = 2;

/// Right or wrong image by image, by protocol.
pub(super) type Answers = IndexMap<&'static str, Vec<bool>>;

/// Images as they are, and as pairs of views.
pub(super) struct Shown {
    plain: Loader,
    pairs: Loader,
    draws: u32,
}

/// Features of all stages, of the images as they are and of their first pairs.
pub(super) struct SideFeatures {
    pub(super) plain: Features,
    pairs: Features,
    /// `||u - u'||^2` of the two views, of every stage image by image: the mean over the draws.
    distances: Vec<Vec<f64>>,
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

impl Shown {
    pub(super) fn new(
        dataset: Arc<dyn Dataset>,
        sight: &Sight,
        augmentation: &str,
        settings: &Settings,
    ) -> Result<Self> {
        let pairs = views::augmentation(augmentation, sight.size, Normalize::named(&sight.normalize)?)?.pair();
        let plain = plain(Arc::clone(&dataset), sight, settings)?;
        Ok(Self { plain, pairs: loader(dataset, pairs, settings)?, draws: settings.draws })
    }

    pub(super) fn features(&self, model: &Model, stages: &[usize], progress: &Progress) -> Result<SideFeatures> {
        let features = |loader, draw| extract(model.encoder.as_ref(), &model.weights, loader, draw, stages, progress);
        let (plain, pairs) = (features(&self.plain, 0)?, features(&self.pairs, 0)?);
        let of_pairs = |pairs: &Features| -> Vec<Vec<f64>> {
            (0..stages.len()).map(|i| alignment_distances(pairs.view(i, 0), pairs.view(i, 1))).collect()
        };
        let mut distances = of_pairs(&pairs);
        for draw in 1..self.draws {
            let others = of_pairs(&features(&self.pairs, draw)?);
            distances.iter_mut().flatten().zip(others.iter().flatten()).for_each(|(sum, other)| *sum += other);
        }
        distances.iter_mut().flatten().for_each(|sum| *sum /= f64::from(self.draws));
        Ok(SideFeatures { plain, pairs, distances })
    }

    pub(super) fn say_bad_samples(&self) {
        self.plain.say_bad_samples();
    }
}

impl SideFeatures {
    /// The [alignment distance](alignment_distances) of the views of every image.
    pub(super) fn distances(&self, stage: usize) -> &[f64] {
        &self.distances[stage]
    }

    /// The images as they are, `[n, d]`.
    pub(super) fn plain_of(&self, stage: usize) -> Array2<f64> {
        self.plain.stages[stage].1.mapv(f64::from)
    }

    /// The first two views of every image, `[2 n, d]`: row i and row i + n.
    pub(super) fn pairs_of(&self, stage: usize) -> Array2<f64> {
        self.pairs.stages[stage].1.mapv(f64::from)
    }
}

/// All measures of a stage but the accuracies. One that cannot be taken is left out with the reason, which is said too
/// unless it is in the nature of things.
pub(super) fn measure(features: &SideFeatures, stage: usize, eps2: f64, place: &str) -> Result<Side> {
    let last = stage + 1 == features.plain.stages.len();
    let mut side = Side::default();
    let plain = features.plain_of(stage);
    let groups = features.plain.labels.as_deref().map_or(Groups::None, Groups::Labels);
    let rows = Rows::new(plain.view(), groups, eps2).map_err(|error| Error::failed(format!("{place}: {error}")))?;
    let pairs = features.pairs_of(stage);
    let rows = if last { rows.in_one_pass(true) } else { rows };
    let pairs =
        Rows::new(pairs.view(), Groups::Pairs, eps2).map_err(|error| Error::failed(format!("{place}: {error}")))?;
    let mut skipped = IndexMap::new();
    let mut take = |into: &mut IndexMap<String, f64>, rows: &Rows, wanted: &dyn Fn(Needs) -> bool, beside: &[&str]| {
        for measure in MEASURES.iter().filter(|m| cheap(m, last) && (wanted(m.needs) || beside.contains(&m.name))) {
            let error = match (measure.of)(rows) {
                Ok(value) => {
                    into.insert(measure.name.into(), value);
                    continue;
                }
                Err(error) => error,
            };
            if !in_the_nature_of_things(error) {
                progress::say(&format!("warning: {place}: no {}: {error}", measure.name));
            }
            skipped.insert(measure.name.to_owned(), error.to_string());
        }
    };
    take(&mut side.measures, &rows, &|needs| needs == Needs::Rows, &[]);
    if matches!(groups, Groups::Labels(_)) {
        take(&mut side.by_class, &rows, &|needs| needs == Needs::Groups, &["coding_rate"]);
    }
    take(&mut side.by_pair, &pairs, &|needs| needs != Needs::Rows, &["coding_rate"]);
    side.skipped = skipped;
    Ok(side)
}

/// Measures that take less than the images' way through the encoder; of the last stage, which decides, all of them.
fn cheap(measure: &Measure, last: bool) -> bool {
    last || measure.cost == Cost::Spectrum || measure.name == "uniformity"
}

/// Of a narrow stage, a small set, or a stage whose features have signs.
fn in_the_nature_of_things(error: MeasureError) -> bool {
    use MeasureError::{Negative, TooFewDirections, TooFewRows};
    matches!(error, TooFewDirections { .. } | TooFewRows { .. } | Negative { .. })
}

/// Answers by protocol, right or wrong image by image: on the bank itself, and on the features asked about.
pub(super) fn answers(bank: Labelled, asked: Option<Labelled>, device: Device, place: &str) -> [Answers; 2] {
    let mut answers = <[Answers; 2]>::default();
    let mut one = |protocol: &Protocol| -> Result<()> {
        let classifier = (protocol.fit)(bank, device)?;
        answers[0].insert(protocol.name, classifier.on_training()?);
        if let Some(asked) = asked {
            answers[1].insert(protocol.name, classifier.on(asked)?);
        }
        Ok(())
    };
    for protocol in PROTOCOLS.iter().filter(|protocol| bank.labels.len() >= protocol.least_images) {
        if let Err(error) = one(protocol) {
            progress::say(&format!("warning: {place}: no {}: {error}", protocol.name));
        }
    }
    answers
}
