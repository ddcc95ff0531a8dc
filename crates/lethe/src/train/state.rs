//! What changes while a run trains, and how it is saved and taken up again.

use std::collections::BTreeMap;
use std::path::Path;

use tch::Device;

use crate::checkpoint::{self, Meta, State};
use crate::config::RunConfig;
use crate::encoders::Part;
use crate::error::{At, Error, Result};
use crate::methods::Method;
use crate::nn::Weights;
use crate::optim::{self, Optimizer};
use crate::progress;
use crate::rng::{self, Purpose};
use crate::run::RunFolder;

pub(super) struct Training {
    /// Encoder, head and teacher.
    pub(super) weights: Weights,
    pub(super) optimizer: Box<dyn Optimizer>,
    pub(super) step: u64,
    encoder_names: Vec<String>,
    device: Device,
}

impl Training {
    /// Fresh weights, a function of the seed.
    pub(super) fn start(config: &RunConfig, net: &Part, method: &dyn Method, device: Device) -> Result<Self> {
        let mut rng = rng::once(config.seed, Purpose::Init);
        let mut weights = net.init(&mut rng);
        let encoder_names = weights.names().map(str::to_owned).collect();
        weights.extend(method.init_for(net, &mut rng));
        method.teach(&mut weights);
        let optimizer = optim::build(&config.optimizer, config.weight_decay)?;
        Ok(Self { weights: weights.to_device(device), optimizer, step: 0, encoder_names, device })
    }

    /// Takes up the newest checkpoint of the folder that can be read, and says so; without any, the run starts anew.
    ///
    /// # Errors
    /// When there are checkpoints, but none fits this configuration.
    pub(super) fn resume(&mut self, folder: &RunFolder, config: &RunConfig) -> Result<()> {
        let checkpoints = folder.resumable()?;
        for path in &checkpoints {
            match self.load(path, config) {
                Ok(()) => {
                    progress::say(&format!("resuming from {} (step {})", path.display(), self.step));
                    return Ok(());
                }
                Err(error) => progress::say(&format!("passing over {error}")),
            }
        }
        match checkpoints.first() {
            Some(path) => Err(Error::failed("no checkpoint of this run can be taken up")
                .at(path)
                .hint("--overwrite starts anew; the settings must be those of the run")),
            None if folder.has_checkpoints()? => {
                Err(Error::failed("its checkpoints lack their states, which a run goes on from")
                    .at(&folder.checkpoints_path())
                    .hint("--overwrite starts anew, and removes them"))
            }
            None => {
                progress::say("no checkpoint yet: starting from the beginning");
                Ok(())
            }
        }
    }

    fn load(&mut self, path: &Path, config: &RunConfig) -> Result<()> {
        let state = checkpoint::open_state(&checkpoint::state_path(path))?;
        let opened = checkpoint::open(path)?;
        let number = |key: &str| state.progress.get(key).and_then(|value| value.parse::<u64>().ok());
        let step = number("step").ok_or_else(|| Error::failed("its state does not say the step").at(path))?;
        if opened.meta.step != Some(step) {
            return Err(Error::failed("encoder and state are of different steps").at(path));
        }
        if number("threads") != Some(config.threads as u64) {
            progress::say("this run had another number of threads: it goes on, but not with the same bits");
        }
        let mut read = opened.encoder;
        read.extend(state.head);
        self.weights = self.weights.filled_from(&read).at(path)?;
        self.optimizer.resume(state.optimizer.to_device(self.device));
        self.step = step;
        Ok(())
    }

    /// State first, encoder last: where the encoder stands, the checkpoint is whole.
    ///
    /// # Errors
    /// When a tensor is not finite (nothing is written then), or the disk refuses.
    pub(super) fn save(&self, path: &Path, config: &RunConfig, epoch: u32) -> Result<()> {
        self.weights.expect_finite().map_err(|error| {
            error
                .of(&format!("step {}", self.step))
                .hint("the last good checkpoint is kept; lower --lr, set --clip-norm 1, or use --precision f32")
        })?;
        let encoder = self.weights.filter(|name| self.encoder_names.iter().any(|other| other == name));
        let head = self.weights.filter(|name| encoder.find(name).is_none());
        let progress = [
            ("step", self.step.to_string()),
            ("epoch", epoch.to_string()),
            ("seed", config.seed.to_string()),
            ("threads", config.threads.to_string()),
        ];
        let state = State {
            head,
            optimizer: self.optimizer.state().frozen(),
            progress: progress.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<BTreeMap<_, _>>(),
        };
        checkpoint::save_state(&checkpoint::state_path(path), &state)?;
        let meta = Meta {
            encoder: config.encoder_spec(),
            image_size: Some(config.image_size),
            normalize: Some(config.normalize.clone()),
            method: Some(config.method.clone()),
            method_settings: Some(config.method_settings.clone()),
            epoch: Some(epoch),
            step: Some(self.step),
            lethe: None,
        };
        checkpoint::save(path, &meta, &encoder)
    }
}
