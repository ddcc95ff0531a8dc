//! The diagnosis: measures of every stage of every checkpoint, on training images and on unseen ones.

mod gap;
mod side;
mod subject;
mod summary;

use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::Device;

use crate::data::{self, Dataset};
use crate::error::{Error, Result};
use crate::evaluate::{Model, Sight};
use crate::methods;
use crate::progress::Progress;

pub use gap::{Gap, alignment_distances, gaps};
pub use subject::Subject;

use side::{Shown, SideFeatures, accuracies, measure};

/// The content of `diagnosis.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Version of Lethe that wrote it.
    pub lethe: String,
    /// Name of the encoder, as in `--encoder`.
    pub encoder: String,
    /// Every setting of the command, in its resolved form (data, unseen, eps2, seed, image counts, ...).
    pub settings: IndexMap<String, serde_json::Value>,
    pub stages: Vec<String>,
    pub checkpoints: Vec<CheckpointRow>,
    /// One cell a checkpoint and stage, checkpoints outermost.
    pub cells: Vec<Cell>,
    /// Where memorisation sets in, a stage at a time; empty when none is seen.
    #[serde(default)]
    pub onsets: Vec<Onset>,
    /// What the gaps say, in a few sentences.
    #[serde(default)]
    pub summary: String,
}

/// The first checkpoint of a stage from which on every interval of the gap lies above 0.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Onset {
    pub stage: String,
    /// Index into `checkpoints`.
    pub checkpoint: usize,
    pub confidence: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckpointRow {
    pub path: String,
    /// Epochs trained; absent for a foreign checkpoint that does not say.
    pub epoch: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    /// Index into `checkpoints`.
    pub checkpoint: usize,
    pub stage: String,
    /// On images the encoder was trained on.
    pub train: Side,
    /// On images it has not seen.
    pub unseen: Option<Side>,
    /// Mean alignment distance of view pairs on unseen images minus that on training images.
    pub memorisation_gap: Option<f64>,
    /// 95 % interval of the gap, lowest and highest: a bootstrap over images, simultaneous over all cells.
    #[serde(default)]
    pub gap_interval: Option<[f64; 2]>,
}

/// The numbers of one stage on one set of images.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Side {
    /// Measures that need rows only (`coding_rate`, `rankme`, `effective_rank`, `alpha_req`, `uniformity`).
    pub measures: IndexMap<String, f64>,
    /// `coding_rate`, `compressed_rate`, `coding_rate_reduction` with classes as groups; empty without labels.
    pub by_class: IndexMap<String, f64>,
    /// The same with the two views of an image as groups, and `alignment`, `lidar`.
    pub by_pair: IndexMap<String, f64>,
    /// Why a measure is not there, by its name: `alpha_req` of a stage with fewer than 11 directions.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub skipped: IndexMap<String, String>,
    /// Accuracy by protocol (`knn-20`, `knn-200`, `linear`), leave-one-out for k-NN on the training side; empty without labels.
    pub accuracy: IndexMap<String, f64>,
}

impl Diagnosis {
    /// `epoch 60`, or the path of a checkpoint that does not say.
    pub fn checkpoint_name(&self, checkpoint: usize) -> String {
        let row = &self.checkpoints[checkpoint];
        row.epoch.map_or_else(|| row.path.clone(), |epoch| format!("epoch {epoch}"))
    }
}

/// Images by the specification that opened them.
#[derive(Clone)]
pub struct Images {
    pub spec: String,
    pub dataset: Arc<dyn Dataset>,
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
    /// Recipe of the view pairs; the method's own unless given, SimCLR's of an unknown method.
    pub augmentation: Option<String>,
    pub batch_size: usize,
    pub threads: usize,
    pub device: Device,
}

/// The fewest images a side that say anything.
const LEAST_IMAGES: usize = 20;

