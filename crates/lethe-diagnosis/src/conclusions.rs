//! From the numbers of a diagnosis to its findings.

use lethe_measures::{Estimate, LEAST_IMAGES_FOR_A_VERDICT};

use super::cell::Cell;
use super::diagnosis::{Diagnosis, Relation};
use super::findings::{ControlKind, Doubt, Findings, Keep, Memorises, OnsetFinding, Place, Since, StageFinding};
use super::per_image::{MEMORISATION_GAP, VIEW_RETRIEVAL};
use super::stage_distances::SHIFT_STAGES;

/// The findings of the numbers in `d`.
pub fn conclude(d: &Diagnosis) -> Findings {
    let memorises = memorises(d);
    let stages = memorises.place().filter(|_| memorises.is_seen()).map_or_else(Vec::new, |most| stages(d, most));
    let since = since(d, &memorises);
    Findings { stages, since, keep: keep(d), doubts: doubts(d), memorises }
}

fn memorises(d: &Diagnosis) -> Memorises {
    let Some(sides) = &d.sides else { return Memorises::NotMeasured };
    if sides.images < LEAST_IMAGES_FOR_A_VERDICT {
        return Memorises::TooFewImages { images: sides.images, needed: LEAST_IMAGES_FOR_A_VERDICT };
    }
    let trained = || d.cells.iter().filter(|cell| !d.checkpoints[cell.checkpoint].is_untrained());
    let largest = |cells: &mut dyn Iterator<Item = &Cell>| {
        let places = cells.filter_map(|cell| Some((cell, cell.memorisation.as_ref()?.membership.value)));
        places.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(cell, _)| place(d, cell))
    };
    if let Some(most) = largest(&mut trained().filter(|cell| d.is_seen(cell))) {
        let reference = d.control.as_ref().is_some_and(|control| control.kind == ControlKind::Reference);
        let known = (sides.relation == Relation::RandomSplit && d.control.is_some()) || reference;
        return if known { Memorises::Yes { most } } else { Memorises::YesOrSidesDiffer { most } };
    }
    if let Some(cell) = trained().next_back().filter(|cell| cell.collapsed) {
        return Memorises::Collapsed { checkpoint: cell.checkpoint, stage: cell.stage.clone() };
    }
    // Where only the untrained start was given, its largest membership is what there is to say.
    match largest(&mut trained()).or_else(|| largest(&mut d.cells.iter())) {
        Some(most) => Memorises::NoneSeen { most },
        None => Memorises::NotMeasured,
    }
}

/// # Panics
/// A cell without memorisation numbers.
fn place(d: &Diagnosis, cell: &Cell) -> Place {
    let found = cell.memorisation.as_ref().expect("checked by the caller");
    let stage = d.stages.iter().position(|stage| *stage == cell.stage);
    let control = d.control.as_ref().and_then(|control| control.stages.get(stage?));
    Place {
        checkpoint: cell.checkpoint,
        stage: cell.stage.clone(),
        membership: found.membership,
        control: control.map(|control| control.membership),
        above_control: cell.membership_above_control,
        relative_gap: found.relative_gap,
        d_train: found.d_train.value,
        d_unseen: found.d_unseen.value,
        d_between: found.d_between.value,
    }
}

fn stages(d: &Diagnosis, most: &Place) -> Vec<StageFinding> {
    let cells = d.stages.iter().filter_map(|stage| d.cell(most.checkpoint, stage));
    cells
        .filter_map(|cell| {
            let membership = cell.memorisation.as_ref()?.membership;
            let seen = d.is_seen(cell);
            let leading = seen && membership.high >= most.membership.low;
            Some(StageFinding { stage: cell.stage.clone(), membership, seen, leading })
        })
        .collect()
}

