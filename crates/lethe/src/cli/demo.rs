//! `lethe demo`: the main job on generated images, from training to the page.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tch::Device;

use crate::config::{self, RunConfig};
use crate::diagnose::{self, Cell, Images, Sets, Subject};
use crate::error::{Error, Result};
use crate::evaluate::{self, Model};
use crate::loader::{Loader, LoaderSettings, Order};
use crate::report::{self, BeforeAfter, BeforeAfterRow, Better};
use crate::run::{IfThere, RunFolder};
use crate::undo::{self, Job, job};
use crate::views::{Augmentation, Normalize};
use crate::{data, files, progress, train};

/// Trains an encoder far past what its few images bear, diagnoses it, undoes it, and shows what came of it
#[derive(clap::Args)]
#[command(after_help = "The images are generated: shapes whose colour and texture agree with the label in training, \
and no longer do where the encoder is judged.
Example:
  lethe demo --out lethe-demo")]
pub(super) struct Args {
    /// Folder for the run, the diagnosis, the repaired encoder and report.html
    #[arg(long, value_name = "DIR", default_value = "lethe-demo")]
    out: PathBuf,
    /// Epochs of pre-training
    #[arg(long, value_name = "N", default_value_t = 400)]
    epochs: u32,
    /// Images to pre-train on
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(64..))]
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

const BATCH_SIZE: usize = 64;
const SIZE: u32 = 32;
/// Checkpoints that are kept and diagnosed.
const CHECKPOINTS: u32 = 5;
const UNDO_EPOCHS: u32 = 20;
/// Labelled images that the protocols learn from, and those they are asked about.
const BANK: u32 = 2000;
const TEST: u32 = 1000;
const PROTOCOLS: &str = "knn-20,linear";

pub(super) fn run(args: Args) -> Result<()> {
    let threads = args.threads.unwrap_or_else(config::available_threads);
    let out = &args.out;
    let trained_on = shapes(args.images, args.seed, "");
    let config = run_config(&args, &trained_on, threads)?;
    prepare(out, args.overwrite)?;

    progress::say("1/4 pre-training on images whose colour and texture agree with the label");
    let run_path = out.join("run");
    let outcome = train::train(&config, data::open(&trained_on)?, &run_path, IfThere::Overwrite, None)?;

    progress::say("2/4 diagnosing every stage of every checkpoint, on those images and on unseen ones");
    let train_images = images(&trained_on)?;
    let unseen_images = images(&shapes(args.images, args.seed + 1000, ""))?;
    let settings = diagnose_settings(args.seed, threads);
    let sets = Sets { train: &train_images, unseen: Some(&unseen_images), transfer: None };
    let diagnosis = diagnose::diagnose(&Subject::of_run(&RunFolder::open(&run_path)?)?, &sets, &settings)?.diagnosis;
    files::write_json(&out.join("diagnosis.json"), &diagnosis)?;

    progress::say("3/4 undoing: the last stages are trained further, the early ones stay");
    let repair =
        undo::Settings { epochs: UNDO_EPOCHS, batch_size: BATCH_SIZE, seed: args.seed, ..undo::Settings::default() };
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
        unseen: None,
    })?;

    progress::say("4/4 judging both encoders on unseen images");
    let both = [outcome.checkpoint, undone.checkpoint];
    let subjects: Vec<Subject> = both.iter().cloned().map(Subject::File).collect();
    let gaps = diagnose::diagnose(&subjects, &sets, &settings)?.diagnosis;
    let mut rows = memorisation_rows(&gaps.stages, &gaps.cells);
    for (where_, test) in [
        ("unseen, correlation kept", shapes(TEST, args.seed + 3000, "")),
        ("unseen, correlation broken", shapes(TEST, args.seed + 3000, ",split=test")),
    ] {
        rows.extend(accuracy_rows(&both, args.seed, threads, where_, &test)?);
    }
    let table = super::before_after(&rows);
    let verdict = verdict(&gaps.cells, &rows);
    let before_after = BeforeAfter { rows };
    files::write_json(&out.join("before_after.json"), &before_after)?;
    let page = report::write(out)?;

    if args.json {
        let report = page.display().to_string();
        return super::print_json(&json!({
            "summary": diagnosis.summary, "rows": before_after.rows, "verdict": verdict, "report": report,
        }));
    }
    super::print(&diagnosis.summary)?;
    super::print(&table)?;
    super::print(&verdict)?;
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

fn shapes(n: u32, seed: u64, more: &str) -> String {
    format!("shapes:n={n},size={SIZE},seed={}{more}", seed + 1)
}

