//! `lethe undo`: trains the late stages of a pre-trained encoder further, so that they forget.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::run::IfThere;
use crate::undo::alignment::Divergence;
use crate::undo::groups::Groups;
use crate::undo::hypergradient::{HYPERGRADIENTS, InnerOptimizer, Product};
use crate::undo::outer::RateOf;
use crate::undo::{BatchNorm, Head, Job, Outcome, REPAIRS, Settings, job};
use crate::{config, methods, optim, undo, views};
use lethe_diagnosis::cli::before_after;
use lethe_diagnosis::report::{self, BeforeAfter};
use lethe_diagnosis::words;

/// Undoes memorisation in the late stages of a pre-trained encoder
#[derive(clap::Args)]
#[command(
    after_help = "Writes undone.safetensors (its head in the state beside it), undo.jsonl with a line a step and, with
--unseen, an epoch, undo.json with the outcome, undo.toml and report.html; CKPT is left as it is.
Example:
  lethe undo runs/simclr/checkpoints/epoch-0200.safetensors --data cifar/train --split stage2 --out undone
  lethe undo runs/simclr/checkpoints/epoch-0200.safetensors --data cifar/train --unseen cifar/test --repair average --out averaged
  lethe undo resnet50.pth --method simclr --data photos --image-size 224 --split stage3 --out undone"
)]
pub(super) struct Args {
    /// The encoder, in any format
    #[arg(value_name = "CKPT")]
    checkpoint: PathBuf,
    /// The images it was trained on, as for pretrain
    #[arg(long, value_name = "D")]
    data: String,
    /// Folder for the result
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Images of the same kind that it has not seen: the repair is watched on some of them after every epoch, ends when the
    /// features go bad, and keeps the best epoch; the others tell before and after [default: those that CKPT's run held out]
    #[arg(long, value_name = "D2")]
    unseen: Option<String>,
    /// Replace an earlier repair in that folder
    #[arg(long)]
    overwrite: bool,
    /// Continue a repair that was cut off, with the same flags
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Self-supervised method [default: what the checkpoint remembers]; with another one the head starts anew
    #[arg(long, value_parser = PossibleValuesParser::new(methods::METHODS.iter().map(|entry| entry.name)))]
    method: Option<String>,
    #[command(flatten)]
    settings: Flags,
    /// Mean and deviation: cifar10, cifar100, stl10, imagenet, .. or none [default: what the checkpoint remembers;
    /// imagenet for a foreign one]
    #[arg(long, value_name = "NAME")]
    normalize: Option<String>,
    /// Side of the views in pixels [default: what the checkpoint remembers; that of small images, else 224]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    image_size: Option<u32>,
    /// Recipe of the views [default: that of the run the checkpoint lies in, else the method's own]
    #[arg(long, value_parser = PossibleValuesParser::new(views::RECIPES.iter().map(|recipe| recipe.name)))]
    augmentation: Option<String>,
    /// cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// [default: all cores]
    #[arg(long, value_name = "N", value_parser = config::threads)]
    threads: Option<usize>,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
}

/// The settings as flags; absent ones keep the default.
#[derive(clap::Args, Serialize)]
struct Flags {
    /// How to go on [default: umm]
    #[arg(long, value_parser = repairs())]
    repair: Option<String>,
    /// average: the checkpoints averaged with CKPT [default: with it, the last five that its run kept]
    #[arg(long, value_name = "CKPT", num_args = 1..)]
    #[serde(skip)]
    with: Vec<PathBuf>,
    /// distill-late, distill-early: the earlier checkpoint [default: the one in the middle of CKPT's training]
    #[arg(long, value_name = "CKPT")]
    #[serde(skip)]
    teacher: Option<PathBuf>,
    /// distill-late, distill-early: weight of the distance to it [default: 1]
    #[arg(long, value_name = "W")]
    distill_weight: Option<f64>,
    /// earlier, --split auto: the diagnosis.json that chooses [default: that of CKPT's run]
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    diagnosis: Option<PathBuf>,
    /// The last stage that stays as it is; auto: the one before the first where the diagnosis of the checkpoint's run
    /// saw memorisation set in [default: stage2]
    #[arg(long, value_name = "STAGE")]
    split: Option<String>,
    /// Start with the checkpoint's head or a new one [default: pretrained]
    #[arg(long)]
    head: Option<Head>,
    /// Batch-norm of what is trained: statistics of the batch, or those of the checkpoint [default: live]
    #[arg(long)]
    batch_norm: Option<BatchNorm>,
    /// How the outer gradient passes the inner steps [default: forward-difference]
    #[arg(long, value_parser = PossibleValuesParser::new(HYPERGRADIENTS.iter().map(|entry| entry.name)))]
    hypergradient: Option<String>,
    /// How the hypergradients neumann and cg multiply with the inner Hessian [default: forward-difference]
    #[arg(long)]
    hessian: Option<Product>,
    /// Products with the Hessian of neumann and cg [default: 5]
    #[arg(long, value_name = "N", value_parser = config::number::<usize>)]
    solver_steps: Option<usize>,
    /// Step size of the inner problem [default: 0.01]
    #[arg(long)]
    alpha: Option<f64>,
    /// Weight of the alignment in the inner problem, 0 for none [default: 100]
    #[arg(long)]
    beta: Option<f64>,
    /// Divergence of the alignment: Jensen-Shannon or Kullback-Leibler [default: js]
    #[arg(long)]
    divergence: Option<Divergence>,
    /// Weight of the coding rate reduction in the outer problem, 0 for none [default: 0.05]
    #[arg(long)]
    lambda: Option<f64>,
    /// Squared precision of the coding rate [default: 0.5]
    #[arg(long)]
    eps2: Option<f64>,
    /// Features whose coding rate is reduced [default: projections]
    #[arg(long)]
    rate_of: Option<RateOf>,
    /// Groups of the coding rate reduction: pairs, the views of an image, or kmeans:K, clusters of a batch's images by
    /// their early features [default: pairs]
    #[arg(long)]
    groups: Option<Groups>,
    /// Images it was not trained on, without labels: for the outer loss of umm and joint, for all of continue and reinit
    /// [default: the training batch]
    #[arg(long, value_name = "D")]
    outer_data: Option<String>,
    /// Weight in the outer problem of the distance between late features of training and of --outer-data [default: 0]
    #[arg(long = "match", value_name = "WEIGHT")]
    #[serde(rename = "match")]
    matching: Option<f64>,
    /// Inner steps before the outer loss is taken [default: 1]
    #[arg(long, value_name = "K", value_parser = config::number::<usize>)]
    inner_steps: Option<usize>,
    /// What makes the inner steps; the first step of adam passes no gradient on, so take 2 or more [default: sgd]
    #[arg(long)]
    inner_optimizer: Option<InnerOptimizer>,
    /// [default: adamw]
    #[arg(long, value_parser = PossibleValuesParser::new(optim::OPTIMIZERS.iter().map(|entry| entry.name)))]
    optimizer: Option<String>,
    /// Learning rate at the start; it falls to zero along a cosine [default: that of the repair]
    #[arg(long)]
    lr: Option<f64>,
    /// [default: 0]
    #[arg(long)]
    weight_decay: Option<f64>,
    /// [default: 10]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Compute to spend instead: passes forward and backward of the late stages over a batch, so that repairs of different
    /// cost can be compared; `continue` makes a step of one
    #[arg(long, value_name = "N", conflicts_with = "epochs", value_parser = clap::value_parser!(u32).range(1..))]
    passes: Option<u32>,
    /// [default: 256]
    #[arg(long, value_name = "N", value_parser = config::number::<usize>)]
    batch_size: Option<usize>,
    /// [default: 0]
    #[arg(long, value_parser = config::number::<u64>)]
    seed: Option<u64>,
}

