//! ConvNeXt (Liu et al. 2022, arXiv 2201.03545) as in torchvision: names, initialisation and forward pass.
//!
//! The stages are `stem` and `stage1 .. stage4`, each but the first with the halving before it. The norm that torchvision
//! applies after the pooling is a part of its classifier, and is left out with it.

use tch::Tensor;

use super::spec::{EncoderSpec, Entry, numbers};
use super::{Encoder, Stage};
use crate::error::{Error, Result};
use crate::nn::{self, DropPath, Mode, Weights};
use crate::rng::Rng;

pub(super) const TINY: Entry = Entry { name: NAME, paper: "arXiv 2201.03545", open, build };

const NAME: &str = "convnext-tiny";
const BLOCKS: [usize; 4] = [3, 3, 9, 3];
const WIDTH: i64 = 96;
/// What the factors of the residual branches start with.
const LAYER_SCALE: f64 = 1e-6;

/// A first convolution of stride 4 leaves too little of small images.
fn open(image_size: u32) -> EncoderSpec {
    EncoderSpec { patch: Some(if image_size <= 64 { 2 } else { 4 }), ..EncoderSpec::default() }
}

fn build(spec: &EncoderSpec) -> Result<Box<dyn Encoder>> {
    let [width] = numbers(&spec.name, NAME, ['w'])?;
    let patch = spec.patch.ok_or_else(|| Error::usage(format!("{NAME} needs a patch")))?;
    Ok(Box::new(ConvNext::new(width.unwrap_or(WIDTH), patch.into())))
}

pub struct ConvNext {
    width: i64,
    patch: i64,
    stages: Vec<Stage>,
}

impl ConvNext {
    /// `width` channels leave the first convolution, whose kernel and stride are `patch`.
    pub fn new(width: i64, patch: i64) -> Self {
        let mut stages = vec![Stage { name: "stem".into(), channels: width, stride: patch }];
        stages.extend((0..4).map(|i| Stage {
            name: format!("stage{}", i + 1),
            channels: width << i,
            stride: patch << i,
        }));
        Self { width, patch, stages }
    }

    fn block(&self, stage: usize, block: usize, w: &Weights, x: &Tensor, drop: Option<&DropPath>) -> Tensor {
        let at = |part: &str| format!("features.{}.{block}.{part}", 2 * stage - 1);
        let y = nn::depthwise_conv2d(w, &at("block.0"), x).permute([0, 2, 3, 1]);
        let y = nn::gelu(&nn::linear(w, &at("block.3"), &nn::layer_norm(w, &at("block.2"), &y)));
        let y = nn::linear(w, &at("block.5"), &y).permute([0, 3, 1, 2]);
        let y = y * w.get(&at("layer_scale")).to_kind(x.kind());
        let before: usize = BLOCKS[..stage - 1].iter().sum();
        let depth = (before + block) as f64 / (BLOCKS.iter().sum::<usize>() - 1) as f64;
        match drop {
            Some(drop) => x + drop.of(&y, depth),
            None => x + y,
        }
    }
}

impl Encoder for ConvNext {
    fn spec(&self) -> EncoderSpec {
        let name = if self.width == WIDTH { NAME.to_owned() } else { format!("{NAME}-w{}", self.width) };
        EncoderSpec { name, patch: Some(self.patch as u32), ..EncoderSpec::default() }
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn shapes(&self) -> Vec<(String, Vec<i64>)> {
        let mut shapes = Vec::new();
        let mut layer = |name: String, weight: &[i64]| {
            shapes.push((format!("{name}.weight"), weight.to_vec()));
            shapes.push((format!("{name}.bias"), vec![weight[0]]));
        };
        layer("features.0.0".into(), &[self.width, 3, self.patch, self.patch]);
        layer("features.0.1".into(), &[self.width]);
        for stage in 1..=4 {
            let width = self.stages[stage].channels;
            if stage > 1 {
                let before = self.stages[stage - 1].channels;
                layer(format!("features.{}.0", 2 * stage - 2), &[before]);
                layer(format!("features.{}.1", 2 * stage - 2), &[width, before, 2, 2]);
            }
            for block in 0..BLOCKS[stage - 1] {
                let at = format!("features.{}.{block}", 2 * stage - 1);
                layer(format!("{at}.block.0"), &[width, 1, 7, 7]);
                layer(format!("{at}.block.2"), &[width]);
                layer(format!("{at}.block.3"), &[4 * width, width]);
                layer(format!("{at}.block.5"), &[width, 4 * width]);
            }
        }
        // A block's own parameter is listed before those of its layers.
        let mut with_scales = Vec::new();
        for (name, shape) in shapes {
            if let Some(block) = name.strip_suffix(".block.0.weight") {
                with_scales.push((format!("{block}.layer_scale"), vec![shape[0], 1, 1]));
            }
            with_scales.push((name, shape));
        }
        with_scales
    }

    fn init(&self, rng: &mut Rng) -> Weights {
        self.shapes()
            .into_iter()
            .map(|(name, shape)| {
                let tensor = match shape.len() {
                    2 | 4 => nn::normal(&shape, 0.02, rng),
                    3 => nn::constant(&shape, LAYER_SCALE),
                    _ if name.ends_with(".weight") => nn::constant(&shape, 1.0),
                    _ => nn::constant(&shape, 0.0),
                };
                (name, tensor)
            })
            .collect()
    }

    fn stage(&self, i: usize, w: &Weights, x: &Tensor, _: Mode, drop: Option<&DropPath>) -> Tensor {
        if i == 0 {
            let x = nn::patch_conv2d(w, "features.0.0", x, self.patch);
            return nn::layer_norm(w, "features.0.1", &x).permute([0, 3, 1, 2]);
        }
        let mut x = x.shallow_clone();
        if i > 1 {
            let halving = |part: usize| format!("features.{}.{part}", 2 * i - 2);
            let normed = nn::layer_norm(w, &halving(0), &x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2]);
            x = nn::patch_conv2d(w, &halving(1), &normed, 2).permute([0, 3, 1, 2]);
        }
        (0..BLOCKS[i - 1]).fold(x, |x, block| self.block(i, block, w, &x, drop))
    }

    /// The last halving leaves a place.
    fn least_size(&self) -> u32 {
        self.stages[4].stride as u32
    }

    fn owns(&self, i: usize, name: &str) -> bool {
        let place = name.strip_prefix("features.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        place.is_some_and(|place| if place == 0 { i == 0 } else { place / 2 + 1 == i })
    }
}
