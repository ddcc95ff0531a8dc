//! The charts of a diagnosis: which measures, along what.

use indexmap::IndexMap;

use super::definitions::{DEFINITIONS, Group, definition};
use super::numbers::short;
use super::plots::{Axis, HeatMap, LineChart, Series};
use crate::diagnose::{Cell, Diagnosis, Side};

/// A chart with its title and one sentence on how to read it.
pub(super) struct Figure {
    pub(super) title: String,
    pub(super) reading: String,
    pub(super) chart: LineChart,
}

pub(super) fn of(side: &Side, group: Group) -> &IndexMap<String, f64> {
    match group {
        Group::Gap | Group::Pairs => &side.by_pair,
        Group::Accuracy => &side.accuracy,
        Group::Rows => &side.measures,
        Group::Classes => &side.by_class,
    }
}

pub(super) fn cell<'a>(d: &'a Diagnosis, checkpoint: usize, stage: &str) -> Option<&'a Cell> {
    d.cells.iter().find(|cell| cell.checkpoint == checkpoint && cell.stage == stage)
}

/// What the horizontal axis of a diagnosis is called, and each checkpoint on it: epochs where all are known, else file names.
pub(super) fn checkpoints(d: &Diagnosis) -> (&'static str, Vec<String>) {
    if d.checkpoints.iter().all(|row| row.epoch.is_some()) {
        ("epoch", d.checkpoints.iter().filter_map(|row| row.epoch).map(|epoch| epoch.to_string()).collect())
    } else {
        let stem = |path: &str| {
            let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
            name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_string()
        };
        ("checkpoint", d.checkpoints.iter().map(|row| stem(&row.path)).collect())
    }
}

/// The measures of a diagnosis in the order of the page: known ones first, then keys this version has no words for.
pub(super) fn measures(d: &Diagnosis, group: Group) -> Vec<String> {
    let sides = || d.cells.iter().flat_map(|cell| std::iter::once(&cell.train).chain(cell.unseen.as_ref()));
    let mut keys: Vec<String> = Vec::new();
    for side in sides() {
        for key in of(side, group).keys() {
            let elsewhere = match group {
                Group::Gap => key != "alignment",
                Group::Pairs => key == "alignment",
                Group::Classes => key == "coding_rate",
                _ => false,
            };
            if !elsewhere && !keys.contains(key) {
                keys.push(key.clone());
            }
        }
    }
    let place = |key: &String| {
        let known = definition(group, key).map(|known| known.key);
        DEFINITIONS.iter().position(|d| d.group == group && Some(d.key) == known).unwrap_or(DEFINITIONS.len())
    };
    keys.sort_by_key(place);
    keys
}

/// "k-NN accuracy (20)" for `knn-20`; a key without words for itself.
pub(super) fn name(group: Group, key: &str) -> String {
    match (definition(group, key), key.split_once('-')) {
        (Some(known), Some((_, detail))) if group == Group::Accuracy => format!("{} ({detail})", known.name),
        (Some(known), _) => known.name.into(),
        (None, _) => key.into(),
    }
}

/// One figure a measure of the group: a line a stage, training images solid, unseen images dashed.
pub(super) fn by_epoch(d: &Diagnosis, group: Group) -> Vec<Figure> {
    let (axis, names) = checkpoints(d);
    let x = |checkpoint: usize| {
        d.checkpoints[checkpoint].epoch.filter(|_| axis == "epoch").map_or(checkpoint as f64, f64::from)
    };
    let axis = || if axis == "epoch" { Axis::Number(axis.into()) } else { Axis::Names(names.clone()) };
    let mut figures = Vec::new();
    if group == Group::Gap {
        let mut series = Vec::new();
        for (i, stage) in d.stages.iter().enumerate() {
            let cells: Vec<_> = (0..d.checkpoints.len()).filter_map(|c| Some((x(c), cell(d, c, stage)?))).collect();
            let points = cells.iter().map(|(x, cell)| (*x, cell.memorisation_gap.unwrap_or(f64::NAN))).collect();
            let band = cells
                .iter()
                .map(|(_, cell)| cell.gap_interval.map_or((f64::NAN, f64::NAN), |[low, high]| (low, high)))
                .collect();
            series.push(Series { name: stage.clone(), part: "", class: format!("s{i}"), dashed: false, points, band });
        }
        figures.extend(figure(group, "memorisation_gap", axis(), true, series));
    }
    for key in measures(d, group) {
        let mut series = Vec::new();
        for (i, stage) in d.stages.iter().enumerate() {
            for (part, dashed) in [("training images", false), ("unseen images", true)] {
                let side = |cell: &Cell| -> Option<f64> {
                    let side = if dashed { cell.unseen.as_ref()? } else { &cell.train };
                    of(side, group).get(&key).copied()
                };
                let points: Vec<_> =
                    (0..d.checkpoints.len()).filter_map(|c| Some((x(c), cell(d, c, stage).and_then(side)?))).collect();
                if !points.is_empty() {
                    series.push(Series {
                        name: stage.clone(),
                        part,
                        class: format!("s{i}"),
                        dashed,
                        points,
                        band: Vec::new(),
                    });
                }
            }
        }
        figures.extend(figure(group, &key, axis(), false, series));
    }
    figures
}

