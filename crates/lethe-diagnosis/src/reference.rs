//! Memorisation beside an encoder that was trained in the same way, but not on these images.

use lethe_measures::{Estimate, ViewDistances, sslmem};
use serde::{Deserialize, Serialize};

/// SSLMem (Wang et al. 2024, arXiv 2401.12233) of a stage; its growth from stage to stage is LayerMem.
///
/// The distance of an image is the root of the mean squared distance between its centred, unit-length views. The
/// authors' code takes the mean distance of the image and five views, uncentred. The range that the scores are divided
/// by is that of all images of both sides, so that the two means compare.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgainstReference {
    /// Mean over the training images: above 0 where the encoder holds their views closer than the reference does.
    pub sslmem: f64,
    /// Mean over images that neither encoder saw: the baseline for `sslmem`.
    pub sslmem_unseen: f64,
    /// AUC of telling training images from unseen ones by the score of every image.
    pub membership: Option<Estimate>,
}

/// None where all images score the same.
pub(crate) fn compare(own: &ViewDistances, reference: &ViewDistances) -> Option<AgainstReference> {
    let scores = scores(own, reference)?;
    let (train, unseen) = scores.split_at(own.train.len());
    let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
    let told = lethe_measures::membership(train, unseen, train.len() == unseen.len());
    Some(AgainstReference {
        sslmem: mean(train),
        sslmem_unseen: mean(unseen),
        membership: told.ok().map(|told| told.auc),
    })
}

/// A score for each image, training images first.
fn scores(own: &ViewDistances, reference: &ViewDistances) -> Option<Vec<f64>> {
    let distances = |found: &ViewDistances| -> Vec<f64> {
        found.train.iter().chain(&found.unseen).map(|distance| distance.sqrt()).collect()
    };
    Some(sslmem(&distances(own), &distances(reference)).ok()?.of_images)
}
