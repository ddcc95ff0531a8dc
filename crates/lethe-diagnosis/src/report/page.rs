//! The page itself. `maud` writes it: markup checked by the compiler, every text escaped unless it says `PreEscaped`.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::charts::{self, Figure};
use super::curves;
use super::definitions::{Group, NOTES, definitions};
use super::maps::{Map, maps};
use super::numbers::{in_table, percent, short};
use super::tables::{self, link};
use super::{ReportInput, before_after, headline, missed::missed};
use crate::words::{self, answers};
use crate::{Diagnosis, Pooled};

const STYLE: &str = include_str!("page.css");

/// No script, no request, whatever a file name or a class name holds: the browser enforces it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// Rows of the table of bad samples, and of all numbers, at most.
const BAD_SAMPLES: usize = 50;
const CELLS: usize = 400;

/// What every title ends with.
const TITLE: &str = " · Lethe report";

/// Whether it is the content of a page of ours.
pub fn is_page(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    text.starts_with("<!DOCTYPE html>") && text.contains(&format!("{TITLE}</title>"))
}

/// The whole page.
pub fn page(input: &ReportInput) -> String {
    let diagnosis = input.diagnosis.as_ref();
    let stages = diagnosis.map_or(&[][..], |d| &d.stages);
    let training = curves::training(&input.metrics);
    let sections = [
        ("runs", "Several runs", input.pooled.as_ref().map(|pooled| several(pooled, &input.runs))),
        ("maps", "Where and when", diagnosis.and_then(heat_maps)),
        ("memorisation", "Memorisation", diagnosis.and_then(tables::memorisation)),
        ("undo", "The repair", repair(input)),
        ("choice", "Which checkpoint to keep", diagnosis.and_then(tables::choices)),
        ("onsets", "Onsets", diagnosis.and_then(tables::onsets)),
        ("reference", "Beside a reference", diagnosis.and_then(tables::reference)),
        ("images", "Most memorised images", diagnosis.and_then(|d| input.gallery.draw(d))),
        ("depth", "By depth", diagnosis.and_then(depth)),
        ("curves", "By stage and epoch", diagnosis.map(by_epoch)),
        ("training", "Training", (!training.is_empty()).then(|| figures(&training))),
        ("bad", "Bad samples", bad_samples(input)),
        ("settings", "Settings", settings(input)),
        ("measures", "What is measured", (diagnosis.is_some() || input.pooled.is_some()).then(defined)),
        ("notes", "Before you conclude", Some(notes(input))),
    ];
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (input.title) (TITLE) }
                style { (PreEscaped(STYLE)) (PreEscaped(stage_style(stages.len()))) }
            }
            body {
                header { (first_screen(input)) }
                nav aria-label="Sections" {
                    @for (id, title, body) in &sections { @if body.is_some() { a href=(format!("#{id}")) { (title) } } }
                }
                main {
                    @for (id, title, body) in &sections {
                        @if let Some(body) = body { section id=(id) { h2 { (title) } (body) } }
                    }
                }
                footer {
                    p { "Written by lethe " (env!("CARGO_PKG_VERSION")) @if !input.files.is_empty() { " from " (input.files.join(", ")) } "." }
                }
            }
        }
    };
    markup.into_string()
}

/// The answers in words, and one picture. Where a repair follows, what it did comes after whether there is anything to
/// repair.
fn first_screen(input: &ReportInput) -> Markup {
    let cards = headline::cards(input);
    let mut told = input.diagnosis.as_ref().map_or_else(Vec::new, |d| answers(d).to_vec());
    if let Some(repaired) = &input.repaired {
        let after = usize::from(!told.is_empty());
        told.splice(after..after, words::repair_answers(repaired, &input.undo));
    }
    html! {
        div.opening {
            p.kicker { "Lethe report" }
            h1 { (input.title) }
            p.lead { (headline::sentence(input)) }
            @if !told.is_empty() {
                dl.answers { @for answer in &told { div {
                    dt { (answer.question) } dd { b { (answer.answer) } @if !answer.why.is_empty() { p { (answer.why) } } }
                } } }
            }
        }
        div.picture {
            @if let Some(figure) = picture(input) { (drawn(&figure)) }
            @if let Some(missed) = input.diagnosis.as_ref().and_then(missed) {
                p.missed { b { "With labels" } ", " (missed.best) "." @if !missed.epochs.is_empty() { " Epochs that criteria without labels are off:" } }
                ul.missed { @for (name, key, epochs) in &missed.epochs { li { (link(key, name)) " " b { (epochs) } } } }
            }
            @if !cards.is_empty() {
                dl.cards { @for card in cards { div.card { dt { (card.caption) } dd { (card.number) } p { (card.detail) } } } }
            }
        }
    }
}

