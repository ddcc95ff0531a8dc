//! Encoders: chains of named stages, which can be cut after any stage.

mod convnext;
mod resnet;
mod spec;
mod vit;

use std::ops::Range;

use tch::Tensor;

use crate::error::{Error, Result};
use crate::nn::{DropPath, Mode, Weights};
use crate::rng::Rng;

pub use convnext::ConvNext;
pub use resnet::{Depth, ResNet, Stem};
pub use spec::{ENCODERS, EncoderSpec, Entry};
pub use vit::{Pool, Vit, VitShape};

/// A stage of an encoder, and what comes out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    pub name: String,
    /// Channels of the map that leaves the stage.
    pub channels: i64,
    /// Pixels of the image between two neighbours of that map.
    pub stride: i64,
}

/// A chain of stages from images `[n, 3, h, w]` to maps: `[n, c, h', w']`, or tokens `[n, t, c]` of a transformer.
pub trait Encoder: Send + Sync {
    /// What builds it, by its shortest name.
    fn spec(&self) -> EncoderSpec;

    fn stages(&self) -> &[Stage];

    /// Names and shapes of all its tensors, torchvision's or timm's, in their order.
    fn shapes(&self) -> Vec<(String, Vec<i64>)>;

    /// Fresh weights under these names.
    fn init(&self, rng: &mut Rng) -> Weights;

    /// Stage `i` alone, from a map to a map; `drop` is what drops paths in training, where the encoder has some to drop.
    fn stage(&self, i: usize, w: &Weights, x: &Tensor, mode: Mode, drop: Option<&DropPath>) -> Tensor;

    /// Whether the tensor of this name belongs to stage `i`.
    fn owns(&self, i: usize, name: &str) -> bool;

    /// The map that leaves stage `i` to a vector `[n, c]`.
    fn pool(&self, _i: usize, x: &Tensor) -> Tensor {
        x.mean_dim([2i64, 3].as_slice(), false, None)
    }

    /// Multiply-adds of a forward pass of stage `i`, a pixel of the image: a product of matrices or a convolution is counted
    /// at the size of the map that leaves its stage, which is exact for all but bottlenecks.
    fn work(&self, i: usize) -> f64 {
        let shapes = self.shapes();
        let products = shapes.iter().filter(|(name, shape)| matches!(shape.len(), 2 | 4) && self.owns(i, name));
        let weights: i64 = products.map(|(_, shape)| shape.iter().product::<i64>()).sum();
        weights as f64 / (self.stages()[i].stride as f64).powi(2)
    }

    /// Side of the smallest images it takes, pixels.
    fn least_size(&self) -> u32 {
        1
    }

    /// Itself where it is a vision transformer, for methods that hide some of its tokens.
    fn vit(&self) -> Option<&Vit> {
        None
    }
}

/// # Errors
/// When images of `size` pixels a side are too small for `encoder`, or no whole number of patches of a vision transformer,
/// which would leave out the rest.
pub fn check_size(encoder: &dyn Encoder, size: u32) -> Result<()> {
    check_views(encoder, [size])?;
    let patch = encoder.vit().map_or(1, |vit| vit.shape.patch as u32);
    if size.is_multiple_of(patch) {
        return Ok(());
    }
    Err(Error::usage(format!("images of {size} pixels: {} has patches of {patch}", encoder.spec().name))
        .hint(format!("--image-size {}, or another multiple", size.next_multiple_of(patch))))
}

/// # Errors
/// When a view of one of these sizes is too small for `encoder`.
pub fn check_views(encoder: &dyn Encoder, sizes: impl IntoIterator<Item = u32>) -> Result<()> {
    let least = encoder.least_size();
    match sizes.into_iter().find(|size| *size < least) {
        Some(small) => Err(Error::usage(format!("views of {small} pixels: {} needs {least} or more", encoder.spec()))
            .hint("choose a larger --image-size, or a smaller --patch")),
        None => Ok(()),
    }
}

