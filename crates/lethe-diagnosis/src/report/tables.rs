//! The tables of a diagnosis, and of several together.

use lethe_measures::{Estimate, TruePositives};
use maud::{Markup, html};

use super::charts::checkpoints;
use super::definitions::{criterion_name, definition};
use super::numbers::{in_table, short, signed};
use crate::cell::Cell;
use crate::diagnosis::Diagnosis;
use crate::words::{answers, control_name};
use crate::{Onset, Pooled};

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
        th { "how much worse" } th { "gap spared" }
    };
    let rows = html! { @for choice in &d.choices { @let earliest = choice.earliest.as_ref(); tr {
        th { (link(&choice.criterion, &criterion_name(&choice.criterion))) }
        td.words { (if choice.needs_labels { "yes" } else { "no" }) }
        td { (names[choice.checkpoint]) }
        td.words { (choice.stage.as_deref().unwrap_or(NOTHING)) }
        td { (earliest.map_or(NOTHING, |earliest| &names[earliest.checkpoint])) }
        td { (or_nothing(earliest.map(|earliest| earliest.loss))) }
        td { (or_nothing(earliest.and_then(|earliest| earliest.spared))) }
    } } };
    (!d.choices.is_empty()).then(|| html! {
        p {
            "Each criterion keeps the checkpoint that is best by the last stage, on unseen images. The untrained start \
             is no candidate. The earliest as good is the first checkpoint that is shown to be at most the margin \
             worse than the best. Beside it stands how much worse it is, and by how much its memorisation gap is \
             smaller. The brackets hold 95\u{a0}% intervals."
        }
        (scrolled("Which checkpoint each criterion keeps", &head, &rows))
        @for truth in &truths {
            h3 { "Judged by " (link(truth, &criterion_name(truth))) }
            p { "The table shows how many epochs each choice lies from the best checkpoint (negative: too early) and how much accuracy it loses." }
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
    let asked = d.checkpoints.len() > 1 && d.checkpoints.iter().all(|row| row.epoch.is_some()) && d.sides.is_some();
    asked.then(|| html! {
        p {
            "An " (link("onset", "onset")) " says since when training and unseen images differ. There is a row for \
             every difference and stage in which a rise is seen. p is that of a curve that does not rise at all, over \
             all stages together. Where the onset is not abrupt, only the end of the interval is an answer."
        }
        (onset_table("Onsets", &d.onsets))
    })
}

fn onset_table(about: &str, onsets: &[Onset]) -> Markup {
    let head = html! {
        th { "difference" } th.words { "stage" } th { "epoch" } th { "95\u{a0}% interval" } th.words { "abrupt" } th { "rise" } th { "p" }
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
            td { (if onset.abrupt { format!("after {:.0}", onset.epoch.value) } else { format!("by {:.0}", onset.epoch.high) }) }
            td { (format!("{:.0} to {:.0}", onset.epoch.low, onset.epoch.high)) }
            td.words { (if onset.abrupt { "yes" } else { "no" }) }
            td { (in_table(onset.rise)) }
            td { (short(onset.p)) }
        } } },
    )
}

/// The numbers of memorisation at the checkpoint that the findings name, and the membership of the control; then what
/// labels and the method's loss tell of every checkpoint.
pub(super) fn memorisation(d: &Diagnosis) -> Option<Markup> {
    let named = d.findings.memorises.place().map(|place| place.checkpoint);
    let shown = named.or(d.checkpoints.len().checked_sub(1))?;
    let rows = at(d, shown, |cell| Some((cell.memorisation.as_ref()?, cell.membership_above_control)));
    let (axis, names) = checkpoints(d);
    let control = |stage: &String| {
        let at = d.stages.iter().position(|name| name == stage)?;
        Some(d.control.as_ref()?.stages.get(at)?.membership)
    };
    (!rows.is_empty()).then(|| html! {
        p {
            "This is how training images are told from unseen ones at " (axis) " " (names[shown]) ", by how close \
             together the views of an image lie. An AUC of 0.5 is chance. "
            @if let Some(control) = &d.control { "The control is " (control_name(control.kind)) ". " } @else { "There was no control. " }
            "The brackets hold 95\u{a0}% intervals, which hold together for all stages and checkpoints."
        }
        (scrolled(
            "Memorisation",
            &html! {
                th { "stage" } th { (link("membership", "membership AUC")) } th { "control" } th { "above the control" }
                th { (link("true_positives", "found at 1\u{a0}% false positives")) } th { (link("retrieval_gap", "retrieval gap")) }
            },
            &html! { @for (stage, (found, above)) in &rows { tr {
                th { (stage) } td { (in_table(found.membership)) } td { (or_nothing(control(stage))) } td { (or_nothing(*above)) }
                td { (found_at_few(found.true_positives)) } td { (or_nothing(found.retrieval_gap)) }
            } } },
        ))
        h3 { "How large it is" }
        p {
            "The gap is the difference of the two distances. It can close because training images are memorised less, \
             because they fit worse, or because all features contract. The distances tell which."
        }
        (scrolled(
            "Distances",
            &html! {
                th { "stage" } th { (link("relative_gap", "relative gap")) } th { (link("memorisation_gap", "gap")) }
                th { (link("view_distance", "distance, training")) } th { (link("view_distance", "distance, unseen")) }
                th { (link("relative_gap", "distance between images")) }
            },
            &html! { @for (stage, (found, _)) in &rows { tr {
                th { (stage) } td { (or_nothing(found.relative_gap)) } td { (in_table(found.memorisation_gap)) }
                td { (in_table(found.d_train)) } td { (in_table(found.d_unseen)) } td { (in_table(found.d_between)) }
            } } },
        ))
        (losses(d))
        (class_rates(d))
    })
}

