//! The first screen in words and key numbers. Only what the numbers say: no verdict without an interval.

use super::charts::{checkpoints, measures, name};
use super::definitions::Group;
use super::numbers::{percent, signed};
use super::page::{verdict, with_unit};
use super::{ReportInput, charts};
use crate::diagnose::{Cell, Diagnosis};
use crate::run::MetricRow;

pub(super) struct Card {
    pub(super) caption: String,
    pub(super) number: String,
    pub(super) detail: String,
}

/// What the page is about, and how to read its main number.
pub(super) fn sentences(input: &ReportInput) -> Vec<String> {
    let config =
        input.settings.as_deref().and_then(|text| toml::from_str::<toml::Table>(text).ok()).unwrap_or_default();
    let setting =
        |key: &str| config.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), String::from));
    let encoder = input.diagnosis.as_ref().map(|d| d.encoder.clone()).or_else(|| setting("encoder"));
    let encoder = encoder.map_or("an encoder".into(), |encoder| format!("the encoder {encoder}"));
    let data = setting("data").map_or(String::new(), |data| format!(" on {data}"));
    let trained =
        setting("method").map_or(String::new(), |method| format!(", trained without labels by {method}{data},"));
    let Some(d) = &input.diagnosis else {
        let what = if !input.metrics.is_empty() {
            "shows the training"
        } else if !input.undo.is_empty() || input.before_after.is_some() {
            "shows the undoing"
        } else {
            "gathers what is known"
        };
        let subject = format!("{encoder}{}", trained.trim_end_matches(','));
        return vec![format!("This page {what} of {subject}. Run `lethe diagnose` to see what it has memorised.")];
    };
    let (stages, count) = (d.stages.len(), d.checkpoints.len());
    let mut sentences = vec![format!(
        "This page shows how {encoder}{trained} treats images it was trained on and images it has never seen: {}, at {}.",
        if stages == 1 {
            "at one stage of the network".into()
        } else {
            format!("at {stages} stages of the network, from early to late")
        },
        if count == 1 { "one checkpoint".into() } else { format!("{count} checkpoints of its training") },
    )];
    if d.cells.iter().any(|cell| cell.memorisation_gap.is_some()) {
        sentences.push(
            "Its main number is the memorisation gap: how much closer two views of one training image lie than two views of a \
             new image. Zero means that both are treated alike; above zero, the encoder has memorised."
                .into(),
        );
    } else {
        sentences.push("No unseen images were given, so nothing here tells memorising from learning: repeat with `lethe diagnose --unseen`.".into());
    }
    sentences
}

pub(super) fn cards(input: &ReportInput) -> Vec<Card> {
    let mut cards = Vec::new();
    if let Some(d) = &input.diagnosis {
        cards.extend(gap(d));
        cards.extend(onset(d));
        cards.extend(accuracy(d));
    }
    cards.extend(undo(input));
    cards.extend(training(input));
    cards
}

fn gap(d: &Diagnosis) -> Option<Card> {
    let (axis, names) = checkpoints(d);
    let gaps = || d.cells.iter().filter_map(|cell| Some((cell, cell.memorisation_gap.filter(|v| v.is_finite())?)));
    gaps().next()?;
    let told = |cell: &Cell| cell.gap_interval.is_none_or(|[low, _]| low > 0.0);
    let caption = "Largest memorisation gap".to_string();
    Some(match gaps().filter(|(cell, value)| *value > 0.0 && told(cell)).max_by(|a, b| a.1.total_cmp(&b.1)) {
        None => Card {
            caption,
            number: "none seen".into(),
            detail: "at no stage and no checkpoint is it told from zero".into(),
        },
        Some((cell, value)) => {
            let interval = match cell.gap_interval {
                Some([low, high]) => format!("interval {} to {}", signed(low), signed(high)),
                None => "no interval known".into(),
            };
            Card {
                caption,
                number: signed(value),
                detail: format!("{} at {axis} {}; {interval}", cell.stage, names[cell.checkpoint]),
            }
        }
    })
}

/// The earliest onset of the gap.
fn onset(d: &Diagnosis) -> Option<Card> {
    let first =
        d.onsets.iter().filter(|onset| onset.of == "memorisation_gap").min_by(|a, b| a.epoch.total_cmp(&b.epoch))?;
    let [low, high] = first.interval;
    Some(Card {
        caption: "It sets in".into(),
        number: format!("after epoch {:.0}", first.epoch),
        detail: format!("first in {}; 95\u{a0}% interval: epochs {low:.0} to {high:.0}", first.stage),
    })
}

/// The first accuracy of the last stage, on unseen images: now, at its best, and against training images.
fn accuracy(d: &Diagnosis) -> Vec<Card> {
    let (axis, names) = checkpoints(d);
    let (Some(key), Some(stage), Some(last)) =
        (measures(d, Group::Accuracy).into_iter().next(), d.stages.last(), d.checkpoints.len().checked_sub(1))
    else {
        return Vec::new();
    };
    let unseen = |c: usize| charts::cell(d, c, stage)?.unseen.as_ref()?.accuracy.get(&key).copied();
    let Some(now) = unseen(last) else { return Vec::new() };
    let what = name(Group::Accuracy, &key);
    let mut cards = vec![Card {
        caption: format!("{what}, unseen images"),
        number: percent(now),
        detail: format!("{stage}, last checkpoint ({axis} {})", names[last]),
    }];
    let best = (0..=last).filter_map(|c| Some((c, unseen(c)?))).max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
    if let Some((best, value)) = best.filter(|(best, _)| *best != last) {
        cards.push(Card {
            caption: "Best checkpoint for unseen images".into(),
            number: format!("{axis} {}", names[best]),
            detail: format!(
                "{}, {:.1} points above the last; known only with labels",
                percent(value),
                (value - now) * 100.0
            ),
        });
    }
    if let Some(train) = charts::cell(d, last, stage).and_then(|cell| cell.train.accuracy.get(&key)) {
        cards.push(Card {
            caption: "Training less unseen images".into(),
            number: format!("{:+.1} points", (train - now) * 100.0),
            detail: format!("{what}: {} against {}", percent(*train), percent(now)),
        });
    }
    cards
}

fn undo(input: &ReportInput) -> Option<Card> {
    let rows = &input.before_after.as_ref()?.rows;
    let first = rows.first()?;
    let count = |which| rows.iter().filter(|row| verdict(row) == which).count();
    Some(Card {
        caption: format!("Before and after undoing: {}", first.what),
        number: format!(
            "{} → {}",
            with_unit(first, first.before).trim_end_matches("\u{a0}%"),
            with_unit(first, first.after)
        ),
        detail: format!("of {} numbers {} got better, {} worse", rows.len(), count("better"), count("worse")),
    })
}

fn training(input: &ReportInput) -> Option<Card> {
    let (first, last) = (input.metrics.first()?, input.metrics.last()?);
    let mean = |of: fn(&MetricRow) -> f64| input.metrics.iter().map(of).sum::<f64>() / input.metrics.len() as f64;
    let bad = match input.bad_samples.len() {
        0 => String::new(),
        1 => ", 1 image unreadable".into(),
        count => format!(", {count} images unreadable"),
    };
    Some(Card {
        caption: "Training loss, first to last".into(),
        number: format!("{:.2} → {:.2}", first.loss, last.loss),
        detail: format!(
            "{:.0} images/s, {} waiting for data{bad}",
            mean(|row| row.images_per_s),
            percent(mean(|row| row.data_wait))
        ),
    })
}
