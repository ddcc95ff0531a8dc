//! A feature matrix that has been checked, with its groups and what several measures share.

use std::cell::OnceCell;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, Zip};

use crate::cluster_stability;
use crate::coding_rate;
use crate::copies::{self, Copies};
use crate::error::{MeasureError, Result, positive};
use crate::kmeans::Clustering;
use crate::pairs::{Pairs, pairs};
use crate::{spectrum, two_nn};

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
    /// So many views of every image, one view after another: row `v * n/q + i` is view `v` of image `i` for `q` views.
    Views(usize),
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
    /// Singular values of the raw and of the centred rows.
    spectra: OnceCell<(Vec<f64>, Vec<f64>)>,
    clusterings: OnceCell<Vec<Clustering>>,
    coding_rate: OnceCell<f64>,
    /// R_c.
    by_view: OnceCell<f64>,
    copies: OnceCell<Copies>,
    two_nn: OnceCell<f64>,
    /// R and R_c.
    by_class: OnceCell<(f64, f64)>,
    /// Nothing where the measures of pairs each go their own way.
    together: Option<Together>,
}

struct Together {
    silhouette: bool,
    /// Nothing where these rows do not allow it.
    pairs: OnceCell<Option<Pairs>>,
}

impl<'a> Rows<'a> {
    /// `eps2` is the squared precision of the coding rate: 0.5 in MCR^2.
    ///
    /// # Errors
    /// An empty matrix, a value that is not finite or beyond 1e100, fewer than two views, rows that do not fall into
    /// groups of so many views, another number of labels than rows, an `eps2` that is not positive.
    pub fn new(z: ArrayView2<'a, f64>, groups: Groups<'a>, eps2: f64) -> Result<Self> {
        check(z)?;
        positive("eps2", eps2)?;
        match groups {
            Groups::None => {}
            Groups::Views(views) => check_views(z.nrows(), views)?,
            Groups::Labels(labels) => check_labels(z.nrows(), labels)?,
        }
        Ok(Self {
            z,
            groups,
            eps2,
            unit: OnceCell::new(),
            unit_gram: OnceCell::new(),
            spectra: OnceCell::new(),
            clusterings: OnceCell::new(),
            coding_rate: OnceCell::new(),
            by_view: OnceCell::new(),
            copies: OnceCell::new(),
            two_nn: OnceCell::new(),
            by_class: OnceCell::new(),
            together: None,
        })
    }

    /// Takes uniformity and TwoNN, and the silhouette if asked, in one pass over all pairs of rows when the first of
    /// them is asked for: for whom wants two of them or more.
    #[must_use]
    pub fn in_one_pass(self, silhouette: bool) -> Self {
        Self { together: Some(Together { silhouette, pairs: OnceCell::new() }), ..self }
    }

    pub(crate) fn together(&self) -> Option<&Pairs> {
        let together = self.together.as_ref()?;
        let pass = || match together.silhouette.then(|| self.tightest()) {
            Some(Ok(clusters)) => pairs(self.z, &self.copies().kept, &clusters.labels, clusters.centres.nrows()),
            _ => pairs(self.z, &self.copies().kept, &[], 0),
        };
        together.pairs.get_or_init(pass).as_ref()
    }

    /// How many views of every image there are.
    pub(crate) fn views(&self) -> Result<usize> {
        match self.groups {
            Groups::Views(views) => Ok(views),
            _ => Err(MeasureError::NoViews),
        }
    }

    /// The copied rows and the nearly copied ones.
    pub fn copies(&self) -> &Copies {
        self.copies.get_or_init(|| copies::of_checked(self.z))
    }

    /// The intrinsic dimension by TwoNN.
    pub(crate) fn two_nn(&self) -> Result<f64> {
        kept(&self.two_nn, || two_nn::of_checked(self)).copied()
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

    /// The clustering of least inertia.
    pub(crate) fn tightest(&self) -> Result<&Clustering> {
        let tightest = self.clusterings()?.iter().min_by(|a, b| a.inertia.total_cmp(&b.inertia));
        Ok(tightest.expect("several runs"))
    }

    /// Singular values of the raw matrix, largest first.
    pub(crate) fn singular_values(&self) -> &[f64] {
        &self.spectra().0
    }

    /// Singular values of the column-centred matrix, largest first.
    pub(crate) fn centred_singular_values(&self) -> Result<&[f64]> {
        let values = &self.spectra().1;
        if values[0] > 0.0 { Ok(values) } else { Err(MeasureError::NoVariance) }
    }

    /// Of the raw matrix and of the column-centred one. An eigenvalue solver takes one thread, so the two cost hardly
    /// more than one.
    fn spectra(&self) -> &(Vec<f64>, Vec<f64>) {
        self.spectra.get_or_init(|| {
            let (z, gram) = (self.z, spectrum::small_gram(self.z));
            let centred = centred_gram(z, &gram);
            let centred = || match centred {
                Some((mean, gram)) => spectrum::singular_values_of_tall(|| &z - &mean, z.dim(), gram),
                None => around_mean(z),
            };
            rayon::join(|| spectrum::singular_values_by(z, gram), centred)
        })
    }

    /// R.
    pub(crate) fn coding_rate(&self) -> Result<f64> {
        kept(&self.coding_rate, || match self.groups {
            Groups::Labels(labels) => Ok(self.by_class(labels)?.0),
            _ => Ok(coding_rate::of_gram(self.unit()?, self.unit_gram()?, self.eps2)),
        })
        .copied()
    }

    /// R_c.
    pub(crate) fn compressed_rate(&self) -> Result<f64> {
        match self.groups {
            Groups::None => Err(MeasureError::NoGroups),
            Groups::Views(views) => {
                kept(&self.by_view, || coding_rate::compressed_by_view(self.z, views, self.eps2)).copied()
            }
            Groups::Labels(labels) => Ok(self.by_class(labels)?.1),
        }
    }

    /// R and R_c.
    fn by_class(&self, labels: &[u32]) -> Result<(f64, f64)> {
        kept(&self.by_class, || {
            let (rates, gram) = coding_rate::by_class(self.unit()?, labels, self.eps2);
            if let Some(gram) = gram {
                self.unit_gram.get_or_init(|| gram);
            }
            Ok(rates)
        })
        .copied()
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
    if views < 2 {
        return Err(MeasureError::TooFewViews { views, needed: 2 });
    }
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
    let values = around_mean(z);
    if values[0] > 0.0 { Ok(values) } else { Err(MeasureError::NoVariance) }
}

/// Singular values of the column-centred rows; all 0 where there is no variance.
fn around_mean(z: ArrayView2<f64>) -> Vec<f64> {
    let mean = z.mean_axis(Axis(0)).expect("checked: at least one row");
    spectrum::singular_values((&z - &mean).view())
}

/// The mean row, and the Gram matrix of the centred rows by that of the raw ones: where rows are many, and their mean is
/// short enough for the difference to keep its digits.
fn centred_gram(z: ArrayView2<f64>, raw: &Array2<f64>) -> Option<(Array1<f64>, Array2<f64>)> {
    let (n, d) = z.dim();
    if n < d {
        return None;
    }
    let mean = z.mean_axis(Axis(0)).expect("checked: at least one row");
    let short = n as f64 * mean.dot(&mean) <= 0.5 * raw.diag().sum();
    short.then(|| {
        let mut gram = raw.clone();
        for (mut row, &a) in gram.outer_iter_mut().zip(&mean) {
            row.scaled_add(-(n as f64) * a, &mean);
        }
        (mean, gram)
    })
}