/// The repairs with their titles and learning rates, for --help.
fn repairs() -> PossibleValuesParser {
    PossibleValuesParser::new(REPAIRS.iter().map(|repair| {
        let lr = repair.training.as_ref().map_or(String::new(), |training| format!(" (lr {})", training.lr));
        PossibleValue::new(repair.name).help(format!("{}{lr}", repair.title))
    }))
}

impl Flags {
    fn resolve(&self) -> Result<Settings> {
        let given = toml::Table::try_from(self).expect("flags are plain values");
        let settings: Settings =
            given.try_into().map_err(|error: toml::de::Error| Error::usage(error.message().to_owned()))?;
        // Paths need not be text.
        let Self { with, teacher, diagnosis, .. } = self;
        let of_repair = undo::find(&settings.repair)?.training.as_ref().map(|training| training.lr);
        let settings = Settings {
            with: with.clone(),
            teacher: teacher.clone(),
            diagnosis: diagnosis.clone(),
            lr: self.lr.or(of_repair).unwrap_or(settings.lr),
            ..settings
        };
        settings.check()?;
        Ok(settings)
    }
}

pub(super) fn run(args: Args) -> Result<()> {
    let outcome = job::run(&Job {
        checkpoint: &args.checkpoint,
        data: &args.data,
        out: &args.out,
        if_there: match (args.overwrite, args.resume) {
            (true, _) => IfThere::Overwrite,
            (_, true) => IfThere::Resume,
            _ => IfThere::Refuse,
        },
        unseen: args.unseen.as_deref(),
        method: args.method.as_deref(),
        normalize: args.normalize.as_deref(),
        image_size: args.image_size,
        augmentation: args.augmentation.as_deref(),
        device: config::device(&args.device)?,
        threads: args.threads.unwrap_or_else(config::available_threads),
        settings: &args.settings.resolve()?,
    })?;
    let page = report::write(&args.out)?;
    if args.json {
        return super::print_json(&outcome);
    }
    print(&outcome)?;
    super::print(&format!("report: {}", page.display()))
}

fn print(outcome: &Outcome) -> Result<()> {
    if let (Some(first), Some(last)) = (&outcome.first, &outcome.last) {
        let mut table = super::table(&["", "first step", "last step"]);
        for (name, value) in &first.terms {
            let end = last.terms.get(name).map_or_else(|| "-".into(), |value| format!("{value:.4}"));
            table.add_row([name.clone(), format!("{value:.4}"), end]);
        }
        table.add_row(["grad_norm".into(), format!("{:.4}", first.grad_norm), format!("{:.4}", last.grad_norm)]);
        super::print(&table.to_string())?;
    }
    if let Some(repaired) = &outcome.repaired {
        super::print(&before_after(&BeforeAfter::of(repaired).rows))?;
        super::print(&words::repaired(repaired))?;
    }
    let kept = match outcome.kept_epoch {
        None => String::new(),
        Some(0) => ", kept the given weights".into(),
        Some(epoch) => format!(", kept epoch {epoch}"),
    };
    super::print(&format!(
        "{}: {} steps, {:.1} passes in {:.1} s{}{kept}, {} unreadable images; {}",
        outcome.repair,
        outcome.steps,
        outcome.passes,
        outcome.seconds,
        if outcome.stopped_early { ", stopped early" } else { "" },
        outcome.bad_samples,
        outcome.checkpoint.display()
    ))
}
