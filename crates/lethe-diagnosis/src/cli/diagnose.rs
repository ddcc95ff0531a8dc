//! `lethe diagnose`: what the diagnosis of encoders and that of feature files share, and the latter.

use std::path::{Path, PathBuf};

use lethe_data::error::{Error, Result};
use lethe_data::files;
use lethe_measures::Estimate;

use super::{print, table, to_json};
use crate::feature_files::{self, FromFiles};
use crate::{Cell, Diagnosed, Diagnosis, Pooled, Relation, Side, report, words};

pub const DIAGNOSIS: &str = "diagnosis.json";
pub const SCORES: &str = "scores.json";
pub const IMAGES: &str = "images.csv";

/// Diagnoses feature files of any tool
#[derive(clap::Args)]
#[command(after_help = "Example:
  lethe-diagnosis diagnose --features epoch-0.npz epoch-50.npz epoch-100.npz --out diagnosis

A file a checkpoint, .safetensors or .npz. Arrays: train.views.STAGE and unseen.views.STAGE [q, n, d]; optional \
train.plain.STAGE and unseen.plain.STAGE [n, d], labels, names, digests. The file of epoch 0 is the control.")]
pub struct Args {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    common: Common,
}

/// Feature files.
#[derive(clap::Args)]
pub struct Files {
    /// Feature files of any tool, one for each checkpoint (.safetensors, .npz)
    #[arg(long, value_name = "F", num_args = 1..)]
    pub features: Vec<PathBuf>,
    /// A feature file of an encoder that never saw the images [default: the file of epoch 0]
    #[arg(long, value_name = "F", requires = "features", conflicts_with = "no_control")]
    pub control: Option<PathBuf>,
}

/// Flags of every diagnosis.
#[derive(clap::Args)]
pub struct Common {
    /// Folder for diagnosis.json, report.html and images.csv
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The two sides are a random split of one set
    #[arg(long)]
    pub random_split: bool,
    /// No control: the answer then is at most "it memorises, or the two sides differ"
    #[arg(long)]
    pub no_control: bool,
    /// Go on with up to N images that are on both sides; they are left out [default: 1 % of a side]
    #[arg(long, value_name = "N")]
    pub allow_overlap: Option<usize>,
    /// How many points of view retrieval the kept checkpoint may be worse than the best
    #[arg(long, value_name = "POINTS", default_value_t = 3.0, value_parser = super::positive)]
    pub margin: f64,
    /// Squared precision of the coding rate
    #[arg(long, default_value_t = 0.5, value_parser = super::positive)]
    pub eps2: f64,
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Replace an earlier diagnosis in the folder
    #[arg(long)]
    pub overwrite: bool,
    /// Print diagnosis.json instead of the table
    #[arg(long)]
    pub json: bool,
}

impl Common {
    /// The margin as a share, and what else the numbers depend on.
    pub fn settings(&self) -> crate::Settings {
        crate::Settings { eps2: self.eps2, margin: self.margin / 100.0, seed: self.seed }
    }

    /// What the user says of the sides, else what is known.
    pub fn relation(&self, known: Relation) -> Relation {
        if self.random_split { Relation::RandomSplit } else { known }
    }
}

/// # Errors
/// Those of the files, and a folder that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    if args.files.features.is_empty() {
        return Err(Error::usage("--features is missing").hint("name a feature file for each checkpoint"));
    }
    of_files(&args.files, &args.common)
}

/// Diagnoses feature files.
///
/// # Errors
/// As [`run`].
pub fn of_files(files: &Files, common: &Common) -> Result<()> {
    let input = FromFiles {
        features: &files.features,
        control: files.control.as_deref(),
        no_control: common.no_control,
        random_split: common.random_split,
        allow_overlap: common.allow_overlap,
        settings: common.settings(),
    };
    let folder = OutFolder::prepare(&common.out, DIAGNOSIS, common.overwrite)?;
    let diagnosed = folder.keep_if(feature_files::diagnose(&input))?;
    let page = write(&diagnosed, &common.out)?;
    show(&diagnosed.diagnosis, &page, common.json)
}

/// The folder of a diagnosis, made before the work, so that a forbidden place costs none of it.
pub struct OutFolder<'a> {
    path: &'a Path,
    made: bool,
}

impl<'a> OutFolder<'a> {
    /// # Errors
    /// When something else is there, or the folder cannot be written.
    pub fn prepare(path: &'a Path, name: &str, overwrite: bool) -> Result<Self> {
        refuse_existing(path, name, overwrite)?;
        let made = !path.exists();
        files::make_folder(path)?;
        files::sweep(path)?;
        Ok(Self { path, made })
    }

