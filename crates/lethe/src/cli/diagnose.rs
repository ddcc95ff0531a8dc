//! `lethe diagnose`: where and when an encoder has memorised.

use std::path::{Path, PathBuf};

use crate::config::RunConfig;
use crate::diagnose::{self, Cell, Diagnosis, Images, Settings, Side, Subject};
use crate::error::{At, Error, Result};
use crate::run::RunFolder;
use crate::{data, files, report};

use super::images::ImageArgs;

/// Measures every stage of every checkpoint, on training images and on unseen ones
#[derive(clap::Args)]
#[command(after_help = "Example:
  lethe diagnose runs/simclr --unseen cifar/test --out runs/simclr/diagnosis
  lethe diagnose epoch-0100.safetensors epoch-0200.safetensors --data cifar/train@n=5000 --unseen cifar/test --out d")]
pub(super) struct Args {
    /// The folder of a run, for its start and all its checkpoints; or checkpoints, oldest first
    #[arg(value_name = "RUN|CKPT", required = true)]
    subjects: Vec<PathBuf>,
    /// The images the encoder was trained on [default: the run's own]
    #[arg(long, value_name = "D")]
    data: Option<String>,
    /// Images of the same kind that it has not seen; without them there is no memorisation gap
    #[arg(long, value_name = "D2")]
    unseen: Option<String>,
    /// Folder for diagnosis.json and report.html
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Most images a side, drawn by the seed
    #[arg(long = "images", value_name = "N", default_value_t = 2000)]
    most_images: usize,
    /// Squared precision of the coding rate
    #[arg(long, default_value_t = 0.5, value_parser = positive)]
    eps2: f64,
    /// Recipe of the view pairs: simclr, byol or vicreg [default: the method's own]
    #[arg(long, value_name = "NAME")]
    augmentation: Option<String>,
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

fn positive(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|&x: &f64| x > 0.0 && x.is_finite()).ok_or_else(|| "expected a positive number".into())
}

pub(super) fn run(args: Args) -> Result<()> {
    let (subjects, config) = subjects(&args.subjects)?;
    let spec = args.data.clone().or_else(|| config.as_ref().map(|config| config.data.clone()));
    let spec = spec.ok_or_else(|| {
        Error::usage("--data is missing")
            .hint("name the images the encoder was trained on; only a run folder remembers them")
    })?;
    if args.unseen.as_ref() == Some(&spec) {
        return Err(Error::usage(format!("--unseen {spec}: these are the training images"))
            .hint("name images of the same kind that the encoder has not seen"));
    }
    let train = open(spec)?;
    let unseen = args.unseen.clone().map(open).transpose()?;
    let settings = Settings {
        images: args.most_images,
        eps2: args.eps2,
        seed: args.seed,
        image_size: args.images.image_size,
        normalize: args.images.normalize.clone(),
        augmentation: args.augmentation.clone().or_else(|| config.map(|config| config.augmentation)),
        batch_size: args.images.batch_size,
        threads: args.images.threads(),
        device: args.images.start()?,
    };
    let made = prepare(&args.out, args.overwrite)?;
    let diagnosis = diagnose::diagnose(&subjects, &train, unseen.as_ref(), &settings).inspect_err(|_| {
        if made {
            let _ = std::fs::remove_dir(&args.out); // which only takes an empty one
        }
    })?;
    let json = serde_json::to_string_pretty(&diagnosis).map_err(|error| Error::failed(error.to_string()))?;
    files::write_atomically(&args.out.join(DIAGNOSIS), json.as_bytes())?;
    let page = report::write(&args.out)?;
    if args.json {
        return super::print(&json);
    }
    super::print(&table(&diagnosis))?;
    super::print(&diagnosis.summary)?;
    super::print(&format!("report: {}", page.display()))
}

const DIAGNOSIS: &str = "diagnosis.json";

fn open(spec: String) -> Result<Images> {
    Ok(Images { dataset: data::open(&spec)?, spec })
}

/// What to diagnose; the configuration where it is a run.
fn subjects(paths: &[PathBuf]) -> Result<(Vec<Subject>, Option<RunConfig>)> {
    paths.iter().try_for_each(|path| std::fs::metadata(path).map(drop).at(path))?;
    match paths.iter().find(|path| path.is_dir()) {
        None => Ok((paths.iter().cloned().map(Subject::File).collect(), None)),
        Some(folder) if paths.len() > 1 => Err(Error::usage("is a folder among several arguments")
            .at(folder)
            .hint("name one run, or checkpoints only")),
        Some(folder) => {
            let run = RunFolder::open(folder)?;
            Ok((Subject::of_run(&run)?, Some(run.read_config()?)))
        }
    }
}

/// Makes the folder before the work, so that a forbidden place costs none of it; says whether it is new.
fn prepare(out: &Path, overwrite: bool) -> Result<bool> {
    if out.join(DIAGNOSIS).exists() && !overwrite {
        return Err(Error::usage("there is a diagnosis in this folder already")
            .at(out)
            .hint("--overwrite replaces it, or choose another --out"));
    }
    let made = !out.exists();
    files::make_folder(out)?;
    files::sweep(out)?;
    Ok(made)
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
