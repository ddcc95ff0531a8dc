//! Whether two sides of images differ in kind: a two-sample test by a classifier (Kim, Ramdas, Singh and Wasserman 2021;
//! Lopez-Paz and Oquab 2017), here a linear one.

use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate, s};
use rayon::prelude::*;

use crate::error::{MeasureError, Result};
use crate::random::Draws;
use crate::ranks::mid_ranks;
use crate::rows::check;
use crate::spectrum;

/// Parts of the images, each held out once.
const FOLDS: usize = 5;
/// Images of a side that a fold at least holds out.
const LEAST_OF_A_FOLD: usize = 2;
/// Relabellings, with the true one: the least p is one over this.
const LABELLINGS: usize = 200;
/// Share of the mean square that is added to a Gram matrix before its root is taken.
const JITTER: f64 = 1e-10;

/// What a linear classifier tells of the two sides.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Shift {
    /// The area under the ROC curve of telling held-out images of one side from those of the other, the mean over the
    /// folds. 0.5 is chance.
    pub auc: f64,
    /// How often sides of one law give such an area, at least 1/200.
    pub p: f64,
}

/// Of plain features `[n, d]` of the two sides.
///
/// Fisher's discriminant with a ridge, in closed form: w = (X'X + c I)^-1 (mean of one side - mean of the other) on four
/// fifths of the images, X around the mean of all, c the mean square of a row's length. It ranks the last fifth, each in
/// turn. p comes from 199 random relabellings within the folds, each with classifiers of its own: images of one law can
/// be exchanged, so p is at most 5 % in at most 5 % of cases, whatever n, d and the law.
///
/// `O(n d min(n, d))` time for n images of both sides.
///
/// Known failures: a difference of the sides that is not one of means is not seen; enough images show any difference,
/// however small: look at the area too.
///
/// # Errors
/// Not finite or beyond 1e100, sides of different d, fewer than ten images of a side, all rows the same.
pub fn shift_test(train: ArrayView2<f64>, unseen: ArrayView2<f64>, seed: u64) -> Result<Shift> {
    for side in [train.view(), unseen.view()] {
        check(side.view())?;
        let needed = FOLDS * LEAST_OF_A_FOLD;
        if side.nrows() < needed {
            return Err(MeasureError::TooFewRows { rows: side.nrows(), needed });
        }
    }
    let (first, second) = (train.ncols(), unseen.ncols());
    if first != second {
        return Err(MeasureError::Columns { first, second });
    }
    let folds = folds([train.nrows(), unseen.nrows()], seed);
    let rows = around_mean(concatenate(Axis(0), &[train.view(), unseen.view()]).expect("the same columns"))?;
    let total = train.nrows() + unseen.nrows();
    let labels: Vec<bool> = (0..total).map(|row| row < train.nrows()).collect();

    let parts: Vec<Array2<f64>> = folds.iter().map(|fold| rows.select(Axis(0), fold)).collect();
    let grams: Vec<Array2<f64>> = parts.iter().map(|part| spectrum::gram(part.view())).collect();
    let mut whole = grams.iter().fold(Array2::zeros(grams[0].raw_dim()), |sum: Array2<f64>, gram| sum + gram);
    let ridge = whole.diag().sum() / total as f64;
    whole.diag_mut().mapv_inplace(|value| value + ridge);

    // One column a labelling: which images of a fold count as those of the first side.
    let labellings: Vec<Vec<Vec<bool>>> =
        folds.iter().enumerate().map(|(k, fold)| relabelled(fold, &labels, seed, k)).collect();
    let counts: Vec<[f64; 2]> = labellings.iter().map(|fold| count(&fold[0])).collect();
    let sums: Vec<[Array2<f64>; 2]> = parts.iter().zip(&labellings).map(|(part, fold)| side_sums(part, fold)).collect();
    let of_fold = |k: usize| {
        let other = |at: &usize| *at != k;
        let mut difference = Array2::zeros(sums[k][0].raw_dim());
        for (side, sign) in [1.0, -1.0].into_iter().enumerate() {
            let images: f64 = (0..FOLDS).filter(other).map(|at| counts[at][side]).sum();
            (0..FOLDS).filter(other).for_each(|at| difference.scaled_add(sign / images, &sums[at][side]));
        }
        let lower = spectrum::cholesky(&whole - &grams[k]).ok_or(MeasureError::NoVariance)?;
        let scores = parts[k].dot(&spectrum::cholesky_solve(lower.view(), difference));
        let areas =
            scores.axis_iter(Axis(1)).zip(&labellings[k]).map(|(scores, labels)| area(&scores.to_vec(), labels));
        Ok(areas.collect::<Array1<f64>>())
    };
    let areas = (0..FOLDS).into_par_iter().map(of_fold).collect::<Result<Vec<Array1<f64>>>>()?;
    let areas = areas.iter().fold(Array1::zeros(LABELLINGS), |sum: Array1<f64>, fold| sum + fold) / FOLDS as f64;
    let as_far = areas.iter().filter(|&&area| area >= areas[0]).count();
    Ok(Shift { auc: areas[0], p: as_far as f64 / LABELLINGS as f64 })
}

