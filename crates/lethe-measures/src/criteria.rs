//! Which checkpoint a curve chooses, without labels: criteria fixed before any of them was tried.
//!
//! What only measures memorisation (`memorisation_gap`, `unitmem`) is no criterion: its best checkpoint is the
//! untrained one. It comes in by [`best`](crate::best), which asks for the earliest checkpoint that is as good.

use crate::error::{MeasureError, Result};
use crate::ranks::mid_ranks;

/// Which end of a curve is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Higher,
    Lower,
}

impl Direction {
    /// A number that is higher the better the value is.
    pub fn score(self, value: f64) -> f64 {
        match self {
            Direction::Higher => value,
            Direction::Lower => -value,
        }
    }
}

/// How a curve becomes a checkpoint. Between equals the earlier one is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// The best value.
    Extreme,
    /// The value nearest to a number, whatever the direction.
    Nearest(f64),
    /// The first value that none of the two before it and the two after it beats; at the ends there are fewer of them.
    FirstPeak,
    /// The best value before the curve first lies below it by this share of its whole range; the best of all where it
    /// never does.
    BeforeDecline(f64),
    /// The first value from which on all lie within this share of the whole range of the last one.
    Settled(f64),
}

/// A label-free choice of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Criterion {
    /// The measure whose curve over checkpoints is looked at, by its key in JSON.
    pub name: &'static str,
    pub better: Direction,
    pub rule: Rule,
    /// Who uses it so, or why it is used so here.
    pub why: &'static str,
}

/// All criteria, of the last stage unless another is asked for.
pub const CRITERIA: &[Criterion] = &[
    Criterion {
        name: "rankme",
        better: Direction::Higher,
        rule: Rule::Extreme,
        why: "Garrido et al. 2023, arXiv 2210.02885: the highest rank",
    },
    Criterion {
        name: "effective_rank",
        better: Direction::Higher,
        rule: Rule::Extreme,
        why: "as RankMe, centred: Roy and Vetterli 2007",
    },
    Criterion {
        name: "alpha_req",
        better: Direction::Lower,
        rule: Rule::Nearest(1.0),
        why: "Agrawal et al. 2022: a decay near 1",
    },
    Criterion {
        name: "lidar",
        better: Direction::Higher,
        rule: Rule::Extreme,
        why: "Thilak et al. 2024, arXiv 2312.04000: the highest rank",
    },
    Criterion {
        name: "uniformity",
        better: Direction::Lower,
        rule: Rule::Extreme,
        why: "Wang and Isola 2020, arXiv 2005.10242: the most even spread",
    },
    Criterion {
        name: "coding_rate_reduction",
        better: Direction::Higher,
        rule: Rule::BeforeDecline(0.1),
        why: "Qiang et al. 2024, arXiv 2410.00772: its fall indicates over-fitting; the share is ours",
    },
    Criterion {
        name: "dse_pooled",
        better: Direction::Higher,
        rule: Rule::FirstPeak,
        why: "Dai et al. 2025, arXiv 2510.17299: local maxima in a window of two either side; we take the first",
    },
    Criterion {
        name: "idest",
        better: Direction::Lower,
        rule: Rule::Extreme,
        why: "arXiv 2606.03338: the lowest intrinsic dimension",
    },
    Criterion {
        name: "batch_gradient_norm_squared",
        better: Direction::Lower,
        rule: Rule::Settled(0.1),
        why: "Critical periods, ICLR 2026: where it stabilises, there called a Fisher trace; the share is ours",
    },
];

/// The criteria whose mean rank over the checkpoints is the one combination tried, fixed in advance.
///
/// One of each kind that has been seen to follow quality: how far apart clusters lie (`dse_pooled`), how many
/// dimensions the images fill (`idest`), and how well images are told from one another across views (`lidar`). Ranks,
/// since their
/// scales have nothing in common; no second measure of rank, since those agree with one another and would outvote the
/// rest; no measure of memorisation, as above.
pub const COMBINATION: &[&str] = &["dse_pooled", "idest", "lidar"];

impl Criterion {
    /// The checkpoint that a curve chooses.
    ///
    /// # Errors
    /// No values, values that are not finite, all the same.
    pub fn choose(&self, curve: &[f64]) -> Result<usize> {
        let [low, high] = range(curve)?;
        let scores: Vec<f64> = match self.rule {
            Rule::Nearest(to) => curve.iter().map(|value| -(value - to).abs()).collect(),
            _ => curve.iter().map(|&value| self.better.score(value)).collect(),
        };
        let last = scores.len() - 1;
        Ok(match self.rule {
            Rule::Extreme | Rule::Nearest(_) => highest(&scores),
            Rule::FirstPeak => {
                let peak = |&at: &usize| {
                    scores[at.saturating_sub(2)..=(at + 2).min(last)].iter().all(|&near| near <= scores[at])
                };
                (0..=last).find(peak).expect("the highest of all is a peak")
            }
            Rule::BeforeDecline(share) => {
                let mut best = 0;
                for (at, &score) in scores.iter().enumerate() {
                    if score > scores[best] {
                        best = at;
                    } else if score < scores[best] - share * (high - low) {
                        break;
                    }
                }
                best
            }
            Rule::Settled(share) => {
                let near = |at: &usize| (curve[*at] - curve[last]).abs() <= share * (high - low);
                (0..=last).rev().take_while(near).last().unwrap_or(last)
            }
        })
    }
}

/// The checkpoint with the best mean rank of several curves of one length, each with its direction; 1 is the best rank,
/// equal values share the mean of theirs.
///
/// # Errors
/// No curve, curves of different lengths, those of [`Criterion::choose`].
pub fn choose_by_mean_rank(curves: &[(&[f64], Direction)]) -> Result<usize> {
    let Some((first, _)) = curves.first() else { return Err(MeasureError::Empty { rows: 0, columns: 0 }) };
    let mut sums = vec![0.0; first.len()];
    for (curve, better) in curves {
        if curve.len() != sums.len() {
            return Err(MeasureError::Length { what: "values", found: curve.len(), expected: sums.len() });
        }
        range(curve)?;
        let scores: Vec<f64> = curve.iter().map(|&value| -better.score(value)).collect();
        sums.iter_mut().zip(mid_ranks(&scores)).for_each(|(sum, rank)| *sum -= rank);
    }
    Ok(highest(&sums))
}

/// The first of the highest.
pub(crate) fn highest(scores: &[f64]) -> usize {
    (1..scores.len()).fold(0, |best, at| if scores[at] > scores[best] { at } else { best })
}

/// Lowest and highest of values that are finite and not all the same.
pub(crate) fn range(values: &[f64]) -> Result<[f64; 2]> {
    if values.is_empty() {
        return Err(MeasureError::Empty { rows: 1, columns: 0 });
    }
    if let Some(column) = values.iter().position(|value| !value.is_finite()) {
        return Err(MeasureError::NonFinite { row: 0, column, value: values[column] });
    }
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
    if low < high { Ok([low, high]) } else { Err(MeasureError::AllEqual) }
}
