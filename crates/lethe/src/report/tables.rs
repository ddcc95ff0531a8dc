//! The tables of a diagnosis, and of several together.

use maud::{Markup, html};

use super::answers::{answers, criterion_name};
use super::charts::{self, checkpoints};
use super::definitions::definition;
use super::numbers::{in_table, percent, short, signed};
use crate::diagnose::{Cell, Diagnosis, Estimate, Onset, Pooled};

const NOTHING: &str = "–";

/// A measure's name as a link to its definition; a name without one as it stands.
pub(super) fn link(key: &str, name: &str) -> Markup {
    match definition(key) {
        Some(known) => html! { a href=(format!("#def-{}", known.key)) { (name) } },
        None => html! { (name) },
    }
}

fn scrolled(about: &str, head: &Markup, rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(about) { table { thead { tr { (head) } } tbody { (rows) } } }
    }
}

fn or_nothing(estimate: Option<Estimate>) -> String {
    estimate.map_or(NOTHING.into(), in_table)
}

/// What every criterion keeps, and what that misses by all that labels tell.
pub(super) fn choices(d: &Diagnosis) -> Option<Markup> {
    let (axis, names) = checkpoints(d);
    let mut truths: Vec<&str> = Vec::new();
    for truth in d.choices.iter().flat_map(|choice| choice.judged.keys()) {
        if !truths.contains(&truth.as_str()) {
            truths.push(truth);
        }
    }
    let head = html! {
        th { "criterion" } th.words { "needs labels" } th { "best " (axis) } th.words { "best stage" } th { "earliest as good" }
        th { "gap spared" }
    };
    let rows = html! { @for choice in &d.choices { @let earliest = choice.earliest.as_ref(); tr {
        th { (link(&choice.criterion, &criterion_name(&choice.criterion))) }
        td.words { (if choice.needs_labels { "yes" } else { "no" }) }
        td { (names[choice.checkpoint]) }
        td.words { (choice.stage.as_deref().unwrap_or(NOTHING)) }
        td { (earliest.map_or(NOTHING, |earliest| &names[earliest.checkpoint])) }
        td { (or_nothing(earliest.map(|earliest| earliest.spared))) }
    } } };
    (!d.choices.is_empty()).then(|| html! {
        p {
            "What each criterion keeps by the last stage, on unseen images. " b { "Earliest as good" } ": the first checkpoint that is not \
             measurably worse, and by how much its memorisation gap is smaller than that of the best. In brackets 95\u{a0}% intervals."
        }
        (scrolled("Which checkpoint each criterion keeps", &head, &rows))
        @for truth in &truths {
            h3 { "Judged by " (link(truth, &criterion_name(truth))) }
            p { "Epochs from the checkpoint that is best by it, negative where too early, and accuracy lost there. This takes labels." }
            (misses(d, truth))
        }
    })
}

/// How far every criterion misses what an accuracy finds best.
fn misses(d: &Diagnosis, truth: &str) -> Markup {
    let head = html! {
        th { "criterion" } th { "epochs off" } th { "accuracy lost" } th { (link("kendall", "Kendall's tau")) }
    };
    let judged = d.choices.iter().filter_map(|choice| Some((choice, choice.judged.get(truth)?)));
    scrolled(
        "Misses",
        &head,
        &html! { @for (choice, judged) in judged { tr {
            th { (link(&choice.criterion, &criterion_name(&choice.criterion))) }
            td { (format!("{:+.0}", judged.epochs).replace('-', "−")) }
            td { (in_table(judged.regret)) }
            td { (or_nothing(judged.kendall)) }
        } } },
    )
}

/// Every onset.
pub(super) fn onsets(d: &Diagnosis) -> Option<Markup> {
    let asked = d.checkpoints.len() > 1
        && d.checkpoints.iter().all(|row| row.epoch.is_some())
        && d.cells.iter().any(|cell| cell.memorisation_gap.is_some());
    asked.then(|| html! {
        p {
            (link("onset", "Onset")) ": since when training and unseen images differ, for every difference and stage in which one is seen. p is \
             of a curve that does not rise at all, over all stages together. A stage that is missing here has none."
        }
        (onset_table("Onsets", &d.onsets))
    })
}

fn onset_table(about: &str, onsets: &[Onset]) -> Markup {
    let head = html! {
        th { "difference" } th.words { "stage" } th { "after epoch" } th { "95\u{a0}% interval" } th.words { "abrupt" } th { "rise" } th { "p" }
    };
    if onsets.is_empty() {
        return html! { p { b { "None seen." } } };
    }
    scrolled(
        about,
        &head,
        &html! { @for onset in onsets { tr {
            th { (link(&onset.of, &criterion_name(&onset.of))) }
            td.words { (onset.stage) }
            td { (format!("{:.0}", onset.epoch)) }
            td { (format!("{:.0} to {:.0}", onset.interval[0], onset.interval[1])) }
            td.words { (if onset.abrupt { "yes" } else { "no" }) }
            td { (in_table(onset.rise)) }
            td { (short(onset.p)) }
        } } },
    )
}

/// How well training images are told from unseen ones at the last checkpoint.
pub(super) fn membership(d: &Diagnosis) -> Option<Markup> {
    let rows = at_last(d, |cell| cell.membership.as_ref());
    let (axis, names) = checkpoints(d);
    let last = names.last()?;
    (!rows.is_empty()).then(|| html! {
        p {
            "Who knows only how near the two views of an image lie tells training images from unseen ones this well at " (axis) " " (last)
            "; an AUC of 0.5 is guessing, and so are 1\u{a0}% true positives."
        }
        (scrolled(
            "Membership inference",
            &html! { th { "stage" } th { (link("membership", "AUC")) " (95\u{a0}% interval)" } th { "true positives at 1\u{a0}% false positives" } },
            &html! { @for (stage, membership) in &rows { tr {
                th { (stage) } td { (in_table(membership.auc)) } td { (percent(membership.true_positives_at_1_percent)) }
            } } },
        ))
    })
}

