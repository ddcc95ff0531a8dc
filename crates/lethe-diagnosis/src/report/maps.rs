//! The heat maps of a diagnosis, stage by stage and checkpoint by checkpoint: membership, which decides, then the other
//! differences between training and unseen images, and what training changes.

use super::charts::checkpoints;
use super::heat::{HeatCell, HeatMap};
use super::numbers::{percent, short, signed, with_interval};
use crate::cell::{Cell, Side};
use crate::diagnosis::Diagnosis;

/// A map with the key of its definition, its title and one sentence on how to read it.
pub(super) struct Map {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    pub(super) reading: &'static str,
    pub(super) drawing: HeatMap,
}

/// What a map shows.
struct Quantity {
    key: &'static str,
    title: &'static str,
    reading: &'static str,
    centre: f64,
    /// The least distance from the centre that gets the full colour, so that noise does not look like a finding.
    least: f64,
    of: fn(&Diagnosis, &Cell) -> Option<HeatCell>,
}

const QUANTITIES: &[Quantity] = &[
    Quantity {
        key: "membership",
        title: "Membership AUC",
        reading: "Orange: training images are told from unseen ones. Pale: not above chance, not above the control, or \
                  untrained.",
        centre: 0.5,
        least: 0.05,
        of: |d, cell| {
            let auc = cell.memorisation.as_ref()?.membership;
            let clear = d.is_seen(cell) || auc.high < 0.5;
            let chance = auc.low <= 0.5 && auc.high >= 0.5;
            let text = if chance { "≈ ½".into() } else { format!("{:.2}", auc.value) };
            let above = cell.membership_above_control;
            let more = above.map_or(String::new(), |above| format!("above the control by {}", with_interval(above)));
            Some(HeatCell { value: auc.value, clear, text, words: format!("AUC {}", with_interval(auc)), more })
        },
    },
    Quantity {
        key: "relative_gap",
        title: "Relative gap",
        reading: "Orange: the views of training images lie closer together, as a share of the distance between images. \
                  Pale: the interval includes zero. This is a size; membership decides.",
        centre: 0.0,
        least: 0.02,
        of: |_, cell| {
            let gap = cell.memorisation.as_ref()?.relative_gap?;
            let clear = gap.low > 0.0 || gap.high < 0.0;
            let text = if clear { signed(gap.value) } else { "≈ 0".into() };
            let words = format!("relative gap {}", with_interval(gap));
            Some(HeatCell { value: gap.value, clear, text, words, more: String::new() })
        },
    },
    Quantity {
        key: "coding_rate_reduction",
        title: "Class dR, training less unseen images",
        reading: "Orange: classes lie further apart on training images. Read it only where both sides have the same \
                  number of images of every class. It has no intervals.",
        centre: 0.0,
        least: 0.05,
        of: |_, cell| difference(cell, |side| side.by_class.get("coding_rate_reduction").copied(), signed, short),
    },
    Quantity {
        key: "knn",
        title: "k-NN accuracy (20), training less unseen images",
        reading: "Orange: more right on training images, in points. It has no intervals.",
        centre: 0.0,
        least: 0.05,
        of: |_, cell| {
            let points = |difference: f64| format!("{:+.1}", 100.0 * difference);
            difference(cell, |side| side.accuracy.get("knn-20").copied(), points, percent)
        },
    },
    Quantity {
        key: "cka",
        title: "Linear CKA with the stage before",
        reading: "Blue: the stage does something of its own. 1: it passes on what it is given.",
        centre: 1.0,
        least: 0.2,
        of: |_, cell| similarity(cell.cka_stage),
    },
    Quantity {
        key: "cka",
        title: "Linear CKA with the checkpoint before",
        reading: "Blue: the stage has changed since. 1: it has come to rest.",
        centre: 1.0,
        least: 0.2,
        of: |_, cell| similarity(cell.cka_checkpoint),
    },
];

fn difference(
    cell: &Cell,
    of: fn(&Side) -> Option<f64>,
    text: fn(f64) -> String,
    shown: fn(f64) -> String,
) -> Option<HeatCell> {
    let (train, unseen) = (of(&cell.train)?, of(cell.unseen.as_ref()?)?);
    let value = train - unseen;
    let words = format!("{} ({} on training, {} on unseen images)", text(value), shown(train), shown(unseen));
    Some(HeatCell { value, clear: true, text: text(value), words, more: String::new() })
}

fn similarity(value: Option<f64>) -> Option<HeatCell> {
    let value = value?;
    let words = format!("CKA {value:.3}");
    Some(HeatCell { value, clear: true, text: format!("{value:.2}"), words, more: String::new() })
}

pub(super) fn maps(d: &Diagnosis) -> Vec<Map> {
    QUANTITIES.iter().filter_map(|quantity| map(d, quantity)).collect()
}

fn map(d: &Diagnosis, quantity: &Quantity) -> Option<Map> {
    let (axis, columns) = checkpoints(d);
    let of = |stage: &String, checkpoint| {
        let cell = d.cell(checkpoint, stage)?;
        (quantity.of)(d, cell).filter(|cell| cell.value.is_finite())
    };
    let row = |stage: &String| (0..d.checkpoints.len()).map(|checkpoint| of(stage, checkpoint)).collect();
    let cells: Vec<Vec<Option<HeatCell>>> = d.stages.iter().map(row).collect();
    let far = |cell: &HeatCell| (cell.value - quantity.centre).abs();
    let largest = cells.iter().flatten().flatten().map(far).reduce(f64::max)?;
    let drawing = HeatMap {
        about: format!("{} by stage (rows) and {axis} (columns)", quantity.title),
        column_label: axis.into(),
        rows: d.stages.clone(),
        columns,
        cells,
        centre: quantity.centre,
        full: largest.max(quantity.least),
    };
    Some(Map { key: quantity.key, title: quantity.title, reading: quantity.reading, drawing })
}
