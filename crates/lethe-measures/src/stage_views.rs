//! Views of training and of unseen images at one stage, around one centre and scaled to unit length: what the numbers of
//! memorisation are made from. An offset, a common scale, a rotation and a contraction towards the mean change nothing.

use ndarray::{Array1, Array2, ArrayView1, ArrayView3, ArrayViewMut1, Axis};
use rayon::prelude::*;

use crate::error::{MeasureError, Result};
use crate::rows::LARGEST;

/// A centred row that is shorter than this share of the row is zero: rounding is all that is left of it.
const SHORTEST: f64 = 1e-6;
/// Images that one thread adds up for the centre.
const CHUNK: usize = 64;

/// q >= 2 random views of every image of both sides, `[q, n, d]`, n of a side its own, and the centre of the stage.
///
/// `T` is `f32` or `f64`; all else is float64.
#[derive(Debug, Clone)]
pub struct StageViews<'a, T> {
    pub(crate) sides: [ArrayView3<'a, T>; 2],
    centre: Array1<f64>,
}

impl<'a, T: Copy + Into<f64> + Sync + Send> StageViews<'a, T> {
    /// Around the mean of all images of both sides. An image counts once, by the mean of its views: a mean of the two
    /// sides' means would lie nearer to every image of the smaller side, and so tell the sides apart by their sizes.
    ///
    /// # Errors
    /// Fewer than two views or two images of a side, sides of different q or d, values that are not finite or beyond
    /// 1e100. A row is counted from 0 within its side, view after view.
    pub fn new(train: ArrayView3<'a, T>, unseen: ArrayView3<'a, T>) -> Result<Self> {
        let sides = checked(train, unseen)?;
        let (views, columns) = (train.len_of(Axis(0)), train.len_of(Axis(2)));
        let mut centre = Array1::zeros(columns);
        let mut images = 0;
        for side in &sides {
            images += side.len_of(Axis(1));
            centre += &sum(side);
        }
        centre /= (views * images) as f64;
        Ok(Self { sides, centre })
    }

    /// Around a given centre `[d]`: in an audit the mean of all canaries, whatever their coins.
    ///
    /// # Errors
    /// Those of [`StageViews::new`], of the centre too (its row is 0); a centre of another d.
    pub fn around(train: ArrayView3<'a, T>, unseen: ArrayView3<'a, T>, centre: ArrayView1<f64>) -> Result<Self> {
        let sides = checked(train, unseen)?;
        let (first, second) = (train.len_of(Axis(2)), centre.len());
        if first != second {
            return Err(MeasureError::Columns { first, second });
        }
        crate::rows::check(centre.insert_axis(Axis(0)))?;
        Ok(Self { sides, centre: centre.to_owned() })
    }

    /// The centre `[d]`.
    pub fn centre(&self) -> ArrayView1<'_, f64> {
        self.centre.view()
    }

    /// q, the views of an image.
    pub fn views(&self) -> usize {
        self.sides[0].len_of(Axis(0))
    }

    /// The numbers of images of the two sides.
    pub fn images(&self) -> [usize; 2] {
        self.sides.each_ref().map(|side| side.len_of(Axis(1)))
    }

    /// d
    pub(crate) fn columns(&self) -> usize {
        self.centre.len()
    }

    /// One view of an image, centred and of unit length or zero; whether it is not zero.
    pub(crate) fn unit_into(&self, side: usize, view: usize, image: usize, mut unit: ArrayViewMut1<f64>) -> bool {
        let row = self.sides[side].index_axis(Axis(0), view).index_axis_move(Axis(0), image);
        let (mut whole, mut centred) = (0.0, 0.0);
        for ((unit, &value), centre) in unit.iter_mut().zip(row).zip(&self.centre) {
            let value: f64 = value.into();
            *unit = value - centre;
            whole += value * value;
            centred += *unit * *unit;
        }
        let [whole, centred] = [whole, centred].map(f64::sqrt);
        if centred <= SHORTEST * whole {
            unit.fill(0.0);
            return false;
        }
        unit /= centred;
        true
    }

    /// One view of some images, `[images, d]`, centred and of unit length or zero.
    pub(crate) fn units(&self, side: usize, view: usize, images: &[usize]) -> Array2<f64> {
        let mut units = Array2::zeros((images.len(), self.columns()));
        let rows: Vec<ArrayViewMut1<f64>> = units.outer_iter_mut().collect();
        rows.into_par_iter().zip(images).for_each(|(unit, &image)| {
            self.unit_into(side, view, image, unit);
        });
        units
    }
}

/// The sum of all rows of a side.
fn sum<T: Copy + Into<f64> + Sync + Send>(side: &ArrayView3<T>) -> Array1<f64> {
    let columns = side.len_of(Axis(2));
    let of_chunk = |chunk: ArrayView3<T>| {
        let mut sum = Array1::zeros(columns);
        for row in chunk.rows() {
            sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value.into());
        }
        sum
    };
    let chunks: Vec<ArrayView3<T>> = side.axis_chunks_iter(Axis(1), CHUNK).collect();
    let sums: Vec<Array1<f64>> = chunks.into_par_iter().map(of_chunk).collect();
    sums.iter().fold(Array1::zeros(columns), |all, sum| all + sum)
}

fn checked<'a, T: Copy + Into<f64>>(
    train: ArrayView3<'a, T>,
    unseen: ArrayView3<'a, T>,
) -> Result<[ArrayView3<'a, T>; 2]> {
    let ((views, images, columns), (unseen_views, unseen_images, unseen_columns)) = (train.dim(), unseen.dim());
    if views != unseen_views {
        return Err(MeasureError::Length { what: "views of unseen images", found: unseen_views, expected: views });
    }
    if columns != unseen_columns {
        return Err(MeasureError::Columns { first: columns, second: unseen_columns });
    }
    if views < 2 {
        return Err(MeasureError::TooFew { what: "views", found: views, needed: 2 });
    }
    if images.min(unseen_images) < 2 {
        return Err(MeasureError::TooFewRows { rows: images.min(unseen_images), needed: 2 });
    }
    if columns == 0 {
        return Err(MeasureError::Empty { rows: images, columns });
    }
    for side in [&train, &unseen] {
        let fine = |&value: &T| {
            let value: f64 = value.into();
            value.abs() <= LARGEST
        };
        if side.iter().all(fine) {
            continue;
        }
        let ((view, image, column), &value) = side.indexed_iter().find(|(_, value)| !fine(value)).expect("just seen");
        let (row, value) = (view * side.len_of(Axis(1)) + image, value.into());
        return Err(if value.is_finite() {
            MeasureError::TooLarge { row, column, value }
        } else {
            MeasureError::NonFinite { row, column, value }
        });
    }
    Ok([train, unseen])
}
