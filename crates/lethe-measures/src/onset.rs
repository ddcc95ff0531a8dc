//! When a curve leaves the level it started from.
//!
//! **What is estimated.** Let m(t) be the expected curve of a stage (training images against unseen ones: the
//! memorisation gap), t the epoch. The onset is the last epoch up to which m has not risen above its level at the first
//! checkpoint. It is a point on the axis of epochs, not a checkpoint: between checkpoints nothing is measured, so a
//! rise that the checkpoint at epoch 60 shows first, the one at 30 not, may have set in at any epoch from 30 on and
//! before 60. A curve that is already up at the first checkpoint shows its onset only when a checkpoint of the
//! untrained network, or a column of zeros (the level of a random split), is put before it.
//!
//! **The interval** holds every onset that a test does not refuse, each end at 2.5 %, and so holds the true one with
//! probability 95 % at least, as far as the bootstrap knows the errors.
//! - *At the latest:* if the onset is at tau, m is flat up to tau, and no later stretch of the curve before tau lies
//!   above an earlier one. This needs no assumption on how the curve rises.
//! - *At the earliest:* how long a rise has been too small to see cannot be known without one. The one made here is
//!   that memorisation sets in abruptly: the mean rate since the onset, (m(t) - m(0)) / (t - tau), is at no time more
//!   than twice what it was at an earlier one. A step, a ramp and anything that saturates do not even let it grow, also
//!   when they fall again, though not below the first level; of a rise that begins ever so slowly, the interval holds
//!   the bend rather than the true beginning. Where the curve refuses every abrupt onset (`abrupt` is false), the
//!   interval begins at the first checkpoint.
//!
//! Both tests take the largest of many studentised contrasts between short and long stretches of checkpoints. Under
//! both null hypotheses all contrasts are at most 0, so that the replicates, which have mean 0, are the least
//! favourable case (as for the maxima of many means of Chernozhukov, Chetverikov and Kato 2013).
//!
//! **None seen.** A stage has an onset when a curve that never rises is refused: when p <= 0.025, p being adjusted for
//! all stages together (Romano and Wolf 2005, step-down), so that of diagnoses without any onset at most one in forty
//! reports one. `None` is no proof that nothing rose. An onset so faint that most of its like go unseen is seen by
//! luck, and luck favours early ones: of those the interval holds somewhat less than 95 %
//! (`docs/decisions/0004-onset.md`).

use ndarray::{Array1, Array2, ArrayView1, s};
use rayon::prelude::*;

use crate::curves::{Curves, interval};
use crate::estimate::Estimate;
use crate::resampling::upper_quantile;

/// Error of each end of the interval, and of the detection over all stages.
pub const ONE_SIDE: f64 = 0.025;
/// Parts of the time between two checkpoints that are told apart.
const PARTS: usize = 4;
/// How much the mean rate since an abrupt onset may still grow.
const GROWTH: f64 = 2.0;

/// Where a curve leaves its first level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Onset {
    /// The first checkpoint after `epoch`; the end of the interval at the latest.
    pub checkpoint: usize,
    /// The onset of the ramp from one level to another that fits best by least squares, moved into the interval.
    pub epoch: f64,
    /// 95 % interval of the onset's epoch.
    pub interval: [f64; 2],
    /// Whether the curve allows an abrupt onset; if not, the interval begins at the first checkpoint.
    pub abrupt: bool,
    /// The last checkpoint's value less the mean of those before the onset, with its own 95 % interval.
    pub rise: Estimate,
    /// Of a curve without any rise, over all stages.
    pub p: f64,
}

/// The onset of every stage; `None` where none is seen.
pub fn onsets(curves: &Curves) -> Vec<Option<Onset>> {
    let rises: Vec<Rise> = (0..curves.stages()).into_par_iter().map(|stage| Rise::of(curves, stage)).collect();
    let ps = family_wise(&rises);
    let onset = |(stage, (rise, p)): (usize, (&Rise, f64))| (p <= ONE_SIDE).then(|| onset(curves, stage, rise, p));
    rises.par_iter().zip(ps).enumerate().map(onset).collect()
}

