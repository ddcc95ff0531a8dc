//! The loss gap: how much higher a method's own loss is on unseen images than on training images.

use crate::error::{MeasureError, Result};
use crate::estimate::Estimate;
use crate::memorisation_change::around_mean;

/// Batches a side from which the gap has an interval.
const LEAST_BATCHES: usize = 8;

/// A loss on both sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossGap {
    /// Mean over the batches of training images.
    pub train: f64,
    /// Mean over the batches of unseen images.
    pub unseen: f64,
    /// Unseen minus training, with a 95 % interval from 8 batches on.
    pub interval: Option<Estimate>,
}

/// The gap of one loss for each batch of training images and each batch of unseen images. The batches have one size, and
/// batch i of both sides went through the same draws, so the interval is Student's of the paired differences.
///
/// Known failures: a contrastive loss depends on the size of the batch, so compare at equal sizes only.
///
/// # Errors
/// No batch, other numbers of batches, a loss that is not finite (its row is the batch; the column is 0 for training images
/// and 1 for unseen ones).
pub fn loss_gap(train: &[f64], unseen: &[f64]) -> Result<LossGap> {
    if train.is_empty() {
        return Err(MeasureError::Empty { rows: 0, columns: 2 });
    }
    let (first, second) = (train.len(), unseen.len());
    if first != second {
        return Err(MeasureError::RowCounts { first, second });
    }
    for (column, losses) in [train, unseen].into_iter().enumerate() {
        if let Some((row, &value)) = losses.iter().enumerate().find(|(_, loss)| !loss.is_finite()) {
            return Err(MeasureError::NonFinite { row, column, value });
        }
    }
    let n = first as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
    let interval = (first >= LEAST_BATCHES)
        .then(|| around_mean(unseen.iter().zip(train).map(|(unseen, train)| unseen - train).collect()));
    Ok(LossGap { train: mean(train), unseen: mean(unseen), interval })
}
