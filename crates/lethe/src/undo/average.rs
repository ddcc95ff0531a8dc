//! The mean of several checkpoints' late weights (stochastic weight averaging, Izmailov et al. 2018, arXiv 1803.05407),
//! without a gradient step. Batch-norm's running statistics are those of none of them, so one forward pass over the
//! training images estimates them anew.

use std::path::PathBuf;

use tch::Tensor;

use super::others::Given;
use super::repair::{Forward, Repair, Snapshot, Start};
use super::{Batches, Settings, Subject};
use crate::encoders::Part;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::nn::{Mode, Weights};

pub(super) const REPAIR: Repair = Repair {
    name: "average",
    title: "the mean of checkpoints' late weights",
    paper: "arXiv 1803.05407",
    outer_data: false,
    matching: false,
    others,
    start,
    training: None,
};

/// Checkpoints averaged with the given one unless told: with it, the last five that the run kept.
const KEPT: usize = 4;

fn others(given: &Given) -> Result<Vec<PathBuf>> {
    if !given.settings.with.is_empty() {
        return Ok(given.settings.with.clone());
    }
    let mut before = given.kept_before("--with CKPT")?;
    Ok(before.split_off(before.len().saturating_sub(KEPT)))
}

fn start(subject: &Subject, settings: &Settings, batches: &mut Batches) -> Result<Start> {
    let (early, late) = Part::cut(subject.encoder, &settings.split)?;
    let student = |weights: &Weights, head: &Weights| {
        let mut w = late.weights(weights).frozen();
        w.extend(head.filter(|name| !name.starts_with("teacher.")));
        w
    };
    let mut all = vec![student(subject.weights, subject.head)];
    all.extend(subject.others.iter().map(|other| student(&other.weights, &other.head)));
    let mut w = mean(&all)?;
    subject.method.teach(&mut w);
    let frozen = early.weights(subject.weights).frozen();
    for images in (batches.epoch)(0) {
        let images = images?;
        tch::no_grad(|| {
            let features = images.map(|x| early.forward(&frozen, x, Mode::Eval));
            subject.method.loss(&late, &w, &features, Mode::Estimate)
        })?;
        if let Some(stop) = interrupt::asked() {
            return Err(stop);
        }
    }
    let mut weights = subject.weights.frozen();
    weights.extend(late.weights(&w));
    let head = w.filter(|name| subject.weights.find(name).is_none());
    let forward = Forward::of(subject.encoder, &settings.split)?;
    let cost = batches.per_epoch as f64 * (forward.early + forward.late);
    Ok(Start { from: Snapshot { weights, head }, cost })
}

/// Of every parameter; batch-norm's running statistics start anew, and what a method remembers is the first's.
fn mean(all: &[Weights]) -> Result<Weights> {
    let mean = |(name, first): (&str, &Tensor)| {
        if name.starts_with("memory.") {
            return Ok((name.to_owned(), first.detach()));
        }
        if !first.is_floating_point() || name.contains("running_") {
            return Ok((name.to_owned(), first.zeros_like()));
        }
        let of = |w: &Weights| {
            w.find(name)
                .filter(|tensor| tensor.size() == first.size())
                .map(Tensor::detach)
                .ok_or_else(|| Error::failed(format!("another checkpoint has no {name} of this shape to average")))
        };
        let tensors = all.iter().map(of).collect::<Result<Vec<_>>>()?;
        Ok((name.to_owned(), Tensor::stack(&tensors, 0).mean_dim(0, false, None)))
    };
    all[0].iter().map(mean).collect()
}
