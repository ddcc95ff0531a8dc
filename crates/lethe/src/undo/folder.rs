//! The folder of a repair: `undone.safetensors` with its state, `undo.jsonl`, `undo.toml` and `undo.json`; while it goes on
//! also `resume.safetensors`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use lethe_diagnosis::records::{Row, StepRow};
use serde::Serialize;
use tch::Device;

use super::{Judge, Outcome, Reached, Snapshot};
use crate::checkpoint::{self, Meta, State};
use crate::error::{At, Error, Result};
use crate::files::{self, FolderLock};
use crate::nn::Weights;
use crate::run::IfThere;

const UNDONE: &str = "undone.safetensors";
/// What a repair that was stopped leaves instead.
const LAST_GOOD: &str = "last-good.safetensors";
/// What it goes on from; gone when it has ended.
const RESUME: &str = "resume.safetensors";
const LOG: &str = "undo.jsonl";
const SETTINGS: &str = "undo.toml";
const OUTCOME: &str = "undo.json";
const BAD_SAMPLES: &str = "bad_samples.jsonl";
const PAGE: &str = "report.html";

pub struct UndoFolder {
    path: PathBuf,
    log: File,
    _lock: FolderLock,
}

impl UndoFolder {
    /// Makes the folder, or takes up that of a repair that was cut off; of an overwritten one the files are removed.
    ///
    /// # Errors
    /// When there is something in the folder and `if_there` refuses it, or nothing to resume; when another process
    /// repairs there, or it cannot be written.
    pub fn prepare(path: &Path, if_there: IfThere) -> Result<Self> {
        let log = path.join(LOG);
        if if_there == IfThere::Resume {
            if !path.join(SETTINGS).is_file() {
                return Err(Error::failed("no repair to resume in this folder")
                    .at(path)
                    .hint("leave --resume out to start one"));
            }
            let lock = files::lock_folder(path)?;
            files::sweep(path)?;
            let log = File::options().append(true).create(true).open(&log).at(&log)?;
            return Ok(Self { path: path.to_owned(), log, _lock: lock });
        }
        files::make_folder(path)?;
        let lock = files::lock_folder(path)?;
        files::sweep(path)?;
        // A repair that failed leaves the list of the images it could not read.
        let is_there = |entry: &fs::DirEntry| entry.file_name() != BAD_SAMPLES;
        let undone = path.join(UNDONE);
        let last_good = path.join(LAST_GOOD);
        let states = [&undone, &last_good].map(|checkpoint| checkpoint::state_path(checkpoint));
        let rest = [RESUME, LOG, SETTINGS, OUTCOME, BAD_SAMPLES, PAGE].map(|name| path.join(name));
        let ours: Vec<PathBuf> = [undone, last_good].into_iter().chain(states).chain(rest).collect();
        if fs::read_dir(path).at(path)?.flatten().any(|entry| is_there(&entry)) {
            if if_there == IfThere::Refuse {
                return Err(Error::usage("this folder is not empty").at(path).hint(
                    "--resume continues a repair that was cut off, --overwrite replaces an earlier one, or choose another --out",
                ));
            }
            let begun = path.join(SETTINGS).is_file();
            let foreign = ours.iter().find(|path| !begun && path.exists());
            if let Some(name) = foreign.and_then(|path| path.file_name()) {
                return Err(Error::usage(format!("holds {}, which is of no repair", name.display()))
                    .at(path)
                    .hint("choose another --out"));
            }
        }
        for old in ours {
            match fs::remove_file(&old) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).at(&old),
                _ => {}
            }
        }
        let log = File::create(&log).at(&log)?;
        Ok(Self { path: path.to_owned(), log, _lock: lock })
    }

    /// # Errors
    /// When the repair in this folder was begun with other settings: names the first.
    pub fn expect_settings(&self, settings: &toml::Table) -> Result<()> {
        let path = self.path.join(SETTINGS);
        let text = files::read_text(&path)?;
        let begun = text.parse::<toml::Table>();
        let begun = begun.map_err(|error| Error::failed(files::toml_error(&text, &error)).at(&path))?;
        let mut keys = begun.keys().chain(settings.keys());
        match keys.find(|key| begun.get(*key) != settings.get(*key)) {
            Some(key) => {
                let shown = |table: &toml::Table| table.get(key).map_or("nothing".into(), ToString::to_string);
                Err(Error::usage(format!("was begun with {key} = {}, not {}", shown(&begun), shown(settings)))
                    .at(&self.path)
                    .hint("resume with the same flags, or --overwrite starts anew"))
            }
            None => Ok(()),
        }
    }

    /// What a repair that has ended told.
    pub fn outcome(&self) -> Result<Option<Outcome>> {
        let path = self.path.join(OUTCOME);
        if !path.is_file() {
            return Ok(None);
        }
        files::read_json(&path).map(Some)
    }

    /// The settings, as TOML.
    pub fn write_settings(&self, settings: &toml::Table) -> Result<()> {
        files::write_atomically(&self.path.join(SETTINGS), settings.to_string().as_bytes())
    }

    /// Appends a line to `undo.jsonl`.
    pub fn record(&mut self, row: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(row).map_err(|error| Error::failed(error.to_string()))?;
        line.push('\n');
        self.log.write_all(line.as_bytes()).at(&self.path.join(LOG))
    }

    /// Empties `undo.jsonl`.
    pub fn restart(&mut self) -> Result<()> {
        let log = self.path.join(LOG);
        self.log = File::create(&log).at(&log)?;
        Ok(())
    }

    /// Takes back what `undo.jsonl` tells of steps after `step`, which are about to be made again; gives the rows of steps
    /// that stay.
    pub fn rewind(&mut self, step: u64) -> Result<Vec<StepRow>> {
        let path = self.path.join(LOG);
        let mut kept = String::new();
        let mut rows = Vec::new();
        // A line cut off by a kill does not parse; it belongs to a later step than was saved.
        for line in files::read_text(&path)?.lines() {
            let at = match serde_json::from_str::<Row>(line) {
                Ok(Row::Epoch(row)) => row.step,
                Ok(Row::Step(row)) => {
                    let at = row.step;
                    rows.extend((at <= step).then_some(row));
                    at
                }
                Err(_) => continue,
            };
            if at <= step {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        files::write_atomically(&path, kept.as_bytes())?;
        self.log = File::options().append(true).open(&path).at(&path)?;
        Ok(rows)
    }

    /// Writes what the repair would go on from.
    pub fn save_reached(&self, reached: &Reached, judged: Option<(&Judge, Option<&Snapshot>)>) -> Result<()> {
        let mut head = reached.weights.prefixed("now.");
        let mut progress = BTreeMap::from([
            ("step".to_owned(), reached.step.to_string()),
            ("seconds".to_owned(), reached.seconds.to_string()),
        ]);
        if let Some((judge, kept)) = judged {
            progress.insert("judge".into(), serde_json::to_string(judge).expect("plain values"));
            if let Some(kept) = kept {
                head.extend(kept.weights.prefixed("kept.encoder."));
                head.extend(kept.head.prefixed("kept.head."));
            }
        }
        let state =
            State { head: head.to_device(Device::Cpu), optimizer: reached.optimizer.to_device(Device::Cpu), progress };
        checkpoint::save_state(&self.path.join(RESUME), &state)
    }

    /// Reads it back, onto `device`; nothing where the repair was cut off in its first epoch.
    pub fn saved(&self, device: Device) -> Result<Option<Saved>> {
        let path = self.path.join(RESUME);
        if !path.is_file() {
            return Ok(None);
        }
        let State { head, optimizer, progress } = checkpoint::open_state(&path)?;
        let damaged = || Error::failed("does not say how far the repair has come").at(&path);
        let of = |key: &str| progress.get(key).ok_or_else(damaged);
        let (head, optimizer) = (head.to_device(device), optimizer.to_device(device));
        let judge = match progress.get("judge") {
            Some(text) => Some(serde_json::from_str(text).map_err(|_| damaged())?),
            None => None,
        };
        let kept = Snapshot { weights: head.under("kept.encoder."), head: head.under("kept.head.") };
        Ok(Some(Saved {
            reached: Reached {
                step: of("step")?.parse().map_err(|_| damaged())?,
                seconds: of("seconds")?.parse().map_err(|_| damaged())?,
                weights: head.under("now."),
                optimizer,
            },
            judge,
            kept: (!kept.weights.is_empty()).then_some(kept),
        }))
    }

    /// Writes what the repair told, which ends it; what earlier sittings left goes.
    pub fn end(&self, outcome: &Outcome) -> Result<()> {
        files::write_json(&self.path.join(OUTCOME), outcome)?;
        let last_good = self.path.join(LAST_GOOD);
        for old in [self.path.join(RESUME), checkpoint::state_path(&last_good), last_good] {
            let _ = fs::remove_file(old);
        }
        Ok(())
    }

    /// Writes the encoder, the state with its head first; gives the path. What was stopped has another name than what has
    /// ended.
    pub fn save(
        &self,
        undone: &Snapshot,
        stopped: bool,
        meta: &Meta,
        notes: BTreeMap<String, String>,
    ) -> Result<PathBuf> {
        let path = self.path.join(if stopped { LAST_GOOD } else { UNDONE });
        undone.weights.expect_finite().and_then(|()| undone.head.expect_finite()).at(&path)?;
        let head = undone.head.frozen().to_device(Device::Cpu);
        let state = State { head, optimizer: Weights::new(), progress: notes };
        checkpoint::save_state(&checkpoint::state_path(&path), &state)?;
        checkpoint::save(&path, meta, &undone.weights.to_device(Device::Cpu))?;
        Ok(path)
    }

    /// Whether there is an epoch's end to go on from.
    pub fn can_resume(&self) -> bool {
        self.path.join(RESUME).is_file()
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

/// What [`UndoFolder::save_reached`] wrote.
pub struct Saved {
    pub reached: Reached,
    pub judge: Option<Judge>,
    pub kept: Option<Snapshot>,
}
