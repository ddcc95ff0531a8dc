//! The implicit hypergradient of iMAML (Rajeswaran et al. 2019, arXiv 1909.04630). K steps of gradient descent follow
//! the gradient flow of L_in for a time tau = alpha K; the proximal problem
//! theta* = argmin L_in(phi) + ||phi - theta||^2 / (2 tau) follows it as well, in one implicit step, which is stable for
//! every tau. Its hypergradient is M^-1 g, M = I + tau H, with g = grad L_out and the Hessian H of L_in at theta*, for
//! which theta_K is taken. No graph of the path is held, and the cost is that of the products, whatever K.
//!
//! Betty's solvers (<https://github.com/leopard-ai/betty/tree/e474665a99039bbef177f43ebaef91280daa8d16/betty/hypergradient>) aim at the inverse of H
//! itself, which does not exist where L_in is flat. Its `neumann` is alpha sum_j (I - alpha H)^j, which diverges once
//! alpha times the largest eigenvalue exceeds 2; its `cg` leaves its factor `cg_alpha` out of the residual and takes the
//! next direction from the residual before, so that from the second step on it is not conjugate gradients: on a quadratic
//! in 5 dimensions, run with betty-ml 0.1.1, its error grew with every step.

use tch::{Kind, Tensor};

use super::unrolled::end;
use super::{Bilevel, Product, gradient};
use crate::error::Result;
use crate::nn::{Gradients, Weights};

/// A residual of this share of g counts as none.
const RESIDUAL: f64 = 1e-14;

/// M^-1 g by a shrunken Neumann series: x = sum_j omega_j r_j, r_0 = g, r_{j+1} = (I - omega_j M) r_j. With all
/// omega_j = 1 it is the series of (I + tau H)^-1 (Lorraine et al. 2020, arXiv 1911.02590), which needs tau ||H|| < 1.
/// omega_j = r_j'M r_j / ||M r_j||^2 costs no further product and makes the residual least, so that it shrinks
/// whatever the step size.
pub(super) fn neumann(problem: &Bilevel, theta: &Weights) -> Result<Gradients> {
    solve(problem, theta, |m, g, steps| {
        let (mut x, mut r) = (None, copy(g));
        let least = RESIDUAL * dot(g, g).sqrt();
        for _ in 0..steps {
            let mr = m(&r)?;
            let curvature = dot(&r, &mr);
            if curvature <= 0.0 {
                break;
            }
            let omega = curvature / dot(&mr, &mr);
            x = Some(plus(x.as_ref(), omega, &r));
            r = plus(Some(&r), -omega, &mr);
            if dot(&r, &r).sqrt() <= least {
                break;
            }
        }
        Ok(x)
    })
}

/// M^-1 g by conjugate gradients from zero (Hestenes & Stiefel 1952).
pub(super) fn conjugate_gradients(problem: &Bilevel, theta: &Weights) -> Result<Gradients> {
    solve(problem, theta, |m, g, steps| {
        let (mut x, mut r, mut p) = (None, copy(g), copy(g));
        let mut square = dot(&r, &r);
        let least = RESIDUAL * square.sqrt();
        for _ in 0..steps {
            let mp = m(&p)?;
            let curvature = dot(&p, &mp);
            if curvature <= 0.0 {
                break;
            }
            x = Some(plus(x.as_ref(), square / curvature, &p));
            r = plus(Some(&r), -square / curvature, &mp);
            let before = std::mem::replace(&mut square, dot(&r, &r));
            if square.sqrt() <= least {
                break;
            }
            p = plus(Some(&r), square / before, &p);
        }
        Ok(x)
    })
}

/// v -> M v.
type Map<'a> = &'a dyn Fn(&Gradients) -> Result<Gradients>;

/// What `solver` makes of M, g and the number of products. It gives none, and the answer is g, where already g'M g is
/// not positive: there the proximal problem has no minimum, and a later direction like that ends the solver with what
/// it has, as Steihaug 1983 does. A product waits for the device once.
fn solve(
    problem: &Bilevel,
    theta: &Weights,
    solver: impl Fn(Map, &Gradients, usize) -> Result<Option<Gradients>>,
) -> Result<Gradients> {
    let end = end(problem, theta)?;
    let g = gradient(problem.outer, &end)?;
    let slope =
        if problem.solver.product == Product::ForwardDifference { gradient(problem.inner, &end)? } else { Vec::new() };
    let product = problem.solver.product.at(problem.inner, &end, &slope)?;
    let time = problem.alpha * problem.steps as f64;
    let map = |v: &Gradients| Ok(plus(Some(v), time, &product(v)?));
    Ok(solver(&map, &g, problem.solver.steps)?.unwrap_or(g))
}

fn copy(v: &Gradients) -> Gradients {
    v.iter().map(Tensor::shallow_clone).collect()
}

/// x + a v, x = 0 where there is none.
fn plus(x: Option<&Gradients>, a: f64, v: &Gradients) -> Gradients {
    match x {
        Some(x) => x.iter().zip(v).map(|(x, v)| x + a * v).collect(),
        None => v.iter().map(|v| a * v).collect(),
    }
}

fn dot(a: &Gradients, b: &Gradients) -> f64 {
    let products: Vec<Tensor> = a.iter().zip(b).map(|(a, b)| (a * b).sum(a.kind())).collect();
    Tensor::stack(&products, 0).sum(Kind::Double).double_value(&[])
}
