//! Which training images are memorised most: one score an image, of the last stage of the last checkpoint.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::reference;
use super::side::SideFeatures;
use crate::data::Dataset;
use crate::rng::{self, Purpose};

/// Images of a list.
const LISTED: usize = 16;

/// A training image and how strongly it is memorised.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageScore {
    /// As the data set names it.
    pub name: String,
    pub score: f64,
}

/// The training images with the highest scores, highest first, and as many drawn at random to hold them to.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) most: Vec<ImageScore>,
    pub(super) random: Vec<ImageScore>,
}

/// One score a training image: SSLMem's beside a reference, else how far the distance of its views lies below the mean
/// of unseen images; nothing where neither is there.
fn scores(own: &[SideFeatures], reference: Option<&[SideFeatures]>, stage: usize) -> Option<Vec<f64>> {
    if let Some(reference) = reference {
        let mut scores = reference::scores(own, reference, stage)?;
        scores.truncate(own[0].plain.images);
        return Some(scores);
    }
    let [train, unseen] = own else { return None };
    let unseen = unseen.distances(stage);
    let mean = unseen.iter().sum::<f64>() / unseen.len() as f64;
    Some(train.distances(stage).iter().map(|distance| mean - distance).collect())
}

impl Listed {
    pub(super) fn of(
        own: &[SideFeatures],
        reference: Option<&[SideFeatures]>,
        stage: usize,
        images: &dyn Dataset,
        seed: u64,
    ) -> Self {
        let Some(scores) = scores(own, reference, stage) else { return Self::default() };
        let list = |order: &[usize]| {
            order.iter().take(LISTED).map(|&i| ImageScore { name: images.name(i), score: scores[i] }).collect()
        };
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.shuffle(&mut rng::keyed(seed, Purpose::Sample, 0, 0, 1));
        let random = list(&order);
        order.sort_unstable();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        Self { most: list(&order), random }
    }
}
