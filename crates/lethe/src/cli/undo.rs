//! `lethe undo`: repairs an encoder.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;

use crate::error::{Error, Result};
use crate::undo::{HYPERGRADIENTS, Head, Job, REPAIRS, Settings, job};
use crate::{data, methods, optim};

use super::images::ImageArgs;

/// Trains the late stages of an encoder so that they forget what they memorised
#[derive(clap::Args)]
#[command(after_help = "Repairs:
  umm       the Undoing Memorization Mechanism (arXiv 2410.00772)
  continue  plain further steps of the method with the same stages frozen, as a control
Example:
  lethe undo runs/simclr/checkpoints/epoch-0200.safetensors --data cifar/train --split stage2 --out undone")]
pub(super) struct Args {
    /// Checkpoint, of any format; it is only read
    #[arg(value_name = "CKPT")]
    checkpoint: PathBuf,
    /// Images to repair it with: those it was trained on, or others; labels are not used
    #[arg(long, value_name = "D")]
    data: String,
    /// Folder for undone.safetensors and undo.jsonl
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[arg(long, default_value = "umm", value_parser = PossibleValuesParser::new(REPAIRS.iter().map(|repair| repair.name)))]
    repair: String,
    /// The last stage that stays as it is
    #[arg(long, value_name = "STAGE", default_value = "stage2")]
    split: String,
    #[arg(long, default_value = "finite-difference", value_parser = PossibleValuesParser::new(HYPERGRADIENTS.iter().map(|entry| entry.name)))]
    hypergradient: String,
    /// Step size of the inner problem
    #[arg(long, default_value_t = Settings::default().alpha)]
    alpha: f64,
    /// Weight of the alignment in the inner problem; 0 switches it off
    #[arg(long, default_value_t = Settings::default().beta)]
    beta: f64,
    /// Weight of the coding rate reduction in the outer problem; 0 switches it off
    #[arg(long, default_value_t = Settings::default().lambda)]
    lambda: f64,
    /// Squared precision of the coding rate
    #[arg(long, default_value_t = Settings::default().eps2)]
    eps2: f64,
    /// Inner steps before the outer loss is taken
    #[arg(long, value_name = "K", default_value_t = Settings::default().inner_steps)]
    inner_steps: usize,
    #[arg(long, default_value = "adamw", value_parser = PossibleValuesParser::new(optim::OPTIMIZERS.iter().map(|entry| entry.name)))]
    optimizer: String,
    /// Learning rate of the outer problem; it falls to zero along a cosine
    #[arg(long, default_value_t = Settings::default().lr)]
    lr: f64,
    #[arg(long, default_value_t = Settings::default().weight_decay)]
    weight_decay: f64,
    #[arg(long, value_name = "N", default_value_t = Settings::default().epochs)]
    epochs: u32,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Method the encoder was trained by [default: what the checkpoint remembers]
    #[arg(long, value_parser = PossibleValuesParser::new(methods::METHODS.iter().map(|entry| entry.name)))]
    method: Option<String>,
    /// Recipe of the views: simclr, byol or vicreg [default: the method's own]
    #[arg(long, value_name = "NAME")]
    augmentation: Option<String>,
    #[command(flatten)]
    images: ImageArgs,
    /// Replace an earlier repair in the folder
    #[arg(long)]
    overwrite: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<()> {
    let device = args.images.start()?;
    let dataset = data::open(&args.data)?;
    if args.images.batch_size > dataset.len() {
        return Err(Error::usage(format!(
            "--batch-size {} is larger than the data set ({} images)",
            args.images.batch_size,
            dataset.len()
        ))
        .hint(format!("--batch-size {}", dataset.len())));
    }
    let settings = Settings {
        repair: args.repair,
        split: args.split,
        hypergradient: args.hypergradient,
        alpha: args.alpha,
        beta: args.beta,
        lambda: args.lambda,
        eps2: args.eps2,
        inner_steps: args.inner_steps,
        optimizer: args.optimizer,
        lr: args.lr,
        weight_decay: args.weight_decay,
        epochs: args.epochs,
        batch_size: args.images.batch_size,
        seed: args.seed,
    };
    let outcome = job::run(&Job {
        checkpoint: &args.checkpoint,
        data: (&args.data, dataset),
        out: &args.out,
        settings: &settings,
        method: args.method.as_deref(),
        image_size: args.images.image_size,
        normalize: args.images.normalize.as_deref(),
        augmentation: args.augmentation.as_deref(),
        threads: args.images.threads(),
        device,
        overwrite: args.overwrite,
    })?;
    if args.json {
        return super::print_json(&outcome);
    }
    let mut table = super::table(&["repair", "method", "head", "steps", "seconds", "checkpoint"]);
    table.add_row([
        outcome.repair,
        outcome.method,
        match outcome.head {
            Head::PreTrained => "pre-trained".into(),
            Head::New => "new: the checkpoint holds none of this method".to_owned(),
        },
        outcome.steps.to_string(),
        format!("{:.1}", outcome.seconds),
        outcome.checkpoint.display().to_string(),
    ]);
    super::print(&table.to_string())
}
