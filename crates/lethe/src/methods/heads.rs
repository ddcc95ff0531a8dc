//! Heads as chains of layers, named by position as in `torch.nn.Sequential`.

use tch::Tensor;

use super::full_precision;
use crate::encoders::Part;
use crate::nn::{self, Mode, Weights};
use crate::rng::Rng;

#[derive(Debug, Clone, Copy)]
pub enum Layer {
    Linear {
        input: i64,
        output: i64,
    },
    /// Without a bias.
    PlainLinear {
        input: i64,
        output: i64,
    },
    BatchNorm(i64),
    /// Without scale and shift.
    PlainBatchNorm(i64),
    Relu,
    Gelu,
}

/// Linear, batch-norm, ReLU a hidden layer, and a last linear one.
pub fn mlp(dims: &[i64]) -> Vec<Layer> {
    let mut layers = Vec::new();
    for pair in dims.windows(2) {
        if !layers.is_empty() {
            layers.extend([Layer::BatchNorm(pair[0]), Layer::Relu]);
        }
        layers.push(Layer::Linear { input: pair[0], output: pair[1] });
    }
    layers
}

/// The same without the biases, which batch-norm takes the effect from in all layers but the last.
pub fn plain_mlp(dims: &[i64]) -> Vec<Layer> {
    let plain = |layer| match layer {
        Layer::Linear { input, output } => Layer::PlainLinear { input, output },
        other => other,
    };
    mlp(dims).into_iter().map(plain).collect()
}

/// Linear, ReLU, linear.
pub fn two_layers(input: i64, hidden: i64, output: i64) -> [Layer; 3] {
    [Layer::Linear { input, output: hidden }, Layer::Relu, Layer::Linear { input: hidden, output }]
}

pub fn init(prefix: &str, layers: &[Layer], rng: &mut Rng) -> Weights {
    let mut w = Weights::new();
    for (i, layer) in layers.iter().enumerate() {
        let name = format!("{prefix}.{i}");
        match *layer {
            Layer::Linear { input, output } => w.extend(nn::linear_init(&name, input, output, true, rng)),
            Layer::PlainLinear { input, output } => w.extend(nn::linear_init(&name, input, output, false, rng)),
            Layer::BatchNorm(channels) => w.extend(nn::batch_norm_init(&name, channels)),
            Layer::PlainBatchNorm(channels) => {
                w.extend(nn::batch_norm_init(&name, channels).filter(nn::is_buffer));
            }
            Layer::Relu | Layer::Gelu => {}
        }
    }
    w
}

/// Applies the head found under `prefix`: which layer stands at a position follows from its tensors, so a head
/// read from a file needs no description. `[n, d]` -> `[n, p]`.
pub fn forward(w: &Weights, prefix: &str, x: &Tensor, mode: Mode) -> Tensor {
    forward_by(w, prefix, x, mode, nn::relu)
}

/// The same with `activation` for ReLU.
pub fn forward_by(w: &Weights, prefix: &str, x: &Tensor, mode: Mode, activation: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let last = last_position(w, prefix);
    (0..=last).fold(x.shallow_clone(), |x, i| {
        let name = format!("{prefix}.{i}");
        match w.find(&format!("{name}.weight")).map(Tensor::dim) {
            Some(2) => nn::linear(w, &name, &x),
            Some(_) => nn::batch_norm(w, &name, &x, mode),
            None if w.find(&format!("{name}.running_mean")).is_some() => nn::batch_norm(w, &name, &x, mode),
            None => activation(&x),
        }
    })
}

/// Representations `[n, d]` and projections `[n, p]` of every view by the weights `w`, the latter in f32 or better.
pub(super) fn project(net: &Part, w: &Weights, inputs: &[Tensor], mode: Mode) -> (Vec<Tensor>, Vec<Tensor>) {
    let (representations, projections) = project_as_is(net, w, inputs, mode);
    (representations, projections.iter().map(full_precision).collect())
}

/// The same in the network's precision, for a head that follows.
pub(super) fn project_as_is(net: &Part, w: &Weights, inputs: &[Tensor], mode: Mode) -> (Vec<Tensor>, Vec<Tensor>) {
    inputs
        .iter()
        .map(|x| {
            let representation = net.represent(w, x, mode);
            let projection = forward(w, "projector", &representation, mode);
            (representation, projection)
        })
        .unzip()
}

fn last_position(w: &Weights, prefix: &str) -> usize {
    w.names()
        .filter_map(|name| name.strip_prefix(prefix)?.strip_prefix('.')?.split('.').next()?.parse().ok())
        .max()
        .unwrap_or_else(|| panic!("no head named {prefix}"))
}
