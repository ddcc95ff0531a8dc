//! L-BFGS (Liu & Nocedal 1989) with a strong-Wolfe line search (Nocedal & Wright 2006, algorithms 3.5, 3.6 and 7.5).
//! A hundred lines here rather than a crate: those in reach bring their own vector types, and the vectors are tensors.

use std::collections::VecDeque;

use tch::{Kind, Tensor};

use crate::error::Result;

/// Pairs of steps and gradient changes that stand for the Hessian.
const MEMORY: usize = 10;
/// Sufficient decrease and curvature conditions of the line search.
const DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;
/// A relative decrease below this is rounding, and the end (scikit-learn's `ftol`).
const NO_DECREASE: f64 = 64.0 * f64::EPSILON;

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub max_iterations: usize,
    /// The search ends when no entry of the gradient is larger.
    pub tolerance: f64,
}

#[derive(Debug)]
pub struct Minimum {
    pub point: Tensor,
    pub value: f64,
    pub iterations: usize,
    /// Whether the gradient met the tolerance, or the value could not be lowered any more.
    pub converged: bool,
}

struct At {
    point: Tensor,
    value: f64,
    gradient: Tensor,
}

/// A point on the ray of a line search: how far, the function there, and its slope along the ray.
struct Trial {
    t: f64,
    slope: f64,
    at: At,
}

/// Minimises `f`, which gives the value and the gradient `[p]` at a point `[p]`, all float64.
///
/// # Errors
/// Those of `f`.
pub fn minimize(f: impl Fn(&Tensor) -> Result<(f64, Tensor)>, start: Tensor, settings: Settings) -> Result<Minimum> {
    let evaluate = |point: Tensor| f(&point).map(|(value, gradient)| At { point, value, gradient });
    let mut at = evaluate(start)?;
    let mut memory: VecDeque<(Tensor, Tensor, f64)> = VecDeque::with_capacity(MEMORY + 1);
    let mut converged = largest(&at.gradient) <= settings.tolerance;
    let mut iterations = 0;
    while !converged && iterations < settings.max_iterations {
        iterations += 1;
        let direction = direction(&at.gradient, &memory);
        let first = if memory.is_empty() { (1.0 / norm(&at.gradient)).min(1.0) } else { 1.0 };
        let Some(next) = line_search(&evaluate, &at, &direction, first)? else {
            // Rounding hides any decrease along a descent direction: this is the minimum to machine precision.
            converged = true;
            break;
        };
        let (step, change) = (&next.point - &at.point, &next.gradient - &at.gradient);
        let curvature = dot(&step, &change);
        if curvature > f64::EPSILON * dot(&change, &change) {
            memory.push_back((step, change, 1.0 / curvature));
            if memory.len() > MEMORY {
                memory.pop_front();
            }
        }
        let scale = at.value.abs().max(next.value.abs()).max(1.0);
        converged = largest(&next.gradient) <= settings.tolerance || at.value - next.value <= NO_DECREASE * scale;
        at = next;
    }
    Ok(Minimum { point: at.point, value: at.value, iterations, converged })
}

/// Minus the approximate inverse Hessian times the gradient, by the two-loop recursion.
fn direction(gradient: &Tensor, memory: &VecDeque<(Tensor, Tensor, f64)>) -> Tensor {
    let mut q = gradient.neg();
    let mut alphas = Vec::with_capacity(memory.len());
    for (step, change, rho) in memory.iter().rev() {
        let alpha = rho * dot(step, &q);
        q -= alpha * change;
        alphas.push(alpha);
    }
    if let Some((_, change, rho)) = memory.back() {
        q /= rho * dot(change, change);
    }
    for ((step, change, rho), alpha) in memory.iter().zip(alphas.into_iter().rev()) {
        let beta = rho * dot(change, &q);
        q += (alpha - beta) * step;
    }
    q
}

/// A point along `direction` that meets the strong Wolfe conditions, trying `first` before all; `None` when rounding
/// leaves none to be found.
fn line_search(
    evaluate: &impl Fn(Tensor) -> Result<At>,
    from: &At,
    direction: &Tensor,
    first: f64,
) -> Result<Option<At>> {
    let slope = dot(&from.gradient, direction);
    if slope >= 0.0 {
        return Ok(None);
    }
    let trial = |t: f64| -> Result<Trial> {
        let at = evaluate(&from.point + t * direction)?;
        Ok(Trial { t, slope: dot(&at.gradient, direction), at })
    };
    let decreases = |trial: &Trial| trial.at.value <= from.value + DECREASE * trial.t * slope;
    let flat = |trial: &Trial| trial.slope.abs() <= -CURVATURE * slope;

    let start = At { point: from.point.shallow_clone(), value: from.value, gradient: from.gradient.shallow_clone() };
    let mut low = Trial { t: 0.0, slope, at: start };
    let mut high = None;
    let mut t = first;
    // Longer steps until one is good, or a good one must lie between two. A value that is not finite is "too far".
    for _ in 0..20 {
        let next = trial(t)?;
        if !decreases(&next) || next.at.value >= low.at.value {
            high = Some(next);
            break;
        }
        if flat(&next) {
            return Ok(Some(next.at));
        }
        if next.slope >= 0.0 {
            high = Some(std::mem::replace(&mut low, next));
            break;
        }
        low = next;
        t *= 2.0;
    }
    let Some(mut high) = high else { return Ok(Some(low.at)) };
    // `low` decreases most so far, and its slope points towards `high`.
    for _ in 0..30 {
        let next = trial(between(&low, &high))?;
        if !decreases(&next) || next.at.value >= low.at.value {
            high = next;
        } else if flat(&next) {
            return Ok(Some(next.at));
        } else if next.slope * (high.t - low.t) >= 0.0 {
            high = std::mem::replace(&mut low, next);
        } else {
            low = next;
        }
    }
    Ok((low.t > 0.0).then_some(low.at))
}

/// Where the parabola through both values with the slope at `low` is lowest, kept off the ends; else the middle.
fn between(low: &Trial, high: &Trial) -> f64 {
    let width = high.t - low.t;
    let curvature = (high.at.value - low.at.value - low.slope * width) / (width * width);
    let step = -low.slope / (2.0 * curvature) / width;
    low.t + width * if (0.1..=0.9).contains(&step) { step } else { 0.5 }
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    a.dot(b).double_value(&[])
}

fn norm(a: &Tensor) -> f64 {
    dot(a, a).sqrt()
}

fn largest(a: &Tensor) -> f64 {
    a.abs().max().to_kind(Kind::Double).double_value(&[])
}
