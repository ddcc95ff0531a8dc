//! The curves of a training and of a repair.

use indexmap::IndexMap;

use super::charts::Figure;
use super::plots::{Axis, LineChart, Series};
use crate::records::{EpochRow, Kind, MetricRow, StepRow};

/// Points of a curve at most; more are averaged in groups.
const POINTS: usize = 240;

/// The curves of `metrics.jsonl`: its step rows, or where there are none its epoch rows.
pub(super) fn training(metrics: &[MetricRow]) -> Vec<Figure> {
    let (steps, epochs): (Vec<_>, Vec<_>) = metrics.iter().partition(|row| row.kind == Kind::Step);
    let rows = if steps.is_empty() { epochs } else { steps };
    let curve = |i: usize, name: &str, value: &dyn Fn(&MetricRow) -> f64| {
        line(i, name, thinned(&rows.iter().map(|row| (row.step as f64, value(row))).collect::<Vec<_>>()))
    };
    let mut terms: Vec<&String> = Vec::new();
    for key in rows.iter().flat_map(|row| row.terms.keys()) {
        if !terms.contains(&key) {
            terms.push(key);
        }
    }
    let single = |title, reading, value: &dyn Fn(&MetricRow) -> f64| figure(title, reading, vec![curve(0, "", value)]);
    let loss = "Falling means it learns the training task, not that its features get better.";
    let mut figures = vec![single("Loss", loss, &|row| row.loss)];
    if terms.len() > 1 {
        let term = |(i, key): (usize, &&String)| curve(i, key, &|row| row.terms.get(*key).copied().unwrap_or(f64::NAN));
        figures.push(figure(
            "Terms of the loss",
            "The parts the loss is made of.",
            terms.iter().enumerate().map(term).collect(),
        ));
    }
    figures.push(single("Learning rate", "How large a step the optimiser takes.", &|row| row.lr));
    let mut spread =
        single("Spread of the projections", "1 is healthy; near 0 all images have become one point.", &|row| {
            row.spread
        });
    let mut speed =
        single("Images per second", "The speed of the training, loading included.", &|row| row.images_per_s);
    let mut wait =
        single("Waiting for data", "Share of the time in which training waited for images.", &|row| row.data_wait);
    wait.chart.percent = true;
    for from_zero in [&mut spread, &mut speed, &mut wait] {
        from_zero.chart.base = Some(0.0);
    }
    figures.extend([spread, speed, wait]);
    figures.retain(|figure| !figure.chart.is_empty());
    figures
}

fn line(i: usize, name: &str, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.into(), part: "", class: format!("c{}", i % 6), dashed: false, points, band: Vec::new() }
}

fn figure(title: &str, reading: &str, series: Vec<Series>) -> Figure {
    let x = Axis::Number("step".into());
    let about = format!("{title} by step");
    let chart = LineChart { about, x, percent: false, base: None, series, span_name: "", spans: Vec::new() };
    Figure { title: title.into(), key: None, reading: reading.into(), chart }
}

