//! The distance of two batches' features by their first and second moments.

use tch::{Kind, Tensor};

use crate::nn::{matmul, unit_rows};

/// ||mean_a - mean_b||^2 + ||C_a - C_b||_F^2 of the rows of `[m, d]` and `[n, d]` scaled to unit length, C the
/// covariance (with m - 1, as in CORAL: Sun & Saenko 2016, arXiv 1607.01719; its 1/(4 d^2) is left out, since rows of
/// unit length bound both terms whatever d). Without that scaling shorter features would be nearer ones.
pub fn moment_distance(a: &Tensor, b: &Tensor) -> Tensor {
    let moments = |z: &Tensor| {
        let z = unit_rows(z);
        let mean = z.mean_dim([0i64].as_slice(), true, None::<Kind>);
        let centred = &z - &mean;
        let covariance = matmul(&centred.tr(), &centred) / (z.size()[0] - 1) as f64;
        (mean, covariance)
    };
    let ((mean_a, covariance_a), (mean_b, covariance_b)) = (moments(a), moments(b));
    let square = |difference: Tensor| difference.square().sum(None::<Kind>);
    square(mean_a - mean_b) + square(covariance_a - covariance_b)
}
