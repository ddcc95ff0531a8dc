//! The linear probe: multinomial logistic regression with an L2 penalty on standardised features, equal to
//! scikit-learn's `LogisticRegression(C=1, max_iter=1000)` after `StandardScaler`.

use std::collections::BTreeSet;

use ndarray::ArrayView2;
use tch::{Device, Kind, Tensor};

use super::{Classifier, Labelled, lbfgs};
use crate::error::{Error, Result};
use crate::progress;

/// Multiplications of a pass over the features from which on a second thread takes more off it than its coming and
/// going costs: 2,000 images of 512 features in 10 classes take 1e7.
const SHARED: usize = 20_000_000;

#[derive(Debug, Clone, Copy)]
pub struct LinearSettings {
    /// Inverse strength of the penalty: sum of losses + |W|^2 / (2 C) is minimised, biases are free.
    pub c: f64,
    pub max_iterations: usize,
    /// Largest entry of the gradient of the mean loss at which the fit ends.
    pub tolerance: f64,
}

/// Those of scikit-learn.
impl Default for LinearSettings {
    fn default() -> Self {
        Self { c: 1.0, max_iterations: 1000, tolerance: 1e-4 }
    }
}

/// A fitted probe; float64 inside.
#[derive(Debug)]
pub struct LinearProbe {
    /// Mean and deviation of the training features, `[d]`.
    mean: Tensor,
    scale: Tensor,
    /// `[c, d + 1]`, the biases last.
    weights: Tensor,
    /// The label of each row of `weights`, ascending.
    classes: Vec<u32>,
    /// Mean loss on the training features plus the penalty over n.
    pub objective: f64,
    pub iterations: usize,
    /// False when `max_iterations` ended the fit.
    pub converged: bool,
}

impl LinearProbe {
    /// Fits features `[n, d]` with one label a row.
    ///
    /// # Errors
    /// When there are fewer than two classes, or a feature is not finite.
    pub fn fit(features: ArrayView2<f32>, labels: &[u32], settings: LinearSettings, device: Device) -> Result<Self> {
        let classes: Vec<u32> = labels.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        if classes.len() < 2 {
            return Err(Error::failed(format!(
                "a linear probe needs at least two classes, the training labels have {}",
                classes.len()
            )));
        }
        tch::no_grad(|| {
            let x = to_tensor(features, device);
            if !all_finite(&x) {
                return Err(Error::failed("a linear probe needs finite features, these hold NaN or infinity"));
            }
            let (mean, scale) = standardisation(&x);
            let x = with_ones(&((x - &mean) / &scale));
            let targets: Vec<i64> =
                labels.iter().map(|l| classes.binary_search(l).expect("one of the classes") as i64).collect();
            let targets = Tensor::from_slice(&targets).to_device(device);
            let (n, width, c) = (x.size()[0], x.size()[1], classes.len() as i64);
            // scikit-learn gives two classes one weight vector; the two of a softmax share its length, so that half
            // the C lays the same penalty on it.
            let inverse = if c == 2 { settings.c / 2.0 } else { settings.c };
            let decay = 1.0 / (inverse * n as f64);
            let objective = |w: &Tensor| {
                let w = w.view([c, width]);
                let log_p = x.matmul(&w.tr()).log_softmax(1, Kind::Double);
                let penalised = w.narrow(1, 0, width - 1);
                let loss = log_p.nll_loss(&targets) + 0.5 * decay * penalised.square().sum(Kind::Double);
                let residual = log_p.exp() - targets.one_hot(c);
                let mut gradient = residual.tr().matmul(&x) / n as f64;
                let _ = gradient.narrow(1, 0, width - 1).g_add_(&(decay * penalised));
                gradient = gradient.view(-1);
                Ok((loss.double_value(&[]), gradient))
            };
            let start = Tensor::zeros([c * width], (Kind::Double, device));
            let settings = lbfgs::Settings { max_iterations: settings.max_iterations, tolerance: settings.tolerance };
            let small = device == Device::Cpu && features.len() * classes.len() < SHARED;
            let fit = || lbfgs::minimize(objective, start, settings);
            let minimum = if small { on_one_thread(fit) } else { fit() }?;
            Ok(Self {
                mean,
                scale,
                weights: minimum.point.view([c, width]),
                classes,
                objective: minimum.value,
                iterations: minimum.iterations,
                converged: minimum.converged,
            })
        })
    }

