//! Several runs together: how well label-free criteria choose, and when the mean gap begins to grow.

use indexmap::IndexMap;
use lethe_measures::{CRITERIA, Draw, Estimate, rank_correlation};
use ndarray::{Array3, ArrayView3};
use serde::{Deserialize, Serialize};

use super::per_image::{DIFFERENCES, REPLICATES, TRANSFER};
use super::{Cell, Diagnosed, Onset, choice, onset};

/// The content of `scores.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pooled {
    /// Names of the runs.
    pub runs: Vec<String>,
    /// One a criterion and truth, in the order of the diagnoses' choices.
    pub scores: Vec<Score>,
    /// Onsets of the mean gap of these runs, where all have the same stages, checkpoints and numbers of images.
    pub onsets: Vec<Onset>,
    /// The same of runs in general: their spread widens the intervals, and three runs see little.
    pub onsets_in_general: Vec<Onset>,
}

/// A criterion against an accuracy of the last stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Score {
    pub criterion: String,
    /// `knn-20`, `linear` or `transfer`.
    pub truth: String,
    /// Runs in which it chose.
    pub runs: usize,
    /// Means over the runs: epochs from the best checkpoint, whichever way; accuracy lost.
    pub epochs: f64,
    pub regret: f64,
    /// Over the trained checkpoints of all runs, with intervals from whole runs drawn anew; the combination has no number.
    pub kendall: Option<Estimate>,
    pub spearman: Option<Estimate>,
}

/// Scores and onsets of `diagnoses`, each by the name of its run; runs without labels or unseen images add nothing.
pub fn pool(diagnosed: &IndexMap<String, Diagnosed>, seed: u64) -> Pooled {
    let mut scores: IndexMap<(&str, &str), (usize, f64, f64)> = IndexMap::new();
    for choice in diagnosed.values().flat_map(|run| &run.diagnosis.choices) {
        for (truth, judged) in &choice.judged {
            let (runs, epochs, regret) = scores.entry((&choice.criterion, truth)).or_default();
            *runs += 1;
            *epochs += judged.epochs.abs();
            *regret += judged.regret.value;
        }
    }
    let score = |((criterion, truth), (runs, epochs, regret)): ((&str, &str), (usize, f64, f64))| {
        let found = correlation(diagnosed, criterion, truth, seed);
        Score {
            criterion: criterion.into(),
            truth: truth.into(),
            runs,
            epochs: epochs / runs as f64,
            regret: regret / runs as f64,
            kendall: found.map(|found| found[0]),
            spearman: found.map(|found| found[1]),
        }
    };
    Pooled {
        runs: diagnosed.keys().cloned().collect(),
        scores: scores.into_iter().map(score).collect(),
        onsets: onsets(diagnosed, Draw::Images, seed),
        onsets_in_general: onsets(diagnosed, Draw::ImagesAndRuns, seed),
    }
}

fn onsets(diagnosed: &IndexMap<String, Diagnosed>, draw: Draw, seed: u64) -> Vec<Onset> {
    let gaps: Option<Vec<&(Vec<f64>, Array3<f64>)>> = diagnosed.values().map(|run| run.gaps.as_ref()).collect();
    let Some(gaps) = gaps else { return Vec::new() };
    let alike = gaps.iter().all(|(epochs, run)| *epochs == gaps[0].0 && run.dim() == gaps[0].1.dim());
    if !alike {
        return Vec::new();
    }
    let runs: Vec<ArrayView3<f64>> = gaps.iter().map(|(_, run)| run.view()).collect();
    onset::of_runs(DIFFERENCES[0], &diagnosed[0].diagnosis.stages, &runs, &gaps[0].0, draw, seed)
}

/// Kendall's tau and Spearman's rho over the trained checkpoints of all runs.
fn correlation(
    diagnosed: &IndexMap<String, Diagnosed>,
    criterion: &str,
    truth: &str,
    seed: u64,
) -> Option<[Estimate; 2]> {
    let better = CRITERIA.iter().find(|known| known.name == criterion)?.better;
    let (mut scores, mut accuracies, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    for (run, Diagnosed { diagnosis, .. }) in diagnosed.values().enumerate() {
        let last = diagnosis.stages.last()?;
        // The untrained start is no candidate.
        let first = diagnosis.checkpoints.iter().take_while(|row| row.is_untrained()).count();
        let cells = diagnosis.cells.iter().filter(|cell| cell.stage == *last).skip(first);
        let accuracy = |cell: &Cell| match truth {
            TRANSFER => cell.transfer,
            _ => cell.unseen.as_ref()?.accuracy.get(truth).copied(),
        };
        let accuracy: Option<Vec<f64>> = cells.map(accuracy).collect();
        if let (Some(curve), Some(accuracy)) = (choice::curve(last, &diagnosis.cells, criterion), accuracy) {
            let curve = &curve[first..];
            runs.extend(std::iter::repeat_n(run as u32, curve.len()));
            scores.extend(curve.iter().map(|&value| better.score(value)));
            accuracies.extend(accuracy);
        }
    }
    let found = rank_correlation(&scores, &accuracies, Some(&runs), REPLICATES, seed).ok()?;
    Some([found.kendall, found.spearman])
}
