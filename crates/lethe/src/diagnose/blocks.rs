//! The features of both sides in a file, from which `lethe diagnose --features` makes the same diagnosis.

use std::path::Path;
use std::sync::Arc;

use ndarray::{Array2, Array3};
use rayon::prelude::*;

use super::extraction::{OneSide, Shown};
use super::{Sets, Settings, augmentation, samples};
use lethe_diagnosis::Relation;

use crate::data::Dataset;
use crate::data::fingerprint::digest;
use crate::error::Result;
use crate::evaluate::Model;
use crate::feature_file::{Block, Blocks, Side, Stage, write_blocks};
use crate::progress::Progress;

/// What was written.
pub struct Written {
    /// Images a side.
    pub images: usize,
    /// Name and dimension of each stage.
    pub stages: Vec<(String, usize)>,
}

/// Writes the features of the stages at `stages` (ascending) of one checkpoint, on training images and unseen ones.
///
/// # Errors
/// Those of the images; sides that are too small; a file that cannot be written.
pub fn write_features(
    path: &Path,
    model: &Model,
    sets: &Sets,
    stages: &[usize],
    settings: &Settings,
) -> Result<Written> {
    let samples = samples(sets, settings)?.sides;
    let sight =
        model.sight(samples[0].as_ref(), &sets.train.spec, settings.image_size, settings.normalize.as_deref())?;
    let augmentation = augmentation(model, settings)?;
    let shown = |dataset: &Arc<dyn Dataset>| Shown::new(Arc::clone(dataset), &sight, &augmentation, settings);
    let shown = samples.iter().map(shown).collect::<Result<Vec<Shown>>>()?;
    let progress = Progress::new("features", "images", shown.iter().map(Shown::images).sum::<usize>() as u64);
    let sides = shown.iter().map(|shown| shown.features(model, stages, &progress)).collect::<Result<Vec<OneSide>>>()?;
    progress.finish();
    shown.iter().for_each(Shown::say_bad_samples);

    let names: Vec<String> = stages.iter().map(|&stage| model.encoder.stages()[stage].name.clone()).collect();
    let arrays: Vec<Vec<(Array3<f32>, Array2<f32>)>> =
        sides.iter().map(|side| (0..stages.len()).map(|stage| side.arrays(stage)).collect()).collect();
    let files: Vec<Vec<String>> = samples.iter().map(|side| (0..side.len()).map(|i| side.name(i)).collect()).collect();
    let digests = samples.iter().map(|side| digests_of(side.as_ref())).collect::<Option<Vec<Vec<String>>>>();
    let block = |(side, which): (usize, Side)| Block {
        side: which,
        stages: names
            .iter()
            .zip(&arrays[side])
            .map(|(name, (views, plain))| Stage { name, views: views.view(), plain: Some(plain.view()) })
            .collect(),
        labels: samples[side].labels(),
        names: Some(&files[side]),
        digests: digests.as_ref().map(|digests| digests[side].as_slice()),
    };
    let sides = [(0, Side::Train), (1, Side::Unseen)].into_iter().map(block).collect();
    let random_split = sets.relation == Relation::RandomSplit;
    write_blocks(path, &Blocks { epoch: model.epoch, random_split, sides })?;
    let stages = names.into_iter().zip(&arrays[0]).map(|(name, (_, plain))| (name, plain.ncols())).collect();
    Ok(Written { images: samples[0].len(), stages })
}

/// Digests of the decoded pixels of all images, in hexadecimal; none where an image cannot be read.
fn digests_of(images: &dyn Dataset) -> Option<Vec<String>> {
    let hexadecimal = |image: &image::RgbImage| digest(image).iter().map(|byte| format!("{byte:02x}")).collect();
    (0..images.len()).into_par_iter().map(|i| images.image(i).ok().as_ref().map(hexadecimal)).collect()
}
