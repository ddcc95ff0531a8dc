//! An encoder with its weights, and how it is to be shown images.

use std::fmt;
use std::path::Path;

use tch::Device;

use crate::checkpoint;
use crate::config;
use crate::data::Dataset;
use crate::encoders::{self, Encoder, EncoderSpec};
use crate::error::Result;
use crate::nn::Weights;
use crate::rng::{self, Purpose};

pub struct Model {
    /// Path of the checkpoint, or `untrained (seed 0)`.
    pub name: String,
    /// Epochs trained, where that is known.
    pub epoch: Option<u32>,
    pub encoder: Box<dyn Encoder>,
    /// On the device asked for; nothing requires a gradient.
    pub weights: Weights,
    pub image_size: Option<u32>,
    pub normalize: Option<String>,
    /// The method it was trained by, where that is known.
    pub method: Option<String>,
}

/// The size and normalisation of the images an encoder is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    pub size: u32,
    /// A name that `--normalize` takes.
    pub normalize: String,
}

impl Sight {
    /// What is said, else what is usual for the data, which `spec` names; `name` is the encoder's in an error.
    ///
    /// # Errors
    /// When no size is said and no image can be read, or the encoder cannot take the size.
    pub fn of(
        encoder: &dyn Encoder,
        name: &str,
        data: &dyn Dataset,
        spec: &str,
        size: Option<u32>,
        normalize: Option<&str>,
    ) -> Result<Self> {
        let size = size.map_or_else(|| config::image_size_of(data, spec), Ok)?;
        encoders::check_size(encoder, size).map_err(|error| error.of(name))?;
        Ok(Self { size, normalize: normalize.unwrap_or(data.normalization()).to_owned() })
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pixels normalised by {}", self.size, self.normalize)
    }
}

impl Model {
    /// # Errors
    /// When the file is not a checkpoint of an encoder of ours.
    pub fn open(path: &Path, device: Device) -> Result<Self> {
        let checkpoint::Checkpoint { path, meta, encoder: weights, .. } = checkpoint::open(path)?;
        Ok(Self {
            name: path.display().to_string(),
            epoch: meta.epoch,
            encoder: meta.encoder.build()?,
            weights: weights.frozen().to_device(device),
            image_size: meta.image_size,
            normalize: meta.normalization().map(str::to_owned),
            method: meta.method,
        })
    }

    /// Fresh weights: those that `pretrain` with this seed starts from.
    ///
    /// # Errors
    /// When there is no such encoder.
    pub fn untrained(spec: &EncoderSpec, seed: u64, device: Device) -> Result<Self> {
        let encoder = spec.build()?;
        let weights = encoder.init(&mut rng::once(seed, Purpose::Init)).frozen().to_device(device);
        let name = format!("untrained (seed {seed})");
        Ok(Self { name, epoch: Some(0), encoder, weights, image_size: None, normalize: None, method: None })
    }

    pub fn device(&self) -> Device {
        self.weights.iter().next().map_or(Device::Cpu, |(_, tensor)| tensor.device())
    }

    /// [`Sight::of`], with what the checkpoint remembers where the user says nothing.
    ///
    /// # Errors
    /// Those of [`Sight::of`].
    pub fn sight(&self, data: &dyn Dataset, spec: &str, size: Option<u32>, normalize: Option<&str>) -> Result<Sight> {
        let normalize = normalize.or(self.normalize.as_deref());
        Sight::of(self.encoder.as_ref(), &self.name, data, spec, size.or(self.image_size), normalize)
    }
}
