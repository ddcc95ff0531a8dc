//! Encoders: chains of named stages, which can be cut after any stage.

mod resnet;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use tch::Tensor;

use crate::error::{Error, Result};
use crate::nn::{Mode, Weights};
use crate::rng::Rng;

pub use resnet::{Depth, ResNet, Stem};

/// A stage of an encoder, and what comes out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    pub name: String,
    /// Channels of the map that leaves the stage.
    pub channels: i64,
    /// Pixels of the image between two neighbours of that map.
    pub stride: i64,
}

/// A chain of stages from images `[n, 3, h, w]` to maps `[n, c, h', w']`.
pub trait Encoder: Send + Sync {
    fn spec(&self) -> EncoderSpec;

    fn stages(&self) -> &[Stage];

    /// Names and shapes of all its tensors, torchvision's, in torchvision's order.
    fn shapes(&self) -> Vec<(String, Vec<i64>)>;

    /// Fresh weights under torchvision's names.
    fn init(&self, rng: &mut Rng) -> Weights;

    /// Stage `i` alone, `[n, c, h, w]` -> `[n, c', h', w']`.
    fn stage(&self, i: usize, w: &Weights, x: &Tensor, mode: Mode) -> Tensor;

    /// Whether the tensor of this name belongs to stage `i`.
    fn owns(&self, i: usize, name: &str) -> bool;

    /// A map `[n, c, h, w]` to a vector `[n, c]`.
    fn pool(&self, x: &Tensor) -> Tensor {
        x.mean_dim([2i64, 3].as_slice(), false, None)
    }
}

/// A range of an encoder's stages: a whole encoder, or the early or late side of a cut.
#[derive(Clone)]
pub struct Part<'a> {
    encoder: &'a dyn Encoder,
    stages: Range<usize>,
    /// Is shown the map that leaves every stage.
    hook: Option<&'a dyn Fn(&Tensor)>,
}

impl<'a> Part<'a> {
    pub fn whole(encoder: &'a dyn Encoder) -> Self {
        Self { encoder, stages: 0..encoder.stages().len(), hook: None }
    }

    /// No stage: what goes in comes out.
    pub fn none(encoder: &'a dyn Encoder) -> Self {
        Self { encoder, stages: 0..0, hook: None }
    }

