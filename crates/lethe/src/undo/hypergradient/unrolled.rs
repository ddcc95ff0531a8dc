//! Differentiation of the inner steps themselves: d L_out(theta_K) / d theta = (I - alpha H_0) ... (I - alpha H_{K-1}) g
//! with g = grad L_out(theta_K) and H_k the Hessian of L_in at theta_k. The products are taken from the last step back
//! to the first, so that the graph of one inner gradient is held and not that of all.

use super::adam::Adam;
use super::{Bilevel, InnerOptimizer, Product, gradient};
use crate::error::Result;
use crate::nn::{Gradients, Weights};

/// A point of the inner path, and grad L_in there.
struct Point {
    theta: Weights,
    slope: Gradients,
}

/// The hypergradient with every product H_k v taken by `product`.
pub(super) fn unrolled(problem: &Bilevel, theta: &Weights, product: Product) -> Result<Gradients> {
    let (path, mut adam, end) = steps(problem, theta)?;
    let mut v = gradient(problem.outer, &end)?;
    for point in path.iter().rev() {
        // v'(theta_{k+1}) as a function of the slope at theta_k: alpha v for SGD.
        let mut along: Gradients = v.iter().map(|v| problem.alpha * v).collect();
        if let Some(adam) = &mut adam {
            along = adam.step_back(&point.slope, &along);
        }
        let correction = product.at(problem.inner, &point.theta, &point.slope)?(&along)?;
        v = v.iter().zip(correction).map(|(v, correction)| v - correction).collect();
    }
    Ok(v)
}

/// g: every H_k taken as zero.
pub(super) fn first_order(problem: &Bilevel, theta: &Weights) -> Result<Gradients> {
    gradient(problem.outer, &end(problem, theta)?)
}

/// theta_K.
pub(super) fn end(problem: &Bilevel, theta: &Weights) -> Result<Weights> {
    Ok(steps(problem, theta)?.2)
}

/// theta_0 .. theta_{K-1}, the moments there, and theta_K.
fn steps(problem: &Bilevel, theta: &Weights) -> Result<(Vec<Point>, Option<Adam>, Weights)> {
    let mut adam = (problem.optimizer == InnerOptimizer::Adam).then(Adam::default);
    let mut path = Vec::with_capacity(problem.steps);
    let mut theta = theta.under("");
    for _ in 0..problem.steps {
        let slope = gradient(problem.inner, &theta)?;
        let next = match &mut adam {
            Some(adam) => theta.plus(-problem.alpha, &adam.step(&slope)),
            None => theta.plus(-problem.alpha, &slope),
        };
        path.push(Point { theta: std::mem::replace(&mut theta, next), slope });
    }
    Ok((path, adam, theta))
}
