//! Curves over checkpoints with a bootstrap of their errors: what `onset` and `choice` judge.

use ndarray::{Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{ChiSquared, Distribution, StandardNormal};

use crate::error::{MeasureError, Result};
use crate::estimate::Estimate;
use crate::resampling::{MISSES, signs, upper_quantile};
use crate::rows::check;

/// The fewest replicates of which a quantile of 97.5 % says something.
pub const LEAST_REPLICATES: usize = 199;
/// Images below which an error estimated from them is not to be trusted.
pub const LEAST_IMAGES: usize = 20;

/// What a replicate draws anew when several runs are given, and so what the answer holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// The images: the mean of these very runs, on images in general.
    Images,
    /// The runs too: runs in general. Two of them say next to nothing, three little: a rise that each of three shows by
    /// itself may be none that runs in general can be said to have.
    ImagesAndRuns,
}

/// One curve a stage over the same checkpoints, with replicates of its error.
///
/// The replicates are kept as deviations from their own mean, so that the bias of a bootstrap (an effective rank of
/// rows drawn with replacement is too small, whatever the rows) does not move the curve.
#[derive(Debug, Clone)]
pub struct Curves {
    epochs: Vec<f64>,
    /// `[stages, checkpoints]`
    means: Array2<f64>,
    /// `[stages, checkpoints, replicates]`
    deviations: Array3<f64>,
    /// Images whose signs were changed, where that is all there is to a replicate.
    signs: Option<usize>,
}

impl Curves {
    /// Means over images of numbers that each image has by itself: a difference of alignment distances, a right (1) or
    /// wrong (0) answer of a classifier. One array `[stages, checkpoints, images]` a run, of the same shape in all;
    /// `epochs` of the checkpoints, growing.
    ///
    /// The replicates are a wild bootstrap over images: all numbers of an image, those of every stage, checkpoint and
    /// run, keep or change their signs together, so that whatever correlation they have is kept (Mammen 1993). Image
    /// `i` of one run counts as image `i` of all, which costs nothing where they are different images. When runs are
    /// drawn too, the spread of the runs around their mean is added, from Student's t with runs - 1 degrees of freedom.
    ///
    /// # Errors
    /// Not finite or beyond 1e100, fewer than 20 images, no run, runs of different shapes, fewer than two checkpoints,
    /// epochs that do not grow, fewer than 199 replicates.
    pub fn from_images(
        epochs: &[f64],
        runs: &[ArrayView3<f64>],
        draw: Draw,
        replicates: usize,
        seed: u64,
    ) -> Result<Self> {
        let Some(first) = runs.first() else { return Err(MeasureError::TooFewRows { rows: 0, needed: 1 }) };
        let (stages, checkpoints, images) = first.dim();
        check_shape(epochs, stages, checkpoints, replicates)?;
        if images < LEAST_IMAGES {
            return Err(MeasureError::TooFewRows { rows: images, needed: LEAST_IMAGES });
        }
        for run in runs {
            if run.dim() != first.dim() {
                let (found, expected) = (run.len(), first.len());
                return Err(MeasureError::Length { what: "values in a run", found, expected });
            }
            for (stage, rows) in run.outer_iter().enumerate() {
                check(rows).map_err(|error| error.below(stage * checkpoints))?;
            }
        }
        let cells = stages * checkpoints;
        let flat = |run: &ArrayView3<f64>| {
            run.as_standard_layout().into_owned().into_shape_with_order((cells, images)).expect("the same size")
        };
        let mut pooled = flat(first);
        let mut means = Array2::zeros((runs.len(), cells));
        means.row_mut(0).assign(&pooled.mean_axis(Axis(1)).expect("images"));
        for (r, run) in runs.iter().enumerate().skip(1) {
            let run = flat(run);
            means.row_mut(r).assign(&run.mean_axis(Axis(1)).expect("images"));
            pooled += &run;
        }
        pooled /= runs.len() as f64;
        let mean = means.mean_axis(Axis(0)).expect("at least one run");
        pooled -= &mean.view().insert_axis(Axis(1));

        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (n, count) = (images as f64, runs.len() as f64);
        let mut deviations = pooled.dot(&signs(images, replicates, &mut rng)) / (n * (n - 1.0)).sqrt();
        let draws_runs = draw == Draw::ImagesAndRuns && runs.len() > 1;
        if draws_runs {
            means -= &mean;
            let chi = ChiSquared::new(count - 1.0).expect("at least one degree of freedom");
            let mut draws = Array2::zeros((runs.len(), replicates));
            for mut draw in draws.columns_mut() {
                let scale: f64 = chi.sample(&mut rng);
                let scale = (scale * count).sqrt();
                draw.mapv_inplace(|_: f64| {
                    let normal: f64 = StandardNormal.sample(&mut rng);
                    normal / scale
                });
            }
            deviations += &means.t().dot(&draws);
        }
        Ok(Self {
            epochs: epochs.to_vec(),
            means: mean.into_shape_with_order((stages, checkpoints)).expect("the same size"),
            deviations: deviations.into_shape_with_order((stages, checkpoints, replicates)).expect("the same size"),
            signs: (!draws_runs).then_some(images),
        })
    }