    /// Removes the folder after a failure, where it is new and empty.
    ///
    /// # Errors
    /// The failure.
    pub fn keep_if<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|_| {
            if self.made {
                let _ = std::fs::remove_dir(self.path); // which only takes an empty one
            }
        })
    }
}

/// # Errors
/// When an earlier diagnosis, or a file of others, would be written over.
pub fn refuse_existing(out: &Path, name: &str, overwrite: bool) -> Result<()> {
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

/// Writes `diagnosis.json`, `images.csv` and the page; gives the page's path.
///
/// # Errors
/// When a file cannot be written.
pub fn write(diagnosed: &Diagnosed, out: &Path) -> Result<PathBuf> {
    if let Some(images) = &diagnosed.images {
        images.write_csv(&out.join(IMAGES))?;
    }
    files::write_atomically(&out.join(DIAGNOSIS), to_json(&diagnosed.diagnosis)?.as_bytes())?;
    report::write(out)
}

/// Prints what was found.
///
/// # Errors
/// When stdout cannot be written.
pub fn show(diagnosis: &Diagnosis, page: &Path, json: bool) -> Result<()> {
    if json {
        return print(&to_json(diagnosis)?);
    }
    print(&numbers(diagnosis))?;
    if !diagnosis.choices.is_empty() {
        print(&choices(diagnosis))?;
    }
    print(&diagnosis.summary)?;
    print(&format!("report: {}", page.display()))
}

/// A line for each stage and checkpoint, stages outermost: how a stage changes is read downwards.
fn numbers(diagnosis: &Diagnosis) -> String {
    let header = [
        "stage",
        "checkpoint",
        "membership AUC",
        "above control",
        "relative gap",
        "seen",
        "knn-20",
        "unseen",
        "linear",
        "unseen",
    ];
    let mut table = table(&header);
    for stage in &diagnosis.stages {
        for cell in diagnosis.cells.iter().filter(|cell| cell.stage == *stage) {
            table.add_row(row(diagnosis, cell));
        }
    }
    table.to_string()
}

fn row(diagnosis: &Diagnosis, cell: &Cell) -> Vec<String> {
    let found = cell.memorisation.as_ref();
    let seen = match diagnosis.is_seen(cell) {
        true => "yes",
        false if diagnosis.checkpoints[cell.checkpoint].is_untrained() => "untrained",
        false => "no",
    };
    let mut row = vec![
        cell.stage.clone(),
        diagnosis.checkpoint_name(cell.checkpoint),
        interval(found.map(|found| found.membership), 3),
        interval(cell.membership_above_control, 3),
        interval(found.and_then(|found| found.relative_gap), 3),
        found.map_or("-", |_| seen).to_owned(),
    ];
    for protocol in ["knn-20", "linear"] {
        for side in [Some(&cell.train), cell.unseen.as_ref()] {
            let accuracy = side.and_then(|side: &Side| side.accuracy.get(protocol));
            row.push(accuracy.map_or("-".into(), |accuracy| format!("{accuracy:.4}")));
        }
    }
    row
}

/// A line for each criterion: what it keeps, and what that misses where labels tell.
fn choices(diagnosis: &Diagnosis) -> String {
    let header =
        ["keep by", "best", "earliest as good", "how much worse", "gap spared", "epochs off", "k-NN lost", "Kendall"];
    let mut table = table(&header);
    for choice in &diagnosis.choices {
        let earliest = choice.earliest.as_ref();
        let judged = choice.by_knn();
        table.add_row([
            choice.criterion.clone() + if choice.needs_labels { " (labels)" } else { "" },
            diagnosis.checkpoint_name(choice.checkpoint),
            earliest.map_or("-".into(), |earliest| diagnosis.checkpoint_name(earliest.checkpoint)),
            interval(earliest.map(|earliest| earliest.loss), 3),
            interval(earliest.and_then(|earliest| earliest.spared), 4),
            judged.map_or("-".into(), |judged| format!("{:+.0}", judged.epochs)),
            interval(judged.map(|judged| judged.regret), 3),
            interval(judged.and_then(|judged| judged.kendall), 2),
        ]);
    }
    table.to_string()
}

/// The scores of the criteria over several runs, and the onsets of their mean gap.
pub fn pooled(pooled: &Pooled) -> String {
    let mut table = table(&["criterion", "against", "runs", "epochs off", "lost", "Kendall", "Spearman"]);
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
    let onsets = pooled.onsets.iter().map(|onset| format!("\n{}", words::onset_of_runs(onset)));
    table.to_string() + &onsets.collect::<String>()
}

fn interval(estimate: Option<Estimate>, digits: usize) -> String {
    estimate.map_or("-".into(), |Estimate { value, low, high }| {
        format!("{value:.digits$} ({low:.digits$} to {high:.digits$})")
    })
}
