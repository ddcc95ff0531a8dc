//! Vision transformers (Dosovitskiy et al. 2020, arXiv 2010.11929) as in timm: names, initialisation and forward pass.
//!
//! The stages are `patch` (patches, class token, positional embedding) and `block1 .. blockL`; all maps are tokens
//! `[n, 1 + patches, d]`, the class token first. The last norm belongs to the last block: what leaves it is what timm's
//! `forward_features` gives and what every method trains on, while what leaves an earlier block is the residual stream
//! as it is.

use std::fmt;
use std::str::FromStr;

use tch::Tensor;

use super::spec::{EncoderSpec, Entry, numbers};
use super::{Encoder, Stage};
use crate::error::{Error, Result};
use crate::nn::{self, DropPath, Mode, Weights, transformer};
use crate::rng::Rng;

pub(super) const TINY: Entry = entry("vit-tiny", |spec| build(spec, "vit-tiny", 192));
pub(super) const SMALL: Entry = entry("vit-small", |spec| build(spec, "vit-small", 384));
pub(super) const BASE: Entry = entry("vit-base", |spec| build(spec, "vit-base", 768));

const DEPTH: i64 = 12;
/// Dimensions of an attention head in all three sizes.
const HEAD: i64 = 64;

const fn entry(name: &'static str, build: fn(&EncoderSpec) -> Result<Box<dyn Encoder>>) -> Entry {
    Entry { name, paper: "arXiv 2010.11929", open, build }
}

fn open(image_size: u32) -> EncoderSpec {
    EncoderSpec {
        patch: Some(if image_size <= 64 { 4 } else { 16 }),
        image_size: Some(image_size),
        pool: Some(Pool::Cls),
        layer_scale: Some(false),
        ..EncoderSpec::default()
    }
}

fn build(spec: &EncoderSpec, family: &str, width: i64) -> Result<Box<dyn Encoder>> {
    let [other_width, depth] = numbers(&spec.name, family, ['w', 'd'])?;
    let (Some(patch), Some(image_size)) = (spec.patch, spec.image_size) else {
        return Err(Error::usage(format!("{} needs a patch and an image size", spec.name)));
    };
    if image_size % patch != 0 {
        return Err(Error::usage(format!(
            "--patch {patch}: images of {image_size} pixels are no whole number of patches"
        ))
        .hint("choose a divisor of the image's side, or another --image-size"));
    }
    let width = other_width.unwrap_or(width);
    let heads = Vit::heads_of(width).ok_or_else(|| {
        Error::usage(format!("encoder {:?}: its width must be a multiple of 64, or 4, 8, .. 60", spec.name))
    })?;
    Ok(Box::new(Vit::new(VitShape {
        width,
        depth: depth.unwrap_or(DEPTH) as usize,
        heads,
        patch: patch.into(),
        image_size: image_size.into(),
        pool: spec.pool.unwrap_or_default(),
        layer_scale: spec.layer_scale.unwrap_or_default(),
    })))
}

/// What a vision transformer makes a vector of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// The class token; after `patch`, where it has seen no image yet, the mean.
    #[default]
    Cls,
    /// The mean of all tokens but the class token.
    Mean,
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pool::Cls => "cls",
            Pool::Mean => "mean",
        })
    }
}

impl FromStr for Pool {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "cls" => Ok(Pool::Cls),
            "mean" => Ok(Pool::Mean),
            _ => Err(Error::usage("expected cls or mean")),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VitShape {
    /// Dimension of a token.
    pub width: i64,
    /// Blocks.
    pub depth: usize,
    pub heads: i64,
    /// Side of a patch, and of the images that the positional embedding is made for; pixels.
    pub patch: i64,
    pub image_size: i64,
    pub pool: Pool,
    pub layer_scale: bool,
}

pub struct Vit {
    pub shape: VitShape,
    stages: Vec<Stage>,
}

impl Vit {
    pub fn new(shape: VitShape) -> Self {
        let names = std::iter::once("patch".to_owned()).chain((1..=shape.depth).map(|i| format!("block{i}")));
        let stages = names.map(|name| Stage { name, channels: shape.width, stride: shape.patch }).collect();
        Self { shape, stages }
    }

