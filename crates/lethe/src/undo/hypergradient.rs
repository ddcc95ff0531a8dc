//! Gradients of an outer objective through the steps of an inner one.
//!
//! theta_0 = theta, theta_{k+1} = theta_k - alpha grad L_in(theta_k), K steps; wanted is d L_out(theta_K) / d theta =
//! (I - alpha H_0) ... (I - alpha H_{K-1}) g with g = grad L_out(theta_K) and H_k the Hessian of L_in at theta_k.
//! Nothing here knows of networks or data.

use tch::Tensor;

use crate::error::{Error, Result};
use crate::nn::{Gradients, Weights};

/// A scalar function of weights, in their graph.
pub type Objective<'a> = &'a dyn Fn(&Weights) -> Result<Tensor>;

/// Minimise `outer` after `steps` gradient steps of size `alpha` on `inner`.
pub struct Bilevel<'a> {
    pub inner: Objective<'a>,
    pub outer: Objective<'a>,
    pub alpha: f64,
    /// K, at least 1.
    pub steps: usize,
}

/// The gradient with respect to the parameters of `theta`, in their order. The first evaluation of `inner` is at
/// `theta` itself.
pub type Hypergradient = fn(&Bilevel, &Weights) -> Result<Gradients>;

pub struct Entry {
    pub name: &'static str,
    pub title: &'static str,
    pub paper: &'static str,
    pub of: Hypergradient,
    /// How many inner gradients it costs with K inner steps; one through the graph of another counts as three.
    pub inner_gradients: fn(usize) -> usize,
}

pub const HYPERGRADIENTS: &[Entry] = &[
    Entry {
        name: "forward-difference",
        title: "Hessian-vector products by differences from the inner gradients at hand",
        paper: "docs/decisions/0003",
        of: forward_difference,
        inner_gradients: |steps| 2 * steps,
    },
    Entry {
        name: "finite-difference",
        title: "Hessian-vector products by central differences",
        paper: "DARTS, arXiv 1806.09055",
        of: finite_difference,
        inner_gradients: |steps| 3 * steps,
    },
    Entry {
        name: "exact",
        title: "Hessian-vector products by another backward pass",
        paper: "MAML, arXiv 1703.03400",
        of: exact,
        inner_gradients: |steps| 4 * steps,
    },
    Entry {
        name: "first-order",
        title: "inner Hessian left out",
        paper: "DARTS, arXiv 1806.09055",
        of: first_order,
        inner_gradients: |steps| steps,
    },
];

/// # Errors
/// When there is no hypergradient of this name; the hint lists them.
pub fn find(name: &str) -> Result<&'static Entry> {
    HYPERGRADIENTS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<&str> = HYPERGRADIENTS.iter().map(|entry| entry.name).collect();
        Error::usage(format!("unknown hypergradient {name:?}")).hint(format!("one of: {}", names.join(", ")))
    })
}

/// g: every H_k taken as zero.
fn first_order(problem: &Bilevel, theta: &Weights) -> Result<Gradients> {
    let (_, end) = unroll(problem, theta)?;
    gradient(problem.outer, &end)
}

/// Every product H_k v by central differences, from the last step back to the first (equation 8 of DARTS, once a
/// step): v - alpha (grad L_in(theta_k + e v) - grad L_in(theta_k - e v)) / (2e), e = 0.01 / ||v||.
fn finite_difference(problem: &Bilevel, theta: &Weights) -> Result<Gradients> {
    let (path, end) = unroll(problem, theta)?;
    let mut v = gradient(problem.outer, &end)?;
    for point in path.iter().rev() {
        let e = displacement(0.01, &v);
        let ahead = gradient(problem.inner, &moved(&point.theta, &e, &v))?;
        let behind = gradient(problem.inner, &moved(&point.theta, &-&e, &v))?;
        v = corrected(&v, problem.alpha / (2.0 * e), &ahead, &behind);
    }
    Ok(v)
}

/// As [`finite_difference`], but from theta_k, whose gradient is at hand, one way and further:
/// v - alpha (grad L_in(theta_k + e v) - grad L_in(theta_k)) / e, e = 0.1 / ||v||. With ReLUs, whose every flip makes
/// the gradient jump, it is nearer to the exact product, at two inner gradients a step instead of three.
fn forward_difference(problem: &Bilevel, theta: &Weights) -> Result<Gradients> {
    let (path, end) = unroll(problem, theta)?;
    let mut v = gradient(problem.outer, &end)?;
    for point in path.iter().rev() {
        let e = displacement(0.1, &v);
        let ahead = gradient(problem.inner, &moved(&point.theta, &e, &v))?;
        v = corrected(&v, problem.alpha / e, &ahead, &point.slope);
    }
    Ok(v)
}

/// Every product H_k v as the gradient of grad L_in(theta_k)'v: the gradient of the unrolled steps, a step at a time,
/// so that the graph of one inner gradient is held and not that of all. Of an inner objective of second order it is a
/// third derivative.
fn exact(problem: &Bilevel, theta: &Weights) -> Result<Gradients> {
    let (path, end) = unroll(problem, theta)?;
    let mut v = gradient(problem.outer, &end)?;
    for point in path.iter().rev() {
        let slope = point.theta.gradients(&(problem.inner)(&point.theta)?, true)?;
        let along: Vec<Tensor> = slope.iter().zip(&v).map(|(slope, v)| (slope * v).sum(slope.kind())).collect();
        let product = point.theta.gradients(&Tensor::stack(&along, 0).sum(along[0].kind()), false)?;
        v = v.iter().zip(product).map(|(v, product)| v - problem.alpha * product).collect();
    }
    Ok(v)
}

/// A point of the inner path, and grad L_in there.
struct Point {
    theta: Weights,
    slope: Gradients,
}

/// theta_0 .. theta_{K-1}, and theta_K.
fn unroll(problem: &Bilevel, theta: &Weights) -> Result<(Vec<Point>, Weights)> {
    let mut path = Vec::with_capacity(problem.steps);
    let mut theta = theta.under("");
    for _ in 0..problem.steps {
        let slope = gradient(problem.inner, &theta)?;
        let next = theta.plus(-problem.alpha, &slope);
        path.push(Point { theta: std::mem::replace(&mut theta, next), slope });
    }
    Ok((path, theta))
}

/// e such that ||e v|| = `distance`, in the norm of all parameters together.
fn displacement(distance: f64, v: &Gradients) -> Tensor {
    distance / norm(v).clamp_min(f64::from(f32::MIN_POSITIVE))
}

/// `v - scale (ahead - behind)`.
fn corrected(v: &Gradients, scale: Tensor, ahead: &Gradients, behind: &Gradients) -> Gradients {
    v.iter().zip(ahead.iter().zip(behind)).map(|(v, (ahead, behind))| v - &scale * (ahead - behind)).collect()
}

fn gradient(objective: Objective, w: &Weights) -> Result<Gradients> {
    w.gradients(&objective(w)?, false)
}

/// `theta + e v`, `e` a scalar on the device.
fn moved(theta: &Weights, e: &Tensor, v: &Gradients) -> Weights {
    let step: Gradients = v.iter().map(|v| e * v).collect();
    theta.plus(1.0, &step)
}

/// Joint Euclidean norm, on the device.
pub fn norm(gradients: &Gradients) -> Tensor {
    let norms: Vec<Tensor> = gradients.iter().map(Tensor::norm).collect();
    Tensor::stack(&norms, 0).norm()
}
