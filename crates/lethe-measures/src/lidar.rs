//! LiDAR: Thilak et al. 2024, "LiDAR: Sensing Linear Probing Performance in Joint Embedding SSL Architectures"
//! (arXiv 2312.04000), equations 1 to 4.

use ndarray::{Array2, ArrayView2, Axis, s};

use crate::error::{MeasureError, Result};
use crate::rows::{Rows, check, check_views};
use crate::spectrum;

/// Views of every image: with fewer, what is left of the covariance within images stands in that between them, and the
/// number need not grow with the directions that tell images apart.
pub(crate) const LEAST_VIEWS: usize = 10;
/// Added to the diagonal of the covariance within images.
const DELTA: f64 = 1e-4;

/// The effective rank of linear discriminant analysis with images as classes: exp(-sum p ln p), p = l / sum(l) + 1e-8,
/// l the `d` eigenvalues of Sw^-1/2 Sb Sw^-1/2. Sb is the covariance of the images' mean features (over images - 1), Sw
/// that of the views around their mean (over images (views - 1)) plus 1e-4 I.
///
/// Row `v n/views + i` of `z` `[n, d]` is view `v` of image `i`. The rows are taken raw: because of the 1e-4 the number
/// depends on their scale. Compare at equal `views` and `d`; the paper takes 10 or 50 views and more images than `d`.
///
/// Sb holds Sw / `views` beside what differs between images, in every direction: with 2 views and 128 directions, of
/// which 8, 32 or 96 tell images apart, it reads 51, 48 and 63 for 250 images; with 50 views and 1,000 images it reads
/// 12, 34 and 92. So fewer than ten views are refused.
///
/// # Errors
/// Not finite, empty, fewer than ten views or two images, rows that do not fall into groups of `views`, all images'
/// means the same.
pub fn lidar(z: ArrayView2<f64>, views: usize) -> Result<f64> {
    check(z)?;
    of_views(z, views)
}

pub(crate) fn of_rows(rows: &Rows) -> Result<f64> {
    of_views(rows.z, rows.views()?)
}

fn of_views(z: ArrayView2<f64>, views: usize) -> Result<f64> {
    if views < LEAST_VIEWS {
        return Err(MeasureError::TooFewViews { views, needed: LEAST_VIEWS });
    }
    let (n, d) = z.dim();
    check_views(n, views)?;
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
    means /= ((images - 1) as f64).sqrt();

    let values = spectrum::whitened_eigenvalues(means.view(), within).ok_or(MeasureError::NoVariance)?;
    let sum: f64 = values.iter().sum();
    if sum == 0.0 {
        return Err(MeasureError::NoVariance);
    }
    Ok(spectrum::exp_entropy(values.iter().map(|value| value / sum + 1e-8)))
}
