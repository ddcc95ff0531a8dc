//! How far apart the views of an image lie, against the views of different images.

use ndarray::{Array1, Array2, ArrayViewMut1, Axis};
use rayon::prelude::*;

use crate::stage_views::StageViews;

/// Squared distances between unit rows of one stage, 0 to 4.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewDistances {
    /// D_i of every training image: the mean of ||u - u'||^2 over all q(q-1)/2 pairs of its views.
    pub train: Vec<f64>,
    /// D_i of every unseen image.
    pub unseen: Vec<f64>,
    /// B: the mean of the same distance between views of different unseen images.
    pub between: f64,
    /// Of every unseen image the mean distance of its views to those of the other unseen images; their mean is B.
    pub between_of: Vec<f64>,
    /// Views that are zero once centred, by side. They lie at a distance of 0 from one another and of 1 from others.
    pub zero_rows: [usize; 2],
}

impl<T: Copy + Into<f64> + Sync + Send> StageViews<'_, T> {
    /// The distances of this stage.
    ///
    /// `O(n q d)`: of unit rows u with mean v, a sum over pairs is q sum ||u - v||^2, and a sum over other images follows
    /// from the sum of all.
    pub fn distances(&self) -> ViewDistances {
        let [train, unseen] = [0, 1].map(|side| self.of_side(side));
        let between_of = unseen.between();
        ViewDistances {
            between: between_of.iter().sum::<f64>() / between_of.len() as f64,
            between_of,
            zero_rows: [train.zeros, unseen.zeros],
            train: train.distances,
            unseen: unseen.distances,
        }
    }

    fn of_side(&self, side: usize) -> Side {
        let (views, images) = (self.views(), self.images()[side]);
        let mut means = Array2::zeros((images, self.columns()));
        let of_image = |(image, mut mean): (usize, ArrayViewMut1<f64>)| {
            let mut units = Array2::zeros((views, self.columns()));
            let mut present = 0;
            for (view, unit) in units.outer_iter_mut().enumerate() {
                present += usize::from(self.unit_into(side, view, image, unit));
            }
            units.outer_iter().for_each(|unit| mean += &unit);
            mean /= views as f64;
            units -= &mean;
            let spread: f64 = units.iter().map(|value| value * value).sum();
            (2.0 * spread / (views - 1) as f64, present)
        };
        let rows: Vec<ArrayViewMut1<f64>> = means.outer_iter_mut().collect();
        let found: Vec<(f64, usize)> = rows.into_par_iter().enumerate().map(of_image).collect();
        let (distances, present): (Vec<f64>, Vec<usize>) = found.into_iter().unzip();
        Side { distances, zeros: views * images - present.iter().sum::<usize>(), present, views, means }
    }
}

struct Side {
    distances: Vec<f64>,
    zeros: usize,
    /// Views of an image that are not zero.
    present: Vec<usize>,
    views: usize,
    /// `[n, d]`: the mean of an image's unit rows.
    means: Array2<f64>,
}

impl Side {
    /// Of every image the mean squared distance of its views to those of the others.
    fn between(&self) -> Vec<f64> {
        let others = (self.present.len() - 1) as f64;
        // The mean squared length of an image's rows.
        let squares: Array1<f64> = self.present.iter().map(|&present| present as f64 / self.views as f64).collect();
        let (whole, sum) = (self.means.sum_axis(Axis(0)), squares.sum());
        let of_image = |(mean, &square): (ndarray::ArrayView1<f64>, &f64)| {
            square + (sum - square) / others - 2.0 * (mean.dot(&whole) - mean.dot(&mean)) / others
        };
        self.means.outer_iter().zip(&squares).map(of_image).collect()
    }
}
