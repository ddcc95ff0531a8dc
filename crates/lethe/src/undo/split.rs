//! `--split auto`: the cut by the diagnosis of the run that the checkpoint is from.

use std::fs;
use std::path::{Path, PathBuf};

use super::Settings;
use crate::diagnose::Diagnosis;
use crate::encoders::Encoder;
use crate::error::{At, Error, Result};

const AUTO: &str = "auto";

/// The stage to cut after: the settings', or for `auto` the one before the first stage with an onset of the
/// memorisation gap.
///
/// # Errors
/// With `auto`, when the run has no diagnosis, or that has no onset, or one in the first stage.
pub(super) fn resolve(settings: &Settings, encoder: &dyn Encoder, checkpoint: &Path) -> Result<String> {
    if settings.split != AUTO {
        return Ok(settings.split.clone());
    }
    let path = diagnosis_of(checkpoint)?;
    let text = fs::read_to_string(&path).at(&path)?;
    let diagnosis: Diagnosis =
        serde_json::from_str(&text).map_err(|error| Error::failed(format!("no diagnosis: {error}")).at(&path))?;
    let memorises =
        |stage: &str| diagnosis.onsets.iter().any(|onset| onset.of == "memorisation_gap" && onset.stage == stage);
    let stages = encoder.stages();
    match stages.iter().position(|stage| memorises(&stage.name)) {
        Some(0) => Err(unsplittable("memorisation sets in at the first stage already: nothing is left to keep", &path)),
        Some(first) => Ok(stages[first - 1].name.clone()),
        None => Err(unsplittable("none seen: no stage has an onset of the memorisation gap", &path)),
    }
}

fn unsplittable(what: &str, path: &Path) -> Error {
    Error::failed(format!("--split auto: {}: {what}", path.display()))
        .hint("name a stage with --split to cut all the same")
}

/// RUN/diagnosis/diagnosis.json or RUN/diagnosis.json, of RUN/checkpoints/CKPT.
fn diagnosis_of(checkpoint: &Path) -> Result<PathBuf> {
    let checkpoint = fs::canonicalize(checkpoint).at(checkpoint)?;
    let run = checkpoint.parent().and_then(Path::parent).unwrap_or(&checkpoint);
    let places = ["diagnosis/diagnosis.json", "diagnosis.json"].map(|place| run.join(place));
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        Error::usage(format!("--split auto: {} does not exist", places[0].display())).hint(format!(
            "lethe diagnose {} --unseen D --out {}",
            run.display(),
            run.join("diagnosis").display()
        ))
    })
}
