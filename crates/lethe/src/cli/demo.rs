//! `lethe demo`: what Lethe is for, on generated images: pre-training, diagnosis, repair, evaluation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lethe_diagnosis::cli::{before_after, diagnose as diagnosis};
use lethe_diagnosis::report::{self, BeforeAfter, BeforeAfterRow, Better};
use lethe_diagnosis::{Relation, words};
use serde_json::json;
use tch::Device;

use crate::config::{self, RunConfig};
use crate::diagnose::{self, Copies, Images, Sets, Subject};
use crate::error::{Error, Result};
use crate::evaluate::{self, Model};
use crate::loader::{Loader, LoaderSettings, Order};
use crate::run::{IfThere, RunFolder};
use crate::undo::{self, Job, job};
use crate::views::{Augmentation, Normalize};
use crate::{data, files, progress, train};

/// Trains an encoder until it memorises its few images, diagnoses it, repairs it, and shows what came of it
#[derive(clap::Args)]
#[command(
    after_help = "The images are generated: textured dead leaves, in which every image holds much of its own. Their
laws are the same in training and for unseen images, so the two sides are a random split.
Example:
  lethe demo --out lethe-demo"
)]
pub(super) struct Args {
    /// Folder for the run, the diagnosis, the repaired encoder and report.html
    #[arg(long, value_name = "DIR", default_value = "lethe-demo")]
    out: PathBuf,
    /// Epochs of pre-training
    #[arg(long, value_name = "N", default_value_t = EPOCHS)]
    epochs: u32,
    /// Images to pre-train on
    #[arg(long, value_name = "N", default_value_t = IMAGES, value_parser = clap::value_parser!(u32).range(64..))]
    images: u32,
    /// [default: all cores]
    #[arg(long, value_name = "N", value_parser = config::threads)]
    threads: Option<usize>,
    #[arg(long, default_value_t = 0, value_parser = config::number::<u64>)]
    seed: u64,
    /// Replace an earlier demo in the folder
    #[arg(long)]
    overwrite: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

// Settings with which three seeds of three memorise: docs/results/demo.md.
const EPOCHS: u32 = 1000;
const IMAGES: u32 = 128;
const BATCH_SIZE: usize = 64;
const SIZE: u32 = 16;
/// Checkpoints that are kept and diagnosed.
const CHECKPOINTS: u32 = 5;
const UNDO_EPOCHS: u32 = 50;
const UNDO_LR: f64 = 1e-3;
/// Labelled images that the protocols learn from, and those they are asked about.
const BANK: u32 = 2000;
const TEST: u32 = 1000;
/// Unseen images: one half chooses the repair's epoch, the other half gives the table.
const UNSEEN: u32 = 1000;
const PROTOCOLS: &str = "knn-20,linear";

pub(super) fn run(args: Args) -> Result<()> {
    let threads = args.threads.unwrap_or_else(config::available_threads);
    let out = &args.out;
    let trained_on = leaves(args.images, args.seed);
    let unseen = leaves(UNSEEN, args.seed + 1000);
    let config = run_config(&args, &trained_on, threads)?;
    prepare(out, args.overwrite)?;

    progress::say("1/4 pre-training on a few images until the encoder knows them");
    let run_path = out.join("run");
    let outcome = train::train(&config, data::open(&trained_on)?, &run_path, IfThere::Overwrite, None)?;

    progress::say("2/4 diagnosing every stage of every checkpoint, on those images and on unseen ones");
    let (train_images, unseen_images) = (images(&trained_on)?, images(&unseen)?);
    let sets =
        Sets { train: &train_images, unseen: Some(&unseen_images), transfer: None, relation: Relation::RandomSplit };
    let subjects = Subject::of_run(&RunFolder::open(&run_path)?)?;
    let diagnosed = diagnose::diagnose(&subjects, &sets, &diagnose_settings(args.seed, threads))?;
    diagnosis::write(&diagnosed, out)?;

    progress::say("3/4 repairing: the late stages are trained further, the early ones stay");
    let repair = undo::Settings { seed: args.seed, ..repair() };
    let undone = job::run(&Job {
        checkpoint: &outcome.checkpoint,
        data: &trained_on,
        out: &out.join("undone"),
        settings: &repair,
        method: None,
        image_size: None,
        normalize: None,
        augmentation: None,
        device: Device::Cpu,
        threads,
        if_there: IfThere::Overwrite,
        unseen: Some(&unseen),
    })?;
    let repaired = undone.repaired.as_ref().expect("a repair with unseen images");

    progress::say("4/4 evaluating both encoders on labelled images that neither was trained on");
    let mut table = BeforeAfter::of(repaired);
    table.rows.extend(accuracies(&[outcome.checkpoint, undone.checkpoint.clone()], args.seed, threads)?);
    files::write_json(&out.join("before_after.json"), &table)?;
    let page = report::write(out)?;

    let summary = &diagnosed.diagnosis.summary;
    let verdict = words::repaired(repaired);
    if args.json {
        let report = page.display().to_string();
        return super::print_json(&json!({
            "summary": summary, "findings": diagnosed.diagnosis.findings, "rows": table.rows, "verdict": verdict,
            "report": report,
        }));
    }
    super::print(summary)?;
    super::print(&before_after(&table.rows))?;
    super::print(&format!("{verdict} One seed is a hint, not a result."))?;
    super::print(&format!("report: {}", page.display()))
}

fn prepare(out: &Path, overwrite: bool) -> Result<()> {
    let begun = out.join("run").exists();
    let results = ["diagnosis.json", "undone", "before_after.json"];
    if let Some(name) = results.iter().find(|name| out.join(name).exists())
        && !begun
    {
        return Err(Error::usage(format!("holds {name}, which is of no demo")).at(out).hint("choose another --out"));
    }
    if begun && !overwrite {
        return Err(Error::usage("there is a demo in this folder already")
            .at(out)
            .hint("--overwrite replaces it, or choose another --out"));
    }
    files::make_folder(out)?;
    files::sweep(out).map(drop)
}

fn leaves(n: u32, seed: u64) -> String {
    format!("dead-leaves:n={n},size={SIZE},seed={}", seed + 1)
}

fn run_config(args: &Args, trained_on: &str, threads: usize) -> Result<RunConfig> {
    let mut given = toml::toml! {
        method = "simclr"
        augmentation = "simclr-weak"
        encoder = "resnet18-w16"
        optimizer = "adamw"
        lr = 3e-3
        weight_decay = 1e-4
    };
    given.insert("data".into(), trained_on.into());
    given.insert("epochs".into(), i64::from(args.epochs).into());
    given.insert("batch_size".into(), (BATCH_SIZE as i64).into());
    given.insert("threads".into(), (threads as i64).into());
    given.insert("seed".into(), (args.seed as i64).into());
    given.insert("save_every".into(), i64::from((args.epochs / CHECKPOINTS).max(1)).into());
    RunConfig::resolve(given, None, data::open)
}

fn repair() -> undo::Settings {
    undo::Settings { epochs: UNDO_EPOCHS, lr: UNDO_LR, batch_size: BATCH_SIZE, ..undo::Settings::default() }
}

fn images(spec: &str) -> Result<Images> {
    Ok(Images { spec: spec.to_owned(), dataset: data::open(spec)? })
}

fn diagnose_settings(seed: u64, threads: usize) -> diagnose::Settings {
    diagnose::Settings {
        images: 2000,
        views: diagnose::VIEWS,
        eps2: 0.5,
        margin: diagnose::MARGIN,
        seed,
        image_size: None,
        normalize: None,
        control: true,
        reference: None,
        augmentation: None,
        gradients: false,
        copies: Copies { check: 0, allow: None },
        batch_size: 256,
        threads,
        device: Device::Cpu,
    }
}

/// The accuracies of the last stage before and after.
fn accuracies(both: &[PathBuf; 2], seed: u64, threads: usize) -> Result<Vec<BeforeAfterRow>> {
    let protocols = evaluate::choose_protocols(PROTOCOLS)?;
    let (bank, test) = (leaves(BANK, seed + 2000), leaves(TEST, seed + 3000));
    let mut scores = Vec::new();
    for path in both {
        let model = Model::open(path, Device::Cpu)?;
        let stages = evaluate::choose_stages(model.encoder.as_ref(), "last")?;
        let plain = |spec: &str| {
            let dataset = data::open(spec)?;
            let sight = model.sight(dataset.as_ref(), spec, None, None)?;
            let settings = LoaderSettings { order: Order::Sequential, threads, ..LoaderSettings::default() };
            Loader::new(
                Arc::clone(&dataset),
                Augmentation::plain(sight.size, Normalize::named(&sight.normalize)?),
                settings,
            )
        };
        scores.extend(evaluate::evaluate(&model, &plain(&bank)?, &plain(&test)?, &stages, &protocols)?);
    }
    let row = |protocol: &str| BeforeAfterRow {
        what: format!("{protocol} accuracy, last stage"),
        before: scores[0].accuracy[protocol],
        after: scores[1].accuracy[protocol],
        change: None,
        unit: "%".into(),
        better: Better::Higher,
    };
    Ok(PROTOCOLS.split(',').map(row).collect())
}
