//! A seeded part of a data set.

use std::ops::Range;
use std::sync::Arc;

use image::RgbImage;
use rand::seq::SliceRandom;

use super::spec::Settings;
use super::{Dataset, Encoding, Fault};
use crate::error::{Error, Result};
use crate::rng::{self, Purpose};

pub(super) struct Subset {
    whole: Arc<dyn Dataset>,
    indices: Vec<usize>,
    labels: Option<Vec<u32>>,
}

impl Subset {
    /// The images at the places `range`, which the data set has, of a permutation drawn from `seed`.
    fn take(whole: Arc<dyn Dataset>, range: Range<usize>, seed: u64) -> Self {
        let mut order: Vec<usize> = (0..whole.len()).collect();
        order.shuffle(&mut rng::once(seed, Purpose::Sample));
        Self::choose(whole, order[range].to_vec())
    }

    fn choose(whole: Arc<dyn Dataset>, indices: Vec<usize>) -> Self {
        let labels = whole.labels().map(|labels| indices.iter().map(|&i| labels[i]).collect());
        Self { whole, indices, labels }
    }
}

/// Images `skip..skip + n` of a permutation of `whole`, by the settings `n=..,skip=..,seed=..`; with neither `n` nor `skip`
/// all of them, in order.
pub(super) fn parse(whole: Arc<dyn Dataset>, shown: &str, settings: &Settings) -> Result<Arc<dyn Dataset>> {
    let n: Option<usize> = settings.get("n", "a whole number")?;
    let skip: Option<usize> = settings.get("skip", "a whole number")?;
    let seed: u64 = settings.get("seed", "a whole number")?.unwrap_or(0);
    if n.is_none() && skip.is_none() {
        return Ok(whole);
    }
    let skip = skip.unwrap_or(0);
    let n = n.unwrap_or(whole.len().saturating_sub(skip));
    let end = skip.checked_add(n).filter(|&end| end <= whole.len() && n > 0).ok_or_else(|| {
        Error::usage(format!("{shown}: asks for {n} images after the first {skip}, of {}", whole.len()))
            .hint("n must be at least 1 and skip + n at most the number of images")
    })?;
    Ok(part(whole, skip..end, seed))
}

/// The images `indices`, which the data set has, in that order.
pub fn choose(whole: Arc<dyn Dataset>, indices: Vec<usize>) -> Arc<dyn Dataset> {
    Arc::new(Subset::choose(whole, indices))
}

/// All but the images `left_out`, in order.
pub fn without(whole: Arc<dyn Dataset>, left_out: &[usize]) -> Arc<dyn Dataset> {
    if left_out.is_empty() {
        return whole;
    }
    let mut kept = vec![true; whole.len()];
    left_out.iter().for_each(|&i| kept[i] = false);
    let indices = (0..whole.len()).filter(|&i| kept[i]).collect();
    choose(whole, indices)
}

/// `n` images drawn from `seed`; all of them, in order, where there are no more.
pub fn sample(whole: Arc<dyn Dataset>, n: usize, seed: u64) -> Arc<dyn Dataset> {
    if n >= whole.len() { whole } else { Arc::new(Subset::take(whole, 0..n, seed)) }
}

/// The images at the places `range`, which the data set has, of a permutation drawn from `seed`: parts of one permutation
/// do not overlap.
pub fn part(whole: Arc<dyn Dataset>, range: Range<usize>, seed: u64) -> Arc<dyn Dataset> {
    Arc::new(Subset::take(whole, range, seed))
}

impl Dataset for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn image(&self, i: usize) -> std::result::Result<RgbImage, Fault> {
        self.whole.image(self.indices[i])
    }

    fn name(&self, i: usize) -> String {
        self.whole.name(self.indices[i])
    }

    fn encoding(&self, i: usize) -> Option<Encoding> {
        self.whole.encoding(self.indices[i])
    }

    fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    fn classes(&self) -> &[String] {
        self.whole.classes()
    }

    fn normalization(&self) -> &'static str {
        self.whole.normalization()
    }
}
