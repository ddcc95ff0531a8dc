//! `lethe diagnose`: where and when an encoder has memorised.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use indexmap::IndexMap;

use crate::config::RunConfig;
use crate::data::overlap;
use crate::diagnose::{
    self, Cell, Diagnosed, Diagnosis, Estimate, Images, Pooled, Sets, Settings, Side, Subject, epoch_in_name,
};
use crate::error::{At, Error, Result};
use crate::run::RunFolder;
use crate::{data, files, progress, report, views};

use super::images::ImageArgs;

/// Measures every stage of every checkpoint, on training images and on unseen ones
#[derive(clap::Args)]
#[command(after_help = "Example:
  lethe diagnose runs/simclr --unseen cifar/test --out runs/simclr/diagnosis
  lethe diagnose runs/seed-0 runs/seed-1 --unseen cifar/test --out diagnosis
  lethe diagnose epoch-0200.safetensors --data cifar/train@n=5000 --unseen cifar/test --out d")]
pub(super) struct Args {
    /// The folder of a run, for its start and all its checkpoints; several runs, each by itself and in one table of
    /// scores; or checkpoints, oldest first
    #[arg(value_name = "RUN|CKPT", required = true)]
    subjects: Vec<PathBuf>,
    /// The images the encoder was trained on [default: the run's own]
    #[arg(long, value_name = "D")]
    data: Option<String>,
    /// Images of the same kind that it has not seen; without them there is no memorisation gap
    #[arg(long, value_name = "D2")]
    unseen: Option<String>,
    /// Labelled images of another kind, a bank and those to ask about: k-NN accuracy there is a judge too
    #[arg(long, value_name = "BANK ASKED", num_args = 2)]
    transfer: Option<Vec<String>>,
    /// An encoder of the same kind trained in the same way without the training images: SSLMem, stage by stage
    #[arg(long, value_name = "CKPT")]
    reference: Option<PathBuf>,
    /// Folder for diagnosis.json and report.html; of several runs, for scores.json and a folder each
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Most images a side, drawn by the seed
    #[arg(long = "images", value_name = "N", default_value_t = 2000)]
    most_images: usize,
    /// Squared precision of the coding rate
    #[arg(long, default_value_t = 0.5, value_parser = super::positive)]
    eps2: f64,
    /// Recipe of the view pairs [default: the method's own]
    #[arg(long, value_parser = PossibleValuesParser::new(views::RECIPES.iter().map(|recipe| recipe.name)))]
    augmentation: Option<String>,
    /// Pairs of views an image that the gap and membership are the means of: four halve the interval of one
    #[arg(long, value_name = "N", default_value_t = diagnose::DRAWS, value_parser = clap::value_parser!(u32).range(1..))]
    draws: u32,
    /// Also the trace of the Fisher information of the training's loss, stage by stage: backward passes of eight batches
    /// a checkpoint, of checkpoints of Lethe that have their state beside them
    #[arg(long)]
    fisher: bool,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    images: ImageArgs,
    /// Replace an earlier diagnosis in the folder
    #[arg(long)]
    overwrite: bool,
    /// Print diagnosis.json instead of the table
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<()> {
    args.subjects.iter().try_for_each(|path| std::fs::metadata(path).map(drop).at(path))?;
    match args.subjects.as_slice() {
        [folder] if folder.is_dir() => {
            let (subjects, config) = of_run(folder)?;
            one(&args, &subjects, Some(config))
        }
        runs if runs.iter().all(|path| path.is_dir()) => several(&args, runs),
        paths => match paths.iter().find(|path| path.is_dir()) {
            Some(folder) => Err(Error::usage("is a folder among checkpoints")
                .at(folder)
                .hint("name runs only, or checkpoints only")),
            None => {
                let mut files = super::without_states(paths);
                // A shell puts 10 before 2.
                if files.iter().all(|path| epoch_in_name(path).is_some()) {
                    files.sort_by_key(|path| epoch_in_name(path));
                }
                one(&args, &files.into_iter().map(Subject::File).collect::<Vec<_>>(), None)
            }
        },
    }
}

fn one(args: &Args, subjects: &[Subject], config: Option<RunConfig>) -> Result<()> {
    let (Diagnosed { diagnosis, .. }, page) = diagnose(args, subjects, config, &args.out)?;
    if args.json {
        return super::print(&to_json(&diagnosis)?);
    }
    super::print(&table(&diagnosis))?;
    if !diagnosis.choices.is_empty() {
        super::print(&choices(&diagnosis))?;
    }
    super::print(&diagnosis.summary)?;
    super::print(&format!("report: {}", page.display()))
}

/// Every run by itself, in a folder of its name, and the scores of the criteria over all of them.
fn several(args: &Args, runs: &[PathBuf]) -> Result<()> {
    let mut diagnoses = IndexMap::new();
    let subjects = runs.iter().map(|run| Ok((name(run)?, of_run(run)?))).collect::<Result<Vec<_>>>()?;
    if let Some(twice) = (1..subjects.len()).find(|&i| subjects[..i].iter().any(|(name, _)| *name == subjects[i].0)) {
        return Err(Error::usage(format!("two runs are called {}", subjects[twice].0)).hint("rename one folder"));
    }
    for (name, _) in &subjects {
        refuse_existing(&args.out.join(name), DIAGNOSIS, args.overwrite)?;
    }
    refuse_existing(&args.out, SCORES, args.overwrite)?;
    for (name, (subjects, config)) in subjects {
        progress::say(&format!("{name}:"));
        let (diagnosed, page) = diagnose(args, &subjects, Some(config), &args.out.join(&name))?;
        progress::say(&diagnosed.diagnosis.summary);
        progress::say(&format!("report: {}", page.display()));
        diagnoses.insert(name, diagnosed);
    }
    let pooled = diagnose::pool(&diagnoses, args.seed);
    let json = to_json(&pooled)?;
    files::write_atomically(&args.out.join(SCORES), json.as_bytes())?;
    let page = report::write(&args.out)?;
    if args.json {
        return super::print(&json);
    }
    super::print(&scores(&pooled))?;
    for onset in &pooled.onsets {
        let [low, high] = onset.interval;
        super::print(&format!(
            "Onset of the mean gap: {} after epoch {:.0} (95 % interval {low:.0} to {high:.0}, of these runs)",
            onset.stage, onset.epoch
        ))?;
    }
    super::print(&format!("report: {}", page.display()))
}

fn name(run: &Path) -> Result<String> {
    let path = run.canonicalize().at(run)?;
    Ok(path.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|error| Error::failed(error.to_string()))
}

/// Diagnoses one run or list of checkpoints and writes what was found into `out`; gives the page too.
fn diagnose(args: &Args, subjects: &[Subject], config: Option<RunConfig>, out: &Path) -> Result<(Diagnosed, PathBuf)> {
    let spec = args.data.clone().or_else(|| config.as_ref().map(|config| config.data.clone()));
    let spec = spec.ok_or_else(|| {
        Error::usage("--data is missing")
            .hint("name the images the encoder was trained on; only a run folder remembers them")
    })?;
    let device = args.images.start()?;
    let train = open(spec)?;
    let unseen = args.unseen.clone().map(open).transpose()?;
    if let Some(unseen) = &unseen {
        let flag = format!("--unseen {}", unseen.spec);
        overlap::expect_others(train.dataset.as_ref(), unseen.dataset.as_ref(), &flag)?;
    }
    let transfer = args.transfer.iter().flatten().cloned().map(open).collect::<Result<Vec<Images>>>()?;
    let transfer = if let [bank, asked] = transfer.as_slice() { Some([bank, asked]) } else { None };
    let settings = Settings {
        images: args.most_images,
        eps2: args.eps2,
        seed: args.seed,
        image_size: args.images.image_size,
        normalize: args.images.normalize.clone(),
        reference: args.reference.clone(),
        augmentation: args.augmentation.clone().or_else(|| config.map(|config| config.augmentation)),
        draws: args.draws,
        fisher: args.fisher,
        batch_size: args.images.batch_size,
        threads: args.images.threads(),
        device,
    };
    let made = prepare(out, args.overwrite)?;
    let sets = Sets { train: &train, unseen: unseen.as_ref(), transfer };
    let diagnosed = diagnose::diagnose(subjects, &sets, &settings).inspect_err(|_| {
        if made {
            let _ = std::fs::remove_dir(out); // which only takes an empty one
        }
    })?;
    files::write_atomically(&out.join(DIAGNOSIS), to_json(&diagnosed.diagnosis)?.as_bytes())?;
    let page = report::write(out)?;
    Ok((diagnosed, page))
}

const DIAGNOSIS: &str = "diagnosis.json";
const SCORES: &str = "scores.json";

fn open(spec: String) -> Result<Images> {
    Ok(Images { dataset: data::open(&spec)?, spec })
}

fn of_run(folder: &Path) -> Result<(Vec<Subject>, RunConfig)> {
    let hint = "name the --out folder of `lethe pretrain`, or the checkpoints in it one by one, oldest first";
    let run = RunFolder::open(folder).map_err(|error| error.hint(hint))?;
    Ok((Subject::of_run(&run)?, run.read_config()?))
}

/// Makes the folder before the work, so that a forbidden place costs none of it; says whether it is new.
fn prepare(out: &Path, overwrite: bool) -> Result<bool> {
    refuse_existing(out, DIAGNOSIS, overwrite)?;
    let made = !out.exists();
    files::make_folder(out)?;
    files::sweep(out)?;
    Ok(made)
}

fn refuse_existing(out: &Path, name: &str, overwrite: bool) -> Result<()> {
    files::refuse_foreign(&out.join("report.html"), report::is_page)?;
    let path = out.join(name);
    if overwrite {
        let key = if name == SCORES { "scores" } else { "cells" };
        let ours = |json: serde_json::Value| !json[key].is_null();
        return files::refuse_foreign(&path, |content| serde_json::from_slice(content).is_ok_and(ours));
    }
    if !path.exists() {
        return Ok(());
    }
    Err(Error::usage("there is a diagnosis in this folder already")
        .at(out)
        .hint("--overwrite replaces it, or choose another --out"))
}

/// A line a stage and checkpoint, stages outermost: how a stage changes is read downwards.
fn table(diagnosis: &Diagnosis) -> String {
    let header =
        ["stage", "checkpoint", "gap", "95 % interval", "class dR", "unseen", "knn-20", "unseen", "linear", "unseen"];
    let mut table = super::table(&header);
    for stage in &diagnosis.stages {
        for cell in diagnosis.cells.iter().filter(|cell| cell.stage == *stage) {
            table.add_row(row(diagnosis, cell));
        }
    }
    table.to_string()
}

fn row(diagnosis: &Diagnosis, cell: &Cell) -> Vec<String> {
    let number = |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
    let mut row = vec![
        cell.stage.clone(),
        diagnosis.checkpoint_name(cell.checkpoint),
        number(cell.memorisation_gap, 4),
        cell.gap_interval.map_or("-".into(), |[low, high]| format!("{low:.4} .. {high:.4}")),
    ];
    let of = |side: Option<&Side>, find: &dyn Fn(&Side) -> Option<f64>, digits| number(side.and_then(find), digits);
    let (train, unseen) = (Some(&cell.train), cell.unseen.as_ref());
    for side in [train, unseen] {
        row.push(of(side, &|side| side.by_class.get("coding_rate_reduction").copied(), 3));
    }
    for protocol in ["knn-20", "linear"] {
        for side in [train, unseen] {
            row.push(of(side, &|side| side.accuracy.get(protocol).copied(), 4));
        }
    }
    row
}

/// A line a criterion: what it keeps, and what that misses where labels tell.
fn choices(diagnosis: &Diagnosis) -> String {
    let mut table = super::table(&[
        "keep by",
        "checkpoint",
        "earliest as good",
        "gap spared",
        "epochs off",
        "k-NN lost",
        "Kendall",
    ]);
    for choice in &diagnosis.choices {
        let earliest = choice.earliest.as_ref();
        let judged = choice.by_knn();
        table.add_row([
            choice.criterion.clone() + if choice.needs_labels { " (labels)" } else { "" },
            diagnosis.checkpoint_name(choice.checkpoint),
            earliest.map_or("-".into(), |earliest| diagnosis.checkpoint_name(earliest.checkpoint)),
            interval(earliest.map(|earliest| earliest.spared), 4),
            judged.map_or("-".into(), |judged| format!("{:+.0}", judged.epochs)),
            interval(judged.map(|judged| judged.regret), 3),
            interval(judged.and_then(|judged| judged.kendall), 2),
        ]);
    }
    table.to_string()
}

fn scores(pooled: &Pooled) -> String {
    let mut table = super::table(&["criterion", "against", "runs", "epochs off", "lost", "Kendall", "Spearman"]);
    for score in &pooled.scores {
        table.add_row([
            score.criterion.clone(),
            score.truth.clone(),
            score.runs.to_string(),
            format!("{:.1}", score.epochs),
            format!("{:.4}", score.regret),
            interval(score.kendall, 2),
            interval(score.spearman, 2),
        ]);
    }
    table.to_string()
}

fn interval(estimate: Option<Estimate>, digits: usize) -> String {
    estimate.map_or("-".into(), |Estimate { value, low, high }| {
        format!("{value:.digits$} ({low:.digits$} .. {high:.digits$})")
    })
}
