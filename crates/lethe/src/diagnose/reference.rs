//! Memorisation with ground truth: beside an encoder that was trained in the same way, but not on these images.

use std::path::Path;

use lethe_measures::sslmem;
use serde::{Deserialize, Serialize};
use tch::Device;

use super::Membership;
use super::side::SideFeatures;
use crate::error::{Error, Result};
use crate::evaluate::Model;

/// SSLMem (Wang et al. 2024, arXiv 2401.12233) of a stage; its growth from stage to stage is LayerMem.
///
/// A distance is the Euclidean one between the unit-length features of two views of an image, where the authors' code
/// takes the image and five views; the range that the scores are divided by is that of all images of both sides, so that
/// the two means compare.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgainstReference {
    /// Mean over the training images: above 0 where the encoder holds their views nearer than the reference does.
    pub sslmem: f64,
    /// The same of images that neither has seen, the zero to hold it to.
    pub sslmem_unseen: Option<f64>,
    /// Membership inference by the score of every image.
    pub membership: Option<Membership>,
}

/// The reference, which must have the stages of `subject`.
pub(super) fn open(path: &Path, subject: &Model, device: Device) -> Result<Model> {
    let model = Model::open(path, device)?;
    let (spec, expected) = (model.encoder.spec(), subject.encoder.spec());
    if spec == expected {
        return Ok(model);
    }
    Err(Error::usage(format!("--reference {} holds {spec}, the checkpoints {expected}", model.name))
        .hint("name an encoder of the same kind, trained in the same way without these images"))
}

/// The scores of a stage; nothing where all images score the same.
pub(super) fn compare(own: &[SideFeatures], reference: &[SideFeatures], stage: usize) -> Option<AgainstReference> {
    let scores = scores(own, reference, stage)?;
    let (train, unseen) = scores.split_at(own[0].plain.images);
    let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
    Some(AgainstReference {
        sslmem: mean(train),
        sslmem_unseen: (!unseen.is_empty()).then(|| mean(unseen)),
        membership: Membership::of(train, unseen),
    })
}

/// One score an image, those of the training images first.
pub(super) fn scores(own: &[SideFeatures], reference: &[SideFeatures], stage: usize) -> Option<Vec<f64>> {
    let distances = |sides: &[SideFeatures]| -> Vec<f64> {
        sides.iter().flat_map(|side| side.distances(stage)).map(|distance| distance.sqrt()).collect()
    };
    Some(sslmem(&distances(own), &distances(reference)).ok()?.of_images)
}
