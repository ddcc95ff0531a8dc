//! ResNet (He et al. 2015, arXiv 1512.03385) as in torchvision 0.26: names, initialisation and forward pass.

use std::fmt;
use std::str::FromStr;

use tch::Tensor;

use super::spec::{EncoderSpec, Entry, numbers};
use super::{Encoder, Stage};
use crate::error::{Error, Result};
use crate::nn::{self, DropPath, Mode, Weights};
use crate::rng::Rng;

pub(super) const RESNET18: Entry = entry("resnet18", |spec| build(spec, Depth::R18));
pub(super) const RESNET34: Entry = entry("resnet34", |spec| build(spec, Depth::R34));
pub(super) const RESNET50: Entry = entry("resnet50", |spec| build(spec, Depth::R50));

const fn entry(name: &'static str, build: fn(&EncoderSpec) -> Result<Box<dyn Encoder>>) -> Entry {
    let open = |image_size| EncoderSpec { stem: Some(Stem::for_size(image_size)), ..EncoderSpec::default() };
    Entry { name, paper: "arXiv 1512.03385", open, build }
}

fn build(spec: &EncoderSpec, depth: Depth) -> Result<Box<dyn Encoder>> {
    let [width] = numbers(&spec.name, depth.name(), ['w'])?;
    let stem = spec.stem.ok_or_else(|| Error::usage(format!("{} needs a stem", spec.name)))?;
    Ok(Box::new(ResNet::new(depth, width.unwrap_or(64), stem)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    R18,
    R34,
    R50,
}

impl Depth {
    /// Residual blocks of stage1..stage4.
    pub fn blocks(self) -> [usize; 4] {
        match self {
            Depth::R18 => [2, 2, 2, 2],
            Depth::R34 | Depth::R50 => [3, 4, 6, 3],
        }
    }

    /// Whether a block is a bottleneck (1x1, 3x3, 1x1) instead of two 3x3 convolutions.
    pub fn bottleneck(self) -> bool {
        self == Depth::R50
    }

    fn name(self) -> &'static str {
        match self {
            Depth::R18 => "resnet18",
            Depth::R34 => "resnet34",
            Depth::R50 => "resnet50",
        }
    }
}

/// The first convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stem {
    /// 3x3 of stride 1, no max-pooling.
    Cifar,
    /// The same padded by 2 pixels, as solo-learn builds it for CIFAR: maps are two pixels larger than the image.
    CifarPad2,
    /// 7x7 of stride 2 and a max-pooling of stride 2.
    Imagenet,
}

impl Stem {
    /// What suits images of this side: CIFAR's stem up to 64 pixels.
    pub fn for_size(side: u32) -> Self {
        if side <= 64 { Stem::Cifar } else { Stem::Imagenet }
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stem::Cifar => "cifar",
            Stem::CifarPad2 => "cifar-pad2",
            Stem::Imagenet => "imagenet",
        })
    }
}

impl FromStr for Stem {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "cifar" => Ok(Stem::Cifar),
            "cifar-pad2" => Ok(Stem::CifarPad2),
            "imagenet" => Ok(Stem::Imagenet),
            _ => Err(Error::usage("expected cifar, cifar-pad2 or imagenet")),
        }
    }
}

pub struct ResNet {
    depth: Depth,
    width: i64,
    stem: Stem,
    stages: Vec<Stage>,
}

impl ResNet {
    pub fn new(depth: Depth, width: i64, stem: Stem) -> Self {
        let expansion = if depth.bottleneck() { 4 } else { 1 };
        let first = match stem {
            Stem::Cifar | Stem::CifarPad2 => 1,
            Stem::Imagenet => 4,
        };
        let mut stages = vec![Stage { name: "stem".into(), channels: width, stride: first }];
        stages.extend((0..4).map(|i| Stage {
            name: format!("stage{}", i + 1),
            channels: (width << i) * expansion,
            stride: first << i,
        }));
        Self { depth, width, stem, stages }
    }

    /// The convolutions of a block as (name, input, output, kernel, stride); the shortcut's last, where there is one.
    fn convolutions(&self, stage: usize, block: usize) -> Vec<(&'static str, i64, i64, i64, i64)> {
        let output = self.stages[stage].channels;
        let input = if block == 0 { self.stages[stage - 1].channels } else { output };
        let stride = if block == 0 && stage > 1 { 2 } else { 1 };
        let mut convolutions = if self.depth.bottleneck() {
            let inner = output / 4;
            vec![("conv1", input, inner, 1, 1), ("conv2", inner, inner, 3, stride), ("conv3", inner, output, 1, 1)]
        } else {
            vec![("conv1", input, output, 3, stride), ("conv2", output, output, 3, 1)]
        };
        if stride != 1 || input != output {
            convolutions.push(("downsample.0", input, output, 1, stride));
        }
        convolutions
    }