/// Diagnoses every stage of `subjects`, oldest first, on images they were trained on and, where given, on unseen ones.
///
/// Both sides take the same number of images, as measures of different numbers of rows cannot be compared. View pairs
/// are drawn once: all checkpoints see the same ones, and image i of both sides goes through the same draws.
///
/// # Errors
/// Those of the checkpoints and images; subjects with different encoders, or different memories of the images.
pub fn diagnose(
    subjects: &[Subject],
    train: &Images,
    unseen: Option<&Images>,
    settings: &Settings,
) -> Result<Diagnosis> {
    let sides: Vec<&Images> = std::iter::once(train).chain(unseen).collect();
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
    let same_classes = sides.iter().all(|side| side.dataset.classes() == train.dataset.classes());

    let mut diagnosis = Diagnosis {
        lethe: env!("CARGO_PKG_VERSION").into(),
        encoder: first.encoder.spec().name,
        settings: resolved(&sides, images, &sight, &augmentation, settings),
        stages: first.encoder.stages().iter().map(|stage| stage.name.clone()).collect(),
        checkpoints: Vec::new(),
        cells: Vec::new(),
        onsets: Vec::new(),
        summary: String::new(),
    };
    let stages: Vec<usize> = (0..diagnosis.stages.len()).collect();
    let progress = Progress::new("diagnose", "images", (subjects.len() * shown.len() * 2 * images) as u64);
    let mut differences = Vec::new();
    for (checkpoint, subject) in subjects.iter().enumerate() {
        let model = subject.open(settings.device)?;
        let features =
            shown.iter().map(|shown| shown.features(&model, &stages, &progress)).collect::<Result<Vec<_>>>()?;
        diagnosis.checkpoints.push(CheckpointRow { path: model.name.clone(), epoch: model.epoch });
        for (stage, name) in diagnosis.stages.iter().enumerate() {
            let place = format!("{}, {name}", model.name);
            let (train, unseen) = numbers(&features, stage, same_classes, settings, &place)?;
            if let [train, unseen] = features.as_slice() {
                let (train, unseen) = (train.distances(stage), unseen.distances(stage));
                differences.push(unseen.iter().zip(&train).map(|(unseen, train)| unseen - train).collect());
            }
            diagnosis.cells.push(Cell {
                checkpoint,
                stage: name.clone(),
                train,
                unseen,
                memorisation_gap: None,
                gap_interval: None,
            });
        }
    }
    progress.finish();
    for (cell, gap) in diagnosis.cells.iter_mut().zip(gaps(&differences, settings.seed)) {
        (cell.memorisation_gap, cell.gap_interval) = (Some(gap.mean), Some([gap.low, gap.high]));
    }
    diagnosis.onsets = summary::onsets(&diagnosis);
    diagnosis.summary = summary::summary(&diagnosis);
    for shown in &shown {
        shown.say_bad_samples();
    }
    Ok(diagnosis)
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

/// The numbers of one stage on training images and on unseen ones. Unseen images are asked about only where their
/// classes are those of the training images.
fn numbers(
    features: &[SideFeatures],
    stage: usize,
    same_classes: bool,
    settings: &Settings,
    place: &str,
) -> Result<(Side, Option<Side>)> {
    let of = |features: &SideFeatures| measure(features, stage, settings.eps2, place);
    let mut train = of(&features[0])?;
    let mut unseen = features.get(1).map(of).transpose()?;
    if let Some(bank) = features[0].plain.labelled(stage) {
        let asked = features.get(1).filter(|_| same_classes).and_then(|unseen| unseen.plain.labelled(stage));
        let (own, others) = accuracies(bank, asked, settings.device, place);
        train.accuracy = own;
        if let Some(unseen) = &mut unseen {
            unseen.accuracy = others;
        }
    }
    Ok((train, unseen))
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
    images: usize,
    sight: &Sight,
    augmentation: &str,
    settings: &Settings,
) -> IndexMap<String, serde_json::Value> {
    [
        ("data", json!(sides[0].spec)),
        ("unseen", json!(sides.get(1).map(|side| &side.spec))),
        ("images", json!(images)),
        ("image_size", json!(sight.size)),
        ("normalize", json!(sight.normalize)),
        ("augmentation", json!(augmentation)),
        ("eps2", json!(settings.eps2)),
        ("seed", json!(settings.seed)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}