fn losses(d: &Diagnosis) -> Markup {
    let (axis, names) = checkpoints(d);
    let rows: Vec<_> =
        d.checkpoints.iter().zip(&names).filter_map(|(row, name)| Some((name, row.loss_gap.as_ref()?))).collect();
    let head =
        html! { th { (axis) } th { "loss, training" } th { "loss, unseen" } th { (link("loss_gap", "loss gap")) } };
    html! { @if !rows.is_empty() {
        h3 { "By the method's own loss" }
        (scrolled("Loss gaps", &head, &html! { @for (name, loss) in rows { tr {
            th { (name) } td { (short(loss.train)) } td { (short(loss.unseen)) }
            td { (loss.interval.map_or_else(|| signed(loss.gap), in_table)) }
        } } }))
    } }
}

fn class_rates(d: &Diagnosis) -> Markup {
    let (axis, names) = checkpoints(d);
    let rows: Vec<_> = d.cells.iter().filter_map(|cell| Some((cell, cell.class_rate_gap?))).collect();
    let head = html! {
        th { (axis) } th.words { "stage" } th { (link("class_rate_gap", "class dR gap")) } th { "two halves of the unseen images" }
    };
    html! { @if !rows.is_empty() {
        h3 { "By the coding rate of classes" }
        (scrolled("Class dR gaps", &head, &html! { @for (cell, found) in rows { tr {
            th { (names[cell.checkpoint]) } td.words { (cell.stage) } td { (in_table(found.gap)) } td { (in_table(found.placebo)) }
        } } }))
    } }
}

fn found_at_few(found: TruePositives) -> String {
    match found {
        TruePositives::At1Percent(found) => in_table(found),
        TruePositives::At10Percent(found) => format!("{} at 10\u{a0}%", in_table(found)),
        TruePositives::TooFew { missing } => format!("takes {missing} more images"),
    }
}

/// SSLMem and LayerMem of the stages at the last checkpoint.
pub(super) fn reference(d: &Diagnosis) -> Option<Markup> {
    let last = d.checkpoints.len().checked_sub(1)?;
    let rows = at(d, last, |cell| cell.reference.as_ref());
    let before = |i: usize| i.checked_sub(1).map(|i| rows[i].1.sslmem);
    let head = html! {
        th { "stage" } th { (link("sslmem", "SSLMem")) } th { "unseen images" } th { (link("layermem", "LayerMem")) }
        th { "AUC by the scores (95\u{a0}% interval)" }
    };
    (!rows.is_empty()).then(|| html! {
        p {
            "The last checkpoint is compared with an encoder that was not trained on these images. The score of unseen \
             images is the baseline for that of training images. LayerMem is what a stage adds to the stage before."
        }
        (scrolled("SSLMem and LayerMem", &head, &html! { @for (i, (stage, beside)) in rows.iter().enumerate() { tr {
            th { (stage) } td { (signed(beside.sslmem)) }
            td { (signed(beside.sslmem_unseen)) }
            td { (before(i).map_or(NOTHING.into(), |before| signed(beside.sslmem - before))) }
            td { (or_nothing(beside.membership)) }
        } } }))
    })
}

/// The stages of a checkpoint that have a number.
fn at<'a, T>(d: &'a Diagnosis, checkpoint: usize, of: impl Fn(&'a Cell) -> Option<T>) -> Vec<(&'a String, T)> {
    d.stages.iter().filter_map(|stage| Some((stage, d.cell(checkpoint, stage).and_then(&of)?))).collect()
}

/// The criteria over several runs.
pub(super) fn scores(pooled: &Pooled) -> Markup {
    let head = html! {
        th { "criterion" } th.words { "judged by" } th { "runs" } th { "epochs off" } th { "accuracy lost" }
        th { (link("kendall", "Kendall's tau")) } th { "Spearman's rho" }
    };
    html! {
        p {
            "Each criterion chooses a checkpoint, which is judged by an accuracy that takes labels. The numbers are \
             means over the runs. The correlations are over the checkpoints of all runs, and their 95\u{a0}% intervals \
             come from whole runs drawn anew."
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
            p { "Not known. It takes runs with the same stages, epochs and numbers of training and unseen images." }
        };
    }
    html! {
        p {
            "The tables say since when the " (link("memorisation_gap", "memorisation gap")) ", the mean over the runs, \
             grows."
        }
        h4 { "These runs" }
        (onset_table("Onsets of these runs", &pooled.onsets))
        h4 { "Runs in general" }
        p { "The spread of the runs widens the intervals, so a few runs show little." }
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
        d.sides.as_ref()?;
        let epochs: Vec<u32> = d.checkpoints.iter().map(|row| row.epoch).collect::<Option<_>>()?;
        (epochs.len() > 1).then(|| (d.stages.clone(), epochs, d.settings.get("images").cloned()))
    };
    let first = runs.first().and_then(|(_, d)| shape(d));
    first.is_some() && runs.iter().all(|(_, d)| shape(d) == first)
}