    /// Heads of the vision transformers of a width that have a name: of 64 dimensions, or one alone.
    pub fn heads_of(width: i64) -> Option<i64> {
        match width {
            _ if width % HEAD == 0 => Some(width / HEAD),
            1..HEAD if width % 4 == 0 => Some(1),
            _ => None,
        }
    }

    /// Patches along a side of the positional embedding.
    fn grid(&self) -> i64 {
        self.shape.image_size / self.shape.patch
    }

    /// The positional embedding for a grid of patches, `[1, 1 + rows * columns, d]`: its own, or interpolated as by timm's
    /// `resample_abs_pos_embed` (bicubic, smoothed where it shrinks).
    fn positions(&self, w: &Weights, rows: i64, columns: i64) -> Tensor {
        let (own, grid, width) = (w.get("pos_embed"), self.grid(), self.shape.width);
        if (rows, columns) == (grid, grid) {
            return own.shallow_clone();
        }
        let map = own.narrow(1, 1, grid * grid).reshape([1, grid, grid, width]).permute([0, 3, 1, 2]);
        let map = map.internal_upsample_bicubic2d_aa([rows, columns], false, None, None);
        let tokens = map.permute([0, 2, 3, 1]).reshape([1, rows * columns, width]);
        Tensor::cat(&[own.narrow(1, 0, 1), tokens], 1)
    }

    /// The patches of images `[n, 3, h, w]` with their places, `[n, patches, d]` row by row.
    pub fn embed(&self, w: &Weights, x: &Tensor) -> Tensor {
        let patches = nn::patch_conv2d(w, "patch_embed.proj", x, self.shape.patch);
        let (rows, columns) = (patches.size()[1], patches.size()[2]);
        let positions = self.positions(w, rows, columns).narrow(1, 1, rows * columns);
        patches.flatten(1, 2) + positions.to_kind(x.kind())
    }

    /// # Errors
    /// When images `[n, 3, h, w]` are not of the size that the positional embedding is made for, which `method` needs.
    pub fn expect_own_size(&self, method: &str, images: &Tensor) -> Result<()> {
        let (size, own) = (&images.size()[2..], self.shape.image_size);
        if size == [own, own] {
            return Ok(());
        }
        Err(Error::usage(format!("{method} needs views of {own} x {own} pixels, not {} x {}", size[0], size[1])))
    }

    /// Tokens `[n, t, d]` with the class token before them.
    pub fn with_class_token(&self, w: &Weights, tokens: &Tensor) -> Tensor {
        let class = w.get("cls_token") + w.get("pos_embed").narrow(1, 0, 1);
        let class = class.to_kind(tokens.kind()).expand([tokens.size()[0], 1, self.shape.width], false);
        Tensor::cat(&[&class, tokens], 1)
    }

    /// All blocks and the last norm, of tokens `[n, t, d]` of any patches.
    pub fn encode(&self, w: &Weights, tokens: &Tensor, drop: Option<&DropPath>) -> Tensor {
        (1..self.stages.len()).fold(tokens.shallow_clone(), |x, i| self.block(i, w, &x, drop))
    }

