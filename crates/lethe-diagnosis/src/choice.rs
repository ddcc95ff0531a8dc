//! Which checkpoint to keep: by every label-free criterion, and by labels where there are some to judge them. The
//! untrained start is no candidate.

use indexmap::IndexMap;
use lethe_measures::{
    COMBINATION, CRITERIA, Choice as Chosen, Curves, Direction, Draw, Estimate, best, choose_by_mean_rank,
    rank_correlation,
};
use ndarray::s;
use serde::{Deserialize, Serialize};

use super::cell::{Cell, CheckpointRow, Side};
use super::per_image::{KNN, MEMORISATION_GAP, PerImage, REPLICATES, TRUTHS, VIEW_RETRIEVAL, stacked};

/// The checkpoint that a criterion chooses by the last stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Choice {
    /// `view_retrieval`; `knn-20`, `linear` or `transfer`, which need labels; a measure's key; or `combination`.
    pub criterion: String,
    pub needs_labels: bool,
    /// Index into `checkpoints`.
    pub checkpoint: usize,
    /// The earliest checkpoint within the margin, where the criterion has a number for each image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earliest: Option<Earliest>,
    /// The stage with the best number at `checkpoint`, where stages can be compared by the criterion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// What the choice misses by labels, where there are some: `knn-20` and `linear` on unseen images, `transfer` (k-NN
    /// on another data set).
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub judged: IndexMap<String, Judged>,
}

impl Choice {
    /// Against k-NN accuracy on unseen images.
    pub fn by_knn(&self) -> Option<&Judged> {
        self.judged.get(KNN)
    }
}

/// The earliest checkpoint that is shown to be at most `margin` worse than the best.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Earliest {
    pub checkpoint: usize,
    /// How much worse it is than the best one. Its interval ends below `margin`.
    pub loss: Estimate,
    pub margin: f64,
    /// The least margin that these images could show for an earlier checkpoint that is just as good; absent where there
    /// is no earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_margin: Option<f64>,
    /// By how much its memorisation gap is smaller than that of the best one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spared: Option<Estimate>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judged {
    /// From the best checkpoint to the chosen one, negative where it is too early.
    pub epochs: f64,
    /// To the nearest checkpoint that is not measurably worse than the best.
    pub epochs_to_as_good: f64,
    /// Accuracy lost.
    pub regret: Estimate,
    /// Rank correlation over the checkpoints of the criterion's measure (in its good direction) and the accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kendall: Option<Estimate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spearman: Option<Estimate>,
}

/// What was found of every stage and checkpoint.
pub(crate) struct Found<'a> {
    pub(crate) stages: &'a [String],
    pub(crate) checkpoints: &'a [CheckpointRow],
    pub(crate) cells: &'a [Cell],
}

/// All choices, criteria with a number for each image first; none without unseen images or epochs. `margin` is how much
/// worse than the best "the earliest as good" may be.
pub(crate) fn find(found: &Found, per_image: &[PerImage], epochs: &[f64], margin: f64, seed: u64) -> Vec<Choice> {
    let candidates = Candidates::of(found, per_image, epochs, seed);
    let last = found.stages.len() - 1;
    let gaps = candidates.curves(|cell: &PerImage| cell.differences.get(MEMORISATION_GAP));
    let quality = |name: &'static str| candidates.curves(move |cell: &PerImage| cell.qualities.get(name));
    let truths: Vec<Truth> = TRUTHS.into_iter().filter_map(|name| Truth::new(name, &quality(name)?, last)).collect();
    // Places among the candidates become places among the checkpoints.
    let judged = |choice: Choice, scores: Option<&[f64]>| {
        let by = truths.iter().filter(|truth| truth.name != choice.criterion);
        let judged = by.map(|truth| (truth.name.to_owned(), truth.judge(choice.checkpoint, scores, seed)));
        let judged = judged.collect();
        let earliest =
            choice.earliest.map(|earliest| Earliest { checkpoint: earliest.checkpoint + candidates.first, ..earliest });
        Choice { judged, checkpoint: choice.checkpoint + candidates.first, earliest, ..choice }
    };

    let mut choices = Vec::new();
    for name in std::iter::once(VIEW_RETRIEVAL).chain(TRUTHS) {
        let Some(curves) = quality(name) else { continue };
        let Ok(chosen) = best(&curves, last, Direction::Higher) else { continue };
        let earliest = earliest(&chosen, gaps.as_ref(), last, margin);
        let stage = best_stage(&curves, earliest.checkpoint).map(|stage| found.stages[stage].clone());
        let choice = Choice { earliest: Some(earliest), stage, ..named(name, name != VIEW_RETRIEVAL, chosen.best) };
        choices.push(judged(choice, Some(&curves.curve(last).to_vec())));
    }
    for criterion in CRITERIA {
        let Some(curve) = candidates.measure(criterion.name) else { continue };
        let Ok(checkpoint) = criterion.choose(&curve) else { continue };
        let scores: Vec<f64> = curve.iter().map(|&value| criterion.better.score(value)).collect();
        choices.push(judged(named(criterion.name, false, checkpoint), Some(&scores)));
    }
    let parts: Option<Vec<(Vec<f64>, Direction)>> =
        COMBINATION.iter().map(|name| Some((candidates.measure(name)?, direction(name)))).collect();
    if let Some(parts) = parts {
        let parts: Vec<(&[f64], Direction)> = parts.iter().map(|(curve, better)| (curve.as_slice(), *better)).collect();
        if let Ok(checkpoint) = choose_by_mean_rank(&parts) {
            choices.push(judged(named("combination", false, checkpoint), None));
        }
    }
    choices
}

