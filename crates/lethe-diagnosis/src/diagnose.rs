//! From features to a diagnosis: numbers of every stage of every checkpoint, then findings.

use indexmap::IndexMap;
use lethe_data::error::{Error, Result};
use lethe_measures::{
    self as measures, ClassRateGap, Estimate, Memorisation, ViewDistances, class_rate_gap, linear_cka, loss_gap,
    membership_above_control, memorisation,
};
use ndarray::{Array2, Array3};

use super::cell::{Cell, CheckpointRow, LossGap};
use super::conclusions::conclude;
use super::diagnosis::{Control, CopiesFound, Relation, Sides};
use super::features::{CheckpointFeatures, SideImages, StageFeatures};
use super::findings::{ControlKind, Findings};
use super::images::ImageScores;
use super::per_image::{MEMORISATION_GAP, PerImage, epochs, right, stacked};
use super::stage_distances::{OneEncoder, StageDistances, check, shift_of};
use super::{Diagnosis, choice, numbers, onset, reference, words};

/// The fewest images a side that are diagnosed at all.
pub const LEAST_IMAGES: usize = 20;

/// What a diagnosis is told beside the features of its checkpoints.
pub struct Subject {
    /// Name of the encoder.
    pub encoder: String,
    pub stages: Vec<String>,
    /// All settings of the command, for the record.
    pub settings: IndexMap<String, serde_json::Value>,
    pub train: SideImages,
    pub unseen: SideImages,
    pub relation: Relation,
    pub copies: Option<CopiesFound>,
    pub difference: Option<String>,
    pub control: ControlFrom,
    /// An encoder that was not trained on the images, for SSLMem.
    pub reference: Option<Box<dyn CheckpointFeatures>>,
}

/// Where the control comes from.
pub enum ControlFrom {
    /// There is none.
    Nowhere,
    /// The first checkpoint: the untrained start of the run.
    Start,
    Features(ControlKind, Option<String>, Box<dyn CheckpointFeatures>),
    /// The reference is the control.
    Reference(String),
}

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Squared precision of the coding rate.
    pub eps2: f64,
    /// How much worse than the best checkpoint "the earliest as good" may be, as a share of views retrieved.
    pub margin: f64,
    pub seed: u64,
}

/// A diagnosis, and what several of them are pooled from.
pub struct Diagnosed {
    pub diagnosis: Diagnosis,
    /// The epochs of the checkpoints and the memorisation gap of every image, `[stages, checkpoints, images]`.
    pub gaps: Option<(Vec<f64>, Array3<f64>)>,
    /// Scores of single images at the last checkpoint, where there are unseen images.
    pub images: Option<ImageScores>,
}

