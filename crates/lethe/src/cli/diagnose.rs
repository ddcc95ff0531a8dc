//! `lethe diagnose`: where and when an encoder has memorised.

use std::path::{Path, PathBuf};

use clap::ArgGroup;
use clap::builder::PossibleValuesParser;
use indexmap::IndexMap;
use lethe_diagnosis::cli::diagnose::{
    Common, DIAGNOSIS, Files, OutFolder, SCORES, of_files, pooled, refuse_existing, show, write,
};
use lethe_diagnosis::cli::to_json;
use lethe_diagnosis::{Relation, report};

use crate::config::RunConfig;
use crate::diagnose::{self, Diagnosed, Images, Sets, Settings, Subject, epoch_in_name};
use crate::error::{At, Error, Result};
use crate::run::RunFolder;
use crate::{data, files, progress, views};

use super::images::ImageArgs;

/// What a diagnosis of feature files has no use for: it shows no images to an encoder.
const OF_AN_ENCODER: [&str; 15] = [
    "subjects",
    "data",
    "unseen",
    "transfer",
    "reference",
    "most_images",
    "views",
    "check_copies",
    "augmentation",
    "gradients",
    "normalize",
    "image_size",
    "batch_size",
    "device",
    "threads",
];

/// Tells whether, where and since when an encoder has memorised its training images
#[derive(clap::Args)]
#[command(after_help = "Example:
  lethe diagnose runs/simclr --unseen cifar/test --out runs/simclr/diagnosis
  lethe diagnose runs/seed-0 runs/seed-1 --unseen cifar/test --out diagnosis
  lethe diagnose epoch-0200.safetensors --data cifar/train@n=5000 --unseen cifar/test --out d
  lethe diagnose --features epoch-0.npz epoch-100.npz --out d")]
#[command(group(ArgGroup::new("encoder").args(OF_AN_ENCODER).multiple(true).conflicts_with_all(["features", "control"])))]
pub(super) struct Args {
    /// The folder of a run, for its start and all its checkpoints; several runs, each by itself and in one table of
    /// scores; or checkpoints, oldest first
    #[arg(value_name = "RUN|CKPT", required_unless_present = "features")]
    subjects: Vec<PathBuf>,
    #[command(flatten)]
    files: Files,
    /// The images the encoder was trained on [default: the run's own]
    #[arg(long, value_name = "D")]
    data: Option<String>,
    /// Images that it has not seen [default: those that the run holds out]
    #[arg(long, value_name = "D2")]
    unseen: Option<String>,
    /// Labelled images of another kind, a bank and those to ask about: k-NN accuracy there is a judge too
    #[arg(long, value_name = "BANK ASKED", num_args = 2)]
    transfer: Option<Vec<String>>,
    /// An encoder of the same kind that never saw these images: it is the control, and SSLMem is taken beside it
    #[arg(long, value_name = "CKPT", conflicts_with = "no_control")]
    reference: Option<PathBuf>,
    /// Most images a side, drawn by the seed
    #[arg(long = "images", value_name = "N", default_value_t = 2000)]
    most_images: usize,
    /// Random views of every image
    #[arg(long, value_name = "Q", default_value_t = diagnose::VIEWS, value_parser = super::at_least_two)]
    views: usize,
    /// Training images beyond those of the diagnosis that unseen images are compared with, to find copies: a number, or all
    #[arg(long, value_name = "N|all", default_value = "20000", value_parser = check_copies)]
    check_copies: usize,
    /// Recipe of the views [default: the method's own]
    #[arg(long, value_parser = PossibleValuesParser::new(views::RECIPES.iter().map(|recipe| recipe.name)))]
    augmentation: Option<String>,
    /// Also the squared length of the batch gradient of the training's loss, for each stage: backward passes of eight
    /// batches a checkpoint, for checkpoints of Lethe that have their state beside them
    #[arg(long)]
    gradients: bool,
    #[command(flatten)]
    images: ImageArgs,
    #[command(flatten)]
    common: Common,
}

fn check_copies(text: &str) -> std::result::Result<usize, String> {
    if text == "all" { Ok(usize::MAX) } else { text.parse().map_err(|_| "expected a number, or all".into()) }
}