/// The rows around their mean; of more columns than rows, rows with the same products.
fn around_mean(mut rows: Array2<f64>) -> Result<Array2<f64>> {
    let mean = rows.mean_axis(Axis(0)).expect("rows");
    rows -= &mean;
    let most = rows.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    if most == 0.0 {
        return Err(MeasureError::NoVariance);
    }
    rows /= most;
    if rows.ncols() <= rows.nrows() {
        return Ok(rows);
    }
    let mut products = spectrum::gram(rows.t());
    let jitter = JITTER * products.diag().mean().expect("rows");
    products.diag_mut().mapv_inplace(|value| value + jitter);
    let mut root = spectrum::cholesky(products).ok_or(MeasureError::NoVariance)?;
    for (i, mut row) in root.outer_iter_mut().enumerate() {
        row.slice_mut(s![i + 1..]).fill(0.0);
    }
    Ok(root)
}

/// Rows by fold, as many of each side in every fold up to one.
fn folds(sides: [usize; 2], seed: u64) -> Vec<Vec<usize>> {
    let mut folds = vec![Vec::new(); FOLDS];
    let mut draws = Draws::keyed(seed, 0);
    let mut first = 0;
    for images in sides {
        for (at, row) in draws.shuffled(images).into_iter().enumerate() {
            folds[at % FOLDS].push(first + row);
        }
        first += images;
    }
    folds
}

/// The labels of a fold: the true ones, then shuffled ones.
fn relabelled(fold: &[usize], labels: &[bool], seed: u64, number: usize) -> Vec<Vec<bool>> {
    let own: Vec<bool> = fold.iter().map(|&row| labels[row]).collect();
    let mut draws = Draws::keyed(seed, 1 + number as u64);
    let shuffled = |_| draws.shuffled(own.len()).into_iter().map(|at| own[at]).collect();
    let others: Vec<Vec<bool>> = (1..LABELLINGS).map(shuffled).collect();
    std::iter::once(own.clone()).chain(others).collect()
}

fn count(labels: &[bool]) -> [f64; 2] {
    let first = labels.iter().filter(|&&first| first).count();
    [first as f64, (labels.len() - first) as f64]
}

/// The sums of a fold's rows of either side, `[d, labellings]` each.
fn side_sums(part: &Array2<f64>, labellings: &[Vec<bool>]) -> [Array2<f64>; 2] {
    let member = |(row, at): (usize, usize)| f64::from(u8::from(labellings[at][row]));
    let first = part.t().dot(&Array2::from_shape_fn((part.nrows(), labellings.len()), member));
    let second = part.sum_axis(Axis(0)).insert_axis(Axis(1)) - &first;
    [first, second]
}

/// The chance that a row of the first side scores above one of the second.
fn area(scores: &[f64], labels: &[bool]) -> f64 {
    let [first, second] = count(labels);
    let ranks: f64 = mid_ranks(scores).iter().zip(labels).filter(|(_, first)| **first).map(|(rank, _)| rank).sum();
    (ranks - first * (first + 1.0) / 2.0) / (first * second)
}
