//! The class gap of the coding rate reduction: how much better the classes of training images are told apart than those
//! of unseen ones.

use std::collections::BTreeMap;

use ndarray::{ArrayView2, Axis};
use rayon::prelude::*;

use crate::class_rates;
use crate::distributions::{normal_quantile, student_for_normal};
use crate::error::{MeasureError, Result, positive};
use crate::estimate::Estimate;
use crate::random::Draws;
use crate::resampling::MISSES;
use crate::rows::{check, check_labels};

/// Times that both sides are cut in two.
const SPLITS: usize = 20;

/// dR by class of training images less that of unseen ones, from half-samples of the same size and classes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ClassRateGap {
    /// The mean over half-samples of both sides.
    pub gap: Estimate,
    /// The same number of two halves of the unseen side, neither of which was trained on: what chance alone gives, from
    /// one pair of halves.
    pub placebo: Estimate,
    /// Images of a half-sample.
    pub images: usize,
}

/// Of plain features `[n, d]` of both sides and their labels, training side first. `cells` intervals hold together, by
/// Bonferroni's inequality.
///
/// dR depends on the number of rows and of every class. So of every class both sides give the same even number of images,
/// as many as the smaller one has, chosen by the seed; both are cut in two halves at random, twenty times; and only halves
/// are compared. No image is drawn twice, which would change a determinant. The difference of a side's two halves gives
/// the error of its mean (balanced half-samples: McCarthy 1969).
///
/// 80 determinants of rows and their classes: `O(n d min(n, d))` each.
///
/// # Errors
/// Those of [`class_rates`]; sides of different d; no class with two images on each side.
pub fn class_rate_gap(
    [train, unseen]: [ArrayView2<f64>; 2],
    labels: [&[u32]; 2],
    eps2: f64,
    cells: usize,
    seed: u64,
) -> Result<ClassRateGap> {
    positive("eps2", eps2)?;
    for (side, labels) in [train, unseen].iter().zip(labels) {
        check(*side)?;
        check_labels(side.nrows(), labels)?;
    }
    let (first, second) = (train.ncols(), unseen.ncols());
    if first != second {
        return Err(MeasureError::Columns { first, second });
    }
    let [of_train, of_unseen] = labels.map(by_class);
    let mut classes = Vec::new();
    for (class, rows) in &of_train {
        let others = of_unseen.get(class).map_or(&[][..], |rows| rows);
        let half = rows.len().min(others.len()) / 2;
        if half > 0 {
            classes.push((half, [rows.as_slice(), others]));
        }
    }
    let images: usize = classes.iter().map(|(half, _)| half).sum();
    if images == 0 {
        return Err(MeasureError::TooFew { what: "classes with two images on each side", found: 0, needed: 1 });
    }
    let splits: Vec<[[f64; 2]; 2]> = (0..SPLITS)
        .into_par_iter()
        .map(|split| {
            let rates = |side: usize, z: ArrayView2<f64>| {
                let [first, second] = halves(&classes, side, seed, split);
                let rate = |rows: &[usize]| {
                    let labels: Vec<u32> = rows.iter().map(|&row| labels[side][row]).collect();
                    class_rates(z.select(Axis(0), rows).view(), &labels, eps2)
                        .map(|found| found.coding_rate_reduction())
                };
                Ok([rate(&first)?, rate(&second)?])
            };
            Ok([rates(0, train)?, rates(1, unseen)?])
        })
        .collect::<Result<_>>()?;
    let mean = |of: &dyn Fn(&[[f64; 2]; 2]) -> f64| splits.iter().map(of).sum::<f64>() / SPLITS as f64;
    let apart = |side: usize| mean(&|split| (split[side][0] - split[side][1]).powi(2));
    let reach = student_for_normal(normal_quantile(1.0 - MISSES / (2 * cells.max(1)) as f64), SPLITS as f64);
    let gap = mean(&|split| 0.5 * (split[0][0] + split[0][1] - split[1][0] - split[1][1]));
    Ok(ClassRateGap {
        gap: Estimate::around(gap, reach * (0.25 * (apart(0) + apart(1))).sqrt()),
        placebo: Estimate::around(splits[0][1][0] - splits[0][1][1], reach * apart(1).sqrt()),
        images,
    })
}

fn by_class(labels: &[u32]) -> BTreeMap<u32, Vec<usize>> {
    let mut classes = BTreeMap::<u32, Vec<usize>>::new();
    labels.iter().enumerate().for_each(|(row, &label)| classes.entry(label).or_default().push(row));
    classes
}

/// Two halves of a side, without an image in common; which images of a class are in either does not depend on the split.
fn halves(classes: &[(usize, [&[usize]; 2])], side: usize, seed: u64, split: usize) -> [Vec<usize>; 2] {
    let mut chosen = Draws::keyed(seed, side as u64);
    let mut cut = Draws::keyed(seed, (2 + side + 2 * split) as u64);
    let mut halves = [Vec::new(), Vec::new()];
    for (half, rows) in classes {
        let rows = rows[side];
        let both = chosen.subset(rows.len(), 2 * half);
        let first = cut.subset(2 * half, *half);
        for (at, &row) in both.iter().enumerate() {
            halves[usize::from(first.binary_search(&at).is_err())].push(rows[row]);
        }
    }
    halves
}
