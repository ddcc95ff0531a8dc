//! The diagnosis of encoders: features of every stage of every checkpoint on training images and on unseen ones, handed to
//! [`lethe_diagnosis`].

mod blocks;
mod extraction;
mod gradient;
mod losses;
mod subject;
mod transfer;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::json;
use tch::Device;

use lethe_diagnosis::{CheckpointFeatures, ControlFrom, ControlKind, CopiesFound, Relation, SideImages};

use crate::data::difference::differences;
use crate::data::{self, Dataset, copies};
use crate::error::{Error, Result};
use crate::evaluate::{Model, Sight};
use crate::interrupt;
use crate::methods;
use crate::progress::Progress;

pub use blocks::{Written, write_features};
pub use gradient::squares;
pub use lethe_diagnosis::{Cell, Diagnosed, Diagnosis, LEAST_IMAGES, Pooled, Side, pool};
pub use subject::{Subject, epoch_in_name};

use extraction::{Extracted, Shown};
use gradient::Gradient;
use losses::Losses;
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
    /// Images that they have not seen.
    pub unseen: Option<&'a Images>,
    /// Labelled images of another kind: a bank, and those that are asked about.
    pub transfer: Option<[&'a Images; 2]>,
    /// How the two sides were drawn.
    pub relation: Relation,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// The most images a side.
    pub images: usize,
    /// Random views of every image, at least 2.
    pub views: usize,
    pub eps2: f64,
    /// How much worse than the best checkpoint "the earliest as good" may be, as a share of views retrieved.
    pub margin: f64,
    pub seed: u64,
    /// What the checkpoints remember unless given.
    pub image_size: Option<u32>,
    pub normalize: Option<String>,
    /// Whether an encoder that never saw the images is diagnosed too.
    pub control: bool,
    /// An encoder of the same stages that has not been trained on these images; it is the control.
    pub reference: Option<PathBuf>,
    /// Recipe of the views; the method's own unless given, SimCLR's of an unknown method.
    pub augmentation: Option<String>,
    /// Also take the squared length of batch gradients, which costs backward passes.
    pub gradients: bool,
    /// How copies between the sides are looked for.
    pub copies: Copies,
    pub batch_size: usize,
    pub threads: usize,
    pub device: Device,
}

/// [`Settings::views`] unless told.
pub const VIEWS: usize = 10;
/// [`Settings::margin`] unless told: 3 points.
pub const MARGIN: f64 = 0.03;

/// Diagnoses every stage of `subjects`, oldest first, on images they were trained on and, where given, on unseen ones.
///
/// Both sides take the same number of images. Views are drawn once, and by other draws than those of a training with the
/// same seed: all checkpoints see the same ones, and image i of both sides goes through the same draws.
///
/// # Errors
/// Those of the checkpoints and images; subjects with different encoders, or different memories of the images.
pub fn diagnose(subjects: &[Subject], sets: &Sets, settings: &Settings) -> Result<Diagnosed> {
    let (first, sight) = check(subjects, sets.train, settings)?;
    let augmentation = augmentation(&first, settings)?;
    let Samples { sides: samples, copies, within, difference } = samples(sets, settings)?;
    let shown = samples
        .iter()
        .map(|dataset| Shown::new(Arc::clone(dataset), &sight, &augmentation, settings))
        .collect::<Result<Vec<Shown>>>()?;
    let transfer = sets.transfer.map(|sets| Transfer::new(sets, &sight, settings)).transpose()?;
    let gradient = settings
        .gradients
        .then(|| Gradient::new(Arc::clone(&samples[0]), &sight, &augmentation, settings))
        .transpose()?;
    let losses = match samples.as_slice() {
        [train, unseen] => Some(Losses::new([train, unseen], &sight, &augmentation, settings)?),
        _ => None,
    };
    let mut shows = Shows { shown, transfer, gradient, losses, settings, progress: Progress::hidden() };
    let control = control(subjects, &first, sets.unseen.is_some(), settings)?;
    let reference =
        settings.reference.as_ref().map(|path| open_reference(path, &first, settings.device)).transpose()?;
    let more = usize::from(matches!(control, Start::Fresh(_))) + usize::from(reference.is_some());
    shows.progress = Progress::new(
        "diagnose",
        "images",
        (subjects.len() * shows.images_of(true) + more * shows.images_of(false)) as u64,
    );

    let describe = |dataset: &Arc<dyn Dataset>| SideImages {
        names: (0..dataset.len()).map(|i| dataset.name(i)).collect(),
        labels: dataset.labels().map(<[u32]>::to_vec),
        classes: dataset.classes().to_vec(),
        copies: None,
    };
    let boxed = |extracted: Extracted| Box::new(extracted) as Box<dyn CheckpointFeatures>;
    let control = match (&reference, control) {
        (Some(model), _) => ControlFrom::Reference(model.name.clone()),
        (None, Start::First) => ControlFrom::Start,
        (None, Start::Fresh(model)) => {
            ControlFrom::Features(ControlKind::FreshEncoder, None, boxed(shows.features(&model, None)?))
        }
        (None, Start::Nowhere) => ControlFrom::Nowhere,
    };
    let reference = reference.map(|model| shows.features(&model, None)).transpose()?.map(boxed);
    let subject = lethe_diagnosis::Subject {
        encoder: first.encoder.spec().name,
        stages: first.encoder.stages().iter().map(|stage| stage.name.clone()).collect(),
        settings: resolved(sets, samples[0].len(), &sight, &augmentation, settings),
        train: SideImages { copies: within, ..describe(&samples[0]) },
        unseen: samples.get(1).map(describe).unwrap_or_default(),
        relation: sets.relation,
        copies,
        difference,
        control,
        reference,
    };
    let checkpoints = subjects.iter().map(|subject| {
        if let Some(stop) = interrupt::asked() {
            return Err(stop);
        }
        let model = subject.open(settings.device)?;
        shows.features(&model, Some(subject)).map(boxed)
    });
    let settings_of_numbers =
        lethe_diagnosis::Settings { eps2: settings.eps2, margin: settings.margin, seed: settings.seed };
    let diagnosed = lethe_diagnosis::diagnose(subject, checkpoints, &settings_of_numbers)?;
    shows.progress.finish();
    shows.shown.iter().for_each(Shown::say_bad_samples);
    shows.transfer.iter().for_each(Transfer::say_bad_samples);
    Ok(diagnosed)
}

