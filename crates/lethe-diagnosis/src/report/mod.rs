//! The page: one HTML file that shows what a run, a diagnosis and a repair found, readable without Lethe or a network.

mod before_after;
mod charts;
mod curves;
mod definitions;
mod gallery;
mod headline;
mod heat;
mod maps;
mod missed;
mod numbers;
mod page;
mod plots;
mod read;
mod tables;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use lethe_data::{Fault, Result, files};
use lethe_measures::Estimate;

use crate::records::{EpochRow, MetricRow, Repaired, Seen, StepRow};
use crate::{Diagnosis, Pooled};

pub use gallery::Gallery;
pub use page::{is_page, page};
pub use read::read_folder;

/// Writes `report.html` about what lies in `folder` into it; gives its path.
///
/// # Errors
/// As [`read_folder`], and when the page cannot be written.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("report.html");
    files::write_atomically(&path, page(&read_folder(folder)?).as_bytes())?;
    Ok(path)
}

/// What a page can show; whatever is absent is left out.
#[derive(Debug, Default)]
pub struct ReportInput {
    pub title: String,
    /// `config.toml`, as it stands.
    pub settings: Option<String>,
    pub metrics: Vec<MetricRow>,
    pub diagnosis: Option<Diagnosis>,
    /// Of the images that the diagnosis names.
    pub gallery: Gallery,
    /// `scores.json`, and the diagnoses that it is made of, by the names of their runs.
    pub pooled: Option<Pooled>,
    pub runs: Vec<(String, Diagnosis)>,
    /// Several repairs in one report are drawn in one chart.
    pub undo: Vec<StepRow>,
    /// What was seen of them on held-out images.
    pub undo_epochs: Vec<EpochRow>,
    /// What a repair changed, on images that chose nothing.
    pub repaired: Option<Repaired>,
    pub before_after: Option<BeforeAfter>,
    /// `evaluation.json`.
    pub evaluation: Option<serde_json::Value>,
    pub bad_samples: Vec<Fault>,
    /// What the reader should know about this input ("the last line of ... is cut off").
    pub notes: Vec<String>,
    /// The files it was read from.
    pub files: Vec<String>,
}

/// `before_after.json`: the same numbers of an encoder before and after `undo`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BeforeAfter {
    pub rows: Vec<BeforeAfterRow>,
}

impl BeforeAfter {
    /// The numbers of the last stage.
    pub fn of(repaired: &Repaired) -> Self {
        let Repaired { before, after, changes } = repaired;
        let row = |what: &str, of: fn(&Seen) -> f64, change: Option<Estimate>, unit: &str, better| BeforeAfterRow {
            what: format!("{what}, last stage"),
            before: of(before),
            after: of(after),
            change,
            unit: unit.into(),
            better,
        };
        let rate = "dR by pair";
        Self {
            rows: vec![
                row("membership AUC", |seen| seen.membership, Some(changes.membership), "", Better::Lower),
                row("relative gap", |seen| seen.relative_gap, Some(changes.relative_gap), "", Better::Lower),
                row(
                    "memorisation gap",
                    |seen| seen.memorisation_gap,
                    Some(changes.memorisation_gap),
                    "",
                    Better::Lower,
                ),
                row(
                    "distance of views, training images",
                    |seen| seen.d_train,
                    Some(changes.d_train),
                    "",
                    Better::Neither,
                ),
                row(
                    "distance of views, unseen images",
                    |seen| seen.d_unseen,
                    Some(changes.d_unseen),
                    "",
                    Better::Neither,
                ),
                row(
                    "view retrieval on unseen images",
                    |seen| seen.view_retrieval,
                    Some(changes.view_retrieval),
                    "%",
                    Better::Higher,
                ),
                row(
                    &format!("{rate}, training images"),
                    |seen| seen.coding_rate_reduction.train,
                    None,
                    "",
                    Better::Neither,
                ),
                row(
                    &format!("{rate}, unseen images"),
                    |seen| seen.coding_rate_reduction.unseen,
                    None,
                    "",
                    Better::Neither,
                ),
            ],
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BeforeAfterRow {
    /// "k-NN (20), unseen images, correlation broken".
    pub what: String,
    pub before: f64,
    pub after: f64,
    /// `after - before` with its 95 % interval, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Estimate>,
    /// Written behind the numbers; with "%" they are fractions.
    #[serde(default)]
    pub unit: String,
    pub better: Better,
}

/// Which direction of a change is an improvement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Higher,
    Lower,
    Neither,
}