fn onset(curves: &Curves, stage: usize, rise: &Rise, p: f64) -> Onset {
    let (epochs, curve) = (curves.epochs(), curves.curve(stage));
    let latest = rise.latest();
    let earliest = earliest(curves, stage, latest);
    let abrupt = earliest.is_some();
    let interval_of_onset = [earliest.unwrap_or(epochs[0]), epochs[latest]];
    let epoch = best_ramp(epochs, curve).clamp(interval_of_onset[0], interval_of_onset[1]);
    let checkpoint = epochs.partition_point(|&at| at <= epoch).min(latest).max(1);
    let last = epochs.len() - 1;
    let mut contrast = Array1::zeros(epochs.len());
    contrast[last] = 1.0;
    add_mean(contrast.as_slice_mut().expect("contiguous"), 0..checkpoint, -1.0);
    Onset {
        checkpoint,
        epoch,
        interval: interval_of_onset,
        abrupt,
        rise: interval(contrast.dot(&curve), contrast.dot(&curves.deviations(stage)).to_vec()),
        p,
    }
}

/// What the contrasts between earlier and later stretches say.
struct Rise {
    /// By checkpoint: the largest contrast among those that end there or before.
    largest: Vec<f64>,
    /// The same of every replicate, `[checkpoints, replicates]`.
    replicates: Array2<f64>,
}

impl Rise {
    fn of(curves: &Curves, stage: usize) -> Self {
        let checkpoints = curves.checkpoints();
        let mut rows = Vec::new();
        let mut ends = Vec::new();
        for end in 1..checkpoints {
            for length in powers_of_two(end) {
                let start = end + 1 - length;
                let mut befores = vec![start];
                if length < start {
                    befores.push(length);
                }
                for before in befores {
                    let mut contrast = vec![0.0; checkpoints];
                    add_mean(&mut contrast, start..end + 1, 1.0);
                    add_mean(&mut contrast, start - before..start, -1.0);
                    rows.push(contrast);
                    ends.push(end);
                }
            }
        }
        let (found, drawn) = curves.studentised(stage, matrix(rows).view());
        let mut largest = vec![f64::NEG_INFINITY; checkpoints];
        let mut replicates = Array2::from_elem((checkpoints, curves.replicates()), f64::NEG_INFINITY);
        for end in 1..checkpoints {
            let (before, mut here) = replicates.multi_slice_mut((s![end - 1, ..], s![end, ..]));
            here.assign(&before);
            largest[end] = largest[end - 1];
            for (row, _) in ends.iter().enumerate().filter(|(_, at)| **at == end) {
                largest[end] = largest[end].max(found[row]);
                here.zip_mut_with(&drawn.row(row), |most, &value| *most = most.max(value));
            }
        }
        Self { largest, replicates }
    }

    /// The first checkpoint from which on a curve that is flat up to it is refused: the onset is before it.
    fn latest(&self) -> usize {
        let refused = |end: &usize| self.largest[*end] > upper_quantile(self.replicates.row(*end).to_vec(), ONE_SIDE);
        let last = self.largest.len() - 1;
        (1..=last).rev().take_while(refused).last().unwrap_or(last)
    }

    fn overall(&self) -> (f64, ArrayView1<'_, f64>) {
        let last = self.largest.len() - 1;
        (self.largest[last], self.replicates.row(last))
    }
}

/// Step-down p-values of Romano and Wolf (2005), one a stage.
fn family_wise(rises: &[Rise]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..rises.len()).collect();
    order.sort_by(|&a, &b| f64::total_cmp(&rises[a].overall().0, &rises[b].overall().0));
    let mut most: Option<Array1<f64>> = None;
    let mut ps = vec![1.0; rises.len()];
    for &stage in &order {
        let (found, drawn) = rises[stage].overall();
        let drawn = match most.take() {
            None => drawn.to_owned(),
            Some(mut most) => {
                most.zip_mut_with(&drawn, |most, &value| *most = most.max(value));
                most
            }
        };
        let beyond = drawn.iter().filter(|&&value| value >= found).count();
        ps[stage] = (1 + beyond) as f64 / (1 + drawn.len()) as f64;
        most = Some(drawn);
    }
    for pair in order.windows(2).rev() {
        ps[pair[0]] = ps[pair[0]].max(ps[pair[1]]);
    }
    ps
}

/// The left end of the first part of the time before checkpoint `latest` in which an abrupt onset is not refused.
fn earliest(curves: &Curves, stage: usize, latest: usize) -> Option<f64> {
    let epochs = curves.epochs();
    let refused = |after: usize, by: f64| refuses_abrupt(curves, stage, after, by);
    (1..=latest).find_map(|after| {
        let (from, to) = (epochs[after - 1], epochs[after]);
        if refused(after, to) {
            return None;
        }
        let end = |part: usize| from + (to - from) * part as f64 / PARTS as f64;
        let part = (0..PARTS - 1).find(|part| !refused(after, end(part + 1))).unwrap_or(PARTS - 1);
        Some(end(part))
    })
}

