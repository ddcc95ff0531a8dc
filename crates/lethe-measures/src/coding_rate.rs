//! Coding rate, compressed rate and coding rate reduction: Yu et al. 2020, "Learning Diverse and Discriminative
//! Representations via the Principle of Maximal Coding Rate Reduction" (MCR^2, arXiv 2006.08558), equations 2 to 4.

use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::error::{MeasureError, Result, positive};
use crate::rows::{check, check_labels, check_views, unit_rows};
use crate::spectrum;

/// Images that one thread takes at a time.
const CHUNK: usize = 256;

/// The three numbers belong together and depend on `eps2`, `n` and `d`: compare only where all three are the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// R, of all rows.
    pub coding_rate: f64,
    /// R_c, of the rows within their groups.
    pub compressed_rate: f64,
}

impl Rates {
    /// dR = R - R_c.
    pub fn coding_rate_reduction(&self) -> f64 {
        self.coding_rate - self.compressed_rate
    }
}

/// R(Z) = 1/2 ln det(I + d / (n eps2) Z'Z) in nats, for the unit rows of `z` `[n, d]`.
///
/// Between `1/2 ln(1 + d/eps2)` (all rows the same) and `min(n, d)/2 ln(1 + d / (min(n, d) eps2))` (evenly spread).
///
/// # Errors
/// Not finite, empty, a row of zeros, an `eps2` that is not positive.
pub fn coding_rate(z: ArrayView2<f64>, eps2: f64) -> Result<f64> {
    checked(z, eps2)?;
    Ok(of_unit(unit_rows(z)?.view(), eps2))
}

/// R, and R_c = sum over classes j of n_j/(2n) ln det(I + d / (n_j eps2) Zj'Zj), for the unit rows of `z` `[n, d]` and
/// one label a row. Labels need not be consecutive.
///
/// # Errors
/// As for [`coding_rate`]; and another number of labels than rows.
pub fn class_rates(z: ArrayView2<f64>, labels: &[u32], eps2: f64) -> Result<Rates> {
    checked(z, eps2)?;
    check_labels(z.nrows(), labels)?;
    let unit = unit_rows(z)?;
    let ((coding_rate, compressed_rate), _) = by_class(unit.view(), labels, eps2);
    Ok(Rates { coding_rate, compressed_rate })
}

/// R, and R_c with the views of an image as a group: row `v n/views + i` of `z` `[n, d]` is view `v` of image `i`.
///
/// For a pair of unit rows with cosine c, and k = d / (2 eps2), the determinant is (1+k)^2 - (kc)^2. R_c is thus a mean
/// of numbers between `1/2 ln(1 + 2k)` and `ln(1 + k)`, a few per cent of the largest R, and dR nearly R itself.
///
/// # Errors
/// As for [`coding_rate`]; fewer than two views, and rows that do not fall into groups of `views`.
pub fn view_rates(z: ArrayView2<f64>, views: usize, eps2: f64) -> Result<Rates> {
    checked(z, eps2)?;
    check_views(z.nrows(), views)?;
    let coding_rate = of_unit(unit_rows(z)?.view(), eps2);
    Ok(Rates { coding_rate, compressed_rate: compressed_by_view(z, views, eps2)? })
}

pub(crate) fn checked(z: ArrayView2<f64>, eps2: f64) -> Result<()> {
    check(z)?;
    positive("eps2", eps2)
}

fn of_unit(unit: ArrayView2<f64>, eps2: f64) -> f64 {
    let (n, d) = unit.dim();
    0.5 * spectrum::log_det_identity_plus(d as f64 / (n as f64 * eps2), unit)
}

pub(crate) fn of_gram(unit: ArrayView2<f64>, gram: &Array2<f64>, eps2: f64) -> f64 {
    let (n, d) = unit.dim();
    0.5 * spectrum::log_det_identity_plus_gram(d as f64 / (n as f64 * eps2), gram, n.max(d))
}

/// R and R_c of unit rows whose labels have been checked. The Gram matrix of all rows is the sum of those of the
/// classes, and given too, where each has more rows than columns.
pub(crate) fn by_class(unit: ArrayView2<f64>, labels: &[u32], eps2: f64) -> ((f64, f64), Option<Array2<f64>>) {
    let (n, d) = unit.dim();
    let mut by_label: Vec<usize> = (0..n).collect();
    by_label.sort_by_key(|&row| labels[row]);
    let classes: Vec<&[usize]> = by_label.chunk_by(|&i, &j| labels[i] == labels[j]).collect();
    if classes.iter().any(|rows| rows.len() < d) {
        let of_class = |rows: &[usize]| rows.len() as f64 * of_unit(unit.select(Axis(0), rows).view(), eps2);
        let parts: Vec<f64> = classes.into_par_iter().map(of_class).collect();
        return ((of_unit(unit, eps2), parts.iter().sum::<f64>() / n as f64), None);
    }
    let (mut gram, mut sum) = (Array2::zeros((d, d)), 0.0);
    for rows in classes {
        let class = unit.select(Axis(0), rows);
        let of_class = spectrum::gram(class.view());
        sum += rows.len() as f64 * of_gram(class.view(), &of_class, eps2);
        gram += &of_class;
    }
    ((of_gram(unit, &gram, eps2), sum / n as f64), Some(gram))
}

/// R_c of raw rows that fall into groups of `views`.
pub(crate) fn compressed_by_view(z: ArrayView2<f64>, views: usize, eps2: f64) -> Result<f64> {
    if views == 2 {
        return compressed_by_pair(z, eps2);
    }
    let (images, unit) = (z.nrows() / views, unit_rows(z)?);
    let of_image = |image: usize| of_unit(unit.slice(s![image..; images, ..]), eps2);
    let of_chunk = |&start: &usize| (start..(start + CHUNK).min(images)).map(of_image).sum::<f64>();
    let chunks: Vec<usize> = (0..images).step_by(CHUNK).collect();
    Ok(chunks.par_iter().map(of_chunk).collect::<Vec<f64>>().iter().sum::<f64>() / images as f64)
}

/// R_c of raw rows whose number is even.
fn compressed_by_pair(z: ArrayView2<f64>, eps2: f64) -> Result<f64> {
    let (n, d) = z.dim();
    let k = d as f64 / (2.0 * eps2);
    let chunks: Vec<usize> = (0..n / 2).step_by(CHUNK).collect();
    let of_chunk = |&start: &usize| {
        let end = (start + CHUNK).min(n / 2);
        let mut sum = 0.0;
        for (i, (u, v)) in
            z.slice(s![start..end, ..]).outer_iter().zip(z.slice(s![n / 2 + start.., ..]).outer_iter()).enumerate()
        {
            let [uu, vv] = [u, v].map(|row| row.dot(&row).sqrt());
            if uu == 0.0 || vv == 0.0 {
                return Err(MeasureError::ZeroRow { row: start + i + if uu == 0.0 { 0 } else { n / 2 } });
            }
            let c = u.dot(&v) / uu / vv;
            sum += 0.5 * ((k * (1.0 - c)).ln_1p() + (k * (1.0 + c)).ln_1p());
        }
        Ok(sum)
    };
    let sums = chunks.par_iter().map(of_chunk).collect::<Result<Vec<f64>>>()?;
    Ok(sums.iter().sum::<f64>() / (n / 2) as f64)
}
