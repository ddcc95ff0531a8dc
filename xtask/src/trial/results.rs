//! `PLAN.jsonl`: a finished cell a line, and the only thing of a trial that is kept for good.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::plan::Plan;
use crate::shell::{At, Failure, Result};

/// The lines of the plan's finished cells, by their names.
pub(crate) struct Results {
    pub(crate) by_cell: BTreeMap<String, Value>,
    /// Lines of no cell of this plan, or of other settings than the plan has now.
    pub(crate) foreign: usize,
}

impl Results {
    /// Of two lines of a cell the later one counts. A line that was cut off is none.
    pub(crate) fn read(path: &Path, plan: &Plan) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.at(path)?,
        };
        let settings: BTreeMap<String, String> =
            plan.cells().iter().map(|cell| (cell.name(), plan.settings(cell))).collect();
        let mut results = Self { by_cell: BTreeMap::new(), foreign: 0 };
        for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let name = text("cell");
            match settings.get(&name) == Some(&text("settings")) {
                true => drop(results.by_cell.insert(name, line)),
                false => results.foreign += 1,
            }
        }
        Ok(results)
    }
}

/// Appends a line in one write; after a line that was cut off it begins a new one.
pub(crate) fn append(path: &Path, line: &Value) -> Result<()> {
    let torn = fs::read(path).is_ok_and(|bytes| bytes.last().is_some_and(|&last| last != b'\n'));
    let text = format!("{}{line}\n", if torn { "\n" } else { "" });
    let mut file = OpenOptions::new().create(true).append(true).open(path).at(path)?;
    file.lock().at(path)?;
    file.write_all(text.as_bytes()).at(path)?;
    file.sync_data().at(path)
}

/// The file beside the plan with another ending.
pub(crate) fn beside(plan: &Path, ending: &str) -> Result<std::path::PathBuf> {
    let path = plan.with_extension(ending);
    match path == plan {
        true => Err(Failure::usage(format!("{}: a plan ends in .toml", plan.display()), "rename it")),
        false => Ok(path),
    }
}