/// Whether the curve refuses an abrupt onset between checkpoint `after - 1` and the epoch `by`, at most that of
/// `after`.
///
/// Measured from `by`, behind the onset, every time is too short, an early one by a larger share than a late one. So
/// the rise that is asked of the early stretch, given that of the late one, is too small if anything.
fn refuses_abrupt(curves: &Curves, stage: usize, after: usize, by: f64) -> bool {
    let (epochs, checkpoints) = (curves.epochs(), curves.checkpoints());
    let since = |range: std::ops::Range<usize>| epochs[range].iter().map(|at| at - by).sum::<f64>();
    let mut rows = Vec::new();
    for split in after + 1..checkpoints {
        for start in starts(after, split) {
            let early = since(start..split);
            if early <= 0.0 {
                continue;
            }
            for end in ends(split, checkpoints) {
                let ratio = early / since(split..end) / GROWTH;
                for base in [0, after - 1] {
                    let mut contrast = vec![0.0; checkpoints];
                    let (earlier, later) = ((split - start) as f64, ratio * (end - split) as f64);
                    add_mean(&mut contrast, split..end, later);
                    add_mean(&mut contrast, start..split, -earlier);
                    add_mean(&mut contrast, base..after, earlier - later);
                    rows.push(contrast);
                    if after == 1 {
                        break;
                    }
                }
            }
        }
    }
    if rows.is_empty() {
        return false;
    }
    let (found, drawn) = curves.studentised(stage, matrix(rows).view());
    let found = found.iter().fold(f64::NEG_INFINITY, |most, &value| most.max(value));
    let mut most = vec![f64::NEG_INFINITY; curves.replicates()];
    for row in drawn.outer_iter() {
        for (most, &value) in most.iter_mut().zip(row) {
            *most = most.max(value);
        }
    }
    found > upper_quantile(most, ONE_SIDE)
}

/// Starts of stretches that end before `split`: of length 1 and 4, and all since `first`.
fn starts(first: usize, split: usize) -> impl Iterator<Item = usize> {
    let all = split - first;
    [1, 4].into_iter().filter(move |length| *length < all).chain([all]).map(move |length| split - length)
}

/// Ends of stretches that start at `split`: of length 1 and 4, and all to the end.
fn ends(split: usize, end: usize) -> impl Iterator<Item = usize> {
    let all = end - split;
    [1, 4].into_iter().filter(move |length| *length < all).chain([all]).map(move |length| split + length)
}

/// Rows of one length.
fn matrix(rows: Vec<Vec<f64>>) -> Array2<f64> {
    let columns = rows[0].len();
    Array2::from_shape_vec((rows.len(), columns), rows.concat()).expect("rows of one length")
}

/// Adds `weight` times the mean over a range.
fn add_mean(contrast: &mut [f64], range: std::ops::Range<usize>, weight: f64) {
    let share = weight / range.len() as f64;
    contrast[range].iter_mut().for_each(|value| *value += share);
}

fn powers_of_two(most: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1), |length| Some(2 * length)).take_while(move |length| *length <= most)
}

/// The onset of the curve a + b min(max((t - tau) / (s - tau), 0), 1) that is nearest by least squares, b > 0: tau on a
/// grid of four to a stretch between checkpoints, s a checkpoint. A step has its onset in the middle of its stretch.
fn best_ramp(epochs: &[f64], curve: ArrayView1<f64>) -> f64 {
    let n = epochs.len();
    let centre = curve.sum() / n as f64;
    let mut best = (0.0, epochs[n - 1]);
    for after in 1..n {
        let (from, to) = (epochs[after - 1], epochs[after]);
        for full in after..n {
            for part in 0..if full == after { 1 } else { PARTS } {
                let tau =
                    if full == after { (from + to) / 2.0 } else { from + (to - from) * part as f64 / PARTS as f64 };
                let ramp = |at: f64| {
                    if full == after {
                        f64::from(at >= to)
                    } else {
                        ((at - tau) / (epochs[full] - tau)).clamp(0.0, 1.0)
                    }
                };
                let values: Vec<f64> = epochs.iter().map(|&at| ramp(at)).collect();
                let mean = values.iter().sum::<f64>() / n as f64;
                let (mut with, mut own) = (0.0, 0.0);
                for (value, y) in values.iter().zip(curve) {
                    with += (value - mean) * (y - centre);
                    own += (value - mean) * (value - mean);
                }
                let explained = if with > 0.0 { with * with / own } else { 0.0 };
                if explained > best.0 {
                    best = (explained, tau);
                }
            }
        }
    }
    best.1
}
