//! A feature matrix that has been checked, with its groups and what several measures share.

use std::cell::OnceCell;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, Zip};

use crate::cluster_stability;
use crate::coding_rate::{self, Rates};
use crate::error::{MeasureError, Result, positive};
use crate::kmeans::Clustering;
use crate::spectrum;

/// Sums of squares of larger values, whitened, would come near the end of the range of float64.
pub(crate) const LARGEST: f64 = 1e100;

/// Clusters that the rows are put in; without labels their number is a choice.
const CLUSTERS: usize = 10;
/// Clusterings, each from a start of its own.
const RUNS: usize = 5;
/// Of all draws of [`MEASURES`](crate::MEASURES).
pub(crate) const SEED: u64 = 0;

/// Which rows belong together.
#[derive(Debug, Clone, Copy)]
pub enum Groups<'a> {
    None,
    /// Row `i` and row `i + n/2` are two views of an image.
    Pairs,
    /// One class label a row.
    Labels(&'a [u32]),
}

/// A matrix `[n, d]` for [`MEASURES`](crate::MEASURES): unit rows, Gram matrices, spectra, rates and clusterings are
/// computed when a measure first asks and kept for the next.
pub struct Rows<'a> {
    pub(crate) z: ArrayView2<'a, f64>,
    pub(crate) groups: Groups<'a>,
    pub(crate) eps2: f64,
    unit: OnceCell<Array2<f64>>,
    unit_gram: OnceCell<Array2<f64>>,
    centred: OnceCell<Vec<f64>>,
    clusterings: OnceCell<Vec<Clustering>>,
    rates: OnceCell<Rates>,
}

impl<'a> Rows<'a> {
    /// `eps2` is the squared precision of the coding rate: 0.5 in MCR^2.
    ///
    /// # Errors
    /// An empty matrix, a value that is not finite or beyond 1e100, an odd number of rows for pairs, another number of
    /// labels than rows, an `eps2` that is not positive.
    pub fn new(z: ArrayView2<'a, f64>, groups: Groups<'a>, eps2: f64) -> Result<Self> {
        check(z)?;
        positive("eps2", eps2)?;
        match groups {
            Groups::None => {}
            Groups::Pairs => check_views(z.nrows(), 2)?,
            Groups::Labels(labels) => check_labels(z.nrows(), labels)?,
        }
        Ok(Self {
            z,
            groups,
            eps2,
            unit: OnceCell::new(),
            unit_gram: OnceCell::new(),
            centred: OnceCell::new(),
            clusterings: OnceCell::new(),
            rates: OnceCell::new(),
        })
    }

    /// The rows divided by their lengths.
    pub(crate) fn unit(&self) -> Result<ArrayView2<'_, f64>> {
        kept(&self.unit, || unit_rows(self.z)).map(|unit| unit.view())
    }

    /// The Gram matrix of the smaller side of the unit rows.
    pub(crate) fn unit_gram(&self) -> Result<&Array2<f64>> {
        kept(&self.unit_gram, || Ok(spectrum::small_gram(self.unit()?)))
    }

    /// The unit rows in clusters, several times.
    pub(crate) fn clusterings(&self) -> Result<&[Clustering]> {
        kept(&self.clusterings, || cluster_stability::repeated(self.unit()?, CLUSTERS, RUNS, SEED)).map(Vec::as_slice)
    }

    /// Singular values of the column-centred matrix, largest first.
    pub(crate) fn centred_singular_values(&self) -> Result<&[f64]> {
        kept(&self.centred, || centred_singular_values(self.z)).map(Vec::as_slice)
    }

    pub(crate) fn rates(&self) -> Result<Rates> {
        kept(&self.rates, || coding_rate::rates(self.unit()?, self.unit_gram()?, self.groups, self.eps2)).copied()
    }
}

fn kept<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(value) => Ok(value),
        None => make().map(|value| cell.get_or_init(|| value)),
    }
}

/// Refuses an empty matrix and values that are not finite or too large to square.
pub(crate) fn check(z: ArrayView2<f64>) -> Result<()> {
    let (rows, columns) = z.dim();
    if rows == 0 || columns == 0 {
        return Err(MeasureError::Empty { rows, columns });
    }
    if z.iter().all(|value| value.abs() <= LARGEST) {
        return Ok(());
    }
    let ((row, column), &value) =
        z.indexed_iter().find(|(_, value)| value.is_nan() || value.abs() > LARGEST).expect("just seen");
    Err(if value.is_finite() {
        MeasureError::TooLarge { row, column, value }
    } else {
        MeasureError::NonFinite { row, column, value }
    })
}

pub(crate) fn check_views(rows: usize, views: usize) -> Result<()> {
    if rows.is_multiple_of(views) { Ok(()) } else { Err(MeasureError::UnevenViews { rows, views }) }
}

pub(crate) fn check_labels(rows: usize, labels: &[u32]) -> Result<()> {
    if labels.len() == rows { Ok(()) } else { Err(MeasureError::LabelsLength { labels: labels.len(), rows }) }
}

/// The rows divided by their Euclidean lengths.
pub(crate) fn unit_rows(z: ArrayView2<f64>) -> Result<Array2<f64>> {
    let lengths: Vec<f64> = z.outer_iter().map(length).collect();
    if let Some(row) = lengths.iter().position(|&length| length == 0.0) {
        return Err(MeasureError::ZeroRow { row });
    }
    let mut unit = Array2::zeros(z.raw_dim());
    Zip::from(unit.rows_mut()).and(z.rows()).and(&lengths).for_each(|mut unit, row, &length| {
        unit.zip_mut_with(&row, |unit, value| *unit = value / length);
    });
    Ok(unit)
}

fn length(row: ArrayView1<f64>) -> f64 {
    row.dot(&row).sqrt()
}

pub(crate) fn centred_singular_values(z: ArrayView2<f64>) -> Result<Vec<f64>> {
    let mean = z.mean_axis(Axis(0)).expect("checked: at least one row");
    let values = spectrum::singular_values((&z - &mean).view());
    if values[0] > 0.0 { Ok(values) } else { Err(MeasureError::NoVariance) }
}
