//! The diagnosis: measures of every stage of every checkpoint, on training images and on unseen ones.

mod choice;
mod diagnosis;
mod fisher;
mod gap;
mod memorised;
mod onset;
mod per_image;
mod pooled;
mod reference;
mod side;
mod subject;
mod summary;
mod transfer;

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use ndarray::Array3;
use serde_json::json;
use tch::Device;

use lethe_measures::linear_cka;

use crate::data::{self, Dataset};
use crate::error::{Error, Result};
use crate::evaluate::{Model, Sight, accuracy};
use crate::interrupt;
use crate::methods;
use crate::progress::Progress;

pub use choice::{Choice, Earliest, Judged};
pub use diagnosis::{Cell, CheckpointRow, Diagnosis, Estimate, Membership, Side};
pub use fisher::squares;
pub use gap::{Gap, alignment_distances, gaps};
pub use memorised::ImageScore;
pub use onset::Onset;
pub use pooled::{Pooled, Score, pool};
pub use reference::AgainstReference;
pub use subject::{Subject, epoch_in_name};

use fisher::Fisher;
use memorised::Listed;
use per_image::{DIFFERENCES, PerImage, TRANSFER};
use side::{Answers, Shown, SideFeatures, answers, measure};
use transfer::Transfer;

/// Images by the specification that opened them.
#[derive(Clone)]
pub struct Images {
    pub spec: String,
    pub dataset: Arc<dyn Dataset>,
}

/// What is shown to the encoders.
pub struct Sets<'a> {
    /// Images they were trained on.
    pub train: &'a Images,
    /// Images of the same kind that they have not seen.
    pub unseen: Option<&'a Images>,
    /// Labelled images of another kind: a bank, and those that are asked about.
    pub transfer: Option<[&'a Images; 2]>,
}

/// A diagnosis, and what several of them are pooled from.
pub struct Diagnosed {
    pub diagnosis: Diagnosis,
    /// The epochs of the checkpoints and the memorisation gap of every image, `[stages, checkpoints, images]`.
    pub gaps: Option<(Vec<f64>, Array3<f64>)>,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// The most images a side.
    pub images: usize,
    pub eps2: f64,
    pub seed: u64,
    /// What the checkpoints remember unless given.
    pub image_size: Option<u32>,
    pub normalize: Option<String>,
    /// An encoder of the same stages that has not been trained on these images.
    pub reference: Option<PathBuf>,
    /// Recipe of the view pairs; the method's own unless given, SimCLR's of an unknown method.
    pub augmentation: Option<String>,
    /// Pairs of views an image that the gap and membership are the means of, at least 1. All else sees the first one.
    pub draws: u32,
    /// Also take `fisher_trace`, which costs backward passes.
    pub fisher: bool,
    pub batch_size: usize,
    pub threads: usize,
    pub device: Device,
}

/// [`Settings::draws`] unless told: they halve the gap's interval of one.
pub const DRAWS: u32 = 4;

/// The fewest images a side that say anything.
pub const LEAST_IMAGES: usize = 20;