    /// Block `i`, counted from 1; after the last one its norm.
    fn block(&self, i: usize, w: &Weights, x: &Tensor, drop: Option<&DropPath>) -> Tensor {
        let depth = (i - 1) as f64 / (self.shape.depth.max(2) - 1) as f64;
        let name = format!("blocks.{}", i - 1);
        let x = transformer::block(w, &name, x, self.shape.heads, drop.map(|drop| (drop, depth)));
        if i == self.shape.depth { nn::layer_norm(w, "norm", &x) } else { x }
    }
}

impl Encoder for Vit {
    fn spec(&self) -> EncoderSpec {
        let VitShape { width, depth, patch, image_size, pool, layer_scale, .. } = self.shape;
        let mut name = match width {
            192 => "vit-tiny".to_owned(),
            384 => "vit-small".to_owned(),
            768 => "vit-base".to_owned(),
            _ => format!("vit-tiny-w{width}"),
        };
        if depth as i64 != DEPTH {
            name += &format!("-d{depth}");
        }
        EncoderSpec {
            name,
            stem: None,
            patch: Some(patch as u32),
            image_size: Some(image_size as u32),
            pool: Some(pool),
            layer_scale: Some(layer_scale),
        }
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn shapes(&self) -> Vec<(String, Vec<i64>)> {
        let VitShape { width, depth, patch, layer_scale, .. } = self.shape;
        let mut shapes = vec![
            ("cls_token".to_owned(), vec![1, 1, width]),
            ("pos_embed".to_owned(), vec![1, 1 + self.grid() * self.grid(), width]),
            ("patch_embed.proj.weight".to_owned(), vec![width, 3, patch, patch]),
            ("patch_embed.proj.bias".to_owned(), vec![width]),
        ];
        for i in 0..depth {
            shapes.extend(transformer::block_shapes(&format!("blocks.{i}"), width, layer_scale));
        }
        shapes.extend([("norm.weight".to_owned(), vec![width]), ("norm.bias".to_owned(), vec![width])]);
        shapes
    }

    /// As timm's, but for the [blocks](transformer::block_init) and the positional embedding: it begins with sines and
    /// cosines, which MAE, MoCo v3 and I-JEPA keep, and is trained from there.
    fn init(&self, rng: &mut Rng) -> Weights {
        let VitShape { width, depth, patch, layer_scale, .. } = self.shape;
        let mut w = Weights::new();
        w.insert("cls_token", nn::normal(&[1, 1, width], 1e-6, rng));
        let places = transformer::sine_cosine(self.grid(), self.grid(), width).to_kind(tch::Kind::Float);
        let none = Tensor::zeros([1, width], (tch::Kind::Float, tch::Device::Cpu));
        w.insert("pos_embed", Tensor::cat(&[none, places], 0).unsqueeze(0).set_requires_grad(true));
        let fan_in = 3 * patch * patch;
        w.insert("patch_embed.proj.weight", nn::uniform_fan_in(&[width, 3, patch, patch], fan_in, rng));
        w.insert("patch_embed.proj.bias", nn::uniform_fan_in(&[width], fan_in, rng));
        for i in 0..depth {
            w.extend(transformer::block_init(&format!("blocks.{i}"), width, layer_scale, rng));
        }
        w.extend(transformer::layer_norm_init("norm", width));
        w
    }

    fn stage(&self, i: usize, w: &Weights, x: &Tensor, _: Mode, drop: Option<&DropPath>) -> Tensor {
        match i {
            0 => self.with_class_token(w, &self.embed(w, x)),
            _ => self.block(i, w, x, drop),
        }
    }

    fn least_size(&self) -> u32 {
        self.shape.patch as u32
    }

    fn owns(&self, i: usize, name: &str) -> bool {
        let block = name.strip_prefix("blocks.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        match block {
            Some(block) => block + 1 == i,
            None if name.starts_with("norm.") => i == self.shape.depth,
            None => i == 0 && ["cls_token", "pos_embed", "patch_embed."].iter().any(|stem| name.starts_with(stem)),
        }
    }

    fn pool(&self, i: usize, x: &Tensor) -> Tensor {
        match self.shape.pool {
            Pool::Cls if i > 0 => x.select(1, 0),
            _ => x.narrow(1, 1, x.size()[1] - 1).mean_dim([1i64].as_slice(), false, None),
        }
    }

    /// Of the linear layers, and of the products of queries with keys and of attention with values.
    fn work(&self, i: usize) -> f64 {
        let width = self.shape.width;
        let linear = if i == 0 { 3 * self.shape.patch.pow(2) * width } else { 12 * width * width };
        let attention = if i == 0 { 0 } else { 2 * width * self.grid().pow(2) };
        (linear + attention) as f64 / (self.shape.patch as f64).powi(2)
    }

    fn vit(&self) -> Option<&Vit> {
        Some(self)
    }
}
