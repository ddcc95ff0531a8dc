//! A teacher that follows the student: an exponential moving average of its weights, under `teacher.`.

use tch::Tensor;

use super::{Views, heads};
use crate::encoders::Part;
use crate::nn::{Mode, Weights};

const PREFIX: &str = "teacher.";

/// Makes the teacher a copy of the student in `w`, without what is under the prefixes `without`.
pub(super) fn copy(w: &mut Weights, without: &[&str]) {
    let left_out = |name: &str| without.iter().chain(&[PREFIX, "memory."]).any(|prefix| name.starts_with(prefix));
    let student = w.filter(|name| !left_out(name));
    w.extend(student.frozen_copy().prefixed(PREFIX));
}

/// The teacher's representations `[n, d]` and projections `[n, p]` of inputs, as constants.
pub(super) fn project(net: &Part, w: &Weights, inputs: &[Tensor], mode: Mode) -> (Vec<Tensor>, Vec<Tensor>) {
    let inputs: Vec<Tensor> = inputs.iter().map(Tensor::detach).collect();
    tch::no_grad(|| heads::project(net, &w.under(PREFIX), &inputs, mode))
}

/// The teacher's projections `[n, p]` of every view, as constants.
pub(super) fn projections(net: &Part, w: &Weights, views: &Views, mode: Mode) -> Vec<Tensor> {
    project(net, w, &views.inputs, mode).1
}

/// `base` at the start, rising to `end` along a cosine.
pub(super) fn momentum(base: f64, end: f64, progress: f64) -> f64 {
    end - (end - base) * ((std::f64::consts::PI * progress).cos() + 1.0) / 2.0
}

/// teacher = tau teacher + (1 - tau) student, for parameters; running statistics are the teacher's own.
pub(super) fn follow(w: &Weights, tau: f64) {
    tch::no_grad(|| {
        for (name, teacher) in w.under(PREFIX).iter() {
            let student = w.get(name);
            if student.requires_grad() {
                let _ = teacher.shallow_clone().lerp_(student, 1.0 - tau);
            }
        }
    });
}