pub(super) fn run(args: Args) -> Result<()> {
    if !args.files.features.is_empty() {
        return of_files(&args.files, &args.common);
    }
    args.subjects.iter().try_for_each(|path| std::fs::metadata(path).map(drop).at(path))?;
    match args.subjects.as_slice() {
        [folder] if folder.is_dir() => {
            let (subjects, run) = of_run(folder)?;
            one(&args, &subjects, Some(run))
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

fn one(args: &Args, subjects: &[Subject], run: Option<Run>) -> Result<()> {
    let (Diagnosed { diagnosis, .. }, page) = diagnose(args, subjects, run, &args.common.out)?;
    show(&diagnosis, &page, args.common.json)
}

/// Every run by itself, in a folder of its name, and the scores of the criteria over all of them.
fn several(args: &Args, runs: &[PathBuf]) -> Result<()> {
    let mut diagnoses = IndexMap::new();
    let subjects = runs.iter().map(|run| Ok((name(run)?, of_run(run)?))).collect::<Result<Vec<_>>>()?;
    if let Some(twice) = (1..subjects.len()).find(|&i| subjects[..i].iter().any(|(name, _)| *name == subjects[i].0)) {
        return Err(Error::usage(format!("two runs are called {}", subjects[twice].0)).hint("rename one folder"));
    }
    for (name, _) in &subjects {
        refuse_existing(&args.common.out.join(name), DIAGNOSIS, args.common.overwrite)?;
    }
    refuse_existing(&args.common.out, SCORES, args.common.overwrite)?;
    for (name, (subjects, run)) in subjects {
        progress::say(&format!("{name}:"));
        let (diagnosed, page) = diagnose(args, &subjects, Some(run), &args.common.out.join(&name))?;
        progress::say(&diagnosed.diagnosis.summary);
        progress::say(&format!("report: {}", page.display()));
        diagnoses.insert(name, diagnosed);
    }
    let found = diagnose::pool(&diagnoses, args.common.seed);
    let json = to_json(&found)?;
    files::write_atomically(&args.common.out.join(SCORES), json.as_bytes())?;
    let page = report::write(&args.common.out)?;
    if args.common.json {
        return super::print(&json);
    }
    super::print(&pooled(&found))?;
    super::print(&format!("report: {}", page.display()))
}

fn name(run: &Path) -> Result<String> {
    let path = run.canonicalize().at(run)?;
    Ok(path.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

/// Diagnoses one run or list of checkpoints and writes what was found into `out`; gives the page too.
fn diagnose(args: &Args, subjects: &[Subject], run: Option<Run>, out: &Path) -> Result<(Diagnosed, PathBuf)> {
    let spec = args.data.clone().or_else(|| run.as_ref().map(|run| run.training.clone()));
    let spec = spec.ok_or_else(|| {
        Error::usage("--data is missing")
            .hint("name the images the encoder was trained on; only a run folder remembers them")
    })?;
    let device = args.images.start()?;
    let train = open(spec)?;
    let unseen = args.unseen.clone().or_else(|| run.as_ref()?.held_out.clone()).map(open).transpose()?;
    let transfer = args.transfer.iter().flatten().cloned().map(open).collect::<Result<Vec<Images>>>()?;
    let transfer = if let [bank, asked] = transfer.as_slice() { Some([bank, asked]) } else { None };
    let settings = Settings {
        images: args.most_images,
        views: args.views,
        eps2: args.common.eps2,
        margin: args.common.settings().margin,
        seed: args.common.seed,
        image_size: args.images.image_size,
        normalize: args.images.normalize.clone(),
        control: !args.common.no_control,
        reference: args.reference.clone(),
        augmentation: args.augmentation.clone().or_else(|| run.map(|run| run.config.augmentation)),
        gradients: args.gradients,
        copies: diagnose::Copies { check: args.check_copies, allow: args.common.allow_overlap },
        batch_size: args.images.batch_size,
        threads: args.images.threads(),
        device,
    };
    if unseen.is_none() {
        refuse_what_needs_unseen(args)?;
    }
    let folder = OutFolder::prepare(out, DIAGNOSIS, args.common.overwrite)?;
    let known = unseen.as_ref().is_some_and(|unseen| data::is_random_split(&train.spec, &unseen.spec));
    let relation = args.common.relation(if known { Relation::RandomSplit } else { Relation::Unknown });
    let sets = Sets { train: &train, unseen: unseen.as_ref(), transfer, relation };
    let diagnosed = folder.keep_if(diagnose::diagnose(subjects, &sets, &settings))?;
    let page = write(&diagnosed, out)?;
    Ok((diagnosed, page))
}

/// Without unseen images nothing is compared.
fn refuse_what_needs_unseen(args: &Args) -> Result<()> {
    let given = [
        ("--random-split", args.common.random_split),
        ("--no-control", args.common.no_control),
        ("--reference", args.reference.is_some()),
        ("--allow-overlap", args.common.allow_overlap.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Error::usage(format!("{flag} needs unseen images")).hint("name some with --unseen")),
        None => Ok(()),
    }
}

fn open(spec: String) -> Result<Images> {
    Ok(Images { dataset: data::open(&spec)?, spec })
}

/// What the folder of a run knows.
struct Run {
    config: RunConfig,
    /// Specifications of the images it was trained on, and of those it holds out.
    training: String,
    held_out: Option<String>,
}

fn of_run(folder: &Path) -> Result<(Vec<Subject>, Run)> {
    let hint = "name the --out folder of `lethe pretrain`, or the checkpoints in it one by one, oldest first";
    let run = RunFolder::open(folder).map_err(|error| error.hint(hint))?;
    let (config, training, held_out) = (run.read_config()?, run.training_spec()?, run.held_out_spec()?);
    Ok((Subject::of_run(&run)?, Run { config, training, held_out }))
}
