//! Which checkpoint to keep: by every label-free criterion, and by labels where there are some to judge them.

use indexmap::IndexMap;
use lethe_measures::{
    COMBINATION, CRITERIA, Choice as Chosen, Curves, Direction, best, choose_by_mean_rank, rank_correlation,
};
use serde::{Deserialize, Serialize};

use super::per_image::{DIFFERENCES, KNN, PerImage, REPLICATES, TRUTHS, VIEW_RETRIEVAL, curves};
use super::{Cell, Diagnosis, Estimate, Side};

/// The checkpoint that a criterion chooses by the last stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Choice {
    /// `view_retrieval`; `knn-20`, `linear` or `transfer`, which need labels; a measure's key; or `combination`.
    pub criterion: String,
    pub needs_labels: bool,
    /// Indices into `checkpoints`.
    pub checkpoint: usize,
    /// The earliest that is not measurably worse, where the criterion has a number an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earliest: Option<Earliest>,
    /// The stage with the best number at `checkpoint`, where stages can be compared by the criterion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Against what labels tell, where there are some: `knn-20` and `linear` on unseen images, `transfer` (k-NN on
    /// another data set).
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub judged: IndexMap<String, Judged>,
}

impl Choice {
    /// Against k-NN accuracy on unseen images.
    pub fn by_knn(&self) -> Option<&Judged> {
        self.judged.get(KNN)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Earliest {
    pub checkpoint: usize,
    /// How much worse than the best one it may be.
    pub loss: Estimate,
    /// By how much its memorisation gap is smaller than that of the best one.
    pub spared: Estimate,
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

/// All choices, those of numbers an image first; none without unseen images or epochs.
pub(super) fn find(diagnosis: &Diagnosis, cells: &[PerImage], epochs: &[f64], seed: u64) -> Vec<Choice> {
    let last = diagnosis.stages.len() - 1;
    let of = |quality| curves(cells, epochs, seed, move |cell: &PerImage| cell.qualities.get(quality));
    let gaps = curves(cells, epochs, seed, |cell| cell.differences.get(DIFFERENCES[0]));
    let truths: Vec<Truth> = TRUTHS.into_iter().filter_map(|name| Truth::new(name, &of(name)?, last)).collect();
    let judged = |choice: Choice, scores: Option<&[f64]>| {
        let by = truths.iter().filter(|truth| truth.name != choice.criterion);
        let judged = by.map(|truth| (truth.name.to_owned(), truth.judge(choice.checkpoint, scores, seed)));
        Choice { judged: judged.collect(), ..choice }
    };

    let mut choices = Vec::new();
    for quality in std::iter::once(VIEW_RETRIEVAL).chain(TRUTHS) {
        let Some(curves) = of(quality) else { continue };
        let Ok(chosen) = best(&curves, last, Direction::Higher) else { continue };
        let choice = Choice {
            earliest: gaps.as_ref().and_then(|gaps| earliest(&chosen, gaps, last)),
            stage: best_stage(&curves, chosen.best).map(|stage| diagnosis.stages[stage].clone()),
            ..named(quality, quality != VIEW_RETRIEVAL, chosen.best)
        };
        choices.push(judged(choice, Some(&curves.curve(last).to_vec())));
    }
    for criterion in CRITERIA {
        let Some(curve) = curve(diagnosis, criterion.name) else { continue };
        let Ok(checkpoint) = criterion.choose(&curve) else { continue };
        let scores: Vec<f64> = curve.iter().map(|&value| criterion.better.score(value)).collect();
        choices.push(judged(named(criterion.name, false, checkpoint), Some(&scores)));
    }
    let parts: Option<Vec<(Vec<f64>, Direction)>> =
        COMBINATION.iter().map(|name| Some((curve(diagnosis, name)?, direction(name)))).collect();
    if let Some(parts) = parts {
        let parts: Vec<(&[f64], Direction)> = parts.iter().map(|(curve, better)| (curve.as_slice(), *better)).collect();
        if let Ok(checkpoint) = choose_by_mean_rank(&parts) {
            choices.push(judged(named("combination", false, checkpoint), None));
        }
    }
    choices
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
            regret: miss.regret.into(),
            kendall: found.map(|found| found.kendall.into()),
            spearman: found.map(|found| found.spearman.into()),
        }
    }
}

fn earliest(chosen: &Chosen, gaps: &Curves, stage: usize) -> Option<Earliest> {
    Some(Earliest {
        checkpoint: chosen.earliest,
        loss: chosen.losses[chosen.earliest].into(),
        spared: chosen.spared(gaps, stage).ok()?.into(),
    })
}

/// The stage with the best mean at a checkpoint, the later of equals: it has more to give.
fn best_stage(curves: &Curves, checkpoint: usize) -> Option<usize> {
    (0..curves.stages()).max_by(|&a, &b| f64::total_cmp(&curves.curve(a)[checkpoint], &curves.curve(b)[checkpoint]))
}

fn direction(measure: &str) -> Direction {
    CRITERIA.iter().find(|criterion| criterion.name == measure).map_or(Direction::Higher, |criterion| criterion.better)
}

/// A measure of the last stage over the checkpoints, by pair where it needs pairs, of unseen images where there are;
/// `fisher_trace` is always of the training images.
pub(super) fn curve(diagnosis: &Diagnosis, measure: &str) -> Option<Vec<f64>> {
    let last = diagnosis.stages.last()?;
    let cells = diagnosis.cells.iter().filter(|cell| cell.stage == *last);
    let value = |side: &Side| side.measures.get(measure).or_else(|| side.by_pair.get(measure)).copied();
    let of = |cell: &Cell| match measure {
        "fisher_trace" => cell.fisher_trace,
        _ => value(cell.unseen.as_ref().unwrap_or(&cell.train)),
    };
    cells.map(of).collect()
}
