//! The last stage and the head drawn anew, then plain steps: deep layers only fit, so what they fitted is thrown away
//! (Wang & Yang 2022, arXiv 2201.11939).

use super::continuation::PLAIN;
use super::repair::{Repair, Snapshot, Start};
use super::{Batches, Settings, Subject, others};
use crate::encoders::Part;
use crate::error::Result;
use crate::rng::{self, Purpose};

pub(super) const REPAIR: Repair = Repair {
    name: "reinit",
    title: "the last stage and the head drawn anew, then plain steps",
    paper: "arXiv 2201.11939",
    outer_data: true,
    matching: false,
    others: others::none,
    start,
    training: Some(PLAIN),
};

fn start(subject: &Subject, settings: &Settings, _: &mut Batches) -> Result<Start> {
    // Not the stream of pre-training, whose seed may be the same: these weights must be other ones.
    let mut rng = rng::keyed(settings.seed, Purpose::Init, 0, 1, 0);
    let stages = subject.encoder.stages();
    let (_, last) = Part::cut(subject.encoder, &stages[stages.len() - 2].name)?;
    let mut weights = subject.weights.frozen();
    let (_, any) = subject.weights.iter().next().expect("an encoder has weights");
    let (kind, device) = (any.kind(), any.device());
    weights.extend(last.init(&mut rng).frozen().to_kind(kind).to_device(device));
    let head = subject.method.init_for(&last, &mut rng).frozen().to_kind(kind).to_device(device);
    Ok(Start { from: Snapshot { weights, head }, cost: 0.0 })
}
