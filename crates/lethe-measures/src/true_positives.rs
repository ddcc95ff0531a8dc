//! The share of members that a score finds at few false positives: Carlini et al. 2022, "Membership Inference Attacks
//! From First Principles" (arXiv 2112.03570).

use crate::distributions::{binomial, normal_quantile};
use crate::estimate::Estimate;
use crate::resampling::MISSES;

/// Non-members from which on a threshold of 1 % false positives rests on enough of them.
const FOR_1_PERCENT: usize = 1000;
/// The same of 10 %.
const FOR_10_PERCENT: usize = 100;

/// The share of members above the lowest threshold that at most so many non-members reach.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum TruePositives {
    /// At 1 % false positives, from 1,000 non-members on.
    #[cfg_attr(feature = "serde", serde(rename = "true_positives_at_1_percent"))]
    At1Percent(Estimate),
    /// At 10 %, from 100 to 999 non-members.
    #[cfg_attr(feature = "serde", serde(rename = "true_positives_at_10_percent"))]
    At10Percent(Estimate),
    /// Fewer than 100 non-members; so many are missing.
    #[cfg_attr(feature = "serde", serde(rename = "true_positives_too_few_images"))]
    TooFew { missing: usize },
}

impl TruePositives {
    /// `cells` intervals hold together, by Bonferroni's inequality.
    pub(crate) fn of(members: &[f64], non_members: &[f64], cells: usize) -> Self {
        match non_members.len() {
            FOR_1_PERCENT.. => Self::At1Percent(share_found(members, non_members, 0.01, cells)),
            FOR_10_PERCENT.. => Self::At10Percent(share_found(members, non_members, 0.1, cells)),
            few => Self::TooFew { missing: FOR_10_PERCENT - few },
        }
    }
}

/// The share of members above the threshold that a share of non-members reaches, with its interval.
///
/// Two things are uncertain. The share above a given threshold has Wilson's interval (1927). The threshold that lets a
/// share of all non-members pass lies between two order statistics, by the binomial distribution of how many of these
/// lie above it. The two are put together by the squares of their distances, end by end (Zou and Donner 2008).
fn share_found(members: &[f64], non_members: &[f64], false_positives: f64, cells: usize) -> Estimate {
    let n = non_members.len();
    let mut sorted = non_members.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let above = |threshold: f64| members.iter().filter(|&&score| score > threshold).count() as f64;
    // Above the score that `reach` non-members lie at or above; above all scores for 0 of them.
    let found = |reach: usize| reach.checked_sub(1).map_or(0.0, |at| above(sorted[at])) / members.len() as f64;
    let beyond = MISSES / (2 * cells) as f64;
    let allowed = (false_positives * n as f64) as usize;
    // The k-th highest score lets more than the share pass with the chance that fewer than k do.
    let strict = (0..allowed).rev().find(|&k| k == 0 || binomial(k - 1, n, false_positives) <= beyond).unwrap_or(0);
    let loose = (allowed + 1..n).find(|&k| 1.0 - binomial(k - 1, n, false_positives) <= beyond).unwrap_or(n);
    let share = found(allowed + 1);
    let [low, high] = wilson(share, members.len(), normal_quantile(1.0 - beyond));
    Estimate {
        value: share,
        low: share - (share - low).hypot(share - found(strict)),
        high: share + (high - share).hypot(found(loose) - share),
    }
    .within(0.0, 1.0)
}

/// Wilson's interval for a share of n, at so many standard errors.
fn wilson(share: f64, n: usize, reach: f64) -> [f64; 2] {
    let n = n as f64;
    let square = reach * reach;
    let middle = (share + square / (2.0 * n)) / (1.0 + square / n);
    let width = reach / (1.0 + square / n) * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    [middle - width, middle + width]
}