fn run_config(args: &Args, trained_on: &str, threads: usize) -> Result<RunConfig> {
    let mut given = toml::toml! {
        method = "simclr"
        encoder = "resnet18-w16"
        optimizer = "adamw"
        lr = 4e-3
        weight_decay = 1e-4
        warmup_epochs = 10

        [method_settings]
        proj_hidden_dim = 256
        proj_output_dim = 64
    };
    given.insert("data".into(), trained_on.into());
    given.insert("epochs".into(), i64::from(args.epochs).into());
    given.insert("batch_size".into(), (BATCH_SIZE as i64).into());
    given.insert("threads".into(), (threads as i64).into());
    given.insert("seed".into(), (args.seed as i64).into());
    given.insert("save_every".into(), i64::from((args.epochs / CHECKPOINTS).max(1)).into());
    RunConfig::resolve(given, None, data::open)
}

fn images(spec: &str) -> Result<Images> {
    Ok(Images { spec: spec.to_owned(), dataset: data::open(spec)? })
}

fn diagnose_settings(seed: u64, threads: usize) -> diagnose::Settings {
    diagnose::Settings {
        images: 2000,
        eps2: 0.5,
        seed,
        image_size: None,
        normalize: None,
        reference: None,
        augmentation: None,
        draws: diagnose::DRAWS,
        fisher: false,
        batch_size: 256,
        threads,
        device: Device::Cpu,
    }
}

/// The gap and the class dR of the last stage; `cells` are those of the encoder before, then of that after.
fn memorisation_rows(stages: &[String], cells: &[Cell]) -> Vec<BeforeAfterRow> {
    let mut rows = Vec::new();
    for (i, stage) in stages.iter().enumerate().rev().take(2).rev() {
        let (before, after) = (&cells[i], &cells[stages.len() + i]);
        let mut push = |what: String, of: &dyn Fn(&Cell) -> Option<f64>, better| {
            if let (Some(before), Some(after)) = (of(before), of(after)) {
                rows.push(BeforeAfterRow { what, before, after, interval: None, unit: String::new(), better });
            }
        };
        push(format!("memorisation gap, {stage}"), &|cell| cell.memorisation_gap, Better::Lower);
        let class_rate = |side: &diagnose::Side| side.by_class.get("coding_rate_reduction").copied();
        push(
            format!("class dR, training minus unseen, {stage}"),
            &|cell| Some(class_rate(&cell.train)? - class_rate(cell.unseen.as_ref()?)?),
            Better::Lower,
        );
    }
    rows
}

fn accuracy_rows(
    both: &[PathBuf; 2],
    seed: u64,
    threads: usize,
    where_: &str,
    test: &str,
) -> Result<Vec<BeforeAfterRow>> {
    let protocols = evaluate::choose_protocols(PROTOCOLS)?;
    let bank = shapes(BANK, seed + 2000, "");
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
        scores.extend(evaluate::evaluate(&model, &plain(&bank)?, &plain(test)?, &stages, &protocols)?);
    }
    let row = |protocol: &&str| BeforeAfterRow {
        what: format!("{protocol}, {where_}"),
        before: scores[0].accuracy[*protocol],
        after: scores[1].accuracy[*protocol],
        interval: None,
        unit: "%".into(),
        better: Better::Higher,
    };
    Ok(PROTOCOLS.split(',').collect::<Vec<_>>().iter().map(row).collect())
}

/// Whether it helped, as far as one seed can tell: a change of accuracy counts beyond two standard errors of a
/// difference of proportions, one of the gap where the two intervals do not meet.
fn verdict(cells: &[Cell], rows: &[BeforeAfterRow]) -> String {
    let last = cells.len() / 2 - 1;
    let gap = match (cells[last].gap_interval, cells[cells.len() - 1].gap_interval) {
        (Some([low, _]), Some([_, high])) if high < low => "UMM took memorisation away in the last stage",
        (Some([_, high]), Some([low, _])) if low > high => "UMM added memorisation in the last stage",
        _ => "UMM did not measurably change memorisation in the last stage",
    };
    let broken = rows.iter().filter(|row| row.what.contains("broken"));
    let changes: Vec<String> = broken
        .map(|row| {
            let variance = |p: f64| p * (1.0 - p) / f64::from(TEST);
            let room = 2.0 * (variance(row.before) + variance(row.after)).sqrt();
            let says = match row.after - row.before {
                change if change > room => "better",
                change if change < -room => "worse",
                _ => "not measurably different",
            };
            format!("{} {says}", row.what.split(',').next().unwrap_or_default())
        })
        .collect();
    format!("{gap}; where the correlation is broken: {}. One seed is a hint, not a result.", changes.join(", "))
}
