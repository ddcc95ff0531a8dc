//! Membership inference from one score an image: the area under the ROC curve (Hanley and McNeil 1982), its interval
//! (DeLong, DeLong and Clarke-Pearson 1988, by the ranks of Sun and Xu 2014), and the true-positive rate at few false
//! positives that Carlini et al. 2022, "Membership Inference Attacks From First Principles" (arXiv 2112.03570), ask
//! for.

use crate::curves::Interval;
use crate::error::{MeasureError, Result};

/// Half the width of a 95 % interval in standard deviations.
const NORMAL_95: f64 = 1.959_963_984_540_054;
/// False positives allowed, one in this many.
const ONE_IN: usize = 100;

/// How well a score tells members from non-members.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Membership {
    /// The chance that a member scores above a non-member, ties half: 0.5 tells nothing, 1 tells all.
    pub auc: f64,
    /// 95 % interval of `auc` by DeLong's variance, cut to 0 to 1. Of no width where the scores are apart, which says
    /// that the sample has no overlap and not that the encoder has none.
    pub interval: (f64, f64),
    /// The share of members above the lowest threshold that at most 1 % of non-members reach. Of fewer than 100
    /// non-members: that none reach.
    pub true_positives_at_1_percent: f64,
}

/// Of one score an image, higher for images held to be members (trained on).
///
/// `O(n log n)` time for n scores, `O(n)` memory.
///
/// Known failures: members and non-members that differ in anything but membership (class, source, file format) are told
/// apart by that; the interval holds the images to be independent draws and one encoder to be given, so it says nothing
/// of the spread between seeds.
///
/// # Errors
/// Fewer than two scores of a side, or a score that is not a number (its row counts from 0 within its side; the column
/// is 0 for members and 1 for non-members).
pub fn membership(members: &[f64], non_members: &[f64]) -> Result<Membership> {
    let placed = Placements::of(members, non_members)?;
    let (auc, width) = (placed.auc(), NORMAL_95 * placed.error());
    Ok(Membership {
        auc,
        interval: ((auc - width).max(0.0), (auc + width).min(1.0)),
        true_positives_at_1_percent: true_positives(members, non_members),
    })
}

/// How the area changes between two encoders that score the same images, `before` and `after` as members and
/// non-members, with the 95 % interval of DeLong, DeLong and Clarke-Pearson for correlated curves.
///
/// # Errors
/// As [`membership()`].
///
/// # Panics
/// On other numbers of images after than before.
pub fn membership_change(before: [&[f64]; 2], after: [&[f64]; 2]) -> Result<Interval> {
    assert_eq!(before.map(<[f64]>::len), after.map(<[f64]>::len), "the same images");
    let ([members, non_members], [members_after, non_members_after]) = (before, after);
    let change = Placements::of(members_after, non_members_after)?.minus(&Placements::of(members, non_members)?);
    let (estimate, width) = (change.auc(), NORMAL_95 * change.error());
    Ok(Interval { estimate, low: estimate - width, high: estimate + width })
}

/// The structural components of an area, or of the difference of two.
struct Placements {
    /// For every member the share of non-members below it.
    members: Vec<f64>,
    /// For every non-member the share of members above it.
    non_members: Vec<f64>,
}

impl Placements {
    fn of(members: &[f64], non_members: &[f64]) -> Result<Self> {
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
        Ok(Self {
            members: of_members.iter().zip(mid_ranks(members)).map(|(all, own)| (all - own) / n).collect(),
            non_members: of_non_members
                .iter()
                .zip(mid_ranks(non_members))
                .map(|(all, own)| 1.0 - (all - own) / m)
                .collect(),
        })
    }

    fn minus(&self, other: &Self) -> Self {
        let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect();
        Self {
            members: difference(&self.members, &other.members),
            non_members: difference(&self.non_members, &other.non_members),
        }
    }

    fn auc(&self) -> f64 {
        self.members.iter().sum::<f64>() / self.members.len() as f64
    }

    fn error(&self) -> f64 {
        let of_mean = |values: &[f64]| variance(values) / values.len() as f64;
        (of_mean(&self.members) + of_mean(&self.non_members)).sqrt()
    }
}

/// Ranks from 1, the mean rank for equal values.
fn mid_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].partial_cmp(&values[j]).expect("checked: no NaN"));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&i, &j| values[i] == values[j]) {
        equal.iter().for_each(|&i| ranks[i] = before as f64 + 0.5 * (equal.len() + 1) as f64);
        before += equal.len();
    }
    ranks
}

fn variance(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)
}

fn true_positives(members: &[f64], non_members: &[f64]) -> f64 {
    let mut sorted = non_members.to_vec();
    sorted.sort_by(|a, b| b.partial_cmp(a).expect("checked: no NaN"));
    // The highest score that one non-member too many reaches: a threshold must lie above it.
    let ceiling = sorted[non_members.len() / ONE_IN];
    members.iter().filter(|&&score| score > ceiling).count() as f64 / members.len() as f64
}
