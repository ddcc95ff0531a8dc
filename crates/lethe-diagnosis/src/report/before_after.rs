//! The numbers before and after a repair, beside each other.

use lethe_measures::Estimate;
use maud::{Markup, html};

use super::numbers::{in_table, percent, short};
use super::{BeforeAfter, BeforeAfterRow, Better};

pub(super) fn table(before_after: &BeforeAfter) -> Markup {
    html! {
        p {
            "These are the numbers of one encoder before and after the repair, on the same images."
            @if before_after.rows.iter().any(|row| row.change.is_some()) { " In brackets 95\u{a0}% intervals of the change." }
        }
        div.scroll tabindex="0" role="region" aria-label="Before and after" { table.compare {
            thead { tr { th { "measured" } th { "before" } th { "after" } th { "change" } th { "" } } }
            tbody { @for row in &before_after.rows {
                @let verdict = verdict(row);
                tr class=(verdict) {
                    th { (row.what) }
                    td { (with_unit(row, row.before)) } td { (with_unit(row, row.after)) }
                    td { (change(row)) }
                    td.verdict { @match verdict { "better" => "▲ better", "worse" => "▼ worse", "same" => "= same", "unclear" => "≈ not told apart", _ => "" } }
                }
            } }
        } }
    }
}

/// "better", "worse", "same" (to the digits shown), "unclear" (the interval of the change holds 0), or "" where neither
/// direction is an improvement.
pub(super) fn verdict(row: &BeforeAfterRow) -> &'static str {
    let rises = row.after > row.before;
    match row.better {
        Better::Neither => "",
        _ if with_unit(row, row.before) == with_unit(row, row.after) => "same",
        _ if row.change.is_some_and(|change| change.low <= 0.0 && change.high >= 0.0) => "unclear",
        Better::Higher => {
            if rises {
                "better"
            } else {
                "worse"
            }
        }
        Better::Lower => {
            if rises {
                "worse"
            } else {
                "better"
            }
        }
    }
}

pub(super) fn with_unit(row: &BeforeAfterRow, value: f64) -> String {
    match row.unit.as_str() {
        "%" => percent(value),
        // No more digits than a change that has an interval can be known to.
        "" if row.change.is_some() => format!("{value:.3}").replace('-', "−"),
        "" => short(value),
        unit => format!("{} {unit}", short(value)),
    }
}

fn change(row: &BeforeAfterRow) -> String {
    let change = row.after - row.before;
    let (scale, unit) = if row.unit == "%" { (100.0, " points") } else { (1.0, "") };
    match row.change {
        Some(Estimate { value, low, high }) if low < high => {
            let [value, low, high] = [value, low, high].map(|v| scale * v);
            format!("{}{unit}", in_table(Estimate { value, low, high }))
        }
        _ if row.unit == "%" => format!("{:+.1}{unit}", scale * change),
        _ => format!("{}{}", if change > 0.0 { "+" } else { "" }, short(change)),
    }
}
