//! How good features are: k-NN and a linear probe, with the features and models they need.

mod features;
mod knn;
pub mod lbfgs;
mod linear;
mod model;

use indexmap::IndexMap;
use ndarray::ArrayView2;
use serde::Serialize;
use tch::Device;

use crate::error::{Error, Result};
use crate::interrupt;
use crate::loader::Loader;
use crate::progress::Progress;

pub use features::{Features, choose_stages, extract};
pub use lethe_measures::knn::accuracy;
pub use linear::{LinearProbe, LinearSettings};
pub use model::{Model, Sight};

/// Features `[n, d]` with a label a row.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    pub features: ArrayView2<'a, f32>,
    pub labels: &'a [u32],
}

/// What a protocol makes of training features.
pub trait Classifier {
    /// Whether each row of the training features is labelled right; k-NN leaves out the row it asks about.
    fn on_training(&self) -> Result<Vec<bool>>;

    /// The same of other features.
    fn on(&self, test: Labelled) -> Result<Vec<bool>>;
}

/// A way to judge features by their labels.
pub struct Protocol {
    pub name: &'static str,
    pub does: &'static str,
    /// The fewest training images it makes sense for.
    pub least_images: usize,
    pub fit: for<'a> fn(Labelled<'a>, Device) -> Result<Box<dyn Classifier + 'a>>,
}

pub const PROTOCOLS: &[Protocol] = &[
    Protocol {
        name: "knn-20",
        does: "k-NN by cosine, 20 neighbours weighted by exp(cosine / 0.1)",
        least_images: 21,
        fit: |train, _| knn::fit(train, 20),
    },
    Protocol {
        name: "knn-200",
        does: "the same with 200 neighbours",
        least_images: 201,
        fit: |train, _| knn::fit(train, 200),
    },
    Protocol {
        name: "linear",
        does: "multinomial logistic regression on standardised features, C = 1",
        least_images: 2,
        fit: linear::fit,
    },
];

/// The protocols that `text` asks for, in the table's order: names with commas between; `knn` stands for all `knn-K`.
///
/// # Errors
/// When there is no protocol of a name; the hint lists them.
pub fn choose_protocols(text: &str) -> Result<Vec<&'static Protocol>> {
    let means = |asked: &str, protocol: &Protocol| {
        protocol.name == asked || protocol.name.strip_prefix(asked).is_some_and(|rest| rest.starts_with('-'))
    };
    let asked: Vec<&str> = text.split(',').map(str::trim).collect();
    if let Some(unknown) = asked.iter().find(|asked| !PROTOCOLS.iter().any(|protocol| means(asked, protocol))) {
        let names: Vec<&str> = PROTOCOLS.iter().map(|protocol| protocol.name).collect();
        return Err(
            Error::usage(format!("unknown protocol {unknown:?}")).hint(format!("knn, or some of: {}", names.join(",")))
        );
    }
    Ok(PROTOCOLS.iter().filter(|protocol| asked.iter().any(|asked| means(asked, protocol))).collect())
}

/// The content of `evaluation.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// Version of Lethe that wrote it.
    pub lethe: &'static str,
    pub data: String,
    pub images: usize,
    pub test: String,
    pub test_images: usize,
    /// One a checkpoint and stage.
    pub rows: Vec<EvaluationRow>,
}

#[derive(Debug, Clone, Serialize)]
pub struct EvaluationRow {
    pub checkpoint: String,
    pub epoch: Option<u32>,
    pub encoder: String,
    pub image_size: u32,
    pub normalize: String,
    #[serde(flatten)]
    pub scores: StageScores,
}

impl Evaluation {
    pub fn new(data: &str, images: usize, test: &str, test_images: usize) -> Self {
        let lethe = env!("CARGO_PKG_VERSION");
        Self { lethe, data: data.into(), images, test: test.into(), test_images, rows: Vec::new() }
    }

    /// Whether it is the content of a file that [`Evaluation::to_json`] wrote.
    pub fn is_in(content: &[u8]) -> bool {
        serde_json::from_slice::<serde_json::Value>(content).is_ok_and(|json| !json["test_images"].is_null())
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain numbers and texts")
    }
}

impl EvaluationRow {
    pub fn new(model: &Model, sight: &Sight, scores: StageScores) -> Self {
        Self {
            checkpoint: model.name.clone(),
            epoch: model.epoch,
            encoder: model.encoder.spec().name,
            image_size: sight.size,
            normalize: sight.normalize.clone(),
            scores,
        }
    }
}

/// The accuracies of one stage on the test images.
#[derive(Debug, Clone, Serialize)]
pub struct StageScores {
    pub stage: String,
    /// Of the features, d of `[n, d]`.
    pub dimension: usize,
    /// By protocol, 0 to 1.
    pub accuracy: IndexMap<&'static str, f64>,
}

/// Fits `protocols` to the plain features of the training images and asks them about the test images, for every stage
/// at `stages`. Both loaders show one view an image, in order.
///
/// # Errors
/// When either side has no labels, the classes differ, or there are too few training images for a protocol.
pub fn evaluate(
    model: &Model,
    train: &Loader,
    test: &Loader,
    stages: &[usize],
    protocols: &[&Protocol],
) -> Result<Vec<StageScores>> {
    for (loader, which) in [(train, "training"), (test, "test")] {
        if loader.dataset().labels().is_none() {
            return Err(
                Error::usage(format!("the {which} images have no labels")).hint("put them into a folder a class")
            );
        }
    }
    let classes = [train, test].map(|loader| loader.dataset().classes());
    if classes[0] != classes[1] {
        return Err(Error::usage(format!(
            "the classes differ: {} in training, {} in testing",
            shown(classes[0]),
            shown(classes[1])
        )));
    }
    let images = train.dataset().len();
    if let Some(protocol) = protocols.iter().find(|protocol| images < protocol.least_images) {
        let enough = PROTOCOLS.iter().filter(|protocol| images >= protocol.least_images);
        let enough: Vec<&str> = enough.map(|protocol| protocol.name).collect();
        return Err(Error::usage(format!(
            "{} needs at least {} training images, there are {images}",
            protocol.name, protocol.least_images
        ))
        .hint(match enough.as_slice() {
            [] => "name more images".to_owned(),
            names => format!("--protocol {}", names.join(",")),
        }));
    }
    let progress = Progress::new("features", "images", (images + test.dataset().len()) as u64);
    let side = |loader| match interrupt::asked() {
        Some(stop) => Err(stop),
        None => extract(model.encoder.as_ref(), &model.weights, loader, 0, stages, &progress),
    };
    let (train, test) = (side(train)?, side(test)?);
    progress.finish();
    (0..stages.len())
        .map(|i| {
            let [bank, queries] = [&train, &test].map(|side| side.labelled(i).expect("both sides have labels"));
            let stage = &train.stages[i].0;
            let mut accuracy = IndexMap::new();
            for protocol in protocols {
                let classifier = (protocol.fit)(bank, model.device());
                let found = classifier.and_then(|classifier| classifier.on(queries));
                let right = found.map_err(|error| error.of(&format!("{stage}, {}", protocol.name)))?;
                accuracy.insert(protocol.name, self::accuracy(&right));
            }
            Ok(StageScores { stage: stage.clone(), dimension: bank.features.ncols(), accuracy })
        })
        .collect()
}

/// `airplane, automobile, .. (10)`
fn shown(classes: &[String]) -> String {
    let first: Vec<&str> = classes.iter().take(3).map(String::as_str).collect();
    let more = if classes.len() > first.len() { ", .." } else { "" };
    format!("{}{more} ({})", first.join(", "), classes.len())
}
