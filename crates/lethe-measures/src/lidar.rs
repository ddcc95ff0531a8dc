//! LiDAR: Thilak et al. 2024, "LiDAR: Sensing Linear Probing Performance in Joint Embedding SSL Architectures"
//! (arXiv 2312.04000), equations 1 to 4.

use ndarray::{Array2, ArrayView2, Axis, s};

use crate::error::{MeasureError, Result};
use crate::rows::{Rows, check, check_views};
use crate::spectrum;

/// Added to the diagonal of the covariance within images.
const DELTA: f64 = 1e-4;

/// The effective rank of linear discriminant analysis with images as classes: exp(-sum p ln p), p = l / sum(l) + 1e-8,
/// l the `d` eigenvalues of Sw^-1/2 Sb Sw^-1/2. Sb is the covariance of the images' mean features (over images - 1), Sw
/// that of the views around their mean (over images (views - 1)) plus 1e-4 I.
///
/// Row `i + j n/views` of `z` `[n, d]` is view `j` of image `i`. The rows are taken raw: because of the 1e-4 the number
/// depends on their scale. Compare at equal `views` and `d`; the paper takes 10 or 50 views and more images than `d`.
///
/// # Errors
/// Not finite, empty, fewer than two views or images, rows that do not fall into groups of `views`, all images' means
/// the same.
pub fn lidar(z: ArrayView2<f64>, views: usize) -> Result<f64> {
    check(z)?;
    if views < 2 {
        return Err(MeasureError::TooFewRows { rows: views, needed: 2 });
    }
    check_views(z.nrows(), views)?;
    of_views(z, views)
}

pub(crate) fn of_rows(rows: &Rows) -> Result<f64> {
    of_views(rows.z, 2)
}

fn of_views(z: ArrayView2<f64>, views: usize) -> Result<f64> {
    let (n, d) = z.dim();
    let images = n / views;
    if images < 2 {
        return Err(MeasureError::TooFewRows { rows: n, needed: 2 * views });
    }
    let mut means = Array2::zeros((images, d));
    for view in z.axis_chunks_iter(Axis(0), images) {
        means += &view;
    }
    means /= views as f64;

    let mut within = z.to_owned();
    for j in 0..views {
        let mut view = within.slice_mut(s![j * images..(j + 1) * images, ..]);
        view -= &means;
    }
    let mut within = spectrum::gram(within.view()) / (images * (views - 1)) as f64;
    within.diag_mut().mapv_inplace(|value| value + DELTA);

    let centre = means.mean_axis(Axis(0)).expect("at least two images");
    means -= &centre;
    let between = spectrum::gram(means.view()) / (images - 1) as f64;

    let values = spectrum::whitened_eigenvalues(between, within).ok_or(MeasureError::NoVariance)?;
    let sum: f64 = values.iter().sum();
    if sum == 0.0 {
        return Err(MeasureError::NoVariance);
    }
    Ok(spectrum::exp_entropy(values.iter().map(|value| value / sum + 1e-8)))
}
