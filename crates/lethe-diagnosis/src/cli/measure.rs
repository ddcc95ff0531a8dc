//! `lethe measure`: the measures of any features from any tool, and the memorisation numbers of two arrays of views.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use lethe_data::error::{Error, Result};
use lethe_data::feature_file;
use lethe_data::progress::{self, Progress};
use lethe_measures::{
    self as measures, Copies, Estimate, Groups, LEAST_IMAGES_FOR_A_VERDICT, MEASURES, Measure, MeasureError,
    Memorisation, Needs, Rows, StageViews, TruePositives, affordable, memorisation,
};
use ndarray::Array2;
use serde::Serialize;

use super::{print, print_json, table};

/// Measures features from any tool, or tells training images from unseen ones by views of both
#[derive(clap::Args)]
#[command(after_help = "Example:
  lethe measure features.npy --labels labels.npy
  lethe measure features.safetensors --key stage4 --json
  lethe measure train-views.npy --against unseen-views.npy

A file is .npy, .npz or safetensors. Every 2-D float array [n, d] is measured, a row an image; a 1-D integer array `labels` \
gives the classes. Coding rates are in nats, of rows scaled to unit length; compare them, and LiDAR, only at equal \
eps2, rows and columns. All rows are measured, never a sample of them. Measures that would take long are left out with \
the reason, decided by rows and columns alone; --costly takes all, --only NAME takes the named ones.

With --against both files hold random views [q, n, d] of n images: the AUC of telling the first file's images from the \
second's, the gap and its parts, each with a 95 % interval.")]
pub struct Args {
    /// Features: .npy, .npz or safetensors
    #[arg(value_name = "FILE", required_unless_present = "list")]
    file: Option<PathBuf>,
    /// List the measures, with what they need, and end
    #[arg(long)]
    list: bool,
    /// Views of images that the encoder has not seen; FILE then holds views of training images
    #[arg(long, value_name = "UNSEEN", conflicts_with_all = ["labels", "pairs", "only", "eps2", "costly"])]
    against: Option<PathBuf>,
    /// With --against: rows of a 2-D array are images of Q rows each, one image after another
    #[arg(long, value_name = "Q", requires = "against")]
    views: Option<usize>,
    /// Class labels: an .npy of integers, one a row; groups the rows of the compressed rate
    #[arg(long, value_name = "L.npy", conflicts_with = "pairs")]
    labels: Option<PathBuf>,
    /// Row i and row i + n/2 are two views of an image
    #[arg(long)]
    pairs: bool,
    /// Only these measures, at any cost: names as in the table, with commas between [default: all that take little]
    #[arg(long, value_name = "NAMES")]
    only: Option<String>,
    /// Squared precision of the coding rate [default: 0.5]
    #[arg(long, value_parser = super::positive)]
    eps2: Option<f64>,
    /// Take all measures, also those that take long
    #[arg(long, conflicts_with = "only")]
    costly: bool,
    /// Only this array of a safetensors file or .npz
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EPS2: f64 = 0.5;

#[derive(Serialize)]
struct Report<'a> {
    file: &'a str,
    eps2: f64,
    groups: Option<&'static str>,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content {
    /// The matrix of an `.npy`, or of the array that `--key` chose.
    One(Box<Measured>),
    /// The matrices of a file that names them.
    Named { tensors: IndexMap<String, Measured> },
}

/// The measures of one matrix, of all its `n` rows; those that it does not allow are null, with a reason in `skipped`.
/// `variants` says what stands behind a number whose paper leaves something open.
#[derive(Serialize)]
struct Measured {
    n: usize,
    d: usize,
    /// Rows that equal an earlier row, and rows that are nearly equal to one.
    copied_rows: usize,
    nearly_copied_rows: usize,
    measures: IndexMap<&'static str, Option<f64>>,
    /// The most that a rank of so many rows and columns can be.
    ceilings: IndexMap<&'static str, usize>,
    variants: IndexMap<&'static str, &'static str>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    skipped: IndexMap<&'static str, String>,
}

/// # Errors
/// Those of the files; measures that are not known, or that the file does not allow.
pub fn run(args: Args) -> Result<()> {
    match (&args.file, &args.against) {
        (Some(file), Some(unseen)) if !args.list => against(&args, file, unseen),
        (Some(file), None) if !args.list => of_file(&args, file),
        _ => list(args.json),
    }
}

fn list(json: bool) -> Result<()> {
    let row = |m: &Measure| [m.name.to_owned(), m.title.to_owned(), m.needs.shown(), m.paper.to_owned()];
    let header = ["measure", "title", "needs", "paper"];
    if json {
        let rows = MEASURES.iter().map(|m| header.into_iter().zip(row(m)).collect::<IndexMap<_, _>>());
        return print_json(&rows.collect::<Vec<_>>());
    }
    let mut table = table(&header);
    for measure in MEASURES {
        table.add_row(row(measure));
    }
    print(&table.to_string())
}