/// One figure a number of `undo.jsonl`, one line a repair.
pub(super) fn undoing(rows: &[StepRow]) -> Vec<Figure> {
    const WORDS: &[(&str, &str, &str)] = &[
        ("ssl", "Self-supervised loss", "The task the encoder was pre-trained on."),
        (
            "js",
            "Divergence from uniform (JS)",
            "Lower: the late stages stretch all samples alike, none is singled out.",
        ),
        (
            "kl",
            "Divergence from uniform (KL)",
            "Lower: the late stages stretch all samples alike, none is singled out.",
        ),
        ("match", "Distance from held-out features", "The distance of means and covariances. It should fall."),
        ("coding_rate_reduction", "Coding rate reduction by pair", "The rate of the projections. It should rise."),
        (
            "outer",
            "Outer objective",
            "Self-supervised loss minus lambda times the coding rate reduction; it should fall.",
        ),
        ("inner", "Inner objective", "Self-supervised loss plus beta times the divergence."),
        ("total", "Loss with the anchor", "Self-supervised loss plus the weighted distance to the earlier checkpoint."),
        ("distance", "Distance to the earlier checkpoint", "Between unit vectors, averaged over the places of a map."),
        ("lr", "Learning rate", "How large a step the optimiser takes."),
        ("grad_norm", "Length of the gradient", "How strongly the objective pulls on the trained stages."),
    ];
    let mut repairs: Vec<&str> = Vec::new();
    let mut keys: Vec<&str> = Vec::new();
    let mut curves: IndexMap<(&str, &str), Vec<(f64, f64)>> = IndexMap::new();
    for row in rows {
        if !repairs.contains(&row.repair.as_str()) {
            repairs.push(&row.repair);
        }
        let terms = row.terms.iter().map(|(key, value)| (key.as_str(), *value));
        for (key, value) in terms.chain([("lr", row.lr), ("grad_norm", row.grad_norm)]) {
            if !keys.contains(&key) {
                keys.push(key);
            }
            curves.entry((key, &row.repair)).or_default().push((row.step as f64, value));
        }
    }
    keys.sort_by_key(|key| WORDS.iter().position(|(known, ..)| known == key).unwrap_or(WORDS.len()));
    let figures = keys.into_iter().map(|key| {
        let known = WORDS.iter().find(|(known, ..)| *known == key);
        let (title, reading) = known.map_or((key, ""), |(_, title, reading)| (title, reading));
        let series = repairs.iter().enumerate().filter_map(|(i, repair)| {
            let name = if repairs.len() > 1 { repair } else { "" };
            Some(line(i, name, thinned(curves.get(&(key, *repair))?)))
        });
        figure(title, reading, series.collect())
    });
    figures.collect()
}

/// What was seen on held-out images after every epoch, one line a repair, or one a side of images.
pub(super) fn held_out(rows: &[EpochRow]) -> Vec<Figure> {
    let mut repairs: Vec<&str> = Vec::new();
    for row in rows {
        if !repairs.contains(&row.repair.as_str()) {
            repairs.push(&row.repair);
        }
    }
    let lines = |side: &str, dashed: bool, of: fn(&EpochRow) -> f64| -> Vec<Series> {
        let line = |(i, repair): (usize, &&str)| {
            let points = rows.iter().filter(|row| row.repair == **repair).map(|row| (row.step as f64, of(row)));
            let name = if repairs.len() > 1 { format!("{repair} {side}") } else { side.into() };
            Series { dashed, ..line(i, name.trim_end(), points.collect()) }
        };
        repairs.iter().enumerate().map(line).collect()
    };
    let mut membership = figure(
        "Membership AUC",
        "The last stage. Above 0.5 training images are told from unseen ones. It should fall to 0.5.",
        lines("", false, |row| row.seen.membership),
    );
    membership.chart.base = Some(0.5);
    let mut distances = lines("training", false, |row| row.seen.d_train);
    distances.extend(lines("unseen", true, |row| row.seen.d_unseen));
    let mut distances = figure(
        "Distance of views",
        "The last stage. A gap can close because training images fit worse (solid rises) or unseen ones better (dashed \
         falls).",
        distances,
    );
    distances.chart.base = Some(0.0);
    let mut retrieval = figure(
        "View retrieval",
        "Share of unseen images whose other view is the nearest of all. It should not fall.",
        lines("", false, |row| row.seen.view_retrieval),
    );
    (retrieval.chart.percent, retrieval.chart.base) = (true, Some(0.0));
    let mut sides = lines("training", false, |row| row.seen.coding_rate_reduction.train);
    sides.extend(lines("unseen", true, |row| row.seen.coding_rate_reduction.unseen));
    let rates = figure("dR by pair", "The features of the last stage. Falling means that directions are lost.", sides);
    let mut figures = vec![membership, distances, retrieval, rates];
    figures.retain(|figure| !figure.chart.is_empty());
    figures
}

/// At most `POINTS` points, each the mean of its neighbours.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(POINTS).max(1);
    let mean =
        |group: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| group.iter().map(of).sum::<f64>() / group.len() as f64;
    points.chunks(size).map(|group| (mean(group, |p| p.0), mean(group, |p| p.1))).collect()
}
