//! Which other checkpoints a repair looks at: those the user names, else kept ones of the run that the given one lies in.

use std::fs;
use std::path::{Path, PathBuf};

use super::Settings;
use crate::error::{At, Error, Result};
use crate::run::RunFolder;
use lethe_diagnosis::Diagnosis;

/// What the user gave.
pub struct Given<'a> {
    pub checkpoint: &'a Path,
    pub settings: &'a Settings,
}

pub(super) fn none(_: &Given) -> Result<Vec<PathBuf>> {
    Ok(Vec::new())
}

impl Given<'_> {
    /// The run folder that the checkpoint lies in: `RUN/checkpoints/CKPT`.
    pub(super) fn run(&self) -> Option<RunFolder> {
        let path = fs::canonicalize(self.checkpoint).ok()?;
        let folder = path.parent()?;
        let run = RunFolder::open(folder.parent()?).ok()?;
        (run.checkpoints_path() == folder).then_some(run)
    }

    /// The diagnosis that `--diagnosis` names, else that of the run, in its folder or in `diagnosis/` there; with its path.
    ///
    /// # Errors
    /// When there is none, or it is no diagnosis.
    pub(super) fn diagnosis(&self) -> Result<(PathBuf, Diagnosis)> {
        let places = ["diagnosis.json", "diagnosis/diagnosis.json"];
        let own = || self.run().and_then(|run| places.map(|p| run.path.join(p)).into_iter().find(|p| p.is_file()));
        let path = self.settings.diagnosis.clone().or_else(own).ok_or_else(|| {
            Error::usage("its run has no diagnosis to choose by")
                .at(self.checkpoint)
                .hint("lethe diagnose RUN --unseen D --out RUN/diagnosis, or name one with --diagnosis FILE")
        })?;
        let diagnosis = Diagnosis::read(&path)?;
        Ok((path, diagnosis))
    }

    /// The checkpoints that the run kept before the given one, oldest first; `flag` would name others.
    ///
    /// # Errors
    /// When it lies in no run, or in one that kept none before it.
    pub(super) fn kept_before(&self, flag: &str) -> Result<Vec<PathBuf>> {
        let hint = format!("name an earlier checkpoint with {flag}");
        let Some(run) = self.run() else {
            return Err(Error::usage("lies in no run folder").at(self.checkpoint).hint(hint));
        };
        let own = fs::canonicalize(self.checkpoint).at(self.checkpoint)?;
        let before: Vec<PathBuf> = run.epoch_checkpoints()?.into_iter().take_while(|path| *path != own).collect();
        match before.is_empty() {
            true => Err(Error::usage("its run kept no earlier checkpoint").at(self.checkpoint).hint(hint)),
            false => Ok(before),
        }
    }
}
