//! How far the criteria without labels miss the best checkpoint by labels.

use super::charts::checkpoints;
use super::definitions::criterion_name;
use crate::{Choice, Diagnosis};

pub(super) struct Missed {
    /// The best checkpoint by labels, in words.
    pub(super) best: String,
    /// Criterion, its key, and epochs off.
    pub(super) epochs: Vec<(String, String, String)>,
}

pub(super) fn missed(d: &Diagnosis) -> Option<Missed> {
    let best = d.choices.iter().find(|choice| choice.needs_labels)?;
    let off = |choice: &Choice| {
        let epochs = choice.judged.get(&best.criterion).filter(|_| !choice.needs_labels)?.epochs;
        let text = if epochs == 0.0 { "0".into() } else { format!("{epochs:+.0}").replace('-', "−") };
        Some((criterion_name(&choice.criterion), choice.criterion.clone(), text))
    };
    let (axis, names) = checkpoints(d);
    let at = |checkpoint: usize| format!("{axis} {}", names[checkpoint]);
    let epochs: Vec<_> = d.choices.iter().filter_map(off).collect();
    let mut text = format!("by {} {} is the best", criterion_name(&best.criterion), at(best.checkpoint));
    if let Some(earliest) = best.earliest.as_ref().filter(|earliest| earliest.checkpoint != best.checkpoint) {
        text += &format!(", {} the earliest as good", at(earliest.checkpoint));
    }
    Some(Missed { best: text, epochs })
}
