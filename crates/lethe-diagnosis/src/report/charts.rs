//! The charts of a diagnosis: which measures, along what.

use indexmap::IndexMap;
use lethe_measures::Estimate;

use super::definitions::{Group, definition, place, reading};
use super::plots::{Axis, LineChart, Series, Span};
use crate::Memorisation;
use crate::cell::{Cell, Side};
use crate::diagnosis::Diagnosis;
use crate::findings::{OnsetFinding, Since};
use crate::per_image::MEMORISATION_GAP;
use crate::words;

/// A chart with its title and one sentence on how to read it.
pub(super) struct Figure {
    pub(super) title: String,
    /// Of its definition on the page.
    pub(super) key: Option<&'static str>,
    pub(super) reading: String,
    pub(super) chart: LineChart,
}

pub(super) fn of(side: &Side, group: Group) -> &IndexMap<String, f64> {
    match group {
        Group::Memory | Group::Pairs => &side.by_pair,
        Group::Accuracy => &side.accuracy,
        Group::Rows => &side.measures,
        Group::Classes => &side.by_class,
    }
}

/// What the horizontal axis of a diagnosis is called, and each checkpoint on it: epochs where all are known, else file
/// names.
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
                Group::Memory => key != "alignment",
                Group::Pairs => key == "alignment",
                Group::Classes => key == "coding_rate",
                _ => false,
            };
            if !elsewhere && !keys.contains(key) {
                keys.push(key.clone());
            }
        }
    }
    keys.sort_by_key(|key| place(group, key));
    keys
}

/// "k-NN accuracy (20)" for `knn-20`; a key without words for itself.
pub(super) fn name(group: Group, key: &str) -> String {
    let Some(known) = definition(key) else { return key.into() };
    match (group, known.key) {
        (Group::Accuracy, _) => match key.split_once('-') {
            Some((_, detail)) => format!("{} ({detail})", known.name),
            None => known.name.into(),
        },
        (Group::Classes, _) => format!("{} by class", known.name),
        (Group::Pairs, "coding_rate") => format!("{} of all views", known.name),
        (Group::Pairs, "compressed_rate" | "coding_rate_reduction") => format!("{} by pair", known.name),
        _ => known.name.into(),
    }
}

/// The checkpoints as a horizontal axis, and the place of each on it.
fn axis(d: &Diagnosis) -> (Axis, Vec<f64>) {
    match checkpoints(d) {
        ("epoch", _) => {
            (Axis::Number("epoch".into()), d.checkpoints.iter().filter_map(|row| row.epoch.map(f64::from)).collect())
        }
        (_, names) => (Axis::Names(names), (0..d.checkpoints.len()).map(|i| i as f64).collect()),
    }
}

/// One figure a measure of the group: a line a stage, training images solid, unseen images dashed.
pub(super) fn by_epoch(d: &Diagnosis, group: Group) -> Vec<Figure> {
    let mut figures = Vec::new();
    if group == Group::Memory {
        figures.extend(membership_by_epoch(d));
        let part = |of: fn(&Memorisation) -> Estimate| move |cell: &Cell| Some(of(cell.memorisation.as_ref()?).value);
        figures.extend(two_sided(d, group, "view_distance", &part(|m| m.d_train), &part(|m| m.d_unseen)));
        figures.extend(gap_by_epoch(d));
        figures.extend(with_bands(d, "relative_gap", 0.0, &|cell| cell.memorisation.as_ref()?.relative_gap));
        figures.extend(with_bands(d, "retrieval_gap", 0.0, &|cell| cell.memorisation.as_ref()?.retrieval_gap));
        let train = |cell: &Cell| cell.reference.as_ref().map(|beside| beside.sslmem);
        let unseen = |cell: &Cell| cell.reference.as_ref().map(|beside| beside.sslmem_unseen);
        figures.extend(two_sided(d, group, "sslmem", &train, &unseen));
    }
    if group == Group::Accuracy {
        figures.extend(two_sided(d, group, "transfer", &|_| None, &|cell| cell.transfer));
    }
    if group == Group::Pairs {
        let gradient = |cell: &Cell| cell.batch_gradient_norm_squared;
        figures.extend(two_sided(d, group, "batch_gradient_norm_squared", &gradient, &|_| None));
    }
    for key in measures(d, group) {
        let train = |cell: &Cell| of(&cell.train, group).get(&key).copied();
        figures.extend(two_sided(d, group, &key, &train, &|cell| of(cell.unseen.as_ref()?, group).get(&key).copied()));
    }
    figures
}

fn two_sided(
    d: &Diagnosis,
    group: Group,
    key: &str,
    train: &dyn Fn(&Cell) -> Option<f64>,
    unseen: &dyn Fn(&Cell) -> Option<f64>,
) -> Option<Figure> {
    let (axis, places) = axis(d);
    let mut series = Vec::new();
    for (i, stage) in d.stages.iter().enumerate() {
        for (part, dashed, value) in [("training images", false, train), ("unseen images", true, unseen)] {
            let point = |(c, x): (usize, &f64)| Some((*x, d.cell(c, stage).and_then(value)?));
            let points: Vec<_> = places.iter().enumerate().filter_map(point).collect();
            if !points.is_empty() {
                let class = format!("s{i}");
                series.push(Series { name: stage.clone(), part, class, dashed, points, band: Vec::new() });
            }
        }
    }
    figure(group, key, axis, None, series)
}

