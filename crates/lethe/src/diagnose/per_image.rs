//! What every image has by itself at a stage of a checkpoint, so that the error of a mean over images is known.

use indexmap::IndexMap;
use lethe_measures::{Curves, Draw, class_rate_terms, view_retrieval};
use ndarray::Array3;

use super::side::{Answers, SideFeatures};
use super::{CheckpointRow, Settings};

/// Replicates of the bootstrap over images.
pub(super) const REPLICATES: usize = 1999;

/// What memorisation opens between training images and unseen ones, by the key of its measure. Every number is of a
/// pair of a training and an unseen image, with the sign that makes memorisation positive.
pub(super) const DIFFERENCES: [&str; 3] = ["memorisation_gap", "coding_rate_reduction", "knn-20"];
/// What tells a good checkpoint, of unseen images: without labels, and with them.
pub(super) const VIEW_RETRIEVAL: &str = "view_retrieval";
pub(super) const KNN: &str = "knn-20";

/// Numbers of images by name; what cannot be had (no labels, no unseen images) is not there.
#[derive(Default)]
pub(super) struct PerImage {
    pub(super) differences: IndexMap<&'static str, Vec<f64>>,
    pub(super) qualities: IndexMap<&'static str, Vec<f64>>,
}

impl PerImage {
    pub(super) fn of(features: &[SideFeatures], stage: usize, answers: &[Answers; 2], settings: &Settings) -> Self {
        let mut numbers = Self::default();
        let [train, unseen] = features else { return numbers };
        let mut differ = |name, more: Vec<f64>, less: Vec<f64>| {
            numbers.differences.insert(name, more.iter().zip(less).map(|(more, less)| more - less).collect());
        };
        differ(DIFFERENCES[0], unseen.distances(stage), train.distances(stage));
        let terms = |side: &SideFeatures| {
            let rows = side.plain.labelled(stage)?;
            class_rate_terms(rows.features.mapv(f64::from).view(), rows.labels, settings.eps2).ok()
        };
        if let (Some(more), Some(less)) = (terms(train), terms(unseen)) {
            differ(DIFFERENCES[1], more, less);
        }
        let right =
            |side: usize| answers[side].get(KNN).map(|right| right.iter().map(|&r| f64::from(u8::from(r))).collect());
        if let (Some(more), Some(less)) = (right(0), right(1)) {
            differ(DIFFERENCES[2], more, less);
        }
        if let Ok(found) = view_retrieval(unseen.pairs_of(stage).view()) {
            numbers.qualities.insert(VIEW_RETRIEVAL, found);
        }
        if let Some(right) = right(1) {
            numbers.qualities.insert(KNN, right);
        }
        numbers
    }
}

/// The epochs of checkpoints that name them and grow, as an axis for curves.
pub(super) fn epochs(checkpoints: &[CheckpointRow]) -> Option<Vec<f64>> {
    let epochs: Vec<f64> = checkpoints.iter().map(|row| row.epoch.map(f64::from)).collect::<Option<_>>()?;
    (epochs.len() > 1 && epochs.is_sorted_by(|a, b| a < b)).then_some(epochs)
}

/// The curves of all stages over the checkpoints, of cells with checkpoints outermost; nothing where a cell lacks the
/// numbers or there are too few images.
pub(super) fn curves<'a>(
    cells: &'a [PerImage],
    epochs: &[f64],
    seed: u64,
    of: impl Fn(&'a PerImage) -> Option<&'a Vec<f64>>,
) -> Option<Curves> {
    curves_from(None, cells, epochs, seed, of)
}

/// The same from epoch 0 on: where the first checkpoint is a later one, every image has a 0 before it.
pub(super) fn curves_from_start<'a>(
    cells: &'a [PerImage],
    epochs: &[f64],
    seed: u64,
    of: impl Fn(&'a PerImage) -> Option<&'a Vec<f64>>,
) -> Option<Curves> {
    curves_from((epochs[0] > 0.0).then_some(0.0), cells, epochs, seed, of)
}

fn curves_from<'a>(
    start: Option<f64>,
    cells: &'a [PerImage],
    epochs: &[f64],
    seed: u64,
    of: impl Fn(&'a PerImage) -> Option<&'a Vec<f64>>,
) -> Option<Curves> {
    let numbers: Vec<&Vec<f64>> = cells.iter().map(of).collect::<Option<_>>()?;
    let images = numbers.first()?.len();
    let stages = cells.len() / epochs.len();
    let epochs: Vec<f64> = start.into_iter().chain(epochs.iter().copied()).collect();
    let before = usize::from(start.is_some());
    let by_cell = Array3::from_shape_fn((stages, epochs.len(), images), |(stage, column, image)| {
        column.checked_sub(before).map_or(0.0, |checkpoint| numbers[checkpoint * stages + stage][image])
    });
    Curves::from_images(&epochs, &[by_cell.view()], Draw::Images, REPLICATES, seed).ok()
}