/// The memorisation numbers of two arrays.
#[derive(Serialize)]
struct Against {
    train: String,
    unseen: String,
    views: usize,
    train_images: usize,
    unseen_images: usize,
    d: usize,
    #[serde(flatten)]
    numbers: Memorisation,
    /// Why no verdict may be drawn from them.
    #[serde(skip_serializing_if = "Option::is_none")]
    doubt: Option<String>,
}

fn against(args: &Args, train: &Path, unseen: &Path) -> Result<()> {
    let [own, other] = [train, unseen].map(|path| feature_file::read_views(path, args.key.as_deref(), args.views));
    let (own, other) = (own?, other?);
    let views = StageViews::new(own.view(), other.view())
        .map_err(|error| explain(error).of(&format!("{} against {}", train.display(), unseen.display())))?;
    let (distances, retrieval) = (views.distances(), views.retrieval(0));
    if distances.train == distances.unseen {
        return Err(Error::usage("both files hold the same views").at(unseen).hint("give views of unseen images"));
    }
    let cell = measures::Cell { distances: &distances, retrieval: Some(&retrieval) };
    let images = views.images();
    let numbers = memorisation(&[cell], images[0] == images[1], 0).map_err(explain)?[0];
    let least = images[0].min(images[1]);
    let found = Against {
        train: train.display().to_string(),
        unseen: unseen.display().to_string(),
        views: views.views(),
        train_images: images[0],
        unseen_images: images[1],
        d: own.dim().2,
        numbers,
        doubt: (least < LEAST_IMAGES_FOR_A_VERDICT).then(|| {
            format!("{least} images of a side are too few for a verdict, which needs {LEAST_IMAGES_FOR_A_VERDICT}")
        }),
    };
    if args.json {
        return print_json(&found);
    }
    let mut shown = table(&["", "value", "95 % interval"]);
    let mut add = |name: &str, estimate: Option<Estimate>| {
        let Some(Estimate { value, low, high }) = estimate else { return };
        shown.add_row([name.to_owned(), format!("{value:.4}"), format!("{low:.4} to {high:.4}")]);
    };
    add("membership", Some(numbers.membership));
    match numbers.true_positives {
        TruePositives::At1Percent(found) => add("true_positives_at_1_percent", Some(found)),
        TruePositives::At10Percent(found) => add("true_positives_at_10_percent", Some(found)),
        TruePositives::TooFew { .. } => {}
    }
    add("memorisation_gap", Some(numbers.memorisation_gap));
    add("relative_gap", numbers.relative_gap);
    add("d_train", Some(numbers.d_train));
    add("d_unseen", Some(numbers.d_unseen));
    add("d_between", Some(numbers.d_between));
    add("retrieval_gap", numbers.retrieval_gap);
    print(&format!(
        "{} views of {} training and {} unseen images, {} columns",
        found.views, images[0], images[1], found.d
    ))?;
    print(&shown.to_string())?;
    if let Some(doubt) = &found.doubt {
        print(&format!("Too few images: {doubt}."))?;
    }
    print("There is no control: an AUC above 0.5 says that the encoder memorises, or that the two sides differ.")
}

fn of_file(args: &Args, file: &Path) -> Result<()> {
    let features = feature_file::read(file, args.key.as_deref())?;
    let labels = match &args.labels {
        Some(path) => Some(feature_file::read_labels(path)?),
        None => features.labels.filter(|_| !args.pairs),
    };
    let (groups, groups_name) = match &labels {
        Some(labels) => (Groups::Labels(labels), Some("labels")),
        None if args.pairs => (Groups::Views(2), Some("pairs")),
        None => (Groups::None, None),
    };
    let asked = asked(args, groups)?;
    let progress = Progress::new("measuring", "measures", (asked.len() * features.matrices.len()) as u64);
    let mut measured = IndexMap::new();
    for (name, matrix) in features.matrices {
        let place = |error| match name.as_str() {
            "" => explain(error).at(file),
            name => explain(error).at(format!("tensor {name}").as_ref()).at(file),
        };
        let measures = measure(&matrix, groups, &asked, args, &progress).map_err(place)?;
        measured.insert(name, measures);
    }
    progress.finish();
    let eps2 = args.eps2.unwrap_or(EPS2);
    if !args.json {
        return print_table(eps2, file, groups_name, &measured);
    }
    let content = match measured.len() {
        1 if args.key.is_some() || measured.contains_key("") => {
            Content::One(Box::new(measured.swap_remove_index(0).expect("one").1))
        }
        _ => Content::Named { tensors: measured },
    };
    print_json(&Report { file: &file.to_string_lossy(), eps2, groups: groups_name, content })
}