    /// Curves `[stages, checkpoints]` of any statistic, with replicates `[replicates, stages, checkpoints]` from a
    /// bootstrap of the caller's: one that draws the images, classes or runs once a replicate, for all stages and
    /// checkpoints alike.
    ///
    /// # Errors
    /// Not finite or beyond 1e100, no stage, fewer than two checkpoints, epochs that do not grow, fewer than 199
    /// replicates, shapes that do not go together.
    pub fn from_replicates(epochs: &[f64], curves: ArrayView2<f64>, replicates: ArrayView3<f64>) -> Result<Self> {
        let (stages, checkpoints) = curves.dim();
        check_shape(epochs, stages, checkpoints, replicates.dim().0)?;
        if replicates.shape()[1..] != [stages, checkpoints] {
            let found = replicates.shape()[1] * replicates.shape()[2];
            return Err(MeasureError::Length { what: "values in a replicate", found, expected: curves.len() });
        }
        check(curves)?;
        for (b, replicate) in replicates.outer_iter().enumerate() {
            check(replicate).map_err(|error| error.below(b * stages))?;
        }
        let centred = &replicates - &replicates.mean_axis(Axis(0)).expect("replicates");
        let deviations = centred.permuted_axes([1, 2, 0]).as_standard_layout().into_owned();
        Ok(Self { epochs: epochs.to_vec(), means: curves.to_owned(), deviations, signs: None })
    }

    pub fn epochs(&self) -> &[f64] {
        &self.epochs
    }

    pub fn stages(&self) -> usize {
        self.means.nrows()
    }

    pub fn checkpoints(&self) -> usize {
        self.means.ncols()
    }

    pub fn replicates(&self) -> usize {
        self.deviations.len_of(Axis(2))
    }

    /// The curve `[checkpoints]` of a stage.
    pub fn curve(&self, stage: usize) -> ArrayView1<'_, f64> {
        self.means.row(stage)
    }

    /// `[checkpoints, replicates]`
    pub(crate) fn deviations(&self, stage: usize) -> ArrayView2<'_, f64> {
        self.deviations.index_axis(Axis(0), stage)
    }

    /// Contrasts `[contrasts, checkpoints]` of a stage's curve and of its deviations, `[contrasts]` and
    /// `[contrasts, replicates]`, over their standard errors. One without an error is 0: nothing is known of it.
    pub(crate) fn studentised(&self, stage: usize, contrasts: ArrayView2<f64>) -> (Vec<f64>, Array2<f64>) {
        let mut found = contrasts.dot(&self.curve(stage)).to_vec();
        let mut drawn = contrasts.dot(&self.deviations(stage));
        for (found, mut drawn) in found.iter_mut().zip(drawn.outer_iter_mut()) {
            let error = (drawn.dot(&drawn) / drawn.len() as f64).sqrt();
            let over = if error > 0.0 { 1.0 / error } else { 0.0 };
            *found *= over;
            drawn *= over;
            // A change of signs leaves the sum of squares, so that the error which this replicate would estimate of
            // itself, smaller the further out it lies, has a closed form.
            if let Some(n) = self.signs {
                let n = n as f64;
                drawn.mapv_inplace(|value| value * ((n - 1.0) / (n - value * value).max(1.0)).sqrt());
            }
        }
        (found, drawn)
    }

    /// A stage's value at checkpoint `to` less that at `from`, with the interval of 95 % that its replicates give.
    ///
    /// # Panics
    /// Indices out of bounds.
    pub fn difference(&self, stage: usize, to: usize, from: usize) -> Estimate {
        let (curve, deviations) = (self.curve(stage), self.deviations(stage));
        let deviation = &deviations.row(to) - &deviations.row(from);
        interval(curve[to] - curve[from], deviation.to_vec())
    }
}

/// A value give or take the 95 % quantile of its deviations' sizes.
pub(crate) fn interval(value: f64, deviations: Vec<f64>) -> Estimate {
    Estimate::around(value, upper_quantile(deviations.into_iter().map(f64::abs).collect(), MISSES))
}

fn check_shape(epochs: &[f64], stages: usize, checkpoints: usize, replicates: usize) -> Result<()> {
    if stages == 0 || checkpoints == 0 {
        return Err(MeasureError::Empty { rows: stages, columns: checkpoints });
    }
    check_epochs(epochs, checkpoints)?;
    if checkpoints < 2 {
        return Err(MeasureError::TooFew { what: "checkpoints", found: checkpoints, needed: 2 });
    }
    if replicates < LEAST_REPLICATES {
        return Err(MeasureError::TooFew { what: "replicates", found: replicates, needed: LEAST_REPLICATES });
    }
    Ok(())
}

/// Refuses epochs that are not one a checkpoint, finite and growing.
pub(crate) fn check_epochs(epochs: &[f64], checkpoints: usize) -> Result<()> {
    if epochs.len() != checkpoints {
        return Err(MeasureError::Length { what: "epochs", found: epochs.len(), expected: checkpoints });
    }
    if let Some(column) = epochs.iter().position(|epoch| !epoch.is_finite()) {
        return Err(MeasureError::NonFinite { row: 0, column, value: epochs[column] });
    }
    match epochs.windows(2).position(|pair| pair[0] >= pair[1]) {
        Some(before) => Err(MeasureError::NotGrowing { index: before + 1 }),
        None => Ok(()),
    }
}
