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
/// What tells a good checkpoint, of unseen images, without labels.
pub(super) const VIEW_RETRIEVAL: &str = "view_retrieval";
pub(super) const KNN: &str = "knn-20";
/// k-NN on another data set.
pub(super) const TRANSFER: &str = "transfer";
/// What it is judged by where there are labels.
pub(super) const TRUTHS: [&str; 3] = [KNN, "linear", TRANSFER];

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
        let mut differ = |name, more: &[f64], less: &[f64]| {
            numbers.differences.insert(name, more.iter().zip(less).map(|(more, less)| more - less).collect());
        };
        differ(DIFFERENCES[0], unseen.distances(stage), train.distances(stage));
        let terms = |side: &SideFeatures| {
            let rows = side.plain.labelled(stage)?;
            class_rate_terms(rows.features.mapv(f64::from).view(), rows.labels, settings.eps2).ok()
        };
        if let (Some(more), Some(less)) = (terms(train), terms(unseen)) {
            differ(DIFFERENCES[1], &more, &less);
        }
        if let [Some(more), Some(less)] = answers.each_ref().map(|answers| answers.get(KNN)) {
            differ(DIFFERENCES[2], &shares(more), &shares(less));
        }
        if let Ok(found) = view_retrieval(unseen.pairs_of(stage).view()) {
            numbers.qualities.insert(VIEW_RETRIEVAL, found);
        }
        for truth in TRUTHS {
            if let Some(right) = answers[1].get(truth) {
                numbers.qualities.insert(truth, shares(right));
            }
        }
        numbers
    }
}

/// 1 for a right answer, 0 for a wrong one.
pub(super) fn shares(right: &[bool]) -> Vec<f64> {
    right.iter().map(|&right| f64::from(u8::from(right))).collect()
}

/// The epochs of checkpoints that name them and grow, as an axis for curves.
pub(super) fn epochs(checkpoints: &[CheckpointRow]) -> Option<Vec<f64>> {
    let epochs: Vec<f64> = checkpoints.iter().map(|row| row.epoch.map(f64::from)).collect::<Option<_>>()?;
    (epochs.len() > 1 && epochs.is_sorted_by(|a, b| a < b)).then_some(epochs)
}

/// The numbers `of` every image, `[stages, checkpoints, images]`, of cells with checkpoints outermost; nothing where a
/// cell lacks them.
pub(super) fn stacked<'a>(
    cells: &'a [PerImage],
    checkpoints: usize,
    of: impl Fn(&'a PerImage) -> Option<&'a Vec<f64>>,
) -> Option<Array3<f64>> {
    let numbers: Vec<&Vec<f64>> = cells.iter().map(of).collect::<Option<_>>()?;
    let shape = (cells.len() / checkpoints, checkpoints, numbers.first()?.len());
    let number = |(stage, checkpoint, image): (usize, usize, usize)| numbers[checkpoint * shape.0 + stage][image];
    Some(Array3::from_shape_fn(shape, number))
}

/// The curves of all stages over the checkpoints; nothing where a cell lacks the numbers or there are too few images.
pub(super) fn curves<'a>(
    cells: &'a [PerImage],
    epochs: &[f64],
    seed: u64,
    of: impl Fn(&'a PerImage) -> Option<&'a Vec<f64>>,
) -> Option<Curves> {
    let numbers = stacked(cells, epochs.len(), of)?;
    Curves::from_images(epochs, &[numbers.view()], Draw::Images, REPLICATES, seed).ok()
}