/// Membership by epoch; by stage where there is one checkpoint; else the first curve there is.
fn picture(input: &ReportInput) -> Option<Figure> {
    let of = |d: &Diagnosis| {
        let told = if d.checkpoints.len() > 1 { charts::membership_by_epoch(d) } else { None };
        told.or_else(|| charts::by_stage(d).into_iter().next())
    };
    let drawn = [curves::training(&input.metrics), curves::held_out(&input.undo_epochs), curves::undoing(&input.undo)];
    input.diagnosis.as_ref().and_then(of).or_else(|| drawn.into_iter().flatten().next())
}

fn several(pooled: &Pooled, runs: &[(String, Diagnosis)]) -> Markup {
    html! { @if let Some(answers) = tables::runs(runs) { (answers) } h3 { "Onsets of all runs together" } (tables::onsets_of_runs(pooled, runs))
    h3 { "How well criteria choose" } (tables::scores(pooled)) }
}

fn heat_maps(d: &Diagnosis) -> Option<Markup> {
    let maps = maps(d);
    let figure = |map: &Map| {
        html! {
            figure { figcaption { b { (link(map.key, map.title)) } span { (map.reading) } } (map.drawing.draw()) }
        }
    };
    (!maps.is_empty()).then(|| html! {
        p { "Each row is a stage of the network, from early to late. Each column is a checkpoint. A cell without colour has nothing to show." }
        div.figures { @for map in &maps { (figure(map)) } }
    })
}

/// The colours of the stages, from light to strong with depth, and the rules of their check boxes.
fn stage_style(stages: usize) -> String {
    const LIGHT: &[[f64; 3]] =
        &[[222., 137., 12.], [214., 72., 92.], [160., 30., 152.], [88., 10., 165.], [18., 10., 125.]];
    const DARK: &[[f64; 3]] =
        &[[126., 114., 232.], [186., 96., 220.], [234., 106., 152.], [248., 154., 74.], [244., 232., 84.]];
    let ramp = |anchors: &[[f64; 3]], i: usize| {
        let at = if stages < 2 {
            (anchors.len() - 1) as f64
        } else {
            i as f64 / (stages - 1) as f64 * (anchors.len() - 1) as f64
        };
        let (low, high) = (anchors[at.floor() as usize], anchors[at.ceil() as usize]);
        let mix = |c: usize| low[c] + (high[c] - low[c]) * at.fract();
        format!("--s{i}:rgb({:.0},{:.0},{:.0});", mix(0), mix(1), mix(2))
    };
    let all = |anchors| (0..stages).map(|i| ramp(anchors, i)).collect::<String>();
    let rules: String = (0..stages)
        .map(|i| {
            format!(".s{i}{{color:var(--s{i})}}body:has(#show-s{i}:not(:checked)) .by-epoch .s{i}{{display:none}}")
        })
        .collect();
    format!(":root{{{}}}@media screen and (prefers-color-scheme:dark){{:root{{{}}}}}{rules}", all(LIGHT), all(DARK))
}

fn figures(figures: &[Figure]) -> Markup {
    html! { div.figures { @for figure in figures { (drawn(figure)) } } }
}

fn drawn(figure: &Figure) -> Markup {
    let title = figure.key.map_or_else(|| html! { (figure.title) }, |key| link(key, &figure.title));
    html! { figure { figcaption { b { (title) } span { (figure.reading) } } (figure.chart.draw()) } }
}

