//! Membership inference from one score an image: the area under the ROC curve (Hanley and McNeil 1982) and its interval
//! (DeLong, DeLong and Clarke-Pearson 1988).

use ndarray::Array2;

use crate::distributions::normal_tail;
use crate::error::{MeasureError, Result};
use crate::errors_of_means::{ErrorsOfMeans, blocks, standard_errors};
use crate::estimate::Estimate;
use crate::placements::Placements;
use crate::resampling::Family;
use crate::true_positives::TruePositives;

/// How well a score tells members from non-members.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Membership {
    /// The chance that a member scores above a non-member, ties half: 0.5 tells nothing, 1 tells all. With its 95 %
    /// interval.
    pub auc: Estimate,
    /// The share of members that are found at few false positives.
    pub true_positives: TruePositives,
}

/// Of one score an image, higher for images held to be members (trained on).
///
/// `paired` says that both sides have the same number of images and that image i of both was scored in the same way, by
/// the same draws: then their scores are correlated, and the error of the area is that of the mean of V10_i + V01_i,
/// DeLong's placements. Otherwise the two sides are independent.
///
/// The interval is made on the logit scale, the area cut at 1/(2 n1 n2) from 0 and 1, with Student's t: on the plain one
/// it misses too often where the area is near 0 or 1. Few images can lack the rare ones that lie on the wrong side, so the
/// end towards 0.5 has the error of one image more a side that tells nothing. Where the scores are all but apart, that
/// end is at most as far as n images that are all apart allow, the root of degree n of 2.5 %.
///
/// `O(n log n)` time for n scores, `O(n)` memory.
///
/// Known failures: members and non-members that differ in anything but membership (class, source, file format) are told
/// apart by that; the interval holds the images to be independent draws and one encoder to be given, so it says nothing
/// of the spread between seeds.
///
/// # Errors
/// Fewer than two scores of a side, or a score that is not a number (its row counts from 0 within its side; the column
/// is 0 for members and 1 for non-members); paired sides of different numbers.
pub fn membership(members: &[f64], non_members: &[f64], paired: bool) -> Result<Membership> {
    let placements = [Placements::of(members, non_members)?];
    check_pairing(members.len(), non_members.len(), paired)?;
    Ok(Membership {
        auc: areas(&placements, paired, &Family::new(1, 0))[0],
        true_positives: TruePositives::of(members, non_members, 1),
    })
}

/// How the area changes between two encoders that score the same images, `before` and `after` as members and
/// non-members, with the 95 % interval of DeLong, DeLong and Clarke-Pearson for correlated curves. `paired` as for
/// [`membership()`].
///
/// The interval is put together from those of the two areas (Zou and Donner 2008), which keeps their shape near 0 and 1.
///
/// # Errors
/// As [`membership()`]; other numbers of images after than before.
pub fn membership_change(before: [&[f64]; 2], after: [&[f64]; 2], paired: bool) -> Result<Estimate> {
    for (before, after) in before.iter().zip(after) {
        if before.len() != after.len() {
            let (first, second) = (before.len(), after.len());
            return Err(MeasureError::RowCounts { first, second });
        }
    }
    let [before, after] = [before, after].map(|[members, non_members]| Placements::of(members, non_members));
    let (before, after) = (before?, after?);
    check_pairing(before.members.len(), before.non_members.len(), paired)?;
    Ok(differences(&[&after], &[&before], paired, &Family::new(1, 0))[0])
}

/// Refuses pairs of sides that have none.
pub(crate) fn check_pairing(first: usize, second: usize, paired: bool) -> Result<()> {
    if paired && first != second { Err(MeasureError::RowCounts { first, second }) } else { Ok(()) }
}

/// The areas of many cells, whose intervals hold together.
pub(crate) fn areas(cells: &[Placements], paired: bool, family: &Family) -> Vec<Estimate> {
    let terms = sides(cells.iter().map(|cell| [cell.members.clone(), cell.non_members.clone()]));
    let errors = ErrorsOfMeans::of(&blocks(terms, paired), family);
    let reach =
        |at: usize| Reach { error: errors.error[at], errors: errors.critical[at], normal: errors.normal, paired };
    cells.iter().enumerate().map(|(at, cell)| area(cell, reach(at))).collect()
}

