//! The real program, and encoders made of numbers: images are points, their views lie around them, and memory draws the
//! views of training images together.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use indexmap::IndexMap;
use lethe_data::Result;
use lethe_data::feature_file::{Block, Blocks, Side, Stage, write_blocks};
use lethe_diagnosis::{
    CheckpointFeatures, ControlFrom, Diagnosis, Extra, Relation, Settings, SideFeatures, SideImages, StageFeatures,
    Subject, diagnose,
};
use ndarray::{Array2, Array3, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Runs the real program to its end.
pub(crate) fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lethe-diagnosis")).args(arguments).output().expect("the program runs")
}

/// What it prints where it succeeds.
pub(crate) fn shown(arguments: &[&str]) -> String {
    let output = program(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What it says where it ends with `code`.
pub(crate) fn refused(arguments: &[&str], code: i32) -> String {
    let output = program(arguments);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

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
    /// The first unseen images that are training images as well.
    pub(crate) copies: usize,
    /// Its file calls the training images unseen, and the other way round.
    pub(crate) turned: bool,
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
            copies: 0,
            turned: false,
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
        let mut points = Array2::from_shape_simple_fn((self.images, COLUMNS), || normal(&mut images));
        if unseen && self.copies > 0 {
            let of_training = Self { copies: 0, ..self.clone() }.side(stage, false).plain.expect("plain rows");
            points.slice_mut(s![..self.copies, ..]).assign(&of_training.slice(s![..self.copies, ..]));
        }
        let own = Array2::from_shape_simple_fn((self.images, 1), || 0.5 + 0.5 * noise.random::<f64>());
        let width = match (unseen, stage) {
            (true, _) => 1.0 + self.other_kind,
            (false, 1) => 1.0 - self.memory,
            (false, _) => 1.0,
        };
        let views = Array3::from_shape_fn((self.views, self.images, COLUMNS), |(_, image, column)| {
            self.quality * points[[image, column]] + 0.6 * width * own[[image, 0]] * normal(&mut noise)
        });
        SideFeatures { views: views.mapv(single), plain: Some(points.mapv(single)) }
    }

    /// Both sides of a stage, training images first.
    pub(crate) fn sides(&self, stage: usize) -> [SideFeatures; 2] {
        [self.side(stage, self.turned), self.side(stage, !self.turned)]
    }

    /// Writes its features to `folder/NAME.ENDING`; gives the path.
    pub(crate) fn write(&self, folder: &Path, ending: &str, given: &Given) -> PathBuf {
        let path = folder.join(format!("{}.{ending}", self.name));
        let stages: Vec<[SideFeatures; 2]> = (0..STAGES.len()).map(|stage| self.sides(stage)).collect();
        let features: Vec<[(Array3<f32>, Array2<f32>); 2]> = stages
            .iter()
            .map(|sides| {
                sides.each_ref().map(|side| {
                    let plain = side.plain.as_ref().expect("plain rows");
                    (side.views.mapv(|value| value as f32), plain.mapv(|value| value as f32))
                })
            })
            .collect();
        let block = |at: usize, side: Side| Block {
            side,
            stages: STAGES
                .iter()
                .zip(&features)
                .map(|(name, sides)| Stage { name, views: sides[at].0.view(), plain: Some(sides[at].1.view()) })
                .collect(),
            labels: None,
            names: given.names.as_ref().map(|names| names[at].as_slice()),
            digests: given.digests.as_ref().map(|digests| digests[at].as_slice()),
        };
        let sides = vec![block(0, Side::Train), block(1, Side::Unseen)];
        write_blocks(&path, &Blocks { epoch: self.epoch, random_split: given.random_split, sides }).expect("written");
        path
    }
}

/// As a file holds it.
fn single(value: f64) -> f64 {
    f64::from(value as f32)
}

/// What a file holds beside views.
#[derive(Clone, Default)]
pub(crate) struct Given {
    pub(crate) random_split: bool,
    /// Of training images and of unseen ones.
    pub(crate) names: Option<[Vec<String>; 2]>,
    pub(crate) digests: Option<[Vec<String>; 2]>,
}

impl Given {
    /// `train/0.png` and so on.
    pub(crate) fn named(images: usize) -> Self {
        Self { names: Some(["train", "unseen"].map(|side| names(side, images))), ..Self::default() }
    }
}

/// `SIDE/0.png` and so on.
pub(crate) fn names(side: &str, images: usize) -> Vec<String> {
    (0..images).map(|i| format!("{side}/{i}.png")).collect()
}

impl CheckpointFeatures for Encoder {
    fn path(&self) -> &str {
        &self.name
    }

    fn epoch(&self) -> Option<u32> {
        self.epoch
    }

    fn stage(&self, stage: usize) -> Result<StageFeatures> {
        let [train, unseen] = self.sides(stage);
        Ok(StageFeatures { train, unseen: Some(unseen), extra: Extra::default() })
    }
}

/// Diagnoses encoders whose first one is the untrained start where its epoch is 0.
pub(crate) fn diagnosed(encoders: &[Encoder], relation: Relation) -> Diagnosis {
    let control = if encoders[0].epoch == Some(0) { ControlFrom::Start } else { ControlFrom::Nowhere };
    let images = |side: &str| SideImages { names: names(side, encoders[0].images), ..SideImages::default() };
    let subject = Subject {
        encoder: "points".into(),
        stages: STAGES.map(String::from).to_vec(),
        settings: IndexMap::new(),
        train: images("train"),
        unseen: images("unseen"),
        relation,
        copies: None,
        difference: None,
        control,
        reference: None,
    };
    let checkpoints = encoders.iter().map(|encoder| Ok(Box::new(encoder.clone()) as Box<dyn CheckpointFeatures>));
    diagnose(subject, checkpoints, &Settings { eps2: 0.5, margin: 0.03, seed: 0 }).unwrap().diagnosis
}