fn depth(d: &Diagnosis) -> Option<Markup> {
    let (axis, names) = charts::checkpoints(d);
    let drawn = charts::by_stage(d);
    (!drawn.is_empty() && d.stages.len() > 1).then(|| html! {
        p { "These are the numbers of the last checkpoint (" (axis) " " (names.last().map_or("", String::as_str)) "), from the first stage of the network to the last." }
        (figures(&drawn))
    })
}

fn by_epoch(d: &Diagnosis) -> Markup {
    let box_of = |id: String, label: &str, swatch: Markup| {
        html! {
            label { input type="checkbox" id=(id) checked; (swatch) (label) }
        }
    };
    let swatch = |colour: &str, dashes: &str| {
        html! {
            svg.swatch viewBox="0 0 24 8" aria-hidden="true" style=(format!("color:{colour}")) {
                line x1="1" x2="23" y1="4" y2="4" stroke="currentColor" stroke-width="2.5" stroke-dasharray=(dashes) {}
            }
        }
    };
    html! {
        fieldset.legend {
            legend { "Show" }
            @for (i, stage) in d.stages.iter().enumerate() { (box_of(format!("show-s{i}"), stage, swatch(&format!("var(--s{i})"), "none"))) }
            span.gap {}
            (box_of("show-train".into(), "training images", swatch("var(--ink)", "none")))
            (box_of("show-unseen".into(), "unseen images", swatch("var(--ink)", "5 3")))
        }
        div.by-epoch {
            @for group in [Group::Memory, Group::Accuracy, Group::Rows, Group::Classes, Group::Pairs] {
                @let drawn = charts::by_epoch(d, group);
                @if !drawn.is_empty() {
                    h3 { (group.heading().0) }
                    p { (group.heading().1) }
                    (figures(&drawn))
                }
            }
        }
        (all_numbers(d))
    }
}

fn all_numbers(d: &Diagnosis) -> Markup {
    let (axis, names) = charts::checkpoints(d);
    let groups = [Group::Memory, Group::Accuracy, Group::Rows, Group::Classes, Group::Pairs];
    let columns: Vec<(Group, String)> =
        groups.iter().flat_map(|&g| charts::measures(d, g).into_iter().map(move |key| (g, key))).collect();
    let text = |group, value: Option<f64>| match value {
        None => "–".to_string(),
        Some(value) if group == Group::Accuracy => percent(value),
        Some(value) => short(value),
    };
    html! {
        details {
            summary { "All the numbers as a table" }
            @if d.cells.len() > CELLS { p { "The first " (CELLS) " of " (d.cells.len()) " rows; all are in diagnosis.json." } }
            div.scroll tabindex="0" role="region" aria-label="All the numbers" { table {
                thead {
                    tr {
                        th rowspan="2" { (axis) } th rowspan="2" { "stage" } th rowspan="2" { (link("membership", "membership AUC")) } th rowspan="2" { (link("memorisation_gap", "memorisation gap")) }
                        @for (group, key) in &columns { th colspan="2" { (link(key, &charts::name(*group, key))) } }
                    }
                    tr { @for _ in &columns { th { "training" } th { "unseen" } } }
                }
                tbody { @for cell in d.cells.iter().take(CELLS) { tr {
                    th { (names.get(cell.checkpoint).map_or("", String::as_str)) } th { (cell.stage) }
                    td { (cell.memorisation.as_ref().map_or("–".into(), |found| in_table(found.membership))) }
                    td { (cell.memorisation.as_ref().map_or("–".into(), |found| in_table(found.memorisation_gap))) }
                    @for (group, key) in &columns {
                        td { (text(*group, charts::of(&cell.train, *group).get(key).copied())) }
                        td { (text(*group, cell.unseen.as_ref().and_then(|side| charts::of(side, *group).get(key).copied()))) }
                    }
                } } }
            } }
        }
    }
}

fn repair(input: &ReportInput) -> Option<Markup> {
    let drawn = curves::undoing(&input.undo);
    let held_out = curves::held_out(&input.undo_epochs);
    (input.before_after.is_some() || !drawn.is_empty()).then(|| {
        html! {
            @if let Some(repaired) = &input.repaired { p { b { (words::repaired(repaired)) } } }
            @if let Some(before_after) = &input.before_after { (before_after::table(before_after)) }
            @if !held_out.is_empty() { h3 { "On held-out images, epoch by epoch" } (figures(&held_out)) }
            @if !drawn.is_empty() { h3 { "The steps of the repair" } (figures(&drawn)) }
        }
    })
}

