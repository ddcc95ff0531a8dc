//! Encoders made of numbers: images are points, their views lie around them, and memory draws the views of training images
//! together.

use indexmap::IndexMap;
use lethe_data::Result;
use lethe_diagnosis::{
    CheckpointFeatures, ControlFrom, Diagnosis, Extra, Relation, Settings, SideFeatures, SideImages, StageFeatures, Subject,
    diagnose,
};
use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

pub(crate) const STAGES: [&str; 2] = ["stem", "head"];
const COLUMNS: usize = 12;

/// One checkpoint.
#[derive(Clone)]
pub(crate) struct Encoder {
    pub(crate) name: String,
    pub(crate) epoch: Option<u32>,
    pub(crate) images: usize,
    pub(crate) views: usize,
    /// How much the last stage draws the views of training images together: 0 nothing, 1 all.
    pub(crate) memory: f64,
    /// How much further the views of unseen images lie apart at every stage, training or not.
    pub(crate) other_kind: f64,
    /// How much of an image survives in its views: what view retrieval finds.
    pub(crate) quality: f64,
    pub(crate) collapsed: bool,
    pub(crate) seed: u64,
}

impl Encoder {
    pub(crate) fn new(epoch: u32) -> Self {
        Self {
            name: format!("epoch-{epoch:04}"),
            epoch: Some(epoch),
            images: 200,
            views: 4,
            memory: 0.0,
            other_kind: 0.0,
            quality: 1.0,
            collapsed: false,
            seed: 7,
        }
    }

    fn side(&self, stage: usize, unseen: bool) -> SideFeatures {
        if self.collapsed {
            let (q, n) = (self.views, self.images);
            return SideFeatures { views: Array3::ones((q, n, COLUMNS)), plain: Some(Array2::ones((n, COLUMNS))) };
        }
        let side = u64::from(unseen);
        let mut images = ChaCha8Rng::seed_from_u64(1000 * self.seed + side);
        // An encoder's own noise, but the same draws for training and unseen images.
        let mut noise = ChaCha8Rng::seed_from_u64(1000 * self.seed + 10 + stage as u64);
        let normal = |rng: &mut ChaCha8Rng| rng.sample::<f64, _>(StandardNormal);
        let points = Array2::from_shape_simple_fn((self.images, COLUMNS), || normal(&mut images));
        let own = Array2::from_shape_simple_fn((self.images, 1), || 0.5 + 0.5 * noise.random::<f64>());
        let width = match (unseen, stage) {
            (true, _) => 1.0 + self.other_kind,
            (false, 1) => 1.0 - self.memory,
            (false, _) => 1.0,
        };
        let views = Array3::from_shape_fn((self.views, self.images, COLUMNS), |(_, image, column)| {
            self.quality * points[[image, column]] + 0.6 * width * own[[image, 0]] * normal(&mut noise)
        });
        SideFeatures { views, plain: Some(points) }
    }
}

impl CheckpointFeatures for Encoder {
    fn path(&self) -> &str {
        &self.name
    }

    fn epoch(&self) -> Option<u32> {
        self.epoch
    }

    fn stage(&self, stage: usize) -> Result<StageFeatures> {
        let (train, unseen) = (self.side(stage, false), self.side(stage, true));
        Ok(StageFeatures { train, unseen: Some(unseen), extra: Extra::default() })
    }
}

/// Diagnoses encoders whose first one is the untrained start where its epoch is 0.
pub(crate) fn diagnosed(encoders: &[Encoder], relation: Relation) -> Diagnosis {
    let control = if encoders[0].epoch == Some(0) { ControlFrom::Start } else { ControlFrom::Nowhere };
    let names = |side: &str| SideImages {
        names: (0..encoders[0].images).map(|i| format!("{side}/{i}.png")).collect(),
        ..SideImages::default()
    };
    let subject = Subject {
        encoder: "points".into(),
        stages: STAGES.map(String::from).to_vec(),
        settings: IndexMap::new(),
        train: names("train"),
        unseen: names("unseen"),
        relation,
        copies: None,
        difference: None,
        control,
        reference: None,
    };
    let checkpoints = encoders.iter().map(|encoder| Ok(Box::new(encoder.clone()) as Box<dyn CheckpointFeatures>));
    diagnose(subject, checkpoints, &Settings { eps2: 0.5, margin: 0.03, seed: 0 }).unwrap().diagnosis
}
