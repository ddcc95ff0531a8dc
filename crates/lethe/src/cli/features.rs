//! `lethe features`: pooled features for other tools.

use std::path::PathBuf;

use serde_json::json;

use crate::error::Result;
use crate::evaluate::{self, Model};
use crate::progress::Progress;
use crate::{data, feature_file, files};

use super::images::ImageArgs;

/// Writes the pooled features of an encoder, a row an image in the data's order
#[derive(clap::Args)]
#[command(after_help = "Example:
  lethe features epoch-0200.safetensors --data cifar/test --stages stage3,stage4 --out test.safetensors
  lethe features resnet50.pth --data photos --stages last --out photos.npy")]
pub(super) struct Args {
    /// A checkpoint, of any format
    #[arg(value_name = "CKPT")]
    checkpoint: PathBuf,
    /// Images: a folder, CIFAR binaries or shapes[:n=..,spurious=..]; @n=5000,skip=0 takes a part
    #[arg(long, value_name = "D")]
    data: String,
    /// last, all, or names such as stage3,stage4
    #[arg(long, value_name = "NAMES", default_value = "all")]
    stages: String,
    /// .safetensors: a tensor a stage, and `labels`; one stage as .npy, labels in F.labels.npy, or .csv
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
    feature_file::check(&args.out, stages.len())?;
    files::refuse_same(&args.out, &args.checkpoint)?;
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