    /// The same stages; `hook` is shown the map that leaves each, as by PyTorch's forward hooks.
    pub fn hooked<'b>(&self, hook: &'b dyn Fn(&Tensor)) -> Part<'b>
    where
        'a: 'b,
    {
        Part { encoder: self.encoder, stages: self.stages.clone(), hook: Some(hook) }
    }

    /// The stages up to and with `split`, and those after it.
    ///
    /// # Errors
    /// When there is no such stage, or none is left after it.
    pub fn cut(encoder: &'a dyn Encoder, split: &str) -> Result<(Self, Self)> {
        let names: Vec<&str> = encoder.stages().iter().map(|stage| stage.name.as_str()).collect();
        let last = names.len() - 1;
        let choices = names[..last].join(", ");
        match names.iter().position(|name| *name == split) {
            Some(i) if i < last => {
                let part = |stages| Self { encoder, stages, hook: None };
                Ok((part(0..i + 1), part(i + 1..last + 1)))
            }
            Some(_) => Err(Error::usage(format!("--split {split}: no stage is left to train after the last one"))
                .hint(format!("split after one of: {choices}"))),
            None => Err(Error::usage(format!("--split {split}: {} has no such stage", encoder.spec()))
                .hint(format!("split after one of: {choices}"))),
        }
    }

    /// Fresh weights of these stages.
    pub fn init(&self, rng: &mut Rng) -> Weights {
        self.weights(&self.encoder.init(rng))
    }

    pub fn encoder(&self) -> &'a dyn Encoder {
        self.encoder
    }

    /// Multiply-adds of the convolutions of a forward pass, a pixel of the image: a convolution is counted at the size
    /// of the map that leaves its stage, which is exact for basic blocks.
    pub fn work(&self) -> f64 {
        let shapes = self.encoder.shapes();
        let of = |i: usize| {
            let convolutions = shapes.iter().filter(|(name, shape)| shape.len() == 4 && self.encoder.owns(i, name));
            let weights: i64 = convolutions.map(|(_, shape)| shape.iter().product::<i64>()).sum();
            weights as f64 / (self.encoder.stages()[i].stride as f64).powi(2)
        };
        self.stages.clone().map(of).sum()
    }

    pub fn stages(&self) -> &[Stage] {
        &self.encoder.stages()[self.stages.clone()]
    }

    /// Dimension of the representation, `d` of `[n, d]`.
    pub fn dim(&self) -> i64 {
        self.stages().last().expect("a part has a stage").channels
    }

    /// The weights of these stages; storage is shared.
    pub fn weights(&self, w: &Weights) -> Weights {
        w.filter(|name| self.stages.clone().any(|i| self.encoder.owns(i, name)))
    }

    /// The map after the last stage.
    pub fn forward(&self, w: &Weights, x: &Tensor, mode: Mode) -> Tensor {
        self.stages.clone().fold(x.shallow_clone(), |x, i| self.stage(i, w, &x, mode))
    }

    fn stage(&self, i: usize, w: &Weights, x: &Tensor, mode: Mode) -> Tensor {
        let map = self.encoder.stage(i, w, x, mode);
        if let Some(hook) = self.hook {
            hook(&map);
        }
        map
    }

    /// A map of these stages `[n, c, h, w]` to a vector `[n, c]`.
    pub fn pool(&self, x: &Tensor) -> Tensor {
        self.encoder.pool(x)
    }

    /// The representation: the pooled map after the last stage, `[n, d]`, in f32 or better.
    pub fn represent(&self, w: &Weights, x: &Tensor, mode: Mode) -> Tensor {
        self.encoder.pool(&self.forward(w, x, mode))
    }

    /// The pooled map of every stage, in one pass.
    pub fn represent_stages(&self, w: &Weights, x: &Tensor, mode: Mode) -> Vec<Tensor> {
        let mut x = x.shallow_clone();
        self.stages
            .clone()
            .map(|i| {
                x = self.stage(i, w, &x, mode);
                self.encoder.pool(&x)
            })
            .collect()
    }
}

/// An encoder by name: `resnet18`, `resnet34-w16`, with its stem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderSpec {
    pub name: String,
    pub stem: Stem,
}

impl fmt::Display for EncoderSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} stem)", self.name, self.stem)
    }
}

/// A family of encoders, found by the first part of the name.
pub struct Entry {
    pub name: &'static str,
    pub paper: &'static str,
    pub build: fn(spec: &EncoderSpec) -> Result<Box<dyn Encoder>>,
}

pub const ENCODERS: &[Entry] = &[resnet::RESNET18, resnet::RESNET34, resnet::RESNET50];

impl EncoderSpec {
    pub fn new(name: &str, stem: Stem) -> Self {
        Self { name: name.to_owned(), stem }
    }

    /// # Errors
    /// When the name is unknown or its width is not a positive number.
    pub fn build(&self) -> Result<Box<dyn Encoder>> {
        let family = self.name.split('-').next().unwrap_or_default();
        let entry = ENCODERS.iter().find(|entry| entry.name == family).ok_or_else(|| {
            let names: Vec<&str> = ENCODERS.iter().map(|entry| entry.name).collect();
            Error::usage(format!("unknown encoder {:?}", self.name))
                .hint(format!("one of {}, with -wW for the base width (resnet18-w16)", names.join(", ")))
        })?;
        (entry.build)(self)
    }
}

/// The base width of a name such as `resnet18-w16`; 64 without one.
fn width_of(name: &str) -> Result<i64> {
    let Some((_, suffix)) = name.split_once('-') else { return Ok(64) };
    suffix
        .strip_prefix('w')
        .and_then(|width| i64::from_str(width).ok())
        .filter(|width| (1..=1024).contains(width))
        .ok_or_else(|| {
            Error::usage(format!("encoder {name:?}: the part after '-' is not a width"))
                .hint("write it as in resnet18-w16, from w1 to w1024")
        })
}
