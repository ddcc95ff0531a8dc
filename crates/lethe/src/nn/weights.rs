//! One ordered map from torchvision's names to tensors, for parameters, buffers, gradients, moments and files.

use indexmap::IndexMap;
use rand_distr::{Distribution, Normal, Uniform};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::native::torch;
use crate::rng::Rng;

/// An ordered map of named tensors. In memory a *parameter* is a tensor that requires a gradient; running
/// statistics, teachers, queues and frozen stages do not.
#[derive(Debug, Default)]
pub struct Weights(IndexMap<String, Tensor>);

/// Gradients in the order of [`Weights::parameters`].
pub type Gradients = Vec<Tensor>;

/// Whether a name is that of a tensor that no optimiser owns.
pub fn is_buffer(name: &str) -> bool {
    ["teacher.", "memory."].iter().any(|prefix| name.starts_with(prefix))
        || ["running_mean", "running_var", "num_batches_tracked"].iter().any(|suffix| name.ends_with(suffix))
}

impl Weights {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.0.insert(name.into(), tensor);
    }

    /// The tensor of a name that the network's own `init` made.
    ///
    /// # Panics
    /// When there is none: names of files are checked where files are read.
    pub fn get(&self, name: &str) -> &Tensor {
        self.find(name).unwrap_or_else(|| panic!("no tensor named {name}"))
    }

    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The tensors that require a gradient, in order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.iter().filter(|(_, tensor)| tensor.requires_grad())
    }

    /// A view of the tensors whose name starts with `prefix`, under the rest of their name; storage is shared.
    pub fn under(&self, prefix: &str) -> Weights {
        self.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_owned(), t.shallow_clone()))).collect()
    }

    /// A view of the tensors for which `keep` holds; storage is shared.
    pub fn filter(&self, keep: impl Fn(&str) -> bool) -> Weights {
        self.iter().filter(|(name, _)| keep(name)).map(|(n, t)| (n.to_owned(), t.shallow_clone())).collect()
    }

    /// A view with `prefix` before every name; storage is shared.
    pub fn prefixed(&self, prefix: &str) -> Weights {
        self.iter().map(|(name, t)| (format!("{prefix}{name}"), t.shallow_clone())).collect()
    }

    /// Adds or replaces the tensors of `other`; storage is shared.
    pub fn extend(&mut self, other: Weights) {
        self.0.extend(other.0);
    }

    /// A deep copy, cut from any graph; what required a gradient still does.
    pub fn copy(&self) -> Weights {
        self.iter().map(|(n, t)| (n.to_owned(), t.detach().copy().set_requires_grad(t.requires_grad()))).collect()
    }

    /// A deep copy in which nothing requires a gradient.
    pub fn frozen_copy(&self) -> Weights {
        self.iter().map(|(n, t)| (n.to_owned(), t.detach().copy())).collect()
    }

    /// A view, cut from any graph, in which nothing requires a gradient; storage is shared.
    pub fn frozen(&self) -> Weights {
        self.iter().map(|(n, t)| (n.to_owned(), t.detach())).collect()
    }

    /// A view cut from any graph in which all but buffers require a gradient; storage is shared.
    pub fn trainable(&self) -> Weights {
        self.iter()
            .map(|(n, t)| {
                let trains = !is_buffer(n) && t.is_floating_point();
                (n.to_owned(), t.detach().set_requires_grad(trains))
            })
            .collect()
    }

    /// `self + alpha * step` for the parameters (still in the graph of `step`); the other tensors are shared.
    pub fn plus(&self, alpha: f64, step: &[Tensor]) -> Weights {
        let mut steps = step.iter();
        let sum = self
            .iter()
            .map(|(name, t)| {
                let t = if t.requires_grad() {
                    t + alpha * steps.next().expect("one gradient a parameter")
                } else {
                    t.shallow_clone()
                };
                (name.to_owned(), t)
            })
            .collect();
        assert!(steps.next().is_none(), "one gradient a parameter");
        sum
    }

    /// Gradients of `loss` in the order of [`Weights::parameters`]; a parameter the loss does not reach gets zeros.
    /// `create_graph` keeps the gradients differentiable.
    pub fn gradients(&self, loss: &Tensor, create_graph: bool) -> Result<Gradients> {
        let parameters: Vec<&Tensor> = self.parameters().map(|(_, t)| t).collect();
        let gradients = Tensor::f_run_backward(&[loss], &parameters, create_graph, create_graph).map_err(torch)?;
        Ok(gradients.into_iter().zip(&parameters).map(|(g, p)| if g.defined() { g } else { p.zeros_like() }).collect())
    }

    pub fn to_device(&self, device: Device) -> Weights {
        self.iter()
            .map(|(n, t)| (n.to_owned(), t.detach().to_device(device).set_requires_grad(t.requires_grad())))
            .collect()
    }

    /// Floating tensors in another precision; integers (batch counters) stay.
    pub fn to_kind(&self, kind: Kind) -> Weights {
        self.iter()
            .map(|(n, t)| {
                let converted = if t.is_floating_point() { t.detach().to_kind(kind) } else { t.detach() };
                (n.to_owned(), converted.set_requires_grad(t.requires_grad()))
            })
            .collect()
    }

    /// # Errors
    /// Names the first tensor that holds NaN or infinite numbers; the device is waited for once.
    pub fn expect_finite(&self) -> Result<()> {
        let floats: Vec<(&str, &Tensor)> = self.iter().filter(|(_, tensor)| tensor.is_floating_point()).collect();
        if floats.is_empty() {
            return Ok(());
        }
        let finite: Vec<Tensor> = floats.iter().map(|(_, tensor)| tensor.isfinite().all()).collect();
        let finite = Vec::<bool>::try_from(Tensor::stack(&finite, 0).to_device(Device::Cpu)).map_err(torch)?;
        match floats.iter().zip(finite).find(|(_, finite)| !finite) {
            Some(((name, _), _)) => Err(Error::failed(format!("tensor {name} holds NaN or infinite numbers"))),
            None => Ok(()),
        }
    }

    /// A deep copy of `self` with the values of `source`, whose names and shapes must be the same.
    ///
    /// # Errors
    /// Names the first tensor that is missing, unexpected or of another shape.
    pub fn filled_from(&self, source: &Weights) -> Result<Weights> {
        if let Some(name) = source.names().find(|name| self.find(name).is_none()) {
            return Err(Error::failed(format!("unexpected tensor {name}")));
        }
        self.iter()
            .map(|(name, mine)| {
                let theirs = source.find(name).ok_or_else(|| Error::failed(format!("tensor {name} is missing")))?;
                if mine.size() != theirs.size() {
                    return Err(Error::failed(format!(
                        "tensor {name} has shape {:?}, expected {:?}",
                        theirs.size(),
                        mine.size()
                    )));
                }
                let value = theirs.detach().to_kind(mine.kind()).to_device(mine.device()).copy();
                Ok((name.to_owned(), value.set_requires_grad(mine.requires_grad())))
            })
            .collect()
    }
}

