//! How well label-free criteria choose, over several runs.

use indexmap::IndexMap;
use lethe_measures::{CRITERIA, rank_correlation};
use serde::{Deserialize, Serialize};

use super::per_image::{KNN, REPLICATES};
use super::{Diagnosis, Estimate, choice};

/// The content of `scores.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pooled {
    /// Names of the runs.
    pub runs: Vec<String>,
    /// One a criterion, in the order of the diagnoses' choices.
    pub scores: Vec<Score>,
}

/// A criterion against k-NN accuracy on unseen images, last stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Score {
    pub criterion: String,
    /// Runs in which it chose.
    pub runs: usize,
    /// Means over the runs: epochs from the best checkpoint, whichever way; accuracy lost.
    pub epochs: f64,
    pub regret: f64,
    /// Over the checkpoints of all runs, with intervals from whole runs drawn anew; the combination has no number.
    pub kendall: Option<Estimate>,
    pub spearman: Option<Estimate>,
}

/// The score table of `diagnoses`, each by the name of its run; runs without labels or unseen images add nothing.
pub fn pool(diagnoses: &IndexMap<String, Diagnosis>, seed: u64) -> Pooled {
    let mut scores: IndexMap<&str, (usize, f64, f64)> = IndexMap::new();
    for choice in diagnoses.values().flat_map(|diagnosis| &diagnosis.choices) {
        if let Some(miss) = &choice.miss {
            let (runs, epochs, regret) = scores.entry(&choice.criterion).or_default();
            *runs += 1;
            *epochs += miss.epochs.abs();
            *regret += miss.regret.value;
        }
    }
    let score = |(criterion, (runs, epochs, regret)): (&str, (usize, f64, f64))| {
        let found = correlation(diagnoses, criterion, seed);
        Score {
            criterion: criterion.into(),
            runs,
            epochs: epochs / runs as f64,
            regret: regret / runs as f64,
            kendall: found.map(|found| found[0]),
            spearman: found.map(|found| found[1]),
        }
    };
    Pooled { runs: diagnoses.keys().cloned().collect(), scores: scores.into_iter().map(score).collect() }
}

/// Kendall's tau and Spearman's rho over the checkpoints of all runs.
fn correlation(diagnoses: &IndexMap<String, Diagnosis>, criterion: &str, seed: u64) -> Option<[Estimate; 2]> {
    let better = CRITERIA.iter().find(|known| known.name == criterion)?.better;
    let (mut scores, mut accuracies, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    for (run, diagnosis) in diagnoses.values().enumerate() {
        let last = diagnosis.stages.last()?;
        let cells = diagnosis.cells.iter().filter(|cell| cell.stage == *last);
        let accuracy: Option<Vec<f64>> = cells.map(|cell| cell.unseen.as_ref()?.accuracy.get(KNN).copied()).collect();
        if let (Some(curve), Some(accuracy)) = (choice::curve(diagnosis, criterion), accuracy) {
            runs.extend(std::iter::repeat_n(run as u32, curve.len()));
            scores.extend(curve.iter().map(|&value| better.score(value)));
            accuracies.extend(accuracy);
        }
    }
    let found = rank_correlation(&scores, &accuracies, Some(&runs), REPLICATES, seed).ok()?;
    Some([found.kendall.into(), found.spearman.into()])
}