/// SSLMem and LayerMem of the stages at the last checkpoint.
pub(super) fn reference(d: &Diagnosis) -> Option<Markup> {
    let rows = at_last(d, |cell| cell.reference.as_ref());
    let before = |i: usize| i.checked_sub(1).map(|i| rows[i].1.sslmem);
    let head = html! {
        th { "stage" } th { (link("sslmem", "SSLMem")) } th { "unseen images" } th { (link("layermem", "LayerMem")) }
        th { "AUC by the scores (95\u{a0}% interval)" } th { "true positives at 1\u{a0}%" }
    };
    (!rows.is_empty()).then(|| html! {
        p {
            "Beside an encoder that was not trained on these images. The score of unseen images is the zero to hold that of training \
             images to. LayerMem is what a stage adds to the stage before."
        }
        (scrolled("SSLMem and LayerMem", &head, &html! { @for (i, (stage, beside)) in rows.iter().enumerate() { tr {
            th { (stage) } td { (signed(beside.sslmem)) }
            td { (beside.sslmem_unseen.map_or(NOTHING.into(), signed)) }
            td { (before(i).map_or(NOTHING.into(), |before| signed(beside.sslmem - before))) }
            td { (or_nothing(beside.membership.as_ref().map(|membership| membership.auc))) }
            td { (beside.membership.as_ref().map_or(NOTHING.into(), |membership| percent(membership.true_positives_at_1_percent))) }
        } } }))
    })
}

fn at_last<'a, T>(d: &'a Diagnosis, of: impl Fn(&'a Cell) -> Option<&'a T>) -> Vec<(&'a String, &'a T)> {
    let Some(last) = d.checkpoints.len().checked_sub(1) else { return Vec::new() };
    d.stages.iter().filter_map(|stage| Some((stage, charts::cell(d, last, stage).and_then(&of)?))).collect()
}

/// The criteria over several runs.
pub(super) fn scores(pooled: &Pooled) -> Markup {
    let head = html! {
        th { "criterion" } th.words { "judged by" } th { "runs" } th { "epochs off" } th { "accuracy lost" }
        th { (link("kendall", "Kendall's tau")) } th { "Spearman's rho" }
    };
    html! {
        p {
            "How well each criterion chooses a checkpoint, against the best one by an accuracy that takes labels. Means over the runs; the \
             correlations are over the checkpoints of all runs, their 95\u{a0}% intervals from whole runs drawn anew."
        }
        @if pooled.scores.is_empty() { p { "No run has labels and unseen images to judge the criteria by." } } @else {
            (scrolled("Scores of the criteria", &head, &html! { @for score in &pooled.scores { tr {
                th { (link(&score.criterion, &criterion_name(&score.criterion))) }
                td.words { (link(&score.truth, &criterion_name(&score.truth))) }
                td { (score.runs) } td { (format!("{:.1}", score.epochs)) } td { (format!("{:.4}", score.regret)) }
                td { (or_nothing(score.kendall)) } td { (or_nothing(score.spearman)) }
            } } }))
        }
    }
}

/// Since when the mean gap of several runs grows.
pub(super) fn onsets_of_runs(pooled: &Pooled, runs: &[(String, Diagnosis)]) -> Markup {
    let none = pooled.onsets.is_empty() && pooled.onsets_in_general.is_empty();
    if none && !(runs.len() == pooled.runs.len() && alike(runs)) {
        return html! {
            p { "Not asked: that takes runs with the same stages, epochs and numbers of training and unseen images." }
        };
    }
    html! {
        p {
            "Since when the " (link("memorisation_gap", "memorisation gap")) ", the mean over the runs, grows."
        }
        h4 { "Of these runs" }
        (onset_table("Onsets of these runs", &pooled.onsets))
        h4 { "Of runs in general" }
        p { "The spread of the runs widens the intervals; a few runs see little." }
        (onset_table("Onsets of runs in general", &pooled.onsets_in_general))
    }
}

/// The four answers of every run, a line each.
pub(super) fn runs(runs: &[(String, Diagnosis)]) -> Option<Markup> {
    let first = runs.first()?;
    let head = html! {
        th { "run" } @for answer in answers(&first.1) { th.words { (answer.question) } }
    };
    Some(scrolled(
        "The answers of every run",
        &head,
        &html! { @for (name, diagnosis) in runs { tr {
            th.path { (name) } @for answer in answers(diagnosis) { td.words { (answer.answer) } }
        } } },
    ))
}

/// Whether the gaps of these runs have a mean, checkpoint by checkpoint.
fn alike(runs: &[(String, Diagnosis)]) -> bool {
    let shape = |d: &Diagnosis| -> Option<(Vec<String>, Vec<u32>, Option<serde_json::Value>)> {
        d.cells.first()?.memorisation_gap?;
        let epochs: Vec<u32> = d.checkpoints.iter().map(|row| row.epoch).collect::<Option<_>>()?;
        (epochs.len() > 1).then(|| (d.stages.clone(), epochs, d.settings.get("images").cloned()))
    };
    let first = runs.first().and_then(|(_, d)| shape(d));
    first.is_some() && runs.iter().all(|(_, d)| shape(d) == first)
}