    /// Every convolution with the shape of its weight and the batch-norm that follows it, in torchvision's order.
    fn layers(&self) -> Vec<(String, [i64; 4], String)> {
        let kernel = match self.stem {
            Stem::Cifar | Stem::CifarPad2 => 3,
            Stem::Imagenet => 7,
        };
        let mut layers = vec![("conv1".to_owned(), [self.width, 3, kernel, kernel], "bn1".to_owned())];
        for stage in 1..=4 {
            for block in 0..self.depth.blocks()[stage - 1] {
                let at = format!("layer{stage}.{block}");
                for (name, input, output, kernel, _) in self.convolutions(stage, block) {
                    let bn = if name == "downsample.0" { "downsample.1".into() } else { name.replace("conv", "bn") };
                    layers.push((format!("{at}.{name}"), [output, input, kernel, kernel], format!("{at}.{bn}")));
                }
            }
        }
        layers
    }

    fn block(&self, stage: usize, block: usize, w: &Weights, x: &Tensor, mode: Mode) -> Tensor {
        let at = |name: &str| format!("layer{stage}.{block}.{name}");
        let convolutions = self.convolutions(stage, block);
        let (shortcut, path): (Vec<_>, Vec<_>) =
            convolutions.into_iter().partition(|(name, ..)| name.starts_with("downsample"));
        let mut y = x.shallow_clone();
        for (i, &(name, _, _, kernel, stride)) in path.iter().enumerate() {
            y = nn::conv2d(w, &at(name), &y, stride, kernel / 2);
            y = nn::batch_norm(w, &at(&name.replace("conv", "bn")), &y, mode);
            if i + 1 < path.len() {
                y = nn::relu(&y);
            }
        }
        let identity = match shortcut.first() {
            Some(&(name, _, _, _, stride)) => {
                let y = nn::conv2d(w, &at(name), x, stride, 0);
                nn::batch_norm(w, &at("downsample.1"), &y, mode)
            }
            None => x.shallow_clone(),
        };
        nn::relu(&(y + identity))
    }
}

impl Encoder for ResNet {
    fn spec(&self) -> EncoderSpec {
        let name = match self.width {
            64 => self.depth.name().to_owned(),
            width => format!("{}-w{width}", self.depth.name()),
        };
        EncoderSpec::new(&name, self.stem)
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn shapes(&self) -> Vec<(String, Vec<i64>)> {
        let mut shapes = Vec::new();
        for (convolution, shape, batch_norm) in self.layers() {
            shapes.push((format!("{convolution}.weight"), shape.to_vec()));
            for part in ["weight", "bias", "running_mean", "running_var"] {
                shapes.push((format!("{batch_norm}.{part}"), vec![shape[0]]));
            }
            shapes.push((format!("{batch_norm}.num_batches_tracked"), Vec::new()));
        }
        shapes
    }

    fn init(&self, rng: &mut Rng) -> Weights {
        let mut w = Weights::new();
        for (convolution, shape, batch_norm) in self.layers() {
            w.insert(format!("{convolution}.weight"), nn::kaiming_normal(&shape, rng));
            w.extend(nn::batch_norm_init(&batch_norm, shape[0]));
        }
        w
    }

    fn stage(&self, i: usize, w: &Weights, x: &Tensor, mode: Mode, _: Option<&DropPath>) -> Tensor {
        if i > 0 {
            return (0..self.depth.blocks()[i - 1])
                .fold(x.shallow_clone(), |x, block| self.block(i, block, w, &x, mode));
        }
        let (stride, padding) = match self.stem {
            Stem::Cifar => (1, 1),
            Stem::CifarPad2 => (1, 2),
            Stem::Imagenet => (2, 3),
        };
        let x = nn::relu(&nn::batch_norm(w, "bn1", &nn::conv2d(w, "conv1", x, stride, padding), mode));
        match self.stem {
            Stem::Cifar | Stem::CifarPad2 => x,
            Stem::Imagenet => nn::max_pool_3x3(&x),
        }
    }

    fn owns(&self, i: usize, name: &str) -> bool {
        match i {
            0 => name.starts_with("conv1.") || name.starts_with("bn1."),
            _ => name.strip_prefix("layer").and_then(|rest| rest.strip_prefix(&format!("{i}."))).is_some(),
        }
    }
}
