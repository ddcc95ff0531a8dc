//! UMM while an encoder is still pre-trained: now and then its outer step on the late stages and the head takes the
//! place of a plain step on all.

use tch::{Kind, Tensor};

use super::umm::{self, OuterStep};
use super::{Problem, Settings};
use crate::config::RunConfig;
use crate::encoders::{Encoder, Part};
use crate::error::{Error, Result};
use crate::methods::{self, Method, Views};
use crate::nn::{Mode, Weights};
use crate::train::Slope;

/// The settings of a repair that speak of a single step; the others are the training's.
const KEYS: &[&str] = &[
    "split",
    "batch_norm",
    "hypergradient",
    "hessian",
    "solver_steps",
    "alpha",
    "beta",
    "divergence",
    "lambda",
    "eps2",
    "rate_of",
    "groups",
    "inner_steps",
    "inner_optimizer",
];

pub struct During {
    encoder: Box<dyn Encoder>,
    method: Box<dyn Method>,
    settings: Settings,
}

impl During {
    /// As the table `umm` of a run's configuration says.
    ///
    /// # Errors
    /// On an unknown key, a value out of range, or a split that is not there.
    pub fn new(config: &RunConfig) -> Result<Self> {
        if let Some(key) = config.umm.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(
                Error::usage(format!("[umm]: unknown key {key:?}")).hint(format!("one of: {}", KEYS.join(", ")))
            );
        }
        let given: Settings = config
            .umm
            .clone()
            .try_into()
            .map_err(|error: toml::de::Error| Error::usage(format!("[umm]: {}", error.message())))?;
        let settings = Settings { batch_size: config.batch_size, seed: config.seed, ..given };
        settings.check().map_err(|error| error.of("[umm]"))?;
        let encoder = config.encoder_spec().build()?;
        let (_, late) = Part::cut(encoder.as_ref(), &settings.split).map_err(|error| error.of("[umm]"))?;
        let method = (methods::find(&config.method)?.build)(&config.method_settings)?;
        method.check(&late).map_err(|error| error.of("[umm]"))?;
        Ok(Self { encoder, method, settings })
    }

    /// The table `umm`, resolved.
    pub fn settings(&self) -> toml::Table {
        let mut table = toml::Table::try_from(&self.settings).expect("settings are plain values");
        table.retain(|key, _| KEYS.contains(&key));
        table
    }

    /// The hypergradient at the weights `w` of encoder, head and teacher for the views `images`. The early stages stay
    /// as they are for this step, with their running statistics. In f32, whatever the training's precision.
    ///
    /// # Errors
    /// When libtorch cannot compute it.
    pub fn step(&self, w: &Weights, images: &Views) -> Result<Slope> {
        let encoder = self.encoder.as_ref();
        let (early, late) = Part::cut(encoder, &self.settings.split)?;
        let features = |x: &Tensor| early.forward(w, &x.to_kind(Kind::Float), Mode::Eval);
        let features = tch::no_grad(|| images.map(features));
        let of_encoder = Part::whole(encoder).weights(w);
        let mut trained = late.weights(w);
        trained.extend(w.filter(|name| of_encoder.find(name).is_none()));
        let problem = Problem {
            method: self.method.as_ref(),
            late: &late,
            settings: &self.settings,
            teacher: None,
            held_out: None,
        };
        let OuterStep { gradients, ssl, .. } = umm::outer_step(&problem, &trained, &features)?;
        Ok(Slope { trained, gradients, loss: ssl })
    }
}
