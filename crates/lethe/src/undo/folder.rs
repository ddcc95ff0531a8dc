//! The folder of a repair: `undone.safetensors` with its state, `undo.jsonl` and `undo.toml`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{StepRow, Undone};
use crate::checkpoint::{self, Meta, State};
use crate::error::{At, Error, Result};
use crate::files;
use crate::nn::Weights;

const UNDONE: &str = "undone.safetensors";
/// What a repair that was stopped leaves instead.
const LAST_GOOD: &str = "last-good.safetensors";
const LOG: &str = "undo.jsonl";
const SETTINGS: &str = "undo.toml";
const BAD_SAMPLES: &str = "bad_samples.jsonl";

pub struct UndoFolder {
    path: PathBuf,
    log: File,
}

impl UndoFolder {
    /// Makes the folder; with `overwrite`, files of an earlier repair are removed from it.
    ///
    /// # Errors
    /// When there is anything in the folder and `overwrite` is off, or it cannot be written.
    pub fn prepare(path: &Path, overwrite: bool) -> Result<Self> {
        files::make_folder(path)?;
        files::sweep(path)?;
        // A repair that failed leaves the list of the images it could not read.
        let is_there = |entry: &fs::DirEntry| entry.file_name() != BAD_SAMPLES;
        if fs::read_dir(path).at(path)?.flatten().any(|entry| is_there(&entry)) && !overwrite {
            return Err(Error::usage("this folder is not empty")
                .at(path)
                .hint("--overwrite replaces an earlier repair, or choose another --out"));
        }
        let undone = path.join(UNDONE);
        let last_good = path.join(LAST_GOOD);
        let states = [&undone, &last_good].map(|checkpoint| checkpoint::state_path(checkpoint));
        let rest = [LOG, SETTINGS, BAD_SAMPLES].map(|name| path.join(name));
        for old in [undone, last_good].into_iter().chain(states).chain(rest) {
            match fs::remove_file(&old) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).at(&old),
                _ => {}
            }
        }
        let log = path.join(LOG);
        let log = File::create(&log).at(&log)?;
        Ok(Self { path: path.to_owned(), log })
    }

    /// The settings, as TOML.
    pub fn write_settings(&self, settings: &toml::Table) -> Result<()> {
        files::write_atomically(&self.path.join(SETTINGS), settings.to_string().as_bytes())
    }

    /// Appends a line to `undo.jsonl`.
    pub fn record(&mut self, row: &StepRow) -> Result<()> {
        let mut line = serde_json::to_string(row).map_err(|error| Error::failed(error.to_string()))?;
        line.push('\n');
        self.log.write_all(line.as_bytes()).at(&self.path.join(LOG))
    }

    /// Writes the encoder, the state with its head first; gives the path.
    pub fn save(&self, undone: &Undone, meta: &Meta, notes: BTreeMap<String, String>) -> Result<PathBuf> {
        let path = self.path.join(if undone.stopped.is_some() { LAST_GOOD } else { UNDONE });
        let state = State { head: undone.head.frozen(), optimizer: Weights::new(), progress: notes };
        checkpoint::save_state(&checkpoint::state_path(&path), &state)?;
        checkpoint::save(&path, meta, &undone.weights)?;
        Ok(path)
    }

    /// Where the images that could not be read are listed.
    pub fn bad_samples_path(&self) -> PathBuf {
        self.path.join(BAD_SAMPLES)
    }

    /// Removes the settings and the log of a repair that failed before its first good step, and the folder if it is
    /// empty then.
    pub fn abandon(&self) {
        for name in [LOG, SETTINGS] {
            let _ = fs::remove_file(self.path.join(name));
        }
        let _ = fs::remove_dir(&self.path); // which only takes an empty one
    }
}
