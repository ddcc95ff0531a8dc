//! `lethe features`: features for other tools, and for `lethe diagnose --features`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use lethe_diagnosis::Relation;
use serde_json::json;

use crate::diagnose::{self, Copies, Images, Sets, Settings, write_features};
use crate::error::Result;
use crate::evaluate::{self, Model};
use crate::progress::Progress;
use crate::{data, feature_file, files, views};

use super::images::ImageArgs;

/// Writes the pooled features of an encoder, a row an image in the data's order
#[derive(clap::Args)]
#[command(after_help = "Example:
  lethe features epoch-0200.safetensors --data cifar/test --stages stage3,stage4 --out test.safetensors
  lethe features resnet50.pth --data photos --stages last --out photos.npy
  lethe features resnet50.pth --data photos --unseen others --out resnet50.npz

With --unseen the file holds random views of both sides and the images as they are: `lethe diagnose --features` reads it.")]
pub(super) struct Args {
    /// A checkpoint, of any format
    #[arg(value_name = "CKPT")]
    checkpoint: PathBuf,
    /// Images: a folder, CIFAR binaries or generated ones; @n=5000,skip=0 takes a part
    #[arg(long, value_name = "D")]
    data: String,
    /// Images that the encoder has not seen: writes views of both sides for a diagnosis
    #[arg(long, value_name = "D2")]
    unseen: Option<String>,
    /// Random views of every image
    #[arg(long, value_name = "Q", default_value_t = diagnose::VIEWS, requires = "unseen", value_parser = super::at_least_two)]
    views: usize,
    /// Recipe of the views [default: the method's own]
    #[arg(long, requires = "unseen", value_parser = PossibleValuesParser::new(views::RECIPES.iter().map(|recipe| recipe.name)))]
    augmentation: Option<String>,
    /// Most images a side, drawn by the seed
    #[arg(long = "images", value_name = "N", default_value_t = 2000, requires = "unseen")]
    most_images: usize,
    /// The two sides are a random split of one set
    #[arg(long, requires = "unseen")]
    random_split: bool,
    #[arg(long, default_value_t = 0, requires = "unseen")]
    seed: u64,
    /// last, all, or names such as stage3,stage4
    #[arg(long, value_name = "NAMES", default_value = "all")]
    stages: String,
    /// .safetensors or .npz: a matrix a stage, and `labels`; one stage as .npy, labels in F.labels.npy, or .csv
    #[arg(long, value_name = "F")]
    out: PathBuf,
    #[command(flatten)]
    images: ImageArgs,
    /// Print one JSON object: the files and the shapes in them
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<()> {
    let device = args.images.start()?;
    let model = Model::open(&args.checkpoint, device)?;
    let stages = evaluate::choose_stages(model.encoder.as_ref(), &args.stages)?;
    files::refuse_same(&args.out, &args.checkpoint)?;
    if let Some(unseen) = &args.unseen {
        return both_sides(&args, &model, &stages, unseen);
    }
    feature_file::check(&args.out, stages.len())?;
    files::check(&args.out)?;
    let dataset = data::open(&args.data)?;
    if dataset.labels().is_some() {
        feature_file::check_labels(&args.out)?;
    }
    let sight = args.images.sight(&model, dataset.as_ref(), &args.data)?;
    let loader = args.images.plain(&dataset, &sight)?;
    let progress = Progress::new("features", "images", dataset.len() as u64);
    let features = evaluate::extract(model.encoder.as_ref(), &model.weights, &loader, 0, &stages, &progress)?;
    progress.finish();
    loader.say_bad_samples();
    feature_file::write(&args.out, &features.stages, features.labels.as_deref())?;
    if args.json {
        let shapes: serde_json::Map<String, serde_json::Value> =
            features.stages.iter().map(|(name, rows)| (name.clone(), json!([rows.nrows(), rows.ncols()]))).collect();
        return super::print_json(&json!({
            "features": args.out.display().to_string(), "stages": shapes, "labels": features.labels.is_some(),
            "image_size": sight.size, "normalize": sight.normalize,
        }));
    }
    let mut table = super::table(&["stage", "images", "d"]);
    for (name, rows) in &features.stages {
        table.add_row([name.clone(), rows.nrows().to_string(), rows.ncols().to_string()]);
    }
    super::print(&table.to_string())?;
    super::print(&args.out.display().to_string())
}

fn both_sides(args: &Args, model: &Model, stages: &[usize], unseen: &str) -> Result<()> {
    feature_file::check_blocks(&args.out)?;
    files::check(&args.out)?;
    let open = |spec: &str| Ok::<Images, crate::Error>(Images { spec: spec.to_owned(), dataset: data::open(spec)? });
    let (train, unseen) = (open(&args.data)?, open(unseen)?);
    let known = args.random_split || data::is_random_split(&train.spec, &unseen.spec);
    let relation = if known { Relation::RandomSplit } else { Relation::Unknown };
    let sets = Sets { train: &train, unseen: Some(&unseen), transfer: None, relation };
    let settings = Settings {
        images: args.most_images,
        views: args.views,
        eps2: 0.5,
        margin: diagnose::MARGIN,
        seed: args.seed,
        image_size: args.images.image_size,
        normalize: args.images.normalize.clone(),
        control: false,
        reference: None,
        augmentation: args.augmentation.clone(),
        gradients: false,
        copies: Copies { check: 0, allow: Some(usize::MAX) },
        batch_size: args.images.batch_size,
        threads: args.images.threads(),
        device: model.device(),
    };
    let written = write_features(&args.out, model, &sets, stages, &settings)?;
    if args.json {
        let shapes: serde_json::Map<String, serde_json::Value> =
            written.stages.iter().map(|(name, d)| (name.clone(), json!([args.views, written.images, d]))).collect();
        let file = args.out.display().to_string();
        return super::print_json(&json!({ "features": file, "stages": shapes, "images": written.images }));
    }
    let mut table = super::table(&["stage", "views", "images a side", "d"]);
    for (name, d) in &written.stages {
        table.add_row([name.clone(), args.views.to_string(), written.images.to_string(), d.to_string()]);
    }
    super::print(&table.to_string())?;
    super::print(&args.out.display().to_string())
}
