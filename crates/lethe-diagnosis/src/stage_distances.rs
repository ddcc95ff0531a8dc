//! What tells training images from unseen ones: distances of views and retrieval, of one stage and of a whole encoder.

use lethe_data::error::{Error, Result};
use lethe_measures::{self as measures, RetrievalHits, Shift, StageViews, ViewDistances, shift_test};

use super::features::{CheckpointFeatures, StageFeatures};

/// Stages at which plain features are tested.
pub(crate) const SHIFT_STAGES: usize = 5;

/// What tells training images from unseen ones at one stage.
#[derive(Clone)]
pub(crate) struct StageDistances {
    pub(crate) distances: ViewDistances,
    pub(crate) retrieval: RetrievalHits,
    /// Views of an image.
    views: usize,
}

impl StageDistances {
    /// None without unseen images.
    pub(crate) fn of(features: &StageFeatures, seed: u64) -> Result<Option<Self>> {
        let Some(unseen) = &features.unseen else { return Ok(None) };
        let views = StageViews::new(features.train.views.view(), unseen.views.view());
        let views = views.map_err(|error| Error::failed(error.to_string()))?;
        let (distances, retrieval) = (views.distances(), views.retrieval(seed));
        Ok(Some(Self { distances, retrieval, views: views.views() }))
    }

    pub(crate) fn cell(&self) -> measures::Cell<'_> {
        measures::Cell { distances: &self.distances, retrieval: Some(&self.retrieval) }
    }

    /// Whether most views of either side are the same point.
    pub(crate) fn is_collapsed(&self) -> bool {
        let images = [&self.distances.train, &self.distances.unseen].map(Vec::len);
        let zero: usize = self.distances.zero_rows.iter().sum();
        2 * zero > images.iter().sum::<usize>() * self.views
    }
}

/// All stages of one encoder, and whether its plain features tell the sides apart.
pub(crate) struct OneEncoder {
    pub(crate) stages: Vec<StageDistances>,
    pub(crate) shift: Vec<Option<Shift>>,
}

impl OneEncoder {
    pub(crate) fn of(features: &dyn CheckpointFeatures, stages: usize, seed: u64) -> Result<Self> {
        let mut found = Self { stages: Vec::new(), shift: Vec::new() };
        for stage in 0..stages {
            let place = |error: Error| error.of(features.path());
            let features = features.stage(stage).map_err(place)?;
            check(&features).map_err(place)?;
            found.stages.extend(StageDistances::of(&features, seed).map_err(place)?);
            found.shift.push(shift_of(&features, stage, stages, seed));
        }
        Ok(found)
    }
}

/// The test at one of a few stages, from the first to the last.
pub(crate) fn shift_of(features: &StageFeatures, stage: usize, stages: usize, seed: u64) -> Option<Shift> {
    let tested = (0..SHIFT_STAGES).any(|k| stage == k * (stages - 1) / (SHIFT_STAGES - 1));
    let (train, unseen) = (features.train.plain.as_ref()?, features.unseen.as_ref()?.plain.as_ref()?);
    tested.then(|| shift_test(train.view(), unseen.view(), seed).ok())?
}

/// The sides must have the same images in number, and the same views.
pub(crate) fn check(features: &StageFeatures) -> Result<()> {
    let Some(unseen) = &features.unseen else { return Ok(()) };
    let (train, unseen) = (features.train.views.dim(), unseen.views.dim());
    if train == unseen {
        return Ok(());
    }
    Err(Error::usage(format!(
        "the two sides have shapes {train:?} and {unseen:?}, expected the same number of views, images and columns"
    )))
}
