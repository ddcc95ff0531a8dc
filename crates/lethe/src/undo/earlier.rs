//! No training: the checkpoint that a diagnosis keeps without labels, the earliest that is not measurably worse.

use std::path::{Path, PathBuf};

use super::others::Given;
use super::repair::{Repair, Snapshot, Start};
use super::{Batches, Settings, Subject};
use crate::error::{Error, Result};

pub(super) const REPAIR: Repair = Repair {
    name: "earlier",
    title: "the earlier checkpoint that the diagnosis keeps, without training",
    paper: "",
    outer_data: false,
    matching: false,
    others: chosen,
    start,
    training: None,
};

fn start(subject: &Subject, _: &Settings, _: &mut Batches) -> Result<Start> {
    let [chosen] = subject.others else { unreachable!("the diagnosis keeps one checkpoint") };
    let from = Snapshot { weights: chosen.weights.frozen(), head: chosen.head.frozen() };
    Ok(Start { from, cost: 0.0 })
}

fn chosen(given: &Given) -> Result<Vec<PathBuf>> {
    let (path, diagnosis) = given.diagnosis()?;
    let Some(checkpoint) = diagnosis.keeps() else {
        return Err(Error::failed("chooses no checkpoint without labels")
            .at(&path)
            .hint("lethe diagnose RUN --unseen D chooses among the checkpoints of a run"));
    };
    // Untrained weights repair nothing: where even they are not measurably worse, the first trained checkpoint is kept.
    let trained = diagnosis.checkpoints.iter().skip(checkpoint).find(|row| row.epoch != Some(0));
    let named = PathBuf::from(&trained.unwrap_or(&diagnosis.checkpoints[checkpoint]).path);
    let found = locate(&named, given);
    let gone = || Error::failed(format!("keeps {}, which is no file", named.display())).at(&path);
    Ok(vec![found.ok_or_else(gone)?])
}

/// As the diagnosis names it, or of that name beside the given one: the run may have moved since.
fn locate(named: &Path, given: &Given) -> Option<PathBuf> {
    let beside = given.checkpoint.with_file_name(named.file_name()?);
    [named.to_owned(), beside].into_iter().find(|path| path.is_file())
}
