//! Numbers of single images at a stage of a checkpoint, so that the error of a mean over images is known.

use indexmap::IndexMap;
use lethe_measures::{class_rate_terms, knn};
use ndarray::Array3;

use super::cell::CheckpointRow;
use super::features::{SideFeatures, StageFeatures};
use super::stage_distances::StageDistances;

/// Replicates of the bootstrap over images.
pub(crate) const REPLICATES: usize = 1999;

pub const MEMORISATION_GAP: &str = "memorisation_gap";
/// What memorisation opens between training images and unseen ones, by the key of its measure. Every number belongs to
/// a pair of a training and an unseen image, with the sign that makes memorisation positive.
pub(crate) const DIFFERENCES: [&str; 3] = [MEMORISATION_GAP, "coding_rate_reduction", KNN];
/// Tells a good checkpoint from unseen images, without labels.
pub const VIEW_RETRIEVAL: &str = "view_retrieval";
pub const KNN: &str = "knn-20";
/// k-NN on another data set.
pub const TRANSFER: &str = "transfer";
/// Accuracies that judge a choice where there are labels.
pub(crate) const TRUTHS: [&str; 3] = [KNN, "linear", TRANSFER];

/// Neighbours by the name of the protocol.
const NEIGHBOURS: [(&str, usize); 2] = [(KNN, 20), ("knn-200", 200)];
/// Temperature of the votes of neighbours, which are weighted by exp(cosine / temperature).
const TEMPERATURE: f64 = 0.1;

/// By protocol: whether each image is classified right.
pub(crate) type Right = IndexMap<&'static str, Vec<bool>>;

/// Numbers of images by name; those that cannot be had (no labels, no unseen images) are absent.
#[derive(Default)]
pub(crate) struct PerImage {
    pub(crate) differences: IndexMap<&'static str, Vec<f64>>,
    pub(crate) qualities: IndexMap<&'static str, Vec<f64>>,
}

impl PerImage {
    /// The numbers of a stage, where there are unseen images.
    pub(crate) fn of(
        features: &StageFeatures,
        told: Option<&StageDistances>,
        labels: [Option<&[u32]>; 2],
        right: &[Right; 2],
        eps2: f64,
    ) -> Self {
        let mut numbers = Self::default();
        let (Some(unseen), Some(told)) = (&features.unseen, told) else { return numbers };
        let mut differ = |name, more: &[f64], less: &[f64]| {
            if more.len() == less.len() {
                numbers.differences.insert(name, more.iter().zip(less).map(|(more, less)| more - less).collect());
            }
        };
        differ(MEMORISATION_GAP, &told.distances.unseen, &told.distances.train);
        let terms = |side: &SideFeatures, labels: Option<&[u32]>| {
            class_rate_terms(side.plain.as_ref()?.view(), labels?, eps2).ok()
        };
        if let (Some(more), Some(less)) = (terms(&features.train, labels[0]), terms(unseen, labels[1])) {
            differ(DIFFERENCES[1], &more, &less);
        }
        if let [Some(more), Some(less)] = right.each_ref().map(|right| right.get(KNN)) {
            differ(KNN, &shares(more), &shares(less));
        }
        numbers.qualities.insert(VIEW_RETRIEVAL, told.retrieval.unseen.clone());
        for truth in TRUTHS {
            if let Some(right) = right[1].get(truth) {
                numbers.qualities.insert(truth, shares(right));
            }
        }
        if let Some(transfer) = &features.extra.transfer {
            numbers.qualities.insert(TRANSFER, shares(transfer));
        }
        numbers
    }
}

/// k-NN answers beside those that were handed over. `labels` are those of the training images and, where their classes
/// are the same, of the unseen images.
pub(crate) fn right(features: &mut StageFeatures, labels: [Option<&[u32]>; 2]) -> [Right; 2] {
    let [mut train, mut unseen] = std::mem::take(&mut features.extra.right);
    let (Some(bank), Some(known)) = (features.train.plain.as_ref(), labels[0]) else { return [train, unseen] };
    let bank = bank.mapv(|value| value as f32);
    for (name, k) in NEIGHBOURS.into_iter().filter(|(_, k)| known.len() > *k) {
        if !train.contains_key(name)
            && let Ok(answers) = knn::leave_one_out(bank.view(), known, k, TEMPERATURE)
        {
            train.insert(name, answers);
        }
        let asked = features.unseen.as_ref().and_then(|side| side.plain.as_ref()).zip(labels[1]);
        if let Some((asked, asked_labels)) = asked.filter(|_| !unseen.contains_key(name))
            && let Ok(answers) =
                knn::against(bank.view(), known, asked.mapv(|value| value as f32).view(), asked_labels, k, TEMPERATURE)
        {
            unseen.insert(name, answers);
        }
    }
    [train, unseen]
}

/// 1 for a right answer, 0 for a wrong one.
pub(crate) fn shares(right: &[bool]) -> Vec<f64> {
    right.iter().map(|&right| f64::from(u8::from(right))).collect()
}

/// The epochs of checkpoints that name them and grow, as an axis for curves.
pub(crate) fn epochs(checkpoints: &[CheckpointRow]) -> Option<Vec<f64>> {
    let epochs: Vec<f64> = checkpoints.iter().map(|row| row.epoch.map(f64::from)).collect::<Option<_>>()?;
    (epochs.len() > 1 && epochs.is_sorted_by(|a, b| a < b)).then_some(epochs)
}

/// The numbers `of` every image, `[stages, checkpoints, images]`, of cells with checkpoints outermost; none where a
/// cell lacks them.
pub(crate) fn stacked<'a>(
    cells: &'a [PerImage],
    checkpoints: usize,
    of: impl Fn(&'a PerImage) -> Option<&'a Vec<f64>>,
) -> Option<Array3<f64>> {
    let numbers: Vec<&Vec<f64>> = cells.iter().map(of).collect::<Option<_>>()?;
    let shape = (cells.len() / checkpoints, checkpoints, numbers.first()?.len());
    let number = |(stage, checkpoint, image): (usize, usize, usize)| numbers[checkpoint * shape.0 + stage][image];
    Some(Array3::from_shape_fn(shape, number))
}