/// Diagnoses every stage of `subjects`, oldest first, on images they were trained on and, where given, on unseen ones.
///
/// Both sides take the same number of images, as measures of different numbers of rows cannot be compared. View pairs
/// are drawn once, and by other draws than those of a training with the same seed: all checkpoints see the same ones, and
/// image i of both sides goes through the same draws.
///
/// # Errors
/// Those of the checkpoints and images; subjects with different encoders, or different memories of the images.
pub fn diagnose(subjects: &[Subject], sets: &Sets, settings: &Settings) -> Result<Diagnosed> {
    let train = sets.train;
    let sides: Vec<&Images> = std::iter::once(train).chain(sets.unseen).collect();
    let images = sides.iter().map(|side| side.dataset.len()).min().unwrap_or(0).min(settings.images);
    if images < LEAST_IMAGES {
        return Err(Error::usage(format!("{images} images a side are too few to diagnose, expected {LEAST_IMAGES}")));
    }
    let (first, sight) = check(subjects, train, settings)?;
    let augmentation = augmentation(&first, settings)?;
    let shown = sides
        .iter()
        .map(|side| {
            let dataset = data::sample(Arc::clone(&side.dataset), images, settings.seed);
            Shown::new(dataset, &sight, &augmentation, settings)
        })
        .collect::<Result<Vec<Shown>>>()?;
    let transfer = sets.transfer.map(|sets| Transfer::new(sets, &sight, settings)).transpose()?;
    let fisher = settings.fisher.then(|| {
        let dataset = data::sample(Arc::clone(&train.dataset), images, settings.seed);
        Fisher::new(dataset, &sight, &augmentation, settings)
    });
    let mut fisher = fisher.transpose()?;
    let same_classes = sides.iter().all(|side| side.dataset.classes() == train.dataset.classes());

    let mut diagnosis = Diagnosis {
        lethe: env!("CARGO_PKG_VERSION").into(),
        encoder: first.encoder.spec().name,
        settings: resolved(&sides, sets.transfer, images, &sight, &augmentation, settings),
        stages: first.encoder.stages().iter().map(|stage| stage.name.clone()).collect(),
        checkpoints: Vec::new(),
        cells: Vec::new(),
        onsets: Vec::new(),
        choices: Vec::new(),
        most_memorised: Vec::new(),
        random_images: Vec::new(),
        summary: String::new(),
    };
    let stages: Vec<usize> = (0..diagnosis.stages.len()).collect();
    let models = subjects.len() + usize::from(settings.reference.is_some());
    let beside = transfer.as_ref().map_or(0, Transfer::images) + fisher.as_ref().map_or(0, Fisher::images);
    let progress = Progress::new(
        "diagnose",
        "images",
        (models * shown.len() * (1 + settings.draws as usize) * images + subjects.len() * beside) as u64,
    );
    let features = |model: &Model| {
        shown.iter().map(|shown| shown.features(model, &stages, &progress)).collect::<Result<Vec<SideFeatures>>>()
    };
    let reference = settings.reference.as_ref().map(|path| features(&reference::open(path, &first, settings.device)?));
    let reference = reference.transpose()?;
    let mut per_image = Vec::new();
    let mut before: Option<Vec<SideFeatures>> = None;
    for (checkpoint, subject) in subjects.iter().enumerate() {
        if let Some(stop) = interrupt::asked() {
            return Err(stop);
        }
        let model = subject.open(settings.device)?;
        let features = features(&model)?;
        let transferred = transfer.as_ref().map(|transfer| transfer.answers(&model, &stages, &progress)).transpose()?;
        let traces = fisher.as_mut().map(|fisher| fisher.of(subject, &model, &progress)).transpose()?.flatten();
        diagnosis.checkpoints.push(CheckpointRow { path: model.name.clone(), epoch: model.epoch });
        for (stage, name) in diagnosis.stages.iter().enumerate() {
            let place = format!("{}, {name}", model.name);
            let mut asked = asked(&features, stage, same_classes, settings, &place);
            let [train, unseen] = numbers(&features, stage, &asked, settings, &place)?;
            let right = transferred.as_ref().map(|right| &right[stage]);
            asked[1].extend(right.map(|right| (TRANSFER, right.clone())));
            per_image.push(PerImage::of(&features, stage, &asked, settings));
            diagnosis.cells.push(Cell {
                checkpoint,
                stage: name.clone(),
                train: train.expect("the first side"),
                unseen,
                memorisation_gap: None,
                gap_interval: None,
                transfer: right.map(|right| accuracy(right)),
                membership: told_apart(&features, stage),
                cka_stage: stage.checked_sub(1).and_then(|earlier| cka((&features, stage), (&features, earlier))),
                cka_checkpoint: before.as_ref().and_then(|before| cka((&features, stage), (before, stage))),
                fisher_trace: traces.as_ref().map(|traces| traces[stage]),
                reference: reference.as_deref().and_then(|reference| reference::compare(&features, reference, stage)),
            });
        }
        before = Some(features);
    }
    progress.finish();
    if let (Some(own), Some(&last)) = (&before, stages.last()) {
        let images = data::sample(Arc::clone(&train.dataset), images, settings.seed);
        let listed = Listed::of(own, reference.as_deref(), last, images.as_ref(), settings.seed);
        (diagnosis.most_memorised, diagnosis.random_images) = (listed.most, listed.random);
    }
    if sets.unseen.is_some() {
        let differences: Vec<&[f64]> =
            per_image.iter().map(|cell| cell.differences[DIFFERENCES[0]].as_slice()).collect();
        for (cell, gap) in diagnosis.cells.iter_mut().zip(gaps(&differences, settings.seed)) {
            (cell.memorisation_gap, cell.gap_interval) = (Some(gap.mean), Some([gap.low, gap.high]));
        }
    }
    let mut all_gaps = None;
    if let Some(epochs) = per_image::epochs(&diagnosis.checkpoints) {
        diagnosis.onsets = onset::find(&diagnosis.stages, &per_image, &epochs, settings.seed);
        diagnosis.choices = choice::find(&diagnosis, &per_image, &epochs, settings.seed);
        let gaps = per_image::stacked(&per_image, epochs.len(), |cell| cell.differences.get(DIFFERENCES[0]));
        all_gaps = gaps.map(|gaps| (epochs, gaps));
    }
    diagnosis.summary = summary::summary(&diagnosis);
    shown.iter().for_each(Shown::say_bad_samples);
    transfer.iter().for_each(Transfer::say_bad_samples);
    Ok(Diagnosed { diagnosis, gaps: all_gaps })
}