/// The gap of every stage with its interval.
fn gap_by_epoch(d: &Diagnosis) -> Option<Figure> {
    let gap = |cell: &Cell| Some(cell.memorisation.as_ref()?.memorisation_gap);
    with_bands(d, MEMORISATION_GAP, 0.0, &gap).map(|figure| with_onsets(d, figure))
}

/// Marks the onsets that the findings name above the curves, the earliest first.
fn with_onsets(d: &Diagnosis, mut figure: Figure) -> Figure {
    if let (Since::Onsets { onsets }, Axis::Number(_)) = (&d.findings.since, &figure.chart.x) {
        figure.chart.span_name = "onset";
        let span = |onset: &OnsetFinding| Span {
            low: onset.epoch.low,
            high: onset.epoch.high,
            at: if onset.abrupt { onset.epoch.value } else { onset.epoch.high },
            class: format!("s{}", d.stages.iter().position(|stage| *stage == onset.stage).unwrap_or(0)),
            words: format!("Onset: {}", words::onset(onset)),
        };
        figure.chart.spans = onsets.iter().map(span).collect();
    }
    figure
}

/// Membership of every stage with its interval, and since when it is seen.
pub(super) fn membership_by_epoch(d: &Diagnosis) -> Option<Figure> {
    let figure = with_bands(d, "membership", 0.5, &|cell| Some(cell.memorisation.as_ref()?.membership));
    figure.map(|figure| with_onsets(d, figure))
}

/// A line a stage with a band of its intervals.
fn with_bands(d: &Diagnosis, key: &str, base: f64, of: &dyn Fn(&Cell) -> Option<Estimate>) -> Option<Figure> {
    let (axis, places) = axis(d);
    let mut series = Vec::new();
    for (i, stage) in d.stages.iter().enumerate() {
        let known = places.iter().enumerate().filter_map(|(c, x)| Some((*x, d.cell(c, stage).and_then(of)?)));
        let (points, band) = known.map(|(x, e)| ((x, e.value), (e.low, e.high))).unzip();
        series.push(Series { name: stage.clone(), part: "", class: format!("s{i}"), dashed: false, points, band });
    }
    figure(Group::Memory, key, axis, Some(base), series)
}

/// The last checkpoint from the first stage to the last, for the numbers that may be compared between stages.
pub(super) fn by_stage(d: &Diagnosis) -> Vec<Figure> {
    let Some(last) = d.checkpoints.len().checked_sub(1) else { return Vec::new() };
    let axis = || Axis::Names(d.stages.clone());
    let points = |value: &dyn Fn(&Cell) -> Option<f64>| -> Vec<(f64, f64)> {
        let stages = d.stages.iter().enumerate();
        stages.filter_map(|(i, stage)| Some((i as f64, d.cell(last, stage).and_then(value)?))).collect()
    };
    let series = |name: &str, dashed, points| Series {
        name: name.into(),
        part: "",
        class: format!("c{}", u8::from(dashed)),
        dashed,
        points,
        band: Vec::new(),
    };
    let mut figures: Vec<Figure> = Vec::new();
    let told = |cell: &Cell| Some(cell.memorisation.as_ref()?.membership);
    let edge = |of: fn(Estimate) -> f64| points(&|cell| told(cell).map(of));
    let band = edge(|auc| auc.low).into_iter().zip(edge(|auc| auc.high));
    let band = band.map(|((_, low), (_, high))| (low, high)).collect();
    let aucs = Series { band, ..series("", false, edge(|auc| auc.value)) };
    figures.extend(figure(Group::Memory, "membership", axis(), Some(0.5), vec![aucs]));
    for key in measures(d, Group::Accuracy) {
        let train = points(&|cell| cell.train.accuracy.get(&key).copied());
        let unseen = points(&|cell| cell.unseen.as_ref()?.accuracy.get(&key).copied());
        let lines = vec![series("training", false, train), series("unseen", true, unseen)];
        figures.extend(figure(Group::Accuracy, &key, axis(), None, lines));
    }
    figures
}

fn figure(group: Group, key: &str, x: Axis, base: Option<f64>, series: Vec<Series>) -> Option<Figure> {
    let title = name(group, key);
    let along = match &x {
        Axis::Number(label) => format!("by {label}"),
        Axis::Names(_) => "from left to right".into(),
    };
    let about = format!("{title} {along}");
    let percent = group == Group::Accuracy;
    let chart = LineChart { about, x, percent, base, series, span_name: "", spans: Vec::new() };
    let key = definition(key).map(|known| known.key);
    let reading = reading(group, key.unwrap_or_default()).into();
    (!chart.is_empty()).then_some(Figure { title, key, reading, chart })
}
