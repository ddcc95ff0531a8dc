//! `lethe measure`: the measures of any features from any tool.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use lethe_measures::{Cost, Groups, MEASURES, Measure, MeasureError, Needs, Rows};
use ndarray::Array2;
use serde::Serialize;

use super::{print, print_json, table};
use crate::error::{Error, Result};
use crate::feature_file;
use crate::progress::{self, Progress};

/// Measures features from any tool, without labels or with them
#[derive(clap::Args)]
#[command(after_help = "Example:
  lethe measure features.npy --labels labels.npy
  lethe measure features.safetensors --key stage4 --json

An .npy holds a 2-D array, a row an image. Of a safetensors file every 2-D float tensor is measured, and its 1-D \
integer tensor `labels` gives the classes. Coding rates are in nats, of rows scaled to unit length; compare them, and \
LiDAR, only at equal eps2, rows and columns. All rows are measured, never a sample of them: a measure that would take \
very long is left out with the reason unless --costly asks for it.")]
pub(super) struct Args {
    /// Features: .npy or safetensors
    #[arg(value_name = "FILE", required_unless_present = "list")]
    file: Option<PathBuf>,
    /// List the measures, with what they need, and end
    #[arg(long)]
    list: bool,
    /// Class labels: an .npy of integers, one a row; groups the rows of the compressed rate
    #[arg(long, value_name = "L.npy", conflicts_with = "pairs")]
    labels: Option<PathBuf>,
    /// Row i and row i + n/2 are two views of an image
    #[arg(long)]
    pairs: bool,
    /// Only these measures: names as in the table, with commas between [default: all]
    #[arg(long, value_name = "NAMES")]
    only: Option<String>,
    /// Squared precision of the coding rate
    #[arg(long, default_value_t = 0.5, value_parser = super::positive)]
    eps2: f64,
    /// Also take what takes very long: uniformity and dimensions of very many rows
    #[arg(long)]
    costly: bool,
    /// Only this tensor of a safetensors file
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

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
    /// Of an `.npy`, or of the tensor that `--key` chose.
    One(Measured),
    /// Of a safetensors file.
    Named { tensors: IndexMap<String, Measured> },
}

/// The measures of one matrix, of all its `n` rows; those that it does not allow are null, with a reason in `skipped`.
/// `variants` says what stands behind a number whose paper leaves something open.
#[derive(Serialize)]
struct Measured {
    n: usize,
    d: usize,
    measures: IndexMap<&'static str, Option<f64>>,
    variants: IndexMap<&'static str, &'static str>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    skipped: IndexMap<&'static str, String>,
}

pub(super) fn run(args: Args) -> Result<()> {
    match &args.file {
        Some(file) if !args.list => of_file(&args, file),
        _ => list(args.json),
    }
}

fn list(json: bool) -> Result<()> {
    let row = |m: &Measure| [m.name, m.title, m.needs.shown(), m.cost.shown(), m.paper];
    let header = ["measure", "title", "needs", "cost", "paper"];
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

fn of_file(args: &Args, file: &Path) -> Result<()> {
    let features = feature_file::read(file, args.key.as_deref())?;
    let labels = match &args.labels {
        Some(path) => Some(feature_file::read_labels(path)?),
        None => features.labels.filter(|_| !args.pairs),
    };
    let (groups, groups_name) = match &labels {
        Some(labels) => (Groups::Labels(labels), Some("labels")),
        None if args.pairs => (Groups::Pairs, Some("pairs")),
        None => (Groups::None, None),
    };
    let asked = asked(args, groups)?;
    let asked_in_all = asked.len() * features.matrices.len();
    let progress = Progress::new("measuring", "measures", asked_in_all as u64);
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
    if !args.json {
        return print_table(args, file, groups_name, &measured);
    }
    let content = match measured.len() {
        1 if args.key.is_some() || measured.contains_key("") => {
            Content::One(measured.swap_remove_index(0).expect("one").1)
        }
        _ => Content::Named { tensors: measured },
    };
    print_json(&Report { file: &file.to_string_lossy(), eps2: args.eps2, groups: groups_name, content })
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
            .hint(if measure.needs == Needs::Pairs { "--pairs" } else { "--labels L.npy, or --pairs" })),
        None => Ok(asked),
    }
}

/// A matrix that is broken fails as a whole; one that is too small or too plain for a measure goes without it.
fn measure(
    matrix: &Array2<f64>,
    groups: Groups,
    asked: &[&Measure],
    args: &Args,
    progress: &Progress,
) -> std::result::Result<Measured, MeasureError> {
    let mut rows = Rows::new(matrix.view(), groups, args.eps2)?;
    let (n, d) = matrix.dim();
    let of_pairs = |m: &&&Measure| m.cost == Cost::Pairs && (args.costly || m.cost.affordable(n, d));
    let of_pairs: Vec<&str> = asked.iter().filter(of_pairs).map(|measure| measure.name).collect();
    if of_pairs.len() > 1 {
        rows = rows.in_one_pass(of_pairs.contains(&"silhouette"));
    }
    let mut measured =
        Measured { n, d, measures: IndexMap::new(), variants: IndexMap::new(), skipped: IndexMap::new() };
    for measure in asked {
        let value = match too_costly(measure, n, d).filter(|_| !args.costly) {
            Some(reason) => Err(reason),
            None => (measure.of)(&rows).map_err(|error| error.to_string()),
        };
        progress.advance(1);
        match &value {
            Ok(_) if measure.variant.is_empty() => {}
            Ok(_) => drop(measured.variants.insert(measure.name, measure.variant)),
            Err(reason) => drop(measured.skipped.insert(measure.name, reason.clone())),
        }
        measured.measures.insert(measure.name, value.ok());
    }
    Ok(measured)
}

fn too_costly(measure: &Measure, n: usize, d: usize) -> Option<String> {
    let multiplications = measure.cost.multiplications(n, d);
    (!measure.cost.affordable(n, d))
        .then(|| format!("{n} rows of {d} take about {multiplications:.0e} multiplications; --costly takes it"))
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

fn print_table(args: &Args, file: &Path, groups: Option<&str>, measured: &IndexMap<String, Measured>) -> Result<()> {
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
        table.add_row(row(name, &|measured| measured.measures[name].map_or("-".into(), |value| format!("{value:.4}"))));
    }
    print(&format!("{}: eps2 {}, grouped by {}", file.display(), args.eps2, groups.unwrap_or("nothing")))?;
    print(&table.to_string())?;
    for (tensor, measured) in measured {
        let of = if tensor.is_empty() { String::new() } else { format!(" of {tensor}") };
        for (name, reason) in &measured.skipped {
            progress::say(&format!("{name}{of}: {reason}"));
        }
    }
    Ok(())
}
