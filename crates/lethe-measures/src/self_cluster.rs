//! SelfCluster: Tsitsulin, Munkhoeva and Perozzi 2023, "Unsupervised Embedding Quality Evaluation" (arXiv 2305.16562).

use ndarray::{Array2, ArrayView2};

use crate::error::{MeasureError, Result};
use crate::rows::{Rows, check, unit_rows};
use crate::spectrum;

/// (Q - E) / (n^2 - E), Q the sum of the squared cosines of all n^2 pairs of rows of `z` `[n, d]`, each row with itself
/// included, E = n + n (n - 1) / d the mean of Q for rows spread evenly over the sphere: 0 for evenly spread rows, 1
/// where all rows lie on one line.
///
/// Q = ||UU'||_F^2 = ||U'U||_F^2 for unit rows U, so one Gram matrix of the smaller side gives it. The paper writes the
/// norm without its square; E and n^2 are those of the squared norm, which the authors' code takes, as here.
///
/// Known failures: it measures how far the rows leave the sphere empty, not clusters: a cone that all rows share, as
/// behind a ReLU, raises it. Below 0 where rows avoid one another.
///
/// # Errors
/// Not finite, fewer than two rows or columns, a row of zeros.
pub fn self_cluster(z: ArrayView2<f64>) -> Result<f64> {
    check(z)?;
    enough(z)?;
    Ok(of_gram(z, &spectrum::small_gram(unit_rows(z)?.view())))
}

pub(crate) fn of_rows(rows: &Rows) -> Result<f64> {
    enough(rows.z)?;
    Ok(of_gram(rows.z, rows.unit_gram()?))
}

fn enough(z: ArrayView2<f64>) -> Result<()> {
    match z.dim() {
        (n, _) if n < 2 => Err(MeasureError::TooFewRows { rows: n, needed: 2 }),
        (_, d) if d < 2 => Err(MeasureError::TooFewColumns { columns: d, needed: 2 }),
        _ => Ok(()),
    }
}

/// `gram` is that of the smaller side of the unit rows.
fn of_gram(z: ArrayView2<f64>, gram: &Array2<f64>) -> f64 {
    let (n, d) = (z.nrows() as f64, z.ncols() as f64);
    let squares: f64 = gram.iter().map(|cosine| cosine * cosine).sum();
    let even = n + n * (n - 1.0) / d;
    (squares - even) / (n * n - even)
}