/// Opens every subject before the work begins: all must hold one encoder and remember the images alike. Gives the first
/// one.
fn check(subjects: &[Subject], train: &Images, settings: &Settings) -> Result<(Model, Sight)> {
    let mut first: Option<(Model, Sight)> = None;
    for subject in subjects {
        let model = subject.open(Device::Cpu)?;
        let sight =
            model.sight(train.dataset.as_ref(), &train.spec, settings.image_size, settings.normalize.as_deref())?;
        let Some((kept, kept_sight)) = &first else {
            first = Some((model, sight));
            continue;
        };
        let (spec, kept_spec) = (model.encoder.spec(), kept.encoder.spec());
        if spec != kept_spec {
            return Err(Error::usage(format!("{} holds {spec}, the first one {kept_spec}", model.name))
                .hint("diagnose checkpoints of one encoder at a time"));
        }
        if sight != *kept_sight {
            return Err(Error::usage(format!("{} was trained on {sight}, the first one on {kept_sight}", model.name))
                .hint("say which with --image-size and --normalize"));
        }
    }
    first.ok_or_else(|| Error::usage("no checkpoint to diagnose"))
}

/// What the protocols answer about a stage, on training images and on unseen ones; these are asked about only where
/// their classes are those of the training images.
fn asked(
    features: &[SideFeatures],
    stage: usize,
    same_classes: bool,
    settings: &Settings,
    place: &str,
) -> [Answers; 2] {
    let Some(bank) = features[0].plain.labelled(stage) else { return Default::default() };
    let unseen = features.get(1).filter(|_| same_classes).and_then(|unseen| unseen.plain.labelled(stage));
    answers(bank, unseen, settings.device, place)
}

/// The numbers of one stage on training images and on unseen ones.
fn numbers(
    features: &[SideFeatures],
    stage: usize,
    answers: &[Answers; 2],
    settings: &Settings,
    place: &str,
) -> Result<[Option<Side>; 2]> {
    let mut sides = [None, None];
    for ((side, features), answers) in sides.iter_mut().zip(features).zip(answers) {
        let accuracy = answers.iter().map(|(name, right)| ((*name).to_owned(), accuracy(right))).collect();
        *side = Some(Side { accuracy, ..measure(features, stage, settings.eps2, place)? });
    }
    Ok(sides)
}

/// Of a stage's features of the training images with another's; nothing where all images are alike.
fn cka((features, stage): (&[SideFeatures], usize), (others, other): (&[SideFeatures], usize)) -> Option<f64> {
    let [own, other] = [(features, stage), (others, other)].map(|(sides, stage)| sides[0].plain_of(stage));
    linear_cka(own.view(), other.view()).ok()
}

fn told_apart(features: &[SideFeatures], stage: usize) -> Option<Membership> {
    let [train, unseen] = features else { return None };
    let nearness = |side: &SideFeatures| side.distances(stage).iter().map(|distance| -distance).collect::<Vec<f64>>();
    Membership::of(&nearness(train), &nearness(unseen))
}

fn augmentation(model: &Model, settings: &Settings) -> Result<String> {
    match (&settings.augmentation, &model.method) {
        (Some(name), _) => Ok(name.clone()),
        (None, Some(method)) => Ok(methods::find(method)?.recipe.augmentation.to_owned()),
        (None, None) => Ok("simclr".into()),
    }
}

fn resolved(
    sides: &[&Images],
    transfer: Option<[&Images; 2]>,
    images: usize,
    sight: &Sight,
    augmentation: &str,
    settings: &Settings,
) -> IndexMap<String, serde_json::Value> {
    [
        ("data", json!(sides[0].spec)),
        ("unseen", json!(sides.get(1).map(|side| &side.spec))),
        ("transfer", json!(transfer.map(|sets| sets.map(|set| &set.spec)))),
        ("images", json!(images)),
        ("image_size", json!(sight.size)),
        ("normalize", json!(sight.normalize)),
        ("reference", json!(settings.reference.as_ref().map(|path| path.display().to_string()))),
        ("augmentation", json!(augmentation)),
        ("draws", json!(settings.draws)),
        ("fisher", json!(settings.fisher)),
        ("batch_size", json!(settings.batch_size)),
        ("eps2", json!(settings.eps2)),
        ("seed", json!(settings.seed)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}