/// The areas of cells less those of their controls, on the same images; the intervals hold together.
pub(crate) fn differences(
    cells: &[&Placements],
    controls: &[&Placements],
    paired: bool,
    family: &Family,
) -> Vec<Estimate> {
    let less = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
    let together = cells.iter().zip(controls);
    let terms =
        sides(together.map(|(cell, control)| {
            [less(&cell.members, &control.members), less(&cell.non_members, &control.non_members)]
        }));
    let errors = ErrorsOfMeans::of(&blocks(terms, paired), family);
    let alone = |cells: &[&Placements]| {
        let terms = sides(cells.iter().map(|cell| [cell.members.clone(), cell.non_members.clone()]));
        standard_errors(&blocks(terms, paired))
    };
    let (of_cells, of_controls) = (alone(cells), alone(controls));
    let difference = |at: usize| {
        let (a, b, both) = (of_cells[at], of_controls[at], errors.error[at]);
        let correlation =
            if a * b > 0.0 { (0.5 * (a * a + b * b - both * both) / (a * b)).clamp(-1.0, 1.0) } else { 0.0 };
        let reach = |error: f64| Reach { error, errors: errors.critical[at], normal: errors.normal, paired };
        let (cell, control) = (area(cells[at], reach(a)), area(controls[at], reach(b)));
        let apart = |up: f64, down: f64| (up * up + down * down - 2.0 * correlation * up * down).max(0.0).sqrt();
        let value = cell.value - control.value;
        Estimate {
            value,
            low: value - apart(cell.value - cell.low, control.high - control.value),
            high: value + apart(cell.high - cell.value, control.value - control.low),
        }
        .within(-1.0, 1.0)
    };
    (0..cells.len()).map(difference).collect()
}

/// Rows of numbers of both sides as matrices `[cells, images]`.
pub(crate) fn sides(rows: impl ExactSizeIterator<Item = [Vec<f64>; 2]>) -> [Array2<f64>; 2] {
    let cells = rows.len();
    let (mut train, mut unseen) = (Vec::new(), Vec::new());
    for [of_train, of_unseen] in rows {
        train.extend(of_train);
        unseen.extend(of_unseen);
    }
    [train, unseen].map(|values| {
        let images = values.len() / cells;
        Array2::from_shape_vec((cells, images), values).expect("the same images in all cells")
    })
}

/// What the interval of an area is made of.
#[derive(Clone, Copy)]
struct Reach {
    /// The standard error of the area.
    error: f64,
    /// How many of them the interval reaches.
    errors: f64,
    /// The same of a normal mean.
    normal: f64,
    paired: bool,
}

/// An area with its interval on the logit scale.
fn area(placements: &Placements, reach: Reach) -> Estimate {
    let value = placements.auc();
    let (m, n) = (placements.members.len() as f64, placements.non_members.len() as f64);
    let cut = 0.5 / (m * n);
    let clipped = value.clamp(cut, 1.0 - cut);
    let logit = (clipped / (1.0 - clipped)).ln();
    let width = |error: f64| reach.errors * error / (clipped * (1.0 - clipped));
    let of_logit = |logit: f64| 1.0 / (1.0 + (-logit).exp());
    let from_chance = value - 0.5;
    let one_more = if reach.paired { 2.0 / n } else { 1.0_f64.hypot(m / n) / m };
    let towards_chance = of_logit(logit - from_chance.signum() * width(reach.error.hypot(from_chance * one_more)));
    let away = of_logit(logit + from_chance.signum() * width(reach.error));
    // An overlap of this share of the images leaves a sample of the smaller side without any as often as an end may miss.
    let fewest = m.min(n);
    let apart = normal_tail(reach.normal).powf(1.0 / fewest);
    if from_chance < 0.0 {
        let high = if value < 1.0 / fewest { towards_chance.min(1.0 - apart) } else { towards_chance };
        Estimate { value, low: away.min(value), high: high.max(value) }
    } else {
        let low = if 1.0 - value < 1.0 / fewest { towards_chance.max(apart) } else { towards_chance };
        Estimate { value, low: low.min(value), high: away.max(value) }
    }
}