/// The trained checkpoints.
struct Candidates<'a> {
    found: &'a Found<'a>,
    per_image: &'a [PerImage],
    /// All epochs, those of untrained checkpoints included.
    epochs: &'a [f64],
    /// The place of the first trained checkpoint.
    first: usize,
    seed: u64,
}

impl<'a> Candidates<'a> {
    fn of(found: &'a Found, per_image: &'a [PerImage], epochs: &'a [f64], seed: u64) -> Self {
        let first = found.checkpoints.iter().take_while(|row| row.is_untrained()).count();
        Self { found, per_image, epochs, first, seed }
    }

    /// The curves of all stages over the candidates; none where a cell lacks the numbers, or with fewer than two of
    /// them.
    fn curves(&self, of: impl Fn(&'a PerImage) -> Option<&'a Vec<f64>>) -> Option<Curves> {
        let numbers = stacked(self.per_image, self.epochs.len(), of)?;
        let numbers = numbers.slice(s![.., self.first.., ..]);
        Curves::from_images(&self.epochs[self.first..], &[numbers], Draw::Images, REPLICATES, self.seed).ok()
    }

    fn measure(&self, name: &str) -> Option<Vec<f64>> {
        Some(curve(self.found.stages.last()?, self.found.cells, name)?[self.first..].to_vec())
    }
}

fn named(criterion: &str, needs_labels: bool, checkpoint: usize) -> Choice {
    Choice {
        criterion: criterion.into(),
        needs_labels,
        checkpoint,
        earliest: None,
        stage: None,
        judged: IndexMap::new(),
    }
}

/// An accuracy of the last stage, and the checkpoint that it chooses.
struct Truth {
    name: &'static str,
    accuracy: Vec<f64>,
    best: Chosen,
}

impl Truth {
    fn new(name: &'static str, curves: &Curves, stage: usize) -> Option<Self> {
        let best = best(curves, stage, Direction::Higher).ok()?;
        Some(Self { name, accuracy: curves.curve(stage).to_vec(), best })
    }

    fn judge(&self, checkpoint: usize, scores: Option<&[f64]>, seed: u64) -> Judged {
        let miss = self.best.miss(checkpoint);
        let found = scores.and_then(|scores| rank_correlation(scores, &self.accuracy, None, REPLICATES, seed).ok());
        Judged {
            epochs: miss.epochs,
            epochs_to_as_good: miss.epochs_to_as_good,
            regret: miss.regret,
            kendall: found.map(|found| found.kendall),
            spearman: found.map(|found| found.spearman),
        }
    }
}

/// The first candidate whose loss is shown to stay within the margin; the best one itself always is.
fn earliest(chosen: &Chosen, gaps: Option<&Curves>, stage: usize, margin: f64) -> Earliest {
    let within = |at: &usize| *at == chosen.best || chosen.losses[*at].high <= margin;
    let checkpoint = (0..=chosen.best).find(within).expect("the best one is within");
    let half_widths = chosen.losses[..chosen.best].iter().map(|loss| loss.high - loss.value);
    Earliest {
        checkpoint,
        loss: chosen.losses[checkpoint],
        margin,
        least_margin: half_widths.min_by(f64::total_cmp),
        spared: gaps.map(|gaps| gaps.difference(stage, chosen.best, checkpoint)),
    }
}

/// The stage with the best mean at a checkpoint, the later of equals: it has more to give.
fn best_stage(curves: &Curves, checkpoint: usize) -> Option<usize> {
    (0..curves.stages()).max_by(|&a, &b| f64::total_cmp(&curves.curve(a)[checkpoint], &curves.curve(b)[checkpoint]))
}

fn direction(measure: &str) -> Direction {
    CRITERIA.iter().find(|criterion| criterion.name == measure).map_or(Direction::Higher, |criterion| criterion.better)
}

/// A measure of the last stage over the checkpoints: of unseen images where there are some, by pair where it needs views.
/// `batch_gradient_norm_squared` is always of the training images.
pub(crate) fn curve(last: &str, cells: &[Cell], measure: &str) -> Option<Vec<f64>> {
    let cells = cells.iter().filter(|cell| cell.stage == last);
    let value = |side: &Side| side.measures.get(measure).or_else(|| side.by_pair.get(measure)).copied();
    let of = |cell: &Cell| match measure {
        "batch_gradient_norm_squared" => cell.batch_gradient_norm_squared,
        _ => value(cell.unseen.as_ref().unwrap_or(&cell.train)),
    };
    cells.map(of).collect()
}