/// Diagnoses `checkpoints`, oldest first. All have the stages of `subject`, and show the same images in the same views.
///
/// # Errors
/// Features that cannot be read or that no measure can be taken of; no checkpoint; fewer than [`LEAST_IMAGES`] a side;
/// every image of both sides with the same distances, which no two sets of images have.
pub fn diagnose(
    mut subject: Subject,
    checkpoints: impl IntoIterator<Item = Result<Box<dyn CheckpointFeatures>>>,
    settings: &Settings,
) -> Result<Diagnosed> {
    let stages = subject.stages.len();
    let labels = [subject.train.labels.as_deref(), subject.unseen.labels.as_deref()];
    let asked = [labels[0], labels[1].filter(|_| subject.train.classes == subject.unseen.classes)];
    let one = |features: &dyn CheckpointFeatures| OneEncoder::of(features, stages, settings.seed);
    let beside = subject.reference.as_deref().map(one).transpose()?;
    let mut control = match std::mem::replace(&mut subject.control, ControlFrom::Nowhere) {
        ControlFrom::Nowhere => None,
        ControlFrom::Start => Some((ControlKind::UntrainedStart, None, None)),
        ControlFrom::Features(kind, path, features) => Some((kind, path, Some(one(features.as_ref())?))),
        ControlFrom::Reference(path) => Some((ControlKind::Reference, Some(path), None)),
    };

    let mut rows = Vec::new();
    let mut cells: Vec<Cell> = Vec::new();
    let mut told: Vec<StageDistances> = Vec::new();
    let mut per_image = Vec::new();
    // The training images' plain features at the checkpoint before, a matrix for each stage.
    let mut before: Vec<Option<Array2<f64>>> = Vec::new();
    let mut last_stage: Option<StageFeatures> = None;
    let mut shape = None;
    for (checkpoint, features) in checkpoints.into_iter().enumerate() {
        let features = features?;
        rows.push(CheckpointRow {
            path: features.path().to_owned(),
            epoch: features.epoch(),
            loss_gap: features.losses().and_then(loss_gap_of),
        });
        let mut shift = Vec::new();
        let mut plain: Vec<Option<Array2<f64>>> = Vec::new();
        for (stage, name) in subject.stages.iter().enumerate() {
            let place = format!("{}, {name}", features.path());
            let mut found = features.stage(stage)?;
            shape.get_or_insert((found.train.views.dim().0, found.train.images(), found.unseen.is_some()));
            check(&found).map_err(|error| error.of(&place))?;
            let of_stage = StageDistances::of(&found, settings.seed).map_err(|error| error.of(&place))?;
            let right = right(&mut found, asked);
            per_image.push(PerImage::of(&found, of_stage.as_ref(), labels, &right, settings.eps2));
            let last = stage + 1 == stages;
            let (train, unseen) = numbers::sides(&found, labels, &right, settings.eps2, last, &place)?;
            let own = found.train.plain.as_ref();
            let cka = |other: Option<&Option<Array2<f64>>>| {
                let (own, other) = (own?, other?.as_ref()?);
                linear_cka(own.view(), other.view()).ok()
            };
            cells.push(Cell {
                checkpoint,
                stage: name.clone(),
                train,
                unseen,
                memorisation: None,
                membership_above_control: None,
                transfer: found.extra.transfer.as_deref().map(lethe_measures::knn::accuracy),
                cka_stage: cka(plain.last()),
                cka_checkpoint: cka(before.get(stage)),
                batch_gradient_norm_squared: found.extra.batch_gradient_norm_squared,
                class_rate_gap: last.then(|| class_rates(&found, labels, settings)).flatten(),
                collapsed: of_stage.as_ref().is_some_and(StageDistances::is_collapsed),
                reference: of_stage
                    .as_ref()
                    .zip(beside.as_ref())
                    .and_then(|(own, beside)| reference::compare(&own.distances, &beside.stages[stage].distances)),
            });
            shift.push(shift_of(&found, stage, stages, settings.seed).filter(|_| checkpoint == 0));
            told.extend(of_stage);
            plain.push(found.train.plain.clone());
            if last {
                last_stage = Some(found);
            }
        }
        if checkpoint == 0
            && let Some((ControlKind::UntrainedStart, _, start)) = &mut control
        {
            *start = Some(OneEncoder { stages: told.clone(), shift });
        }
        before = plain;
    }
    let Some((views, images, has_unseen)) = shape else { return Err(Error::usage("no checkpoint to diagnose")) };
    enough(images)?;
    let mut diagnosis = Diagnosis {
        lethe: env!("CARGO_PKG_VERSION").into(),
        encoder: subject.encoder,
        settings: subject.settings,
        stages: subject.stages,
        checkpoints: rows,
        sides: has_unseen.then_some(Sides {
            images,
            views,
            relation: subject.relation,
            copies: subject.copies,
            difference: subject.difference,
        }),
        control: None,
        cells,
        onsets: Vec::new(),
        choices: Vec::new(),
        most_memorised: Vec::new(),
        random_images: Vec::new(),
        findings: Findings::unknown(),
        summary: String::new(),
    };
    let mut scores = None;
    if has_unseen {
        let control = control.map(|(kind, path, found)| (kind, path, found.or(beside).expect("a control's distances")));
        membership(&mut diagnosis, &told, control.as_ref(), settings.seed)?;
        if let Some(last) = &last_stage {
            let own = &told[told.len() - stages..];
            // The start is no control of itself.
            let control =
                control.as_ref().filter(|_| diagnosis.checkpoints.last().is_some_and(|row| !row.is_untrained()));
            let control = control.map(|(_, _, found)| found.stages.as_slice());
            let images = [&subject.train, &subject.unseen];
            scores = Some(ImageScores::of(&diagnosis.stages, own, control, last, images));
        }
    }
    let mut gaps = None;
    if let Some(epochs) = epochs(&diagnosis.checkpoints) {
        diagnosis.onsets = onset::find(&diagnosis.stages, &per_image, &epochs, settings.seed);
        let Diagnosis { stages, checkpoints, cells, .. } = &diagnosis;
        let found = choice::Found { stages, checkpoints, cells };
        diagnosis.choices = choice::find(&found, &per_image, &epochs, settings.margin, settings.seed);
        let found = stacked(&per_image, epochs.len(), |cell| cell.differences.get(MEMORISATION_GAP));
        gaps = found.map(|gaps| (epochs, gaps));
    }
    diagnosis.findings = conclude(&diagnosis);
    diagnosis.summary = words::summary(&diagnosis);
    if let Some(scores) = &scores {
        let named = diagnosis.findings.memorises.place().map(|place| place.stage.clone());
        let stage = named.and_then(|named| diagnosis.stages.iter().position(|stage| *stage == named));
        [diagnosis.most_memorised, diagnosis.random_images] = scores.lists(stage.unwrap_or(stages - 1), settings.seed);
    }
    Ok(Diagnosed { diagnosis, gaps, images: scores })
}

