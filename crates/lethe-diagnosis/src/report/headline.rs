//! What the page is about, and the key numbers of a training and a repair.

use super::ReportInput;
use super::before_after::{verdict, with_unit};
use super::numbers::percent;
use crate::feature_files::FEATURES;
use crate::records::MetricRow;
use crate::words::capital;

pub(super) struct Card {
    pub(super) caption: String,
    pub(super) number: String,
    pub(super) detail: String,
}

/// What the page is about.
pub(super) fn sentence(input: &ReportInput) -> String {
    let config =
        input.settings.as_deref().and_then(|text| toml::from_str::<toml::Table>(text).ok()).unwrap_or_default();
    let setting =
        |key: &str| config.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), String::from));
    let encoder = input.diagnosis.as_ref().map(|d| d.encoder.clone()).or_else(|| setting("encoder"));
    let encoder = match encoder {
        Some(encoder) if encoder != FEATURES => format!("the encoder {encoder}"),
        _ => "an encoder".into(),
    };
    let data = setting("data").map_or(String::new(), |data| format!(" on {data}"));
    let trained =
        setting("method").map_or(String::new(), |method| format!(", trained without labels by {method}{data},"));
    let subject = format!("{encoder}{}", trained.trim_end_matches(','));
    let Some(d) = &input.diagnosis else {
        if let Some(pooled) = &input.pooled {
            let count = pooled.runs.len();
            return format!(
                "This page shows what {count} runs have in common; each has a page of its own in its folder."
            );
        }
        let what = if !input.metrics.is_empty() {
            "shows the training"
        } else if !input.undo.is_empty() || input.before_after.is_some() {
            "shows the repair"
        } else {
            "gathers what is known"
        };
        return format!("This page {what} of {subject}. Run `lethe diagnose` to see what it has memorised.");
    };
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let (stages, checkpoints) = (count(d.stages.len(), "stage"), count(d.checkpoints.len(), "checkpoint"));
    let sides = d.sides.as_ref().map_or(String::new(), |sides| {
        format!(
            ", {} that it was trained on beside as many that it has never seen, {} of each",
            count(sides.images, "image"),
            count(sides.views, "view")
        )
    });
    format!("{}: {stages} at {checkpoints}{sides}.", capital(&subject))
}

pub(super) fn cards(input: &ReportInput) -> Vec<Card> {
    repair(input).into_iter().chain(training(input)).collect()
}

/// The first number of the repair, where no sentence tells it.
fn repair(input: &ReportInput) -> Option<Card> {
    let rows = &input.before_after.as_ref()?.rows;
    let first = rows.first().filter(|_| input.repaired.is_none())?;
    let count = |which| rows.iter().filter(|row| verdict(row) == which).count();
    Some(Card {
        caption: format!("Before and after the repair: {}", first.what),
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
