//! The outer objective L_out = L_ssl - lambda dR + match D as a function of the late weights, D the distance of the
//! training batch's features from the held-out one's.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::matching::moment_distance;
use super::repair::Forward;
use super::{Problem, Settings};
use crate::error::Result;
use crate::methods::{Loss, Views};
use crate::nn::{Mode, Weights};

/// The features whose coding rates make dR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RateOf {
    Projections,
    Representations,
}

/// The outer objective and its parts, in the graph.
pub struct Outer {
    pub total: Tensor,
    pub ssl: Tensor,
    pub added: Added,
}

/// What it adds to L_ssl.
pub struct Added {
    pub total: Tensor,
    pub coding_rate_reduction: Tensor,
    /// Absent where its weight is 0.
    pub distance: Option<Tensor>,
}

impl Added {
    /// For the log.
    pub(super) fn terms(&self) -> Vec<(&'static str, Tensor)> {
        let mut terms = vec![("coding_rate_reduction", self.coding_rate_reduction.detach())];
        terms.extend(self.distance.as_ref().map(|distance| ("match", distance.detach())));
        terms
    }
}

/// Multiply-adds that held-out images add: their pass through the early part, and to match them a pass of the training
/// batch through the late part, forward and backward.
pub(super) fn cost_of_held_out(settings: &Settings, forward: &Forward) -> f64 {
    match (&settings.outer_data, settings.matching > 0.0) {
        (None, _) => 0.0,
        (Some(_), false) => forward.early,
        (Some(_), true) => forward.early + 3.0 * forward.late,
    }
}

/// L_out of the late weights `w`, on the problem's held-out batch where it has one; `early` are the early features
/// `[n, c, h, w]` of the training batch.
///
/// # Errors
/// When libtorch cannot compute it, or there are fewer different images than clusters.
pub fn outer(problem: &Problem, w: &Weights, early: &Views, mode: Mode) -> Result<Outer> {
    let ssl = problem.method.loss(problem.late, w, problem.held_out.unwrap_or(early), mode)?;
    let added = added(problem, w, early, &ssl, mode)?;
    Ok(Outer { total: &ssl.total + &added.total, ssl: ssl.total, added })
}

/// -lambda dR + match D at `w`, where `loss` was computed of the held-out batch, or without one of `early`.
pub(super) fn added(problem: &Problem, w: &Weights, early: &Views, loss: &Loss, mode: Mode) -> Result<Added> {
    let settings = problem.settings;
    let rows = match settings.rate_of {
        RateOf::Projections => &loss.projections,
        RateOf::Representations => &loss.representations,
    };
    let [z1, z2, ..] = rows.as_slice() else { unreachable!("methods give both of every view") };
    let grouped = &problem.held_out.unwrap_or(early).inputs[..2];
    let coding_rate_reduction =
        settings.groups.coding_rate_reduction([z1, z2], grouped, problem.late, settings.eps2, settings.seed)?;
    let total = -settings.lambda * &coding_rate_reduction;
    if settings.matching == 0.0 || problem.held_out.is_none() {
        return Ok(Added { total, coding_rate_reduction, distance: None });
    }
    let training: Vec<Tensor> = early.inputs.iter().map(|x| problem.late.represent(w, x, mode)).collect();
    let distance = moment_distance(&Tensor::cat(&training, 0), &Tensor::cat(&loss.representations, 0));
    Ok(Added { total: total + settings.matching * &distance, coding_rate_reduction, distance: Some(distance) })
}