/// The dimension of a map that holds its channels: the second of `[n, c, h, w]`, the last of tokens `[n, t, c]`.
pub fn channel_dim(map: &Tensor) -> i64 {
    if map.dim() == 4 { 1 } else { -1 }
}

/// A range of an encoder's stages: a whole encoder, or the early or late side of a cut.
#[derive(Clone)]
pub struct Part<'a> {
    encoder: &'a dyn Encoder,
    stages: Range<usize>,
    /// Is shown the map that leaves every stage.
    hook: Option<&'a dyn Fn(&Tensor)>,
    drop: Option<&'a DropPath>,
}

impl<'a> Part<'a> {
    pub fn whole(encoder: &'a dyn Encoder) -> Self {
        Self { encoder, stages: 0..encoder.stages().len(), hook: None, drop: None }
    }

    /// No stage: what goes in comes out.
    pub fn none(encoder: &'a dyn Encoder) -> Self {
        Self { encoder, stages: 0..0, hook: None, drop: None }
    }

    /// The same stages; `hook` is shown the map that leaves each, as by PyTorch's forward hooks.
    pub fn hooked<'b>(&self, hook: &'b dyn Fn(&Tensor)) -> Part<'b>
    where
        'a: 'b,
    {
        Part { hook: Some(hook), ..self.clone() }
    }

    /// The same stages, with paths dropped in training by `drop`, of the network whose weights are trained alone: a method's
    /// teacher sees whole ones, as DINO's.
    pub fn dropping<'b>(&self, drop: &'b DropPath) -> Part<'b>
    where
        'a: 'b,
    {
        Part { drop: Some(drop), ..self.clone() }
    }

    /// What drops paths in this mode, for weights that are trained.
    pub fn drop_path(&self, mode: Mode) -> Option<&'a DropPath> {
        self.drop.filter(|_| mode == Mode::Train)
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
                let part = |stages| Self { encoder, stages, hook: None, drop: None };
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

    /// Whether these are all stages of the encoder.
    pub fn is_whole(&self) -> bool {
        self.stages == (0..self.encoder.stages().len())
    }

    /// Multiply-adds of a forward pass, a pixel of the image.
    pub fn work(&self) -> f64 {
        self.stages.clone().map(|i| self.encoder.work(i)).sum()
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
        let trained = || w.iter().any(|(name, t)| t.requires_grad() && self.encoder.owns(i, name));
        let drop = self.drop_path(mode).filter(|_| trained());
        let map = self.encoder.stage(i, w, x, mode, drop);
        if let Some(hook) = self.hook {
            hook(&map);
        }
        map
    }

    /// What enters these stages, a map of the stage before them or images, to a vector `[n, c]`.
    pub fn pool_input(&self, x: &Tensor) -> Tensor {
        self.pooled_after(self.stages.start, x)
    }

    /// What leaves the first `stages` stages of the encoder, images where that is none, to a vector `[n, c]`.
    fn pooled_after(&self, stages: usize, x: &Tensor) -> Tensor {
        match stages.checked_sub(1) {
            Some(last) => self.encoder.pool(last, x),
            None => x.mean_dim([2i64, 3].as_slice(), false, None),
        }
    }

    /// The representation: the pooled map after the last stage, `[n, d]`, in f32 or better.
    pub fn represent(&self, w: &Weights, x: &Tensor, mode: Mode) -> Tensor {
        self.pooled_after(self.stages.end, &self.forward(w, x, mode))
    }

    /// The pooled map of every stage, in one pass.
    pub fn represent_stages(&self, w: &Weights, x: &Tensor, mode: Mode) -> Vec<Tensor> {
        let mut x = x.shallow_clone();
        self.stages
            .clone()
            .map(|i| {
                x = self.stage(i, w, &x, mode);
                self.encoder.pool(i, &x)
            })
            .collect()
    }
}
