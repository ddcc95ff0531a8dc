//! What the gaps of a diagnosis say, in words that claim no more than the intervals bear.

use super::gap::CONFIDENCE;
use super::{Cell, Diagnosis, Onset};

/// The first checkpoint of a stage from which on every interval of the gap lies above 0.
pub(super) fn onsets(diagnosis: &Diagnosis) -> Vec<Onset> {
    let onset = |stage: &String| {
        let mut cells: Vec<&Cell> = diagnosis.cells.iter().filter(|cell| cell.stage == *stage).collect();
        cells.sort_by_key(|cell| cell.checkpoint);
        let above = cells.iter().rev().take_while(|cell| is_above(cell)).last()?;
        Some(Onset { stage: stage.clone(), checkpoint: above.checkpoint, confidence: CONFIDENCE })
    };
    diagnosis.stages.iter().filter_map(onset).collect()
}

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
        if diagnosis.onsets.is_empty() {
            text += " In no stage does it stay above 0 to the last checkpoint.";
        }
        for onset in &diagnosis.onsets {
            text += &format!(" {}: above 0 from {} on.", onset.stage, diagnosis.checkpoint_name(onset.checkpoint));
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
