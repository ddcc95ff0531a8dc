//! What is diagnosed: a checkpoint, or the weights that a run started from.

use std::path::PathBuf;

use tch::Device;

use crate::config::RunConfig;
use crate::error::Result;
use crate::evaluate::Model;
use crate::run::RunFolder;

pub enum Subject {
    /// Fresh weights of the run's seed: what no training can have put there.
    Start(Box<RunConfig>),
    File(PathBuf),
}

impl Subject {
    /// The start of a run and its kept checkpoints, oldest first.
    ///
    /// # Errors
    /// When the folder or its configuration cannot be read.
    pub fn of_run(folder: &RunFolder) -> Result<Vec<Self>> {
        let files = folder.epoch_checkpoints()?.into_iter().map(Subject::File);
        Ok(std::iter::once(Subject::Start(Box::new(folder.read_config()?))).chain(files).collect())
    }

    pub(super) fn open(&self, device: Device) -> Result<Model> {
        match self {
            Subject::File(path) => Model::open(path, device),
            Subject::Start(config) => Ok(Model {
                image_size: Some(config.image_size),
                normalize: Some(config.normalize.clone()),
                method: Some(config.method.clone()),
                ..Model::untrained(&config.encoder_spec(), config.seed, device)?
            }),
        }
    }
}
