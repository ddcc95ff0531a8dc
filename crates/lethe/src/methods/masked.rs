//! What methods share that hide patches of an image from a vision transformer and predict them from the others.

use rand::seq::SliceRandom;
use tch::{Device, Tensor};

use crate::cuda;
use crate::encoders::{Part, Vit};
use crate::error::{Error, Result};
use crate::nn::{self, Weights, transformer};
use crate::rng::Rng;

/// The vision transformer that `net` is.
///
/// # Errors
/// When it is none, or a part of one: patches are hidden from the first block on.
pub(super) fn whole_vit<'a>(method: &str, net: &Part<'a>) -> Result<&'a Vit> {
    let encoder = net.encoder();
    let vit = encoder.vit().ok_or_else(|| {
        Error::usage(format!("{method} hides patches from a vision transformer, not from {}", encoder.spec().name))
            .hint("--encoder vit-tiny")
    })?;
    if net.is_whole() {
        return Ok(vit);
    }
    Err(Error::usage(format!("{method} hides patches from the whole encoder: it cannot train one that is cut"))
        .hint("name another method to repair it with"))
}

/// The tokens `[n, t, d]` of these places `[n, k]`, `[n, k, d]`.
pub(super) fn take(tokens: &Tensor, places: &Tensor) -> Tensor {
    let (n, _, d) = tokens.size3().expect("tokens are [n, t, d]");
    tokens.gather(1, &places.unsqueeze(-1).expand([n, places.size()[1], d], false), false)
}

/// `[n, k]` of the places of n images, k each.
pub(super) fn places(images: &[Vec<i64>], device: Device) -> Tensor {
    let k = images.first().map_or(0, Vec::len);
    cuda::upload(&Tensor::from_slice(&images.concat()).view([images.len() as i64, k as i64]), device)
}

/// For each of n images the t places in an order of its own, parted after the first `kept` ones: `[n, kept]`,
/// `[n, t - kept]`.
pub(super) fn parted(n: i64, t: i64, kept: usize, rng: &mut Rng, device: Device) -> (Tensor, Tensor) {
    let (kept, hidden): (Vec<_>, Vec<_>) = (0..n)
        .map(|_| {
            let mut order: Vec<i64> = (0..t).collect();
            order.shuffle(rng);
            let hidden = order.split_off(kept);
            (order, hidden)
        })
        .unzip();
    (places(&kept, device), places(&hidden, device))
}

/// The transformer `NAME` that predicts tokens: a layer from the encoder's width to its own, a token that stands for what is
/// hidden, blocks and a norm, and a layer to what is predicted. The places of the tokens are sines and cosines, no parameters:
/// the buffer `memory.places` `[patches, width]`.
pub(super) struct Predictor {
    pub(super) name: &'static str,
    pub(super) width: i64,
    pub(super) depth: usize,
    pub(super) heads: i64,
}

impl Predictor {
    /// # Errors
    /// When the heads do not share its width.
    pub(super) fn check(&self, method: &str) -> Result<()> {
        if self.depth >= 1 && self.heads >= 1 && self.width >= 4 && self.width % self.heads == 0 {
            return Ok(());
        }
        let Self { name, width, depth, heads } = self;
        Err(Error::usage(format!("{method}: a {name} of width {width}, {depth} blocks and {heads} heads"))
            .hint("the heads must share the width, and none may be 0"))
    }

    pub(super) fn init(&self, vit: &Vit, output: i64, rng: &mut Rng) -> Weights {
        let at = |part: &str| format!("{}.{part}", self.name);
        let mut w = transformer::token_linear_init(&at("embed"), vit.shape.width, self.width, rng);
        w.insert(at("mask_token"), nn::normal(&[1, 1, self.width], 0.02, rng));
        for i in 0..self.depth {
            w.extend(transformer::block_init(&at(&format!("blocks.{i}")), self.width, false, rng));
        }
        w.extend(transformer::layer_norm_init(&at("norm"), self.width));
        w.extend(transformer::token_linear_init(&at("pred"), self.width, output, rng));
        let grid = vit.shape.image_size / vit.shape.patch;
        w.insert("memory.places", transformer::sine_cosine(grid, grid, self.width).to_kind(tch::Kind::Float));
        w
    }

    /// What it predicts at the places `hidden` `[n, m]` from the encoder's tokens of the places `seen` `[n, k]`,
    /// `[n, m, output]`; `tokens` are `[n, k, d]`, or `[n, 1 + k, d]` with a class token, which has no place.
    pub(super) fn predict(&self, w: &Weights, tokens: &Tensor, seen: &Tensor, hidden: &Tensor) -> Tensor {
        let at = |part: &str| format!("{}.{part}", self.name);
        let n = tokens.size()[0];
        let of_patches = w.get("memory.places").to_kind(tokens.kind()).unsqueeze(0);
        let of_patches = of_patches.expand([n, of_patches.size()[1], self.width], false);
        let mut of_seen = take(&of_patches, seen);
        let tokens = nn::linear(w, &at("embed"), tokens);
        let classes = tokens.size()[1] - seen.size()[1];
        if classes > 0 {
            of_seen = Tensor::cat(&[&of_seen.zeros_like().narrow(1, 0, classes), &of_seen], 1);
        }
        let standing = w.get(&at("mask_token")).to_kind(tokens.kind()) + take(&of_patches, hidden);
        let all = Tensor::cat(&[tokens + of_seen, standing], 1);
        let (first, m) = (all.size()[1] - hidden.size()[1], hidden.size()[1]);
        let block = |x, i| transformer::block(w, &at(&format!("blocks.{i}")), &x, self.heads, None);
        let all = (0..self.depth).fold(all, block);
        nn::linear(w, &at("pred"), &nn::layer_norm(w, &at("norm"), &all.narrow(1, first, m)))
    }
}
