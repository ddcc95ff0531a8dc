//! `--split auto`: the cut by the diagnosis of the run that the checkpoint is from.

use std::path::Path;

use super::others::Given;
use crate::encoders::Encoder;
use crate::error::{Error, Result};

const AUTO: &str = "auto";

/// The stage to cut after: the settings', or for `auto` the one before the first stage with an onset of the
/// memorisation gap.
///
/// # Errors
/// With `auto`, when the run has no diagnosis, or that has no onset, or one in the first stage.
pub(super) fn resolve(given: &Given, encoder: &dyn Encoder) -> Result<String> {
    if given.settings.split != AUTO {
        return Ok(given.settings.split.clone());
    }
    let (path, diagnosis) = given.diagnosis()?;
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
