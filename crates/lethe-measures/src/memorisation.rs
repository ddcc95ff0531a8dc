//! The numbers of memorisation of stages and checkpoints, from how far apart the views of training images and of unseen
//! ones lie.

use ndarray::Array2;

use crate::distributions::normal_tail;
use crate::error::{MeasureError, Result};
use crate::errors_of_means::{ErrorsOfMeans, blocks};
use crate::estimate::Estimate;
use crate::membership::{areas, check_pairing, differences, sides};
use crate::placements::Placements;
use crate::resampling::Family;
use crate::retrieval_hits::RetrievalHits;
use crate::true_positives::TruePositives;
use crate::view_distances::ViewDistances;

/// Images a side below which an interval may miss more often than it says: the numbers stand, a verdict does not.
pub const LEAST_IMAGES_FOR_A_VERDICT: usize = 50;

/// One stage of one checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    pub distances: &'a ViewDistances,
    /// Nothing where retrieval was not taken.
    pub retrieval: Option<&'a RetrievalHits>,
}

/// What a cell says of memorisation. Every number has an interval of 95 % that holds for all cells together.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Memorisation {
    /// The area under the ROC curve of telling training images from unseen ones by -D_i: it does not change with any
    /// monotone change of the distances. 0.5 is chance.
    pub membership: Estimate,
    /// What somebody who wants to know the training images gains.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub true_positives: TruePositives,
    /// Mean D of unseen images less that of training images.
    pub memorisation_gap: Estimate,
    /// The gap over B. Nothing where B is 0, as all views lie at one place.
    pub relative_gap: Option<Estimate>,
    /// Mean D of training images.
    pub d_train: Estimate,
    /// Mean D of unseen images.
    pub d_unseen: Estimate,
    /// B, the mean distance between views of different unseen images.
    pub d_between: Estimate,
    /// Share of training images that are found by another view, less that of unseen images.
    pub retrieval_gap: Option<Estimate>,
}

/// The numbers of all cells of a diagnosis, in their order, from the same images in every cell.
///
/// `paired`: both sides have the same number of images, and image i of both went through the same draws of the
/// augmentation. The two sides' errors are then taken together, image by image; otherwise they are independent.
///
/// The intervals of a number hold together over all cells. Each is its standard error times what the largest of all
/// studentised errors exceeds in 5 % of the draws of a multiplier bootstrap (at most Bonferroni's), turned from the
/// normal distribution to Student's t: with n - 1 degrees of freedom, or Welch's (1947) for independent sides. The area
/// has its interval on the logit scale; the relative gap has its error by the delta method, from the influence of every
/// image on the gap and on B. No interval of a share is narrower than images that all agree allow.
///
/// `O(cells^2 n)` time.
///
/// # Errors
/// No cell; cells of different numbers of images; paired sides of different numbers; fewer than two images of a side; a
/// distance that is not a number.
pub fn memorisation(cells: &[Cell], paired: bool, seed: u64) -> Result<Vec<Memorisation>> {
    let distances: Vec<&ViewDistances> = cells.iter().map(|cell| cell.distances).collect();
    check_cells(&distances, paired)?;
    let family = Family::new(cells.len(), seed);
    let placements = distances.iter().map(|cell| placements(cell)).collect::<Result<Vec<Placements>>>()?;
    let membership = areas(&placements, paired, &family);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let scaled = |values: &[f64], by: f64| values.iter().map(|value| by * value).collect::<Vec<f64>>();

    let gaps = ErrorsOfMeans::of(
        &blocks(sides(distances.iter().map(|cell| [scaled(&cell.train, -1.0), cell.unseen.clone()])), paired),
        &family,
    );
    let gap_of = |cell: &ViewDistances| mean(&cell.unseen) - mean(&cell.train);
    let relative = sides(distances.iter().map(|cell| relative_terms(cell)));
    let relative = ErrorsOfMeans::of(&blocks(relative, paired), &family);
    let one_side = |of: &dyn Fn(&ViewDistances) -> Vec<f64>| {
        let values: Vec<Vec<f64>> = distances.iter().map(|cell| of(cell)).collect();
        let shape = (values.len(), values[0].len());
        let terms = Array2::from_shape_vec(shape, values.concat()).expect("the same images in all cells");
        ErrorsOfMeans::of(&[terms], &family)
    };
    let d_train = one_side(&|cell| cell.train.clone());
    let d_unseen = one_side(&|cell| cell.unseen.clone());
    let d_between = one_side(&|cell| scaled(&cell.between_of, 2.0));
    let retrieval = retrieval_gaps(cells, paired, &family)?;

    let of_cell = |(at, cell): (usize, &&ViewDistances)| {
        let distance = |value: f64, errors: &ErrorsOfMeans| Estimate::around(value, errors.width(at)).within(0.0, 4.0);
        let [near, far] = [&cell.train, &cell.unseen].map(|side| scaled(side, -1.0));
        Memorisation {
            membership: membership[at],
            true_positives: TruePositives::of(&near, &far, cells.len()),
            memorisation_gap: Estimate::around(gap_of(cell), gaps.width(at)),
            relative_gap: (cell.between > 0.0)
                .then(|| Estimate::around(gap_of(cell) / cell.between, relative.width(at))),
            d_train: distance(mean(&cell.train), &d_train),
            d_unseen: distance(mean(&cell.unseen), &d_unseen),
            d_between: distance(cell.between, &d_between),
            retrieval_gap: retrieval[at],
        }
    };
    Ok(distances.iter().enumerate().map(of_cell).collect())
}