fn bad_samples(input: &ReportInput) -> Option<Markup> {
    let bad = &input.bad_samples;
    (!bad.is_empty()).then(|| html! {
        p {
            (bad.len()) @if bad.len() == 1 { " image" } @else { " images" } " could not be read and were replaced by others."
            @if bad.len() > BAD_SAMPLES { " The first " (BAD_SAMPLES) ":" }
        }
        div.scroll tabindex="0" role="region" aria-label="Bad samples" { table {
            thead { tr { th { "file" } th.words { "reason" } } }
            tbody { @for sample in bad.iter().take(BAD_SAMPLES) { tr { th.path { (sample.name) } td.words { (sample.reason) } } } }
        } }
    })
}

fn settings(input: &ReportInput) -> Option<Markup> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
    let diagnosis = input.diagnosis.as_ref();
    (input.settings.is_some() || input.evaluation.is_some() || diagnosis.is_some()).then(|| {
        html! {
            div.columns {
                @if let Some(settings) = &input.settings { div { h3 { "The run (config.toml)" } pre { (settings) } } }
                @if let Some(d) = diagnosis { div {
                    h3 { "The diagnosis" }
                    table { tbody {
                        tr { th { "encoder" } td.words { (d.encoder) } }
                        @for (key, value) in &d.settings { tr { th { (key) } td.words { (text(value)) } } }
                        tr { th { "lethe" } td.words { (d.lethe) } }
                    } }
                } }
            }
            @if let Some(evaluation) = &input.evaluation { h3 { "The evaluation" } (evaluation_tables(evaluation)) }
        }
    })
}

/// The scalars of a JSON object as a table, then each of its arrays of objects as one.
fn evaluation_tables(value: &Value) -> Markup {
    let empty = serde_json::Map::new();
    let fields = value.as_object().unwrap_or(&empty);
    let is_rows = |value: &Value| value.as_array().is_some_and(|items| items.iter().any(Value::is_object));
    html! {
        table { tbody { @for (key, value) in fields.iter().filter(|(_, value)| !is_rows(value)).flat_map(|(k, v)| leaves(k, v)) {
            tr { th { (key) } td.words { (value) } }
        } } }
        @for (key, value) in fields.iter().filter(|(_, value)| is_rows(value)) {
            @let rows: Vec<Vec<(String, String)>> = value.as_array().into_iter().flatten().map(|row| leaves("", row)).collect();
            div.scroll tabindex="0" role="region" aria-label=(key) { table {
                @if let Some(first) = rows.first() { thead { tr { @for (key, _) in first { th { (key) } } } } }
                tbody { @for row in &rows { tr { @for (_, text) in row { td { (text) } } } } }
            } }
        }
    }
}

/// Every leaf of a JSON value with its place, "accuracy.knn-20".
fn leaves(place: &str, value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(fields) => {
            let below = |key: &String| if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            fields.iter().flat_map(|(key, value)| leaves(&below(key), value)).collect()
        }
        Value::Number(number) if number.is_f64() => vec![(place.into(), short(number.as_f64().unwrap_or(f64::NAN)))],
        Value::String(text) => vec![(place.into(), text.clone())],
        other => vec![(place.into(), other.to_string())],
    }
}

fn defined() -> Markup {
    html! { dl.definitions { @for d in definitions() { div id=(format!("def-{}", d.key)) {
        dt { (d.name) " " code { (d.key) } }
        dd {
            p.formula { (d.formula) }
            p { b { "Needs " } (d.needs) "." }
            @if !d.variant.is_empty() { p { b { "Here: " } (d.variant) "." } }
            p { b { "Beware: " } (d.fails) "." }
            p.source { (d.source) }
        }
    } } } }
}

fn notes(input: &ReportInput) -> Markup {
    html! { ul.notes { @for note in NOTES.iter().copied().chain(input.notes.iter().map(String::as_str)) { li { (note) } } } }
}
