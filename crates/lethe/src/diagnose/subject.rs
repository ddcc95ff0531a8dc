//! What is diagnosed: a checkpoint, or the weights that a run started from.

use std::path::{Path, PathBuf};

use tch::Device;

use crate::checkpoint;
use crate::config::RunConfig;
use crate::encoders::Part;
use crate::error::Result;
use crate::evaluate::Model;
use crate::methods::{self, Method};
use crate::nn::Weights;
use crate::rng::{self, Purpose};
use crate::run::RunFolder;

pub enum Subject {
    /// Fresh weights of the run's seed: what no training can have put there.
    Start(Box<RunConfig>),
    File(PathBuf),
}

/// The epoch that the name of a foreign checkpoint tells: 10 of `checkpoint_10.pth` and `simclr-epoch=10-step=99.ckpt`.
pub fn epoch_in_name(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    ["epoch", "checkpoint", "ckpt"].iter().find_map(|word| {
        let after = name[name.rfind(word)? + word.len()..].trim_start_matches(['-', '_', '=']);
        after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    })
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
            Subject::File(path) => {
                let model = Model::open(path, device)?;
                Ok(Model { epoch: model.epoch.or_else(|| epoch_in_name(path)), ..model })
            }
            Subject::Start(config) => Ok(Model {
                image_size: Some(config.image_size),
                normalize: Some(config.normalize.clone()),
                method: Some(config.method.clone()),
                ..Model::untrained(&config.encoder_spec(), config.seed, device)?
            }),
        }
    }

    /// The method it is trained by, with its head and teacher; nothing where they are not known.
    pub(super) fn method(&self) -> Result<Option<(Box<dyn Method>, Weights)>> {
        match self {
            Subject::File(path) => {
                let opened = checkpoint::open(path)?;
                let (Some(name), Some(state)) = (&opened.meta.method, opened.state()?) else { return Ok(None) };
                let method = (methods::find(name)?.build)(&opened.meta.method_settings.clone().unwrap_or_default())?;
                Ok(Some((method, state.head)))
            }
            Subject::Start(config) => {
                let method = (methods::find(&config.method)?.build)(&config.method_settings)?;
                let encoder = config.encoder_spec().build()?;
                let net = Part::whole(encoder.as_ref());
                let mut rng = rng::once(config.seed, Purpose::Init);
                let encoder_weights = net.init(&mut rng);
                let mut weights = net.weights(&encoder_weights);
                weights.extend(method.init_for(&net, &mut rng));
                method.teach(&mut weights);
                Ok(Some((method, weights.filter(|name| encoder_weights.find(name).is_none()))))
            }
        }
    }
}
