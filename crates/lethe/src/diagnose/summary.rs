//! What the gaps of a diagnosis say, in words that claim no more than the intervals bear.

use super::gap::CONFIDENCE;
use super::per_image::{self, DIFFERENCES, VIEW_RETRIEVAL};
use super::{Cell, Diagnosis, Estimate, Onset};

/// A few sentences for people.
pub(super) fn summary(diagnosis: &Diagnosis) -> String {
    let measured: Vec<&Cell> = diagnosis.cells.iter().filter(|cell| cell.memorisation_gap.is_some()).collect();
    let Some(most) = measured.iter().copied().max_by(|a, b| f64::total_cmp(&gap(a), &gap(b))) else {
        return "Memorisation: not measured, as no unseen images were given.".into();
    };
    let intervals = format!(
        "{:.0} % intervals from a bootstrap over the images, simultaneous over all {} cells",
        100.0 * CONFIDENCE,
        measured.len()
    );
    let place = format!("{} at {}", most.stage, diagnosis.checkpoint_name(most.checkpoint));
    let seen = measured.iter().any(|cell| is_above(cell));
    let mut text = if seen {
        format!("Memorisation: the gap is largest in {place}, {} ({intervals}).", shown(most))
    } else {
        format!(
            "Memorisation: none seen. No gap lies above 0; the largest is {} in {place} ({intervals}).",
            shown(most)
        )
    };
    if seen {
        let others: Vec<String> = measured
            .iter()
            .filter(|cell| cell.checkpoint == most.checkpoint && cell.stage != most.stage)
            .map(|cell| format!("{} {}", cell.stage, shown(cell)))
            .collect();
        if !others.is_empty() {
            text += &format!(" The other stages there: {}.", others.join(", "));
        }
        if measured.iter().any(|cell| cell.stage == diagnosis.stages[0] && is_above(cell)) {
            text += &format!(
                " {} shows a gap too, where memorisation is not expected: the two sets of images may differ in more than \
                 training.",
                diagnosis.stages[0]
            );
        }
    }
    if let Some(below) = measured.iter().find(|cell| cell.gap_interval.is_some_and(|[_, high]| high < 0.0)) {
        text += &format!(
            " In {} at {} views of unseen images lie closer than those of training images, {}: the two sets of images differ.",
            below.stage,
            diagnosis.checkpoint_name(below.checkpoint),
            shown(below)
        );
    }
    text + &since(diagnosis) + &keep(diagnosis)
}

/// Since when, or why that is not told.
fn since(diagnosis: &Diagnosis) -> String {
    if per_image::epochs(&diagnosis.checkpoints).is_none() {
        return " Since when is not told: that takes checkpoints of several epochs, named and growing.".into();
    }
    let onsets: Vec<&Onset> = diagnosis.onsets.iter().filter(|onset| onset.of == DIFFERENCES[0]).collect();
    if onsets.is_empty() {
        return " Onset: none seen; in no stage does the gap grow beyond doubt.".into();
    }
    let one = |onset: &&Onset| {
        let [low, high] = onset.interval;
        format!("{} after epoch {:.0} (95 % interval {low:.0} to {high:.0})", onset.stage, onset.epoch)
    };
    format!(" Onset: the gap grows in {}.", onsets.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Which checkpoint to keep, by what needs no labels.
fn keep(diagnosis: &Diagnosis) -> String {
    let choice = diagnosis.choices.iter().find(|choice| choice.criterion == VIEW_RETRIEVAL);
    let Some((choice, earliest)) = choice.and_then(|choice| Some((choice, choice.earliest.as_ref()?))) else {
        return String::new();
    };
    let best = diagnosis.checkpoint_name(choice.checkpoint);
    let mut text = format!(" Without labels (view retrieval on unseen images) {best} is the best");
    if choice.checkpoint == 0 {
        text += ".";
    } else if earliest.checkpoint == choice.checkpoint {
        text += ", and every earlier one is measurably worse.";
    } else {
        let Estimate { value, low, high } = earliest.spared;
        text += &format!(
            ", and {} is not measurably worse; that changes the gap by {:+.4} [{:+.4}, {:+.4}].",
            diagnosis.checkpoint_name(earliest.checkpoint),
            -value,
            -high,
            -low
        );
    }
    text
}

fn is_above(cell: &Cell) -> bool {
    cell.gap_interval.is_some_and(|[low, _]| low > 0.0)
}

fn gap(cell: &Cell) -> f64 {
    cell.memorisation_gap.unwrap_or(f64::NEG_INFINITY)
}

/// `0.0104 [0.0089, 0.0120]`
fn shown(cell: &Cell) -> String {
    let [low, high] = cell.gap_interval.unwrap_or([f64::NAN; 2]);
    format!("{:.4} [{low:.4}, {high:.4}]", gap(cell))
}
