//! The best checkpoint of a curve, and the earliest that is not measurably worse.
//!
//! **Not measurably worse** is the confidence set of the best (Gupta 1956; Hsu 1984, multiple comparisons with the
//! best): checkpoint t stays in it unless the hypothesis that no other is better than t is refused at 5 %, by the
//! largest studentised difference to any other. The differences are paired: a replicate draws the same images, or
//! questions, for all checkpoints. The set holds the truly best checkpoint with probability 95 % at least, though the
//! best one *seen* was chosen by the same data; its first member is the earliest checkpoint for which the data allow
//! that nothing better comes after it. The margin is 0.
//!
//! With few images much is not measurably worse: absence of evidence. So [`Choice::losses`] says how much worse each
//! checkpoint may be, in intervals that hold together over all pairs of checkpoints (Tukey's manner) and so bear the
//! choice of both ends.

use ndarray::{Array2, ArrayView1};

use crate::criteria::{Direction, highest};
use crate::curves::Curves;
use crate::error::{MeasureError, Result};
use crate::estimate::Estimate;
use crate::resampling::{MISSES, upper_quantile};

/// What a curve chooses.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The checkpoint with the best value, the first of equals.
    pub best: usize,
    /// The first checkpoint that is not measurably worse.
    pub earliest: usize,
    /// Whether a checkpoint is not measurably worse than any other.
    pub as_good: Vec<bool>,
    /// By checkpoint: how much worse it is than `best`, with 95 % intervals that hold together.
    pub losses: Vec<Estimate>,
    epochs: Vec<f64>,
}

/// How far a chosen checkpoint is from the best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Miss {
    /// Epochs from the best checkpoint to the chosen one, negative where it was chosen too early.
    pub epochs: f64,
    /// Epochs to the nearest checkpoint that is as good as the best as far as can be measured; 0 for such a one.
    pub epochs_to_as_good: f64,
    /// What is lost by the choice, in the units of the curve.
    pub regret: Estimate,
}

/// The choice of a stage's curve.
///
/// # Errors
/// All values the same.
///
/// # Panics
/// A stage out of bounds.
pub fn best(curves: &Curves, stage: usize, better: Direction) -> Result<Choice> {
    let n = curves.checkpoints();
    let scores: Vec<f64> = curves.curve(stage).iter().map(|&value| better.score(value)).collect();
    crate::criteria::range(&scores)?;
    let best = highest(&scores);

    let mut as_good = Vec::with_capacity(n);
    // Of all ordered pairs, so that the largest is the largest size.
    let mut most_of_all = vec![f64::NEG_INFINITY; curves.replicates()];
    for this in 0..n {
        let others = (0..n).filter(|other| *other != this);
        let mut contrasts = Array2::zeros((n - 1, n));
        for (mut row, other) in contrasts.outer_iter_mut().zip(others) {
            row[other] = better.score(1.0);
            row[this] = better.score(-1.0);
        }
        let (found, drawn) = curves.studentised(stage, contrasts.view());
        let found = found.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let mut most = vec![f64::NEG_INFINITY; curves.replicates()];
        drawn.outer_iter().for_each(|row| raise(&mut most, row));
        raise(&mut most_of_all, ArrayView1::from(&most));
        as_good.push(this == best || found <= upper_quantile(most, MISSES));
    }
    let critical = upper_quantile(most_of_all, MISSES);
    let deviations = curves.deviations(stage);
    let loss = |this: usize| {
        let deviation = &deviations.row(best) - &deviations.row(this);
        let width = critical * (deviation.dot(&deviation) / deviation.len() as f64).sqrt();
        Estimate::around(scores[best] - scores[this], width)
    };
    Ok(Choice {
        best,
        earliest: as_good.iter().position(|&good| good).expect("the best one stays"),
        losses: (0..n).map(loss).collect(),
        as_good,
        epochs: curves.epochs().to_vec(),
    })
}

fn raise(most: &mut [f64], row: ArrayView1<f64>) {
    for (most, &value) in most.iter_mut().zip(row) {
        *most = most.max(value);
    }
}

impl Choice {
    /// What the choice of `chosen`, by a criterion without labels, misses when `self` is that of accuracy.
    ///
    /// # Panics
    /// A checkpoint out of bounds.
    pub fn miss(&self, chosen: usize) -> Miss {
        let off = |from: usize| self.epochs[chosen] - self.epochs[from];
        let good = (0..self.epochs.len()).filter(|&at| self.as_good[at]);
        Miss {
            epochs: off(self.best),
            epochs_to_as_good: good.map(|at| off(at).abs()).fold(f64::INFINITY, f64::min),
            regret: self.losses[chosen],
        }
    }

    /// How much less is memorised at `earliest` than at `best`: the difference of a stage's gap, with a 95 % interval.
    ///
    /// # Errors
    /// Gaps of other checkpoints.
    ///
    /// # Panics
    /// A stage out of bounds.
    pub fn spared(&self, gaps: &Curves, stage: usize) -> Result<Estimate> {
        if gaps.epochs() != self.epochs {
            let (found, expected) = (gaps.checkpoints(), self.epochs.len());
            return Err(MeasureError::Length { what: "checkpoints of other epochs", found, expected });
        }
        Ok(gaps.difference(stage, self.best, self.earliest))
    }
}