/// The images of both sides.
struct Samples {
    sides: Vec<Arc<dyn Dataset>>,
    copies: Option<CopiesFound>,
    /// How often each training image is in the training set beside itself.
    within: Option<Vec<usize>>,
    difference: Option<String>,
}

/// As many images of each side, drawn by the seed.
fn samples(sets: &Sets, settings: &Settings) -> Result<Samples> {
    let sides: Vec<&Images> = std::iter::once(sets.train).chain(sets.unseen).collect();
    let images = sides.iter().map(|side| side.dataset.len()).min().unwrap_or(0).min(settings.images);
    if images < LEAST_IMAGES {
        return Err(Error::usage(format!("{images} images a side are too few to diagnose, expected {LEAST_IMAGES}")));
    }
    let sides: Vec<Arc<dyn Dataset>> =
        sides.iter().map(|side| data::sample(Arc::clone(&side.dataset), images, settings.seed)).collect();
    let (Some(unseen), [train, other]) = (sets.unseen, sides.as_slice()) else {
        return Ok(Samples { sides, copies: None, within: None, difference: None });
    };
    let compared = copies::against(&sets.train.dataset, images, settings.copies.check, settings.seed);
    let found = copies::find(compared.as_ref(), other.as_ref());
    let left_out = found.left_out(images, settings.copies.allow).map_err(|many| {
        Error::usage(format!("--unseen {}: {many}", unseen.spec))
            .hint("name images that the encoder has not seen, or pass --allow-overlap N")
    })?;
    let differences = differences(train.as_ref(), other.as_ref());
    let [train, other] = [(train, &left_out.train), (other, &left_out.unseen)]
        .map(|(side, copies)| data::without(Arc::clone(side), copies));
    // Image i of both sides goes through the same draws, whichever images were left out before it.
    let images = train.len().min(other.len());
    let sides = [train, other].map(|side| first(side, images)).to_vec();
    let within = copies_within(compared.as_ref(), sides[0].as_ref());
    let left_out = found.pairs.into_iter().map(|pair| [pair.train_name, pair.unseen_name]).collect();
    let copies = CopiesFound { unseen: found.unseen_images, train: found.train_images, left_out };
    let difference = differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let difference = (!difference.is_empty()).then_some(difference);
    Ok(Samples { sides, copies: Some(copies), within: Some(within), difference })
}

/// The first `n` images.
fn first(images: Arc<dyn Dataset>, n: usize) -> Arc<dyn Dataset> {
    if images.len() == n { images } else { data::choose(images, (0..n).collect()) }
}

/// How often each image of `side` is among the training images `compared` beside itself.
fn copies_within(compared: &dyn Dataset, side: &dyn Dataset) -> Vec<usize> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for group in copies::within(compared) {
        counts.extend(group.images.iter().map(|&i| (compared.name(i), group.images.len() - 1)));
    }
    (0..side.len()).map(|i| counts.get(&side.name(i)).copied().unwrap_or(0)).collect()
}