/// The last checkpoint from the first stage to the last, for the numbers that may be compared between stages.
pub(super) fn by_stage(d: &Diagnosis) -> Vec<Figure> {
    let Some(last) = d.checkpoints.len().checked_sub(1) else { return Vec::new() };
    let points = |value: &dyn Fn(&Cell) -> Option<f64>| -> Vec<(f64, f64)> {
        let values =
            d.stages.iter().enumerate().map(|(i, stage)| Some((i as f64, cell(d, last, stage).and_then(value)?)));
        values.flatten().collect()
    };
    let axis = || Axis::Names(d.stages.clone());
    let series = |part: &'static str, dashed, points| Series {
        name: part.into(),
        part: "",
        class: format!("c{}", u8::from(dashed)),
        dashed,
        points,
        band: Vec::new(),
    };
    let mut figures: Vec<Figure> = Vec::new();
    let gap = Series { name: String::new(), ..series("", false, points(&|cell| cell.memorisation_gap)) };
    figures.extend(figure(Group::Gap, "memorisation_gap", axis(), true, vec![gap]));
    for key in measures(d, Group::Accuracy) {
        let train = points(&|cell| cell.train.accuracy.get(&key).copied());
        let unseen = points(&|cell| cell.unseen.as_ref()?.accuracy.get(&key).copied());
        let lines = vec![series("training", false, train), series("unseen", true, unseen)];
        figures.extend(figure(Group::Accuracy, &key, axis(), false, lines));
    }
    figures
}

fn figure(group: Group, key: &str, x: Axis, zero: bool, series: Vec<Series>) -> Option<Figure> {
    let title = name(group, key);
    let along = match &x {
        Axis::Number(label) => format!("by {label}"),
        Axis::Names(_) => "from left to right".into(),
    };
    let chart = LineChart { about: format!("{title} {along}"), x, percent: group == Group::Accuracy, zero, series };
    let reading = definition(group, key).map_or_else(String::new, |known| known.reading.into());
    (!chart.is_empty()).then_some(Figure { title, reading, chart })
}

/// The gap by stage (down) and checkpoint (right); nothing where no unseen images were given.
pub(super) fn heat_map(d: &Diagnosis) -> Option<HeatMap> {
    let (column_label, columns) = checkpoints(d);
    let all = || 0..d.checkpoints.len();
    let gap = |c: usize, stage: &str| {
        cell(d, c, stage).and_then(|cell| Some((cell, cell.memorisation_gap.filter(|v| v.is_finite())?)))
    };
    let largest = d
        .cells
        .iter()
        .filter_map(|cell| cell.memorisation_gap)
        .filter(|v| v.is_finite())
        .map(f64::abs)
        .fold(f64::NAN, f64::max);
    if largest.is_nan() {
        return None;
    }
    let clear = |cell: &Cell| cell.gap_interval.is_none_or(|[low, high]| low > 0.0 || high < 0.0);
    let cells =
        d.stages.iter().map(|stage| all().map(|c| gap(c, stage).map(|(cell, v)| (v, clear(cell)))).collect()).collect();
    let words = |c: usize, stage: &str| {
        let place = format!("{stage}, {column_label} {}", columns[c]);
        let Some((cell, value)) = gap(c, stage) else { return format!("{place}: not measured") };
        let interval = cell
            .gap_interval
            .map(|[low, high]| format!(" (interval {} to {})", short(low), short(high)))
            .unwrap_or_default();
        let side = |side: &Side| side.by_pair.get("alignment").map(|v| short(*v));
        let sides = match (side(&cell.train), cell.unseen.as_ref().and_then(side)) {
            (Some(train), Some(unseen)) => {
                format!("; alignment distance {train} on training, {unseen} on unseen images")
            }
            _ => String::new(),
        };
        format!("{place}: gap {}{interval}{sides}", short(value))
    };
    let hover = d.stages.iter().map(|stage| all().map(|c| words(c, stage)).collect()).collect();
    let about = format!("memorisation gap by stage (rows) and {column_label} (columns)");
    // Below 0.02 nothing is coloured strongly, so that noise does not look like a finding.
    Some(HeatMap {
        about,
        column_label: column_label.into(),
        rows: d.stages.clone(),
        columns,
        cells,
        hover,
        full: largest.max(0.02),
    })
}
