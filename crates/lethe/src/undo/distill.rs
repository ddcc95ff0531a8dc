//! Plain steps with an anchor: the maps of some stages are held to those of an earlier checkpoint, from before the
//! memorisation.
//!
//! `distill-early` is CP-SD, which anchors *early* stages (and so has to train them); `distill-late` anchors the stages
//! after the split, where memorisation sits, as DINOv3's Gram loss does (arXiv 2508.10104). The distance is of maps and
//! not of pooled features, because what early stages hold is spatial, and between unit vectors a place (DINOv3's unit
//! patches), so that one weight fits all stages and methods.

use std::cell::RefCell;
use std::path::PathBuf;

use tch::{Kind, Tensor};

use super::Problem;
use super::others::Given;
use super::repair::{Batch, Forward, Repair, Step, Training, Trains, given};
use crate::encoders::{Part, channel_dim};
use crate::error::{Error, Result};
use crate::nn::{Mode, Weights};

pub(super) const LATE: Repair = Repair {
    name: "distill-late",
    title: "plain steps, the late stages held to those of an earlier checkpoint",
    paper: "after arXiv 2508.10104",
    outer_data: false,
    matching: false,
    others: teacher,
    start: given,
    training: Some(Training {
        trains: Trains::Late,
        lr: 1e-4,
        step,
        cost: |_, forward: &Forward| forward.pass() + forward.early + forward.late,
    }),
};

pub(super) const EARLY: Repair = Repair {
    name: "distill-early",
    title: "plain steps of all stages, the early ones held to those of an earlier checkpoint",
    paper: "CP-SD",
    outer_data: false,
    matching: false,
    others: teacher,
    start: given,
    training: Some(Training {
        trains: Trains::All,
        lr: 1e-4,
        step,
        cost: |_, forward: &Forward| 3.0 * (forward.early + forward.late) + forward.early,
    }),
};

/// `--teacher`, else the checkpoint in the middle of the given one's training.
fn teacher(given: &Given) -> Result<Vec<PathBuf>> {
    if let Some(teacher) = &given.settings.teacher {
        return Ok(vec![teacher.clone()]);
    }
    let before = given.kept_before("--teacher CKPT")?;
    Ok(vec![before[(before.len() - 1) / 2].clone()])
}

/// The method's loss plus `distill_weight` times the mean distance over the anchored stages: those after the split where
/// only they are trained, else those before it.
fn step(problem: &Problem, w: &Weights, batch: &Batch) -> Result<Step> {
    let encoder = problem.late.encoder();
    let (front, back) = Part::cut(encoder, &problem.settings.split)?;
    let all_are_trained = problem.late.stages().len() > back.stages().len();
    let (through, skipped) = if all_are_trained { (&front, 0) } else { (&Part::whole(encoder), front.stages().len()) };
    let anchored = through.stages().len() - skipped;
    let teacher = problem.teacher.expect("one is found for every distillation");
    let targets: Vec<Vec<Tensor>> = tch::no_grad(|| {
        let targets = |x| maps(|hook| through.hooked(hook).forward(teacher, x, Mode::Eval)).split_off(skipped);
        batch.images.inputs.iter().map(targets).collect()
    });

    // In the order of the views, stage by stage; a method's own teacher gives maps without a graph, and of a view that only
    // the teacher sees (ReSSL's second) there are no others.
    let mut loss = None;
    let seen = maps(|hook| {
        loss = Some(problem.method.loss(&problem.late.hooked(hook), w, batch.early, problem.mode(Mode::Train)))
    });
    let loss = loss.expect("it was computed")?;
    let student: Vec<Tensor> = seen.into_iter().filter(Tensor::requires_grad).collect();
    let stages = problem.late.stages().len();
    let images = batch.early.inputs[0].size()[0];
    let of_views = student.len().is_multiple_of(stages) && (stages..=stages * targets.len()).contains(&student.len());
    if !of_views || student.iter().any(|map| map.size()[0] != images) {
        return Err(Error::failed("this method does not show its network one view after the other"));
    }
    let distances: Vec<Tensor> = student
        .chunks(stages)
        .zip(&targets)
        .flat_map(|(student, targets)| student[..anchored].iter().zip(targets).map(|(s, t)| distance(s, t)))
        .collect();
    let distance = Tensor::stack(&distances, 0).mean(None::<Kind>);
    let total = &loss.total + problem.settings.distill_weight * &distance;
    let terms = vec![("total", total.detach()), ("ssl", loss.total.detach()), ("distance", distance.detach())];
    let gradients = w.gradients(&total, false)?;
    Ok(Step::of(loss, gradients, terms))
}

/// The maps that a hook is shown during `run`.
fn maps<T>(run: impl FnOnce(&dyn Fn(&Tensor)) -> T) -> Vec<Tensor> {
    let maps = RefCell::new(Vec::new());
    run(&|map: &Tensor| maps.borrow_mut().push(map.shallow_clone()));
    maps.into_inner()
}

/// Mean over images and places of `||u - t||^2`, u and t the unit vectors of two maps `[n, c, h, w]` or of two sets of tokens
/// `[n, t, c]`: 0 to 4.
pub fn distance(student: &Tensor, teacher: &Tensor) -> Tensor {
    let channels = [channel_dim(student)];
    // The bound is for places where all channels are near 0, which have no direction.
    let unit = |map: &Tensor| map / map.norm_scalaropt_dim(2.0, channels, true).clamp_min(1e-6);
    let square = (unit(student) - unit(teacher)).square();
    square.sum_dim_intlist(channels.as_slice(), false, None::<Kind>).mean(None::<Kind>)
}
