//! The folder of a run: `config.toml`, `metrics.jsonl`, TensorBoard events, `checkpoints/`, `bad_samples.jsonl`, and of one
//! that holds images out `held_out.json`.

mod metrics;
mod tensorboard;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint;
use crate::config::RunConfig;
use crate::data::{self, Dataset, held_out};
use crate::error::{At, Error, Result};
use crate::files::{self, FolderLock};
use crate::progress;

pub use lethe_diagnosis::records::{Kind, MetricRow};
pub use metrics::Metrics;

/// What to do with a run folder that is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfThere {
    Refuse,
    /// Starts anew; only the files of a run are removed.
    Overwrite,
    Resume,
}

pub struct RunFolder {
    pub path: PathBuf,
    /// Of a run that goes on.
    _lock: Option<FolderLock>,
}

impl RunFolder {
    /// Opens an existing run folder for reading.
    ///
    /// # Errors
    /// When it has no `config.toml`.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = Self { path: path.to_owned(), _lock: None };
        files::expect_folder(path)?;
        if !folder.config_path().is_file() {
            return Err(Error::failed("not a run folder: it has no config.toml")
                .at(path)
                .hint("name the --out folder of `lethe pretrain`"));
        }
        Ok(folder)
    }

    /// Makes the folder of a new run, or takes up an old one; leftovers of a killed run are swept.
    ///
    /// # Errors
    /// When a run is there and `if_there` refuses it, another process trains it, or the folder cannot be written.
    pub fn prepare(path: &Path, if_there: IfThere) -> Result<Self> {
        let mut folder = Self { path: path.to_owned(), _lock: None };
        // A run that was cut off before it wrote its configuration has nothing to lose.
        let empty = |path: &Path| std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        let checkpoints = folder.checkpoints_path();
        let there = folder.config_path().exists() || (checkpoints.exists() && !empty(&checkpoints));
        match if_there {
            IfThere::Refuse if there => {
                return Err(Error::usage("there is a run in this folder already")
                    .at(path)
                    .hint("--resume continues it, --overwrite starts anew, or choose another --out"));
            }
            IfThere::Resume if !there => {
                return Err(Error::failed("no run to resume in this folder")
                    .at(path)
                    .hint("leave --resume out to start one"));
            }
            _ => {}
        }
        files::make_folder(path)?;
        folder._lock = Some(files::lock_folder(path)?);
        files::make_folder(&checkpoints)?;
        if if_there == IfThere::Overwrite {
            folder.clear()?;
        }
        files::sweep(path)?;
        files::sweep(&checkpoints)?;
        Ok(folder)
    }

    pub fn config_path(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    pub fn bad_samples_path(&self) -> PathBuf {
        self.path.join("bad_samples.jsonl")
    }

    pub fn checkpoints_path(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    pub fn held_out_path(&self) -> PathBuf {
        self.path.join(held_out::FILE)
    }

    /// The specification of the images that the run holds out, where it does: `--unseen` takes it.
    ///
    /// # Errors
    /// When the path of the run is not text.
    pub fn held_out_spec(&self) -> Result<Option<String>> {
        let path = self.held_out_path();
        match (path.is_file(), path.to_str()) {
            (false, _) => Ok(None),
            (true, Some(spec)) => Ok(Some(data::absolute(spec))),
            (true, None) => Err(Error::failed("the path is not UTF-8").at(&path).hint("rename the folder")),
        }
    }

    /// The specification of the images that the run trains on: `--data` takes it.
    ///
    /// # Errors
    /// When the configuration cannot be read, or the path of the run is not text.
    pub fn training_spec(&self) -> Result<String> {
        match self.held_out_spec()? {
            Some(spec) => Ok(format!("{spec}@part=training")),
            None => Ok(self.read_config()?.data),
        }
    }

    /// The images that the run holds out, where it does.
    ///
    /// # Errors
    /// When its data cannot be opened, or are others than they were.
    pub fn held_out(&self) -> Result<Option<Arc<dyn Dataset>>> {
        self.held_out_spec()?.map(|spec| data::open(&spec)).transpose()
    }

    /// The images that the run trains on.
    ///
    /// # Errors
    /// When its data cannot be opened, or are others than they were.
    pub fn training_images(&self) -> Result<Arc<dyn Dataset>> {
        data::open(&self.training_spec()?)
    }

    pub fn write_config(&self, config: &RunConfig) -> Result<()> {
        files::write_atomically(&self.config_path(), config.to_toml().as_bytes())
    }

    pub fn read_config(&self) -> Result<RunConfig> {
        RunConfig::read(&self.config_path())
    }

    /// The kept checkpoints `epoch-NNNN.safetensors`, oldest first.
    pub fn epoch_checkpoints(&self) -> Result<Vec<PathBuf>> {
        self.checkpoints_named("epoch-")
    }

    /// All checkpoints with their state beside them, newest (most steps) first.
    pub fn resumable(&self) -> Result<Vec<PathBuf>> {
        let mut paths = self.checkpoints_named("epoch-")?;
        paths.extend(self.checkpoints_named("step-")?);
        paths.retain(|path| checkpoint::state_path(path).is_file());
        let mut by_step: Vec<(u64, PathBuf)> = Vec::new();
        for path in paths {
            match checkpoint::open_progress(&checkpoint::state_path(&path)) {
                Ok(progress) => by_step.extend(progress.get("step").and_then(|step| step.parse().ok()).zip(Some(path))),
                Err(error) => progress::say(&format!("passing over {error}")),
            }
        }
        by_step.sort_by_key(|(step, _)| std::cmp::Reverse(*step));
        Ok(by_step.into_iter().map(|(_, path)| path).collect())
    }

    /// Whether there is any checkpoint, to go on from or not.
    pub fn has_checkpoints(&self) -> Result<bool> {
        Ok(!self.checkpoints_named("epoch-")?.is_empty() || !self.checkpoints_named("step-")?.is_empty())
    }

    /// Where the kept checkpoint after `epochs` epochs goes.
    pub fn epoch_checkpoint(&self, epochs: u32) -> PathBuf {
        self.checkpoints_path().join(format!("epoch-{epochs:04}.safetensors"))
    }

    /// Where a checkpoint goes that only serves to resume.
    pub fn step_checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints_path().join(format!("step-{step:09}.safetensors"))
    }

    /// Removes the checkpoints for resuming that are older than `step`.
    pub fn remove_step_checkpoints_before(&self, step: u64) -> Result<()> {
        let bound = self.step_checkpoint(step);
        for path in self.checkpoints_named("step-")? {
            if step == u64::MAX || path < bound {
                remove_checkpoint(&path);
            }
        }
        Ok(())
    }

    fn checkpoints_named(&self, prefix: &str) -> Result<Vec<PathBuf>> {
        let folder = self.checkpoints_path();
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&folder).at(&folder)? {
            let path = entry.at(&folder)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(prefix) && name.ends_with(".safetensors") && !name.ends_with(".state.safetensors") {
                paths.push(path);
            }
        }
        // A longer number is a later one.
        paths.sort_by_cached_key(|path| (path.as_os_str().len(), path.clone()));
        Ok(paths)
    }

    fn clear(&self) -> Result<()> {
        for prefix in ["epoch-", "step-"] {
            for path in self.checkpoints_named(prefix)? {
                remove_checkpoint(&path);
            }
        }
        for entry in std::fs::read_dir(&self.path).at(&self.path)? {
            let path = entry.at(&self.path)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let ours = ["config.toml", "metrics.jsonl", "bad_samples.jsonl", "report.html", held_out::FILE]
                .contains(&name.as_str());
            if ours || name.starts_with("events.out.tfevents.") {
                std::fs::remove_file(&path).at(&path)?;
            }
        }
        Ok(())
    }
}

/// The encoder first: a state alone is never taken for a checkpoint.
fn remove_checkpoint(path: &Path) {
    let _ = std::fs::remove_file(path);
    let _ = std::fs::remove_file(checkpoint::state_path(path));
}