impl FromIterator<(String, Tensor)> for Weights {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(tensors: I) -> Self {
        Self(tensors.into_iter().collect())
    }
}

/// Normal with deviation sqrt(2 / fan_out), as torchvision initialises the convolutions of a ResNet.
pub fn kaiming_normal(shape: &[i64], rng: &mut Rng) -> Tensor {
    let fan_out = shape[0] * shape[2..].iter().product::<i64>();
    let normal = Normal::new(0.0, (2.0 / fan_out as f32).sqrt()).expect("a positive deviation");
    parameter(shape, rng, normal)
}

/// Normal with mean 0.
pub fn normal(shape: &[i64], deviation: f32, rng: &mut Rng) -> Tensor {
    parameter(shape, rng, Normal::new(0.0, deviation).expect("a positive deviation"))
}

/// A parameter whose values are all `value`.
pub fn constant(shape: &[i64], value: f64) -> Tensor {
    Tensor::full(shape, value, (Kind::Float, Device::Cpu)).set_requires_grad(true)
}

/// Uniform in +-1/sqrt(fan_in), PyTorch's default for a linear layer, a convolution and their biases.
pub fn uniform_fan_in(shape: &[i64], fan_in: i64, rng: &mut Rng) -> Tensor {
    let bound = 1.0 / (fan_in as f32).sqrt();
    parameter(shape, rng, Uniform::new(-bound, bound).expect("a positive bound"))
}

/// Uniform in +-sqrt(6/(input + output)), the weight `[output, input]` of a linear layer (Glorot & Bengio 2010).
pub fn xavier_uniform(shape: [i64; 2], rng: &mut Rng) -> Tensor {
    let bound = (6.0 / (shape[0] + shape[1]) as f32).sqrt();
    parameter(&shape, rng, Uniform::new(-bound, bound).expect("a positive bound"))
}

fn parameter(shape: &[i64], rng: &mut Rng, distribution: impl Distribution<f32>) -> Tensor {
    let n: i64 = shape.iter().product();
    let values: Vec<f32> = distribution.sample_iter(rng).take(n as usize).collect();
    Tensor::from_slice(&values).view(shape).set_requires_grad(true)
}

/// A batch-norm as PyTorch starts it: weight 1, bias 0, mean 0, variance 1.
pub fn batch_norm_init(name: &str, channels: i64) -> Weights {
    let f32s = (Kind::Float, Device::Cpu);
    [
        ("weight", Tensor::ones([channels], f32s).set_requires_grad(true)),
        ("bias", Tensor::zeros([channels], f32s).set_requires_grad(true)),
        ("running_mean", Tensor::zeros([channels], f32s)),
        ("running_var", Tensor::ones([channels], f32s)),
        ("num_batches_tracked", Tensor::zeros([0i64; 0], (Kind::Int64, Device::Cpu))),
    ]
    .into_iter()
    .map(|(part, tensor)| (format!("{name}.{part}"), tensor))
    .collect()
}

/// A linear layer as PyTorch starts it.
pub fn linear_init(name: &str, input: i64, output: i64, with_bias: bool, rng: &mut Rng) -> Weights {
    let mut w = Weights::new();
    w.insert(format!("{name}.weight"), uniform_fan_in(&[output, input], input, rng));
    if with_bias {
        w.insert(format!("{name}.bias"), uniform_fan_in(&[output], input, rng));
    }
    w
}
