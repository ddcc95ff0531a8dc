//! A ResNet-18 with random weights and two views, for the bench and for `examples/step_memory.rs`.

use lethe::encoders::{Encoder, EncoderSpec, Part, Stem};
use lethe::methods::{self, Method, Views};
use lethe::nn::{Mode, Weights};
use lethe::rng::{Purpose, once};
use tch::{Device, Kind, Tensor};

pub(crate) struct Setup {
    encoder: Box<dyn Encoder>,
    pub(crate) method: Box<dyn Method>,
    /// Of encoder and head.
    weights: Weights,
    /// Two of `[batch, 3, 32, 32]`.
    views: Views,
}

impl Setup {
    pub(crate) fn new(width: i64, batch: i64) -> Self {
        let encoder = EncoderSpec::new(&format!("resnet18-w{width}"), Stem::Cifar).build().expect("an encoder");
        let method = (methods::find("simclr").expect("a method").build)(&toml::Table::new()).expect("its defaults");
        let mut rng = once(0, Purpose::Init);
        let mut weights = encoder.init(&mut rng);
        weights.extend(method.init(Part::whole(encoder.as_ref()).dim(), &mut rng));
        let views = Vec::from([1.0, 2.0].map(|phase| {
            let numbers = Tensor::arange(batch * 32 * 32 * 3, (Kind::Float, Device::Cpu));
            (numbers * 0.7 + phase).sin().view([batch, 32, 32, 3]).permute([0, 3, 1, 2])
        }));
        Self { encoder, method, weights, views: views.into() }
    }

    /// The stages up to and after the cut.
    pub(crate) fn cut(&self) -> (Part<'_>, Part<'_>) {
        Part::cut(self.encoder.as_ref(), "stage2").expect("a cut")
    }

    pub(crate) fn late_weights(&self, late: &Part) -> Weights {
        let mut w = late.weights(&self.weights);
        w.extend(self.weights.filter(|name| name.starts_with("projector.")));
        w
    }

    pub(crate) fn early_features(&self, early: &Part) -> Views {
        let frozen = self.weights.frozen();
        tch::no_grad(|| self.views.map(|x| early.forward(&frozen, x, Mode::Eval)))
    }
}
