//! Pre-norm transformer blocks (Dosovitskiy et al. 2020, arXiv 2010.11929) under timm's names.

use tch::{Kind, Tensor};

use super::{DropPath, Weights, constant, gelu, layer_norm, linear, xavier_uniform};
use crate::rng::Rng;

/// Width of a block's perceptron, in widths of the block.
const MLP_RATIO: i64 = 4;
/// What layer scale starts with, as DINOv2's in timm.
const LAYER_SCALE: f64 = 1e-5;

/// The block `NAME` on tokens `[n, t, width]`. Layer scale is applied where there are weights for it; `drop` is what drops
/// paths, with the depth of the block from 0 to 1. Differentiable any number of times.
pub fn block(w: &Weights, name: &str, x: &Tensor, heads: i64, drop: Option<(&DropPath, f64)>) -> Tensor {
    let at = |part: &str| format!("{name}.{part}");
    let branch = |y: Tensor, scale: &str| {
        let y = match w.find(&at(scale)) {
            Some(gamma) => y * gamma.to_kind(x.kind()),
            None => y,
        };
        match drop {
            Some((drop, depth)) => drop.of(&y, depth),
            None => y,
        }
    };
    let x = x + branch(attention(w, &at("attn"), &layer_norm(w, &at("norm1"), x), heads), "ls1.gamma");
    let hidden = gelu(&linear(w, &at("mlp.fc1"), &layer_norm(w, &at("norm2"), &x)));
    &x + branch(linear(w, &at("mlp.fc2"), &hidden), "ls2.gamma")
}

/// Multi-head self-attention by plain products: libtorch's fused one has no second derivative.
fn attention(w: &Weights, name: &str, x: &Tensor, heads: i64) -> Tensor {
    let (n, t, width) = x.size3().expect("tokens are [n, t, d]");
    let qkv = linear(w, &format!("{name}.qkv"), x).view([n, t, 3, heads, width / heads]).permute([2, 0, 3, 1, 4]);
    let (q, k, v) = (qkv.select(0, 0), qkv.select(0, 1), qkv.select(0, 2));
    let scale = ((width / heads) as f64).powf(-0.5);
    let attention = (q * scale).matmul(&k.transpose(-2, -1)).softmax(-1, None::<Kind>);
    let mixed = attention.matmul(&v).transpose(1, 2).reshape([n, t, width]);
    linear(w, &format!("{name}.proj"), &mixed)
}

/// Names and shapes of a block's tensors, in timm's order.
pub fn block_shapes(name: &str, width: i64, layer_scale: bool) -> Vec<(String, Vec<i64>)> {
    let norm = |name: &str| [(format!("{name}.weight"), vec![width]), (format!("{name}.bias"), vec![width])];
    let linear = |name: &str, input: i64, output: i64| {
        [(format!("{name}.weight"), vec![output, input]), (format!("{name}.bias"), vec![output])]
    };
    let gamma = |name: &str| layer_scale.then(|| (format!("{name}.gamma"), vec![width]));
    let mut shapes = Vec::new();
    shapes.extend(norm("norm1"));
    shapes.extend(linear("attn.qkv", width, 3 * width));
    shapes.extend(linear("attn.proj", width, width));
    shapes.extend(gamma("ls1"));
    shapes.extend(norm("norm2"));
    shapes.extend(linear("mlp.fc1", width, MLP_RATIO * width));
    shapes.extend(linear("mlp.fc2", MLP_RATIO * width, width));
    shapes.extend(gamma("ls2"));
    shapes.into_iter().map(|(part, shape)| (format!("{name}.{part}"), shape)).collect()
}

/// A block as the JAX ViT, MAE and MoCo v3 start it: weights uniform after Xavier, biases 0. timm's normal of deviation
/// 0.02 is much the same at a width of 768, and far too small for narrow ones (docs/decisions/0011).
pub fn block_init(name: &str, width: i64, layer_scale: bool, rng: &mut Rng) -> Weights {
    block_shapes(name, width, layer_scale)
        .into_iter()
        .map(|(name, shape)| {
            let tensor = match *shape.as_slice() {
                [output, input] => xavier_uniform([output, input], rng),
                _ if name.ends_with(".gamma") => constant(&shape, LAYER_SCALE),
                _ if name.ends_with(".weight") => constant(&shape, 1.0),
                _ => constant(&shape, 0.0),
            };
            (name, tensor)
        })
        .collect()
}

/// A layer-norm as PyTorch starts it.
pub fn layer_norm_init(name: &str, width: i64) -> Weights {
    [("weight", constant(&[width], 1.0)), ("bias", constant(&[width], 0.0))]
        .into_iter()
        .map(|(part, tensor)| (format!("{name}.{part}"), tensor))
        .collect()
}

/// A linear layer of a transformer, as those of its blocks.
pub fn token_linear_init(name: &str, input: i64, output: i64, rng: &mut Rng) -> Weights {
    let mut w = Weights::new();
    w.insert(format!("{name}.weight"), xavier_uniform([output, input], rng));
    w.insert(format!("{name}.bias"), constant(&[output], 0.0));
    w
}

/// Sines and cosines of the places of a grid, `[rows * columns, width]` row by row: a quarter each of the width for the
/// sines and cosines of the column, then of the row, of frequencies from 1 down to 1e-4 (MoCo v3, MAE; the latter's order).
pub fn sine_cosine(rows: i64, columns: i64, width: i64) -> Tensor {
    let quarter = width / 4;
    let mut values = Vec::with_capacity((rows * columns * width) as usize);
    for row in 0..rows {
        for column in 0..columns {
            for place in [column, row] {
                let angle = |i: i64| place as f64 / 10_000f64.powf(i as f64 / quarter as f64);
                values.extend((0..quarter).map(|i| angle(i).sin()));
                values.extend((0..quarter).map(|i| angle(i).cos()));
            }
            values.extend(std::iter::repeat_n(0.0, (width - 4 * quarter) as usize));
        }
    }
    Tensor::from_slice(&values).view([rows * columns, width])
}
