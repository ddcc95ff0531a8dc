//! What a repair, or more training, changes of memorisation: the same images in the same views, before and after.

use ndarray::Array2;

use crate::error::{MeasureError, Result};
use crate::errors_of_means::{ErrorsOfMeans, blocks};
use crate::estimate::Estimate;
use crate::membership::{check_pairing, differences};
use crate::memorisation::{placements, relative_terms};
use crate::resampling::Family;
use crate::view_distances::ViewDistances;

/// After minus before. Each number has its own 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MemorisationChange {
    pub membership: Estimate,
    pub memorisation_gap: Estimate,
    pub relative_gap: Estimate,
    pub d_train: Estimate,
    pub d_unseen: Estimate,
}

/// The change of one stage's numbers. `paired` as for [`memorisation`](crate::memorisation()).
///
/// # Errors
/// Other numbers of images after than before; paired sides of different numbers; a distance that is not a number.
pub fn memorisation_change(before: &ViewDistances, after: &ViewDistances, paired: bool) -> Result<MemorisationChange> {
    for (before, after) in [(&before.train, &after.train), (&before.unseen, &after.unseen)] {
        same_length(before, after)?;
    }
    check_pairing(after.train.len(), after.unseen.len(), paired)?;
    let less = |after: &[f64], before: &[f64]| after.iter().zip(before).map(|(a, b)| a - b).collect::<Vec<f64>>();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let row = |values: Vec<f64>| Array2::from_shape_vec((1, values.len()), values).expect("one row");
    let (train, unseen) = (less(&after.train, &before.train), less(&after.unseen, &before.unseen));
    let gap = |found: &ViewDistances| mean(&found.unseen) - mean(&found.train);
    let share = |found: &ViewDistances| if found.between > 0.0 { gap(found) / found.between } else { 0.0 };
    let of_two_sides = |value: f64, [train, unseen]: [Vec<f64>; 2]| {
        let errors = ErrorsOfMeans::of(&blocks([row(train), row(unseen)], paired), &Family::new(1, 0));
        Estimate::around(value, errors.width(0))
    };
    let ([train_before, unseen_before], [train_after, unseen_after]) = (relative_terms(before), relative_terms(after));
    let relative = [less(&train_after, &train_before), less(&unseen_after, &unseen_before)];
    let (before_placed, after_placed) = (placements(before)?, placements(after)?);
    Ok(MemorisationChange {
        membership: differences(&[&after_placed], &[&before_placed], paired, &Family::new(1, 0))[0],
        memorisation_gap: of_two_sides(
            gap(after) - gap(before),
            [train.iter().map(|value| -value).collect(), unseen.clone()],
        ),
        relative_gap: of_two_sides(share(after) - share(before), relative),
        d_train: around_mean(train),
        d_unseen: around_mean(unseen),
    })
}

/// The mean change of a number that every image has, after minus before, with a 95 % interval.
///
/// # Errors
/// Fewer than two images, other numbers of images after than before.
pub fn mean_change(before: &[f64], after: &[f64]) -> Result<Estimate> {
    same_length(before, after)?;
    if before.len() < 2 {
        return Err(MeasureError::TooFewRows { rows: before.len(), needed: 2 });
    }
    Ok(around_mean(after.iter().zip(before).map(|(after, before)| after - before).collect()))
}

fn same_length(before: &[f64], after: &[f64]) -> Result<()> {
    let (first, second) = (before.len(), after.len());
    if first == second { Ok(()) } else { Err(MeasureError::RowCounts { first, second }) }
}

pub(crate) fn around_mean(values: Vec<f64>) -> Estimate {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let terms = Array2::from_shape_vec((1, values.len()), values).expect("one row");
    Estimate::around(mean, ErrorsOfMeans::of(&[terms], &Family::new(1, 0)).width(0))
}
