//! Gradients of an outer objective through the steps of an inner one.
//!
//! theta_0 = theta, theta_{k+1} = theta_k - alpha grad L_in(theta_k), K steps. `unrolled.rs` differentiates these steps;
//! `implicit.rs` takes them for the solution of a proximal problem and differentiates that. Nothing here knows of
//! networks or data.

mod adam;
mod implicit;
mod product;
mod unrolled;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::{Error, Result};
use crate::nn::{Gradients, Weights};

pub use product::Product;

/// A scalar function of weights, in their graph.
pub type Objective<'a> = &'a dyn Fn(&Weights) -> Result<Tensor>;

/// What makes the inner steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum InnerOptimizer {
    Sgd,
    /// Its moments start from zero at theta. The first step is then alpha sign(grad L_in), which passes no gradient
    /// on: with K = 1 every hypergradient is the first-order one.
    Adam,
}

/// Minimise `outer` after `steps` gradient steps of size `alpha` on `inner`.
pub struct Bilevel<'a> {
    pub inner: Objective<'a>,
    pub outer: Objective<'a>,
    pub alpha: f64,
    /// K, at least 1.
    pub steps: usize,
    pub optimizer: InnerOptimizer,
    /// Of `neumann` and `cg`.
    pub solver: Solver,
}

/// How the implicit hypergradients solve their linear system.
#[derive(Debug, Clone, Copy)]
pub struct Solver {
    /// How it multiplies with the inner Hessian, and how often.
    pub product: Product,
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
    /// How many inner gradients it costs with K inner steps; a backward pass through the graph of one counts as two.
    pub inner_gradients: fn(usize, Solver) -> usize,
    /// Whether the inner steps may be Adam's: the proximal problem is that of plain gradient descent.
    pub takes_adam: bool,
}

pub const HYPERGRADIENTS: &[Entry] = &[
    Entry {
        name: "forward-difference",
        title: "through the steps, Hessian-vector products by differences from the inner gradients at hand",
        paper: "docs/decisions/0003",
        of: |problem, theta| unrolled::unrolled(problem, theta, Product::ForwardDifference),
        inner_gradients: |steps, _| 2 * steps,
        takes_adam: true,
    },
    Entry {
        name: "finite-difference",
        title: "through the steps, Hessian-vector products by central differences",
        paper: "DARTS, arXiv 1806.09055",
        of: |problem, theta| unrolled::unrolled(problem, theta, Product::FiniteDifference),
        inner_gradients: |steps, _| 3 * steps,
        takes_adam: true,
    },
    Entry {
        name: "exact",
        title: "through the steps, Hessian-vector products by another backward pass",
        paper: "MAML, arXiv 1703.03400",
        of: |problem, theta| unrolled::unrolled(problem, theta, Product::Exact),
        inner_gradients: |steps, _| 4 * steps,
        takes_adam: true,
    },
    Entry {
        name: "first-order",
        title: "inner Hessian left out",
        paper: "DARTS, arXiv 1806.09055",
        of: unrolled::first_order,
        inner_gradients: |steps, _| steps,
        takes_adam: true,
    },
    Entry {
        name: "neumann",
        title: "of the proximal problem, by a series that converges for every step size",
        paper: "arXiv 1911.02590",
        of: implicit::neumann,
        inner_gradients: |steps, solver| steps + solver.inner_gradients(),
        takes_adam: false,
    },
    Entry {
        name: "cg",
        title: "of the proximal problem, by conjugate gradients",
        paper: "iMAML, arXiv 1909.04630",
        of: implicit::conjugate_gradients,
        inner_gradients: |steps, solver| steps + solver.inner_gradients(),
        takes_adam: false,
    },
];

impl Solver {
    /// What its products cost, and what they share.
    fn inner_gradients(self) -> usize {
        match self.product {
            Product::ForwardDifference => 1 + self.steps,
            Product::FiniteDifference => 2 * self.steps,
            Product::Exact => 1 + 2 * self.steps,
        }
    }
}

/// # Errors
/// When there is no hypergradient of this name; the hint lists them.
pub fn find(name: &str) -> Result<&'static Entry> {
    HYPERGRADIENTS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<&str> = HYPERGRADIENTS.iter().map(|entry| entry.name).collect();
        Error::usage(format!("unknown hypergradient {name:?}")).hint(format!("one of: {}", names.join(", ")))
    })
}

fn gradient(objective: Objective, w: &Weights) -> Result<Gradients> {
    w.gradients(&objective(w)?, false)
}

/// Joint Euclidean norm, on the device.
pub fn norm(gradients: &Gradients) -> Tensor {
    let norms: Vec<Tensor> = gradients.iter().map(Tensor::norm).collect();
    Tensor::stack(&norms, 0).norm()
}