fn since(d: &Diagnosis, memorises: &Memorises) -> Since {
    if !memorises.is_seen() {
        return Since::NoneSeen;
    }
    if d.checkpoints.len() < 2 {
        return Since::OneCheckpoint;
    }
    if d.checkpoints.iter().any(|row| row.epoch.is_none()) {
        return Since::EpochsUnknown;
    }
    // A stage is named only where it is seen after the onset.
    let seen_after = |stage: &str, checkpoint: usize| {
        d.cells.iter().any(|cell| cell.stage == stage && cell.checkpoint >= checkpoint && d.is_seen(cell))
    };
    let named = d.onsets.iter().filter(|onset| onset.of == MEMORISATION_GAP);
    let mut onsets: Vec<OnsetFinding> = named
        .filter(|onset| seen_after(&onset.stage, onset.checkpoint))
        .map(|onset| OnsetFinding { stage: onset.stage.clone(), epoch: onset.epoch, abrupt: onset.abrupt })
        .collect();
    onsets.sort_by(|a, b| a.epoch.value.total_cmp(&b.epoch.value));
    if onsets.is_empty() { Since::NoRise } else { Since::Onsets { onsets } }
}

fn keep(d: &Diagnosis) -> Keep {
    if d.checkpoints.iter().filter(|row| !row.is_untrained()).count() < 2 {
        return Keep::OneCheckpoint;
    }
    let choice = d.choices.iter().find(|choice| choice.criterion == VIEW_RETRIEVAL);
    let Some((choice, earliest)) = choice.and_then(|choice| Some((choice, choice.earliest.as_ref()?))) else {
        return Keep::NotMeasured;
    };
    Keep::Checkpoint {
        best: choice.checkpoint,
        earliest: earliest.checkpoint,
        loss: earliest.loss,
        margin: earliest.margin,
        least_margin: earliest.least_margin,
        spared: earliest.spared,
        stage: choice.stage.clone(),
    }
}

fn doubts(d: &Diagnosis) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    let Some(sides) = d.sides.as_ref().filter(|sides| sides.images >= LEAST_IMAGES_FOR_A_VERDICT) else {
        return doubts;
    };
    match &d.control {
        None => doubts.push(Doubt::NoControl),
        Some(control) => {
            let excludes = |found: &Estimate| found.low > 0.5 || found.high < 0.5;
            let far = |found: &Estimate| (found.value - 0.5).abs();
            let told = d.stages.iter().zip(&control.stages).map(|(stage, found)| (stage, found.membership));
            if let Some((stage, membership)) =
                told.filter(|(_, found)| excludes(found)).max_by(|a, b| far(&a.1).total_cmp(&far(&b.1)))
            {
                let (stage, control) = (stage.clone(), control.kind);
                doubts.push(Doubt::SidesDifferInKind { stage, membership, control });
            }
            let shifted = d.stages.iter().zip(&control.shift).filter_map(|(stage, test)| Some((stage, test.as_ref()?)));
            let shifted = shifted.filter(|(_, test)| test.p <= 0.05 / SHIFT_STAGES as f64);
            if let Some((stage, test)) = shifted.max_by(|a, b| a.1.auc.total_cmp(&b.1.auc)) {
                doubts.push(Doubt::Shift { stage: stage.clone(), auc: test.auc, p: test.p });
            }
        }
    }
    let below = d.cells.iter().filter_map(|cell| Some((cell, cell.memorisation.as_ref()?.membership)));
    let below = below.filter(|(cell, found)| !d.checkpoints[cell.checkpoint].is_untrained() && found.high < 0.5);
    if let Some((cell, membership)) = below.min_by(|a, b| a.1.value.total_cmp(&b.1.value)) {
        let (checkpoint, stage) = (cell.checkpoint, cell.stage.clone());
        doubts.push(Doubt::UnseenCloser { checkpoint, stage, membership });
    }
    if let Some(difference) = &sides.difference {
        doubts.push(Doubt::FilesDiffer { difference: difference.clone() });
    }
    if let Some(copies) = sides.copies.as_ref().filter(|copies| !copies.left_out.is_empty()) {
        doubts.push(Doubt::CopiesLeftOut { pairs: copies.left_out.len() });
    }
    doubts
}