    /// Probabilities `[n, c]` of the classes, in the order of [`Self::classes`].
    pub fn probabilities(&self, features: ArrayView2<f32>) -> Tensor {
        self.logits(features).softmax(1, Kind::Double)
    }

    /// The most likely label of every row.
    pub fn predict(&self, features: ArrayView2<f32>) -> Vec<u32> {
        let best = Vec::<i64>::try_from(self.logits(features).argmax(1, false)).expect("one class a row");
        best.into_iter().map(|i| self.classes[i as usize]).collect()
    }

    /// Whether the label of each row is predicted.
    pub fn right(&self, features: ArrayView2<f32>, labels: &[u32]) -> Vec<bool> {
        self.predict(features).iter().zip(labels).map(|(found, label)| found == label).collect()
    }

    pub fn classes(&self) -> &[u32] {
        &self.classes
    }

    /// Weights of the standardised features, `[c, d]`.
    pub fn weights(&self) -> Tensor {
        self.weights.narrow(1, 0, self.weights.size()[1] - 1)
    }

    /// Biases `[c]`; the intercepts of scikit-learn, whose mean is 0 too.
    pub fn biases(&self) -> Tensor {
        self.weights.select(1, self.weights.size()[1] - 1)
    }

    fn logits(&self, features: ArrayView2<f32>) -> Tensor {
        tch::no_grad(|| {
            let x = to_tensor(features, self.weights.device());
            with_ones(&((x - &self.mean) / &self.scale)).matmul(&self.weights.tr())
        })
    }
}

/// Hundreds of passes of a millisecond: threads that wait for each other between them take most of the time.
fn on_one_thread<T>(work: impl FnOnce() -> T) -> T {
    let threads = tch::get_num_threads();
    tch::set_num_threads(1);
    let done = work();
    tch::set_num_threads(threads);
    done
}

/// Mean and population deviation of the columns of `[n, d]`; 1 for a column that is constant up to rounding, as in
/// scikit-learn's `_is_constant_feature`.
fn standardisation(x: &Tensor) -> (Tensor, Tensor) {
    let n = x.size()[0] as f64;
    let mean = x.mean_dim([0i64].as_slice(), false, Kind::Double);
    let variance = (x - &mean).square().mean_dim([0i64].as_slice(), false, Kind::Double);
    let rounding = n * f64::EPSILON * &variance + (n * f64::EPSILON * &mean).square();
    let constant = variance.less_equal_tensor(&rounding);
    (mean, variance.sqrt().masked_fill(&constant, 1.0))
}

fn with_ones(x: &Tensor) -> Tensor {
    Tensor::cat(&[x, &x.new_ones([x.size()[0], 1], (x.kind(), x.device()))], 1)
}

fn to_tensor(features: ArrayView2<f32>, device: Device) -> Tensor {
    let rows = features.as_standard_layout();
    let values = rows.as_slice().expect("standard layout is contiguous");
    let (n, d) = features.dim();
    Tensor::from_slice(values).view([n as i64, d as i64]).to_device(device).to_kind(Kind::Double)
}

fn all_finite(x: &Tensor) -> bool {
    x.isfinite().all().int64_value(&[]) == 1
}

/// A probe with the features it was fitted to.
struct Fitted<'a> {
    probe: LinearProbe,
    train: Labelled<'a>,
}

pub(super) fn fit(train: Labelled<'_>, device: Device) -> Result<Box<dyn Classifier + '_>> {
    let probe = LinearProbe::fit(train.features, train.labels, LinearSettings::default(), device)?;
    if !probe.converged {
        progress::say(&format!("warning: a linear probe is not converged after {} iterations", probe.iterations));
    }
    Ok(Box::new(Fitted { probe, train }))
}

impl Classifier for Fitted<'_> {
    fn on_training(&self) -> Result<Vec<bool>> {
        Ok(self.probe.right(self.train.features, self.train.labels))
    }

    fn on(&self, test: Labelled) -> Result<Vec<bool>> {
        Ok(self.probe.right(test.features, test.labels))
    }
}