/// Membership of every cell less that of its control: the same stage of an encoder that did not see the images, on the
/// same images and draws. One control a cell, in their order; a control may stand for many cells.
///
/// What the area of a cell owes to a difference between the two sides that any encoder answers, its control owes too.
/// DeLong's intervals for correlated curves, as in [`membership_change`](crate::membership_change); they hold together.
///
/// # Errors
/// Those of [`memorisation()`]; another number of controls than cells.
pub fn membership_above_control(
    cells: &[&ViewDistances],
    controls: &[&ViewDistances],
    paired: bool,
    seed: u64,
) -> Result<Vec<Estimate>> {
    if cells.len() != controls.len() {
        return Err(MeasureError::Length { what: "controls", found: controls.len(), expected: cells.len() });
    }
    check_cells(&[cells, controls].concat(), paired)?;
    let of = |cells: &[&ViewDistances]| cells.iter().map(|cell| placements(cell)).collect::<Result<Vec<Placements>>>();
    let (cells, controls) = (of(cells)?, of(controls)?);
    let [cells, controls]: [Vec<&Placements>; 2] = [cells.iter().collect(), controls.iter().collect()];
    Ok(differences(&cells, &controls, paired, &Family::new(cells.len(), seed)))
}

/// What each image adds to the relative gap, training images first: by the delta method, as B is a mean over pairs of
/// images, so that an image moves it by twice its own deviation.
pub(crate) fn relative_terms(cell: &ViewDistances) -> [Vec<f64>; 2] {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let over = if cell.between > 0.0 { 1.0 / cell.between } else { 0.0 };
    let of_between = -2.0 * (mean(&cell.unseen) - mean(&cell.train)) * over * over;
    let of_unseen = cell.unseen.iter().zip(&cell.between_of).map(|(d, b)| over * d + of_between * b);
    [cell.train.iter().map(|d| -over * d).collect(), of_unseen.collect()]
}

/// Of scores -D: an image whose views lie near is held to be a training image.
pub(crate) fn placements(cell: &ViewDistances) -> Result<Placements> {
    let near = |distances: &[f64]| distances.iter().map(|distance| -distance).collect::<Vec<f64>>();
    Placements::of(&near(&cell.train), &near(&cell.unseen))
}

fn check_cells(cells: &[&ViewDistances], paired: bool) -> Result<()> {
    let Some(first) = cells.first() else { return Err(MeasureError::Empty { rows: 0, columns: 0 }) };
    let (train, unseen) = (first.train.len(), first.unseen.len());
    check_pairing(train, unseen, paired)?;
    for cell in cells {
        let lengths = [(&cell.train, train), (&cell.unseen, unseen), (&cell.between_of, unseen)];
        for (values, expected) in lengths {
            if values.len() != expected {
                return Err(MeasureError::Length { what: "images in a cell", found: values.len(), expected });
            }
        }
    }
    Ok(())
}

/// Of the cells that have it.
fn retrieval_gaps(cells: &[Cell], paired: bool, family: &Family) -> Result<Vec<Option<Estimate>>> {
    let hits: Vec<&RetrievalHits> = cells.iter().filter_map(|cell| cell.retrieval).collect();
    let Some(first) = hits.first() else { return Ok(vec![None; cells.len()]) };
    let images = first.train.len();
    for values in hits.iter().flat_map(|hits| [&hits.train, &hits.unseen]) {
        if values.len() != images {
            return Err(MeasureError::Length { what: "images in a gallery", found: values.len(), expected: images });
        }
    }
    let less = |values: &[f64]| values.iter().map(|value| -value).collect::<Vec<f64>>();
    let terms = sides(hits.iter().map(|hits| [hits.train.clone(), less(&hits.unseen)]));
    let gaps: Vec<f64> =
        terms[0].outer_iter().zip(terms[1].outer_iter()).map(|(a, b)| (a.sum() + b.sum()) / images as f64).collect();
    let errors = ErrorsOfMeans::of(&blocks(terms, paired), family);
    let agreed = 1.0 - normal_tail(errors.normal).powf(1.0 / images as f64);
    let mut estimates = gaps
        .into_iter()
        .enumerate()
        .map(|(at, gap)| Estimate::around(gap, errors.width(at).max(agreed)).within(-1.0, 1.0));
    Ok(cells.iter().map(|cell| cell.retrieval.and_then(|_| estimates.next())).collect())
}
