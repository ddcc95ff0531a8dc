//! Reads the files of a run, diagnosis, undo or demo folder.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::{BeforeAfter, Gallery, ReportInput};
use lethe_data::error::{At, Error, Result};
use lethe_data::files::{expect_folder, json_error, read_json, read_text, toml_error};

use crate::Diagnosis;
use crate::records::Row;

/// Reads what is there of `config.toml`, `metrics.jsonl`, `diagnosis.json` or `scores.json`, `undo.jsonl`,
/// `undo.json`, `before_after.json`, `evaluation.json` and `bad_samples.jsonl`, in `folder` itself or one folder below
/// it.
///
/// # Errors
/// A file that cannot be read or parsed, by name and line; a folder with none of them.
pub fn read_folder(folder: &Path) -> Result<ReportInput> {
    let mut reader = Reader::open(folder)?;
    let mut input = ReportInput { title: title(folder), ..ReportInput::default() };
    if let Some(path) = reader.one("config.toml") {
        let text = read_text(&path)?;
        toml::from_str::<toml::Table>(&text).map_err(|error| Error::failed(toml_error(&text, &error))).at(&path)?;
        input.settings = Some(text);
    }
    input.metrics = reader.one("metrics.jsonl").map(|path| reader.lines(&path)).transpose()?.unwrap_or_default();
    input.pooled = reader.at_root("scores.json").map(|path| read_json(&path)).transpose()?;
    for run in input.pooled.iter().flat_map(|pooled| &pooled.runs) {
        if let Some(path) = reader.at_root(&format!("{run}/diagnosis.json")) {
            input.runs.push((run.clone(), Diagnosis::read(&path)?));
        }
    }
    let own = if input.pooled.is_some() { reader.at_root("diagnosis.json") } else { reader.one("diagnosis.json") };
    input.diagnosis = own.map(|path| Diagnosis::read(&path)).transpose()?;
    if let Some(diagnosis) = &input.diagnosis {
        input.gallery = Gallery::of(diagnosis);
    }
    for path in reader.all("undo.jsonl") {
        for row in reader.lines(&path)? {
            match row {
                Row::Step(row) => input.undo.push(row),
                Row::Epoch(row) => input.undo_epochs.push(row),
            }
        }
    }
    if let Some(path) = reader.one("undo.json") {
        // A repair without unseen images has no such numbers.
        let outcome: serde_json::Value = read_json(&path)?;
        if !outcome["changes"].is_null() {
            input.repaired = Some(read_json(&path)?);
        }
    }
    let own = reader.one("before_after.json").map(|path| read_json(&path)).transpose()?;
    input.before_after = own.or_else(|| input.repaired.as_ref().map(BeforeAfter::of));
    input.evaluation = reader.one("evaluation.json").map(|path| read_json(&path)).transpose()?;
    for path in reader.all("bad_samples.jsonl") {
        input.bad_samples.extend(reader.lines(&path)?);
    }
    if reader.read.is_empty() {
        return Err(Error::failed("nothing to report: no config.toml, metrics.jsonl, diagnosis.json, scores.json, undo.jsonl, before_after.json or evaluation.json")
            .at(folder)
            .hint("give the --out folder of `lethe pretrain`, `diagnose`, `undo` or `demo`"));
    }
    input.files = reader.read;
    input.notes = reader.notes;
    Ok(input)
}

fn title(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.into());
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|| "report".into())
}

struct Reader {
    root: PathBuf,
    /// The folder and those directly below it, in the order of their names.
    folders: Vec<PathBuf>,
    read: Vec<String>,
    notes: Vec<String>,
}

impl Reader {
    fn open(root: &Path) -> Result<Self> {
        expect_folder(root)?;
        let mut below = Vec::new();
        for entry in std::fs::read_dir(root).at(root)? {
            let path = entry.at(root)?.path();
            if path.is_dir() {
                below.push(path);
            }
        }
        below.sort();
        let folders = std::iter::once(root.to_path_buf()).chain(below).collect();
        Ok(Self { root: root.into(), folders, read: Vec::new(), notes: Vec::new() })
    }

    /// The file at that place of the folder itself.
    fn at_root(&mut self, place: &str) -> Option<PathBuf> {
        let path = Some(self.root.join(place)).filter(|path| path.is_file())?;
        self.read.push(place.into());
        Some(path)
    }

    /// Every file of that name.
    fn all(&mut self, name: &str) -> Vec<PathBuf> {
        let found: Vec<PathBuf> =
            self.folders.iter().map(|folder| folder.join(name)).filter(|path| path.is_file()).collect();
        self.read.extend(found.iter().map(|path| short(&self.root, path)));
        found
    }

    /// The file of that name in the folder, or the only one below it.
    fn one(&mut self, name: &str) -> Option<PathBuf> {
        let found: Vec<PathBuf> =
            self.folders.iter().map(|folder| folder.join(name)).filter(|path| path.is_file()).collect();
        if found.len() > 1 && found[0].parent() != Some(&self.root) {
            let places = found.iter().map(|path| short(&self.root, path)).collect::<Vec<_>>().join(", ");
            self.notes.push(format!(
                "There are several {name} here ({places}), so none is shown: ask for a report of one of the folders."
            ));
            return None;
        }
        let path = found.into_iter().next()?;
        self.read.push(short(&self.root, &path));
        Some(path)
    }

    /// One JSON object a line. A last line that was cut off, as a killed run leaves it, becomes a note.
    fn lines<T: DeserializeOwned>(&mut self, path: &Path) -> Result<Vec<T>> {
        let text = read_text(path)?;
        let mut rows = Vec::new();
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match serde_json::from_str(line) {
                Ok(row) => rows.push(row),
                Err(error) if error.is_eof() && i + 1 == text.lines().count() && !text.ends_with('\n') => {
                    self.notes
                        .push(format!("The last line of {} is cut off and was left out.", short(&self.root, path)));
                }
                Err(error) => return Err(Error::failed(format!("line {}: {}", i + 1, json_error(&error))).at(path)),
            }
        }
        Ok(rows)
    }
}

fn short(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}