/// The measures that `--only` names, else all that the groups allow.
fn asked(args: &Args, groups: Groups) -> Result<Vec<&'static Measure>> {
    let Some(only) = &args.only else {
        return Ok(MEASURES.iter().filter(|measure| measure.needs.met_by(groups)).collect());
    };
    let names: Vec<&str> = only.split(',').map(str::trim).collect();
    if let Some(unknown) = names.iter().find(|name| MEASURES.iter().all(|measure| measure.name != **name)) {
        return Err(Error::usage(format!("--only: unknown measure {unknown:?}")).hint("lethe measure --list has them"));
    }
    let asked: Vec<&Measure> = MEASURES.iter().filter(|measure| names.contains(&measure.name)).collect();
    match asked.iter().find(|measure| !measure.needs.met_by(groups)) {
        Some(measure) => Err(Error::usage(format!("--only {}: it needs {}", measure.name, measure.needs.shown()))
            .hint(match measure.needs {
                Needs::Views(2) => "--pairs",
                Needs::Views(_) => "`lethe diagnose --features` takes files with more views",
                _ => "--labels L.npy, or --pairs",
            })),
        None => Ok(asked),
    }
}

/// A matrix that is broken fails as a whole; one that is too small or too plain for a measure goes without it.
fn measure(
    matrix: &Array2<f64>,
    groups: Groups,
    asked: &[&'static Measure],
    args: &Args,
    progress: &Progress,
) -> std::result::Result<Measured, MeasureError> {
    let mut rows = Rows::new(matrix.view(), groups, args.eps2.unwrap_or(EPS2))?;
    let (n, d) = matrix.dim();
    let (taken, left) =
        if args.costly || args.only.is_some() { (asked.to_vec(), Vec::new()) } else { affordable(asked, n, d) };
    let names: Vec<&str> = taken.iter().map(|measure| measure.name).collect();
    rows = rows.in_one_pass(names.contains(&"silhouette"));
    let Copies { copied, nearly, .. } = measures::copies(matrix.view())?;
    let mut measured = Measured {
        n,
        d,
        copied_rows: copied,
        nearly_copied_rows: nearly,
        measures: IndexMap::new(),
        ceilings: IndexMap::new(),
        variants: IndexMap::new(),
        skipped: IndexMap::new(),
    };
    for measure in asked {
        let seconds = left.iter().find(|(left, _)| left.name == measure.name).map(|(_, seconds)| *seconds);
        let value = match seconds {
            Some(seconds) => {
                Err(format!("{n} rows of {d} take about {seconds:.0} s; --only {} takes it", measure.name))
            }
            None => (measure.of)(&rows).map_err(|error| error.to_string()),
        };
        progress.advance(1);
        match &value {
            Ok(_) => {
                if !measure.variant.is_empty() {
                    measured.variants.insert(measure.name, measure.variant);
                }
                if let Some(ceiling) = measure.ceiling {
                    measured.ceilings.insert(measure.name, ceiling.of(&rows));
                }
            }
            Err(reason) => drop(measured.skipped.insert(measure.name, reason.clone())),
        }
        measured.measures.insert(measure.name, value.ok());
    }
    Ok(measured)
}

fn explain(error: MeasureError) -> Error {
    let explained = Error::failed(error.to_string());
    match error {
        MeasureError::NonFinite { .. } | MeasureError::TooLarge { .. } => {
            explained.hint("rows and columns count from 0")
        }
        MeasureError::UnevenViews { .. } => explained.hint("--pairs takes row i and row i + n/2 as views of one image"),
        _ => explained,
    }
}

fn print_table(eps2: f64, file: &Path, groups: Option<&str>, measured: &IndexMap<String, Measured>) -> Result<()> {
    let value = |name: &str| if name.is_empty() { "value".to_owned() } else { name.to_owned() };
    let header: Vec<String> =
        std::iter::once("measure".to_owned()).chain(measured.keys().map(|name| value(name))).collect();
    let mut table = table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    let row = |name: &str, cell: &dyn Fn(&Measured) -> String| {
        std::iter::once(name.to_owned()).chain(measured.values().map(cell)).collect::<Vec<_>>()
    };
    table.add_row(row("n", &|measured| measured.n.to_string()));
    table.add_row(row("d", &|measured| measured.d.to_string()));
    for name in measured[0].measures.keys() {
        let cell = |measured: &Measured| {
            let Some(value) = measured.measures[name] else { return "-".into() };
            let most = measured.ceilings.get(name).map_or(String::new(), |most| format!(" of at most {most}"));
            format!("{value:.4}{most}")
        };
        table.add_row(row(name, &cell));
    }
    print(&format!("{}: eps2 {eps2}, grouped by {}", file.display(), groups.unwrap_or("nothing")))?;
    print(&table.to_string())?;
    for (tensor, measured) in measured {
        let of = if tensor.is_empty() { String::new() } else { format!(" of {tensor}") };
        let (copied, nearly) = (measured.copied_rows, measured.nearly_copied_rows);
        if copied + nearly > 0 {
            progress::say(&format!(
                "warning: {copied} rows{of} are copies of another row and {nearly} are nearly so; two_nn and idest \
                 leave them out, all other measures count them"
            ));
        }
        for (name, reason) in &measured.skipped {
            progress::say(&format!("{name}{of}: {reason}"));
        }
    }
    Ok(())
}