/// How copies between the sides are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Copies {
    /// Training images beyond those of the diagnosis that unseen images are compared with.
    pub check: usize,
    /// The most images that may be on both sides; 1 % of a side unless given.
    pub allow: Option<usize>,
}

/// Everything that a checkpoint is shown.
struct Shows<'a> {
    shown: Vec<Shown>,
    transfer: Option<Transfer>,
    gradient: Option<Gradient>,
    losses: Option<Losses>,
    settings: &'a Settings,
    progress: Progress,
}

impl Shows<'_> {
    /// Images that pass through an encoder: a checkpoint, or a control of which features are enough.
    fn images_of(&self, checkpoint: bool) -> usize {
        let features: usize = self.shown.iter().map(Shown::images).sum();
        let beside = self.transfer.as_ref().map_or(0, Transfer::images)
            + self.gradient.as_ref().map_or(0, Gradient::images)
            + self.losses.as_ref().map_or(0, Losses::images);
        features + if checkpoint { beside } else { 0 }
    }

    /// The features of a model, and for a `subject` what needs more than features.
    fn features(&mut self, model: &Model, subject: Option<&Subject>) -> Result<Extracted> {
        let stages: Vec<usize> = (0..model.encoder.stages().len()).collect();
        let sides = self
            .shown
            .iter()
            .map(|shown| shown.features(model, &stages, &self.progress))
            .collect::<Result<Vec<_>>>()?;
        let mut extracted = Extracted::new(model, sides);
        let Some(subject) = subject else { return Ok(extracted) };
        extracted.answer(self.settings.device);
        if let Some(transfer) = &self.transfer {
            extracted.transfer = Some(transfer.answers(model, &stages, &self.progress)?);
        }
        if let Some(gradient) = &mut self.gradient {
            extracted.gradients = gradient.of(subject, model, &self.progress)?;
        }
        if let Some(losses) = &self.losses {
            extracted.losses = losses.of(subject, model, &self.progress)?;
        }
        Ok(extracted)
    }
}

/// Where the control of a diagnosis comes from, unless a reference is one.
enum Start {
    Nowhere,
    /// The first subject is the untrained start of its run.
    First,
    Fresh(Model),
}

fn control(subjects: &[Subject], first: &Model, has_unseen: bool, settings: &Settings) -> Result<Start> {
    if !has_unseen || !settings.control || settings.reference.is_some() {
        return Ok(Start::Nowhere);
    }
    match subjects {
        [Subject::Start(_), ..] => Ok(Start::First),
        _ => Ok(Start::Fresh(Model::untrained(&first.encoder.spec(), settings.seed, settings.device)?)),
    }
}

/// The reference, which must have the stages of `subject`.
fn open_reference(path: &std::path::Path, subject: &Model, device: Device) -> Result<Model> {
    let model = Model::open(path, device)?;
    let (spec, expected) = (model.encoder.spec(), subject.encoder.spec());
    if spec == expected {
        return Ok(model);
    }
    Err(Error::usage(format!("--reference {} holds {spec}, the checkpoints {expected}", model.name))
        .hint("name an encoder of the same kind, trained in the same way without these images"))
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

fn augmentation(model: &Model, settings: &Settings) -> Result<String> {
    match (&settings.augmentation, &model.method) {
        (Some(name), _) => Ok(name.clone()),
        (None, Some(method)) => Ok(methods::find(method)?.recipe.augmentation.to_owned()),
        (None, None) => Ok("simclr".into()),
    }
}

fn resolved(
    sets: &Sets,
    images: usize,
    sight: &Sight,
    augmentation: &str,
    settings: &Settings,
) -> IndexMap<String, serde_json::Value> {
    [
        ("data", json!(sets.train.spec)),
        ("unseen", json!(sets.unseen.map(|side| &side.spec))),
        ("transfer", json!(sets.transfer.map(|sets| sets.map(|set| &set.spec)))),
        ("images", json!(images)),
        ("views", json!(settings.views)),
        ("image_size", json!(sight.size)),
        ("normalize", json!(sight.normalize)),
        ("control", json!(settings.control)),
        ("reference", json!(settings.reference.as_ref().map(|path| path.display().to_string()))),
        ("augmentation", json!(augmentation)),
        ("gradients", json!(settings.gradients)),
        ("batch_size", json!(settings.batch_size)),
        ("eps2", json!(settings.eps2)),
        ("margin", json!(settings.margin)),
        ("seed", json!(settings.seed)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}