/// Whether so many images a side can be diagnosed.
pub(crate) fn enough(images: usize) -> Result<()> {
    match images < LEAST_IMAGES {
        true => Err(Error::usage(format!("{images} images a side are too few to diagnose, expected {LEAST_IMAGES}"))),
        false => Ok(()),
    }
}

/// Fills in the numbers of memorisation, and those of the control.
fn membership(
    diagnosis: &mut Diagnosis,
    told: &[StageDistances],
    control: Option<&(ControlKind, Option<String>, OneEncoder)>,
    seed: u64,
) -> Result<()> {
    let failed = |error: measures::MeasureError| Error::failed(format!("memorisation: {error}"));
    if told.iter().all(|found| found.distances.train == found.distances.unseen) {
        return Err(Error::usage(
            "every training image has the distances of an unseen one: the two sides are the same images",
        )
        .hint("give images that the encoder has not seen"));
    }
    let cells = |told: &[StageDistances]| -> Result<Vec<Memorisation>> {
        let cells: Vec<measures::Cell> = told.iter().map(StageDistances::cell).collect();
        memorisation(&cells, true, seed).map_err(failed)
    };
    for (cell, found) in diagnosis.cells.iter_mut().zip(cells(told)?) {
        cell.memorisation = Some(found);
    }
    let Some((kind, path, control)) = control else { return Ok(()) };
    // The untrained start is no other encoder than itself.
    let is_start = |cell: &Cell| *kind == ControlKind::UntrainedStart && cell.checkpoint == 0;
    let others: Vec<usize> = (0..told.len()).filter(|&i| !is_start(&diagnosis.cells[i])).collect();
    let own: Vec<&ViewDistances> = others.iter().map(|&i| &told[i].distances).collect();
    let stages = control.stages.len();
    let theirs: Vec<&ViewDistances> = others.iter().map(|&i| &control.stages[i % stages].distances).collect();
    if !own.is_empty() {
        let above: Vec<Estimate> = membership_above_control(&own, &theirs, true, seed).map_err(failed)?;
        for (i, above) in others.into_iter().zip(above) {
            diagnosis.cells[i].membership_above_control = Some(above);
        }
    }
    let (path, shift) = (path.clone(), control.shift.clone());
    diagnosis.control = Some(Control { kind: *kind, path, stages: cells(&control.stages)?, shift });
    Ok(())
}

/// The class gap of the coding rate reduction, where both sides have labels.
fn class_rates(features: &StageFeatures, labels: [Option<&[u32]>; 2], settings: &Settings) -> Option<ClassRateGap> {
    let [Some(train_labels), Some(unseen_labels)] = labels else { return None };
    let (train, unseen) = (features.train.plain.as_ref()?, features.unseen.as_ref()?.plain.as_ref()?);
    class_rate_gap([train.view(), unseen.view()], [train_labels, unseen_labels], settings.eps2, 1, settings.seed).ok()
}

fn loss_gap_of([train, unseen]: &[Vec<f64>; 2]) -> Option<LossGap> {
    let found = loss_gap(train, unseen).ok()?;
    Some(LossGap {
        train: found.train,
        unseen: found.unseen,
        gap: found.unseen - found.train,
        interval: found.interval,
        batches: train.len(),
    })
}
