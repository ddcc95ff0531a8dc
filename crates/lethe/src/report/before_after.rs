//! The numbers before and after a repair, beside each other.

use maud::{Markup, html};

use super::numbers::{percent, short};
use super::{BeforeAfter, BeforeAfterRow, Better};

pub(super) fn table(before_after: &BeforeAfter) -> Markup {
    html! {
        p { "The same encoder before and after undoing, on the same images." }
        div.scroll tabindex="0" role="region" aria-label="Before and after" { table.compare {
            thead { tr { th { "measured" } th { "before" } th { "after" } th { "change" } th { "" } } }
            tbody { @for row in &before_after.rows {
                @let verdict = verdict(row);
                tr class=(verdict) {
                    th { (row.what) }
                    td { (with_unit(row, row.before)) } td { (with_unit(row, row.after)) }
                    td { (change(row)) }
                    td.verdict { @match verdict { "better" => "▲ better", "worse" => "▼ worse", "same" => "= same", _ => "" } }
                }
            } }
        } }
    }
}

/// "better", "worse", "same" (to the digits shown), or "" where neither direction is an improvement.
pub(super) fn verdict(row: &BeforeAfterRow) -> &'static str {
    let rises = row.after > row.before;
    match row.better {
        Better::Neither => "",
        _ if with_unit(row, row.before) == with_unit(row, row.after) => "same",
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
        "" => short(value),
        unit => format!("{} {unit}", short(value)),
    }
}

fn change(row: &BeforeAfterRow) -> String {
    let change = row.after - row.before;
    match row.unit.as_str() {
        "%" => format!("{:+.1} points", change * 100.0),
        _ => format!("{}{}", if change > 0.0 { "+" } else { "" }, short(change)),
    }
}
