//! UnitMem: Wang, Dziedzic, Backes and Boenisch 2024, "Localizing Memorization in SSL Vision Encoders" (NeurIPS 2024,
//! arXiv 2409.19069), as in its authors' code.

use ndarray::{Array2, ArrayView2, ArrayView3, Axis};
use rayon::prelude::*;

use crate::error::{MeasureError, Result};
use crate::rows::{LARGEST, Rows};

/// How far single units answer to a single image.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitMem {
    /// One number a unit, 0 to 1.
    pub of_units: Vec<f64>,
    /// Units that are 0 for every image; they count 0.
    pub dead: usize,
}

impl UnitMem {
    /// The mean over all units, dead ones included.
    pub fn mean(&self) -> f64 {
        self.of_units.iter().sum::<f64>() / self.of_units.len() as f64
    }
}

/// For every unit of `activations` `[images, views, units]` (max - median) / (max + median), max the largest mean
/// activation over an image's views, median that of the other images: 0 where all images excite the unit alike, 1 where
/// one image alone does. A number of the training images; on unseen ones it says what chance gives.
///
/// The authors' code averages over 10 views, and over the places of a feature map, and takes the median, as here; take
/// the activations behind a ReLU.
///
/// `O(images views units)` time, memory of one mean a unit and image.
///
/// Known failures: it grows with the number of images (the largest of more), so compare at equal numbers; few views
/// leave the chance of a view in; a rare concept shown by one image looks like memorising; sparse units, whose median
/// is 0, are 1 whatever they answer to; undefined for signed activations (projections, transformer blocks).
///
/// # Errors
/// Empty, fewer than two images, an activation that is not finite or below 0 (its row is the image, its column the
/// unit).
pub fn unitmem(activations: ArrayView3<f64>) -> Result<UnitMem> {
    let (images, views, units) = activations.dim();
    if images == 0 || views == 0 || units == 0 {
        return Err(MeasureError::Empty { rows: images * views, columns: units });
    }
    of_views(&activations.axis_iter(Axis(1)).collect::<Vec<_>>())
}

pub(crate) fn of_rows(rows: &Rows) -> Result<f64> {
    let images = rows.z.nrows() / rows.views()?;
    Ok(of_views(&rows.z.axis_chunks_iter(Axis(0), images).collect::<Vec<_>>())?.mean())
}

/// Of `[images, units]` a view.
fn of_views(views: &[ArrayView2<f64>]) -> Result<UnitMem> {
    let (images, units) = views[0].dim();
    if images < 2 {
        return Err(MeasureError::TooFewRows { rows: images * views.len(), needed: 2 * views.len() });
    }
    let mut means = Array2::<f64>::zeros((units, images));
    for view in views {
        if let Some(((row, column), &value)) = view.indexed_iter().find(|(_, value)| !(0.0..=LARGEST).contains(*value))
        {
            return Err(match value {
                _ if !value.is_finite() => MeasureError::NonFinite { row, column, value },
                _ if value < 0.0 => MeasureError::Negative { row, column, value },
                _ => MeasureError::TooLarge { row, column, value },
            });
        }
        means += &view.t();
    }
    means /= views.len() as f64;

    let of_unit = |unit: &mut [f64]| {
        unit.sort_unstable_by(f64::total_cmp);
        let (max, rest) = unit.split_last().expect("two images or more");
        let middle = rest.len() / 2;
        let median = if rest.len() % 2 == 1 { rest[middle] } else { 0.5 * (rest[middle - 1] + rest[middle]) };
        if *max > 0.0 { Some((max - median) / (max + median)) } else { None }
    };
    let values = means.as_slice_mut().expect("standard layout");
    let of_units: Vec<Option<f64>> = values.par_chunks_mut(images).map(of_unit).collect();
    let dead = of_units.iter().filter(|unit| unit.is_none()).count();
    Ok(UnitMem { of_units: of_units.into_iter().map(|unit| unit.unwrap_or(0.0)).collect(), dead })
}
