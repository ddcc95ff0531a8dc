//! The structural components of an area under the ROC curve: DeLong, DeLong and Clarke-Pearson 1988, by the ranks of Sun
//! and Xu 2014.

use crate::error::{MeasureError, Result};
use crate::ranks::mid_ranks;

/// Where each score lies among those of the other side.
pub(crate) struct Placements {
    /// V10: for every member the share of non-members below it, ties half.
    pub(crate) members: Vec<f64>,
    /// V01: for every non-member the share of members above it, ties half.
    pub(crate) non_members: Vec<f64>,
}

impl Placements {
    /// Of scores that are higher for members.
    pub(crate) fn of(members: &[f64], non_members: &[f64]) -> Result<Self> {
        for (column, scores) in [members, non_members].into_iter().enumerate() {
            if scores.len() < 2 {
                return Err(MeasureError::TooFewRows { rows: scores.len(), needed: 2 });
            }
            if let Some(row) = scores.iter().position(|score| score.is_nan()) {
                return Err(MeasureError::NonFinite { row, column, value: f64::NAN });
            }
        }
        let (m, n) = (members.len() as f64, non_members.len() as f64);
        let all = mid_ranks(&[members, non_members].concat());
        let (of_members, of_non_members) = all.split_at(members.len());
        let below = of_members.iter().zip(mid_ranks(members)).map(|(all, own)| (all - own) / n);
        let above = of_non_members.iter().zip(mid_ranks(non_members)).map(|(all, own)| 1.0 - (all - own) / m);
        Ok(Self { members: below.collect(), non_members: above.collect() })
    }

    /// The area.
    pub(crate) fn auc(&self) -> f64 {
        self.members.iter().sum::<f64>() / self.members.len() as f64
    }
}
