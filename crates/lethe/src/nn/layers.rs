//! Layers as functions of an input and the tensors under a name. Weights follow the precision of the activations
//! (as autocast does), so a network runs in bf16 when its input is bf16; batch-norm keeps its statistics in f32.

use tch::{Kind, Tensor};

use super::{Weights, matmul, second_order};

/// How batch-norm treats its statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Running statistics.
    Eval,
    /// Statistics of the batch; running statistics are updated.
    Train,
    /// Statistics of the batch; running statistics are left alone (the extra passes of a bi-level step).
    TrainKeepStats,
    /// Statistics of the batch; running statistics become their mean over all passes since `num_batches_tracked` was 0
    /// (PyTorch's `momentum=None`).
    Estimate,
}

const BN_MOMENTUM: f64 = 0.1;
const BN_EPS: f64 = 1e-5;

/// `[n, c, h, w]` by `NAME.weight` `[o, c, k, k]`, no bias.
pub fn conv2d(w: &Weights, name: &str, x: &Tensor, stride: i64, padding: i64) -> Tensor {
    let weight = w.get(&format!("{name}.weight")).to_kind(x.kind());
    second_order::conv2d(x, &weight, stride, padding)
}

/// The same with one kernel a channel, `NAME.weight` `[c, 1, k, k]`, and `NAME.bias`; maps keep their size.
pub fn depthwise_conv2d(w: &Weights, name: &str, x: &Tensor) -> Tensor {
    let of = |part: &str| w.get(&format!("{name}.{part}")).to_kind(x.kind());
    let (weight, bias) = (of("weight"), of("bias"));
    let padding = weight.size()[2] / 2;
    x.conv2d(&weight, Some(bias), [1, 1], [padding, padding], [1, 1], weight.size()[0])
}

/// A convolution of stride `patch` by kernels of that size, `NAME.weight` `[o, c, patch, patch]`, with `NAME.bias`, as a
/// product of matrices: `[n, c, h, w]` -> `[n, h / patch, w / patch, o]`. What does not fill a patch at the right and at
/// the bottom is left out, as by the convolution.
pub fn patch_conv2d(w: &Weights, name: &str, x: &Tensor, patch: i64) -> Tensor {
    let patches = patches(x, patch).flatten(3, 5);
    let weight = w.get(&format!("{name}.weight")).to_kind(x.kind()).flatten(1, 3);
    product(&patches, &weight) + w.get(&format!("{name}.bias")).to_kind(x.kind())
}

/// `[n, c, h, w]` cut into its whole patches, `[n, rows, columns, c, patch, patch]`.
pub fn patches(x: &Tensor, patch: i64) -> Tensor {
    let (n, c, h, w) = x.size4().expect("images are [n, c, h, w]");
    let (rows, columns) = (h / patch, w / patch);
    let whole = x.narrow(2, 0, rows * patch).narrow(3, 0, columns * patch);
    whole.reshape([n, c, rows, patch, columns, patch]).permute([0, 2, 4, 1, 3, 5])
}

/// `[.., i]` by `NAME.weight` `[o, i]`, plus `NAME.bias` where there is one.
pub fn linear(w: &Weights, name: &str, x: &Tensor) -> Tensor {
    let weight = w.get(&format!("{name}.weight")).to_kind(x.kind());
    let y = product(x, &weight);
    match w.find(&format!("{name}.bias")) {
        Some(bias) => y + bias.to_kind(x.kind()),
        None => y,
    }
}

/// `[.., i]` by `weight` `[o, i]`, transposed.
fn product(x: &Tensor, weight: &Tensor) -> Tensor {
    let mut shape = x.size();
    if shape.len() == 2 {
        return matmul(x, &weight.tr());
    }
    let rows = x.reshape([-1, weight.size()[1]]);
    *shape.last_mut().expect("at least two dimensions") = weight.size()[0];
    matmul(&rows, &weight.tr()).view(shape.as_slice())
}

const LAYER_NORM_EPS: f64 = 1e-6;

/// Layer normalisation over the last dimension with `NAME.weight` and `NAME.bias`, in f32 or better; the epsilon is that of
/// timm's vision transformers and of ConvNeXt, not PyTorch's default.
pub fn layer_norm(w: &Weights, name: &str, x: &Tensor) -> Tensor {
    let kind = if x.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    let of = |part: &str| w.get(&format!("{name}.{part}")).to_kind(kind);
    second_order::layer_norm(&x.to_kind(kind), &of("weight"), &of("bias"), LAYER_NORM_EPS).to_kind(x.kind())
}

/// x times the normal distribution function of x.
pub fn gelu(x: &Tensor) -> Tensor {
    x.gelu("none")
}

/// Batch normalisation over all but the second dimension, of `[n, d]` or `[n, c, h, w]`. `NAME.weight` and
/// `NAME.bias` may be absent (a normalisation without an affine map).
#[allow(clippy::disallowed_methods, reason = "the one caller that gives batch-norm its weights")]
pub fn batch_norm(w: &Weights, name: &str, x: &Tensor, mode: Mode) -> Tensor {
    let of = |part: &str| w.find(&format!("{name}.{part}"));
    let (weight, bias) = (of("weight"), of("bias"));
    let (mean, var) = (of("running_mean"), of("running_var"));
    if mode == Mode::Eval {
        return x.batch_norm(weight, bias, mean, var, false, BN_MOMENTUM, BN_EPS, true);
    }
    let running = if mode == Mode::TrainKeepStats { [None, None] } else { [mean, var] };
    let mut momentum = BN_MOMENTUM;
    if let (Mode::Train | Mode::Estimate, Some(count)) = (mode, of("num_batches_tracked")) {
        let _ = count.shallow_clone().g_add_scalar_(1);
        if mode == Mode::Estimate {
            momentum = 1.0 / count.int64_value(&[]) as f64;
        }
    }
    second_order::batch_norm(x, [weight, bias], running, momentum, BN_EPS)
}

pub fn relu(x: &Tensor) -> Tensor {
    x.relu()
}

/// 3x3 max-pooling of stride 2, as after a ResNet's ImageNet stem.
pub fn max_pool_3x3(x: &Tensor) -> Tensor {
    x.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)
}

/// Rows of `[n, d]` scaled to unit length (at least 1e-12, as `torch.nn.functional.normalize`).
pub fn unit_rows(x: &Tensor) -> Tensor {
    x / x.norm_scalaropt_dim(2.0, [1], true).clamp_min(1e-12)
}
