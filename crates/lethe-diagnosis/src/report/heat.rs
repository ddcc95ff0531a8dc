//! Heat maps as inline SVG: a row a stage, a column a checkpoint.
//!
//! Every cell can be pointed at, tapped or reached by the keyboard; what it says then comes from the style sheet alone.

use maud::{Markup, html};

use super::plots::{LETTER, WIDTH, pixel, shortened};

pub(super) struct HeatMap {
    pub(super) about: String,
    pub(super) column_label: String,
    pub(super) rows: Vec<String>,
    pub(super) columns: Vec<String>,
    /// `cells[row][column]`.
    pub(super) cells: Vec<Vec<Option<HeatCell>>>,
    /// The value without colour.
    pub(super) centre: f64,
    /// The distance from it that gets the full colour.
    pub(super) full: f64,
}

pub(super) struct HeatCell {
    pub(super) value: f64,
    /// Whether its interval excludes the centre; if not, it is pale.
    pub(super) clear: bool,
    /// Within the cell, where there is room.
    pub(super) text: String,
    /// When asked: the number with its interval.
    pub(super) words: String,
    /// When asked: what else is known, on a line of its own; empty where nothing is.
    pub(super) more: String,
}

impl HeatMap {
    /// Vermilion above the centre, blue below.
    pub(super) fn draw(&self) -> Markup {
        let left = self.rows.iter().map(|r| shortened(r).chars().count()).max().unwrap_or(0) as f64 * LETTER + 12.0;
        let cell_width = (WIDTH - left) / self.columns.len().max(1) as f64;
        let cell_height = (190.0 / self.rows.len().max(1) as f64).clamp(16.0, 40.0);
        let bottom = cell_height * self.rows.len() as f64;
        let letters = |text: &String| shortened(text).chars().count() as f64 * LETTER;
        let named = self.columns.iter().map(letters).fold(LETTER, f64::max) + 6.0;
        let every = (named / cell_width).ceil().max(1.0) as usize;
        let written = self.cells.iter().flatten().flatten().map(|cell| letters(&cell.text)).fold(0.0, f64::max);
        let room = cell_width >= written + 4.0;
        let lines = if self.cells.iter().flatten().flatten().any(|cell| !cell.more.is_empty()) { 3.0 } else { 2.0 };
        html! {
            svg.heat viewBox=(format!("0 0 {WIDTH} {:.0}", bottom + 48.0 + 14.0 * lines)) role="group" aria-label=(format!("Heat map: {}", self.about)) {
                @for (r, row) in self.cells.iter().enumerate() {
                    @let top = r as f64 * cell_height;
                    text.tick x=(pixel(left - 8.0)) y=(pixel(top + cell_height / 2.0)) dy="0.35em" text-anchor="end" { (shortened(&self.rows[r])) }
                    @for (c, cell) in row.iter().enumerate() {
                        @let at = left + c as f64 * cell_width;
                        @let (words, more) = cell.as_ref().map_or(("not measured", ""), |cell| (&cell.words, &cell.more));
                        @let strength = |cell: &HeatCell| {
                            let strength = ((cell.value - self.centre).abs() / self.full).min(1.0);
                            format!("{:.2}", strength * if cell.clear { 0.8 } else { 0.16 })
                        };
                        g.cell tabindex="0" role="img" {
                            title { (self.rows[r]) ", " (self.column_label) " " (self.columns[c]) ": " (words) @if !more.is_empty() { ", " (more) } }
                            rect.empty x=(pixel(at + 1.0)) y=(pixel(top + 1.0)) width=(pixel(cell_width - 2.0)) height=(pixel(cell_height - 2.0)) rx="3" {}
                            @if let Some(cell) = cell {
                                rect class=(if cell.value > self.centre { "hot" } else { "cold" }) x=(pixel(at + 1.0)) y=(pixel(top + 1.0))
                                    width=(pixel(cell_width - 2.0)) height=(pixel(cell_height - 2.0)) rx="3"
                                    fill-opacity=(strength(cell)) {}
                                @if room {
                                    text.number x=(pixel(at + cell_width / 2.0)) y=(pixel(top + cell_height / 2.0)) dy="0.35em" text-anchor="middle" { (cell.text) }
                                }
                            }
                            text.readout x="0" y=(pixel(bottom + 56.0)) {
                                (shortened(&self.rows[r])) ", " (self.column_label) " " (shortened(&self.columns[c]))
                                tspan x="0" dy="1.3em" { (words) }
                                @if !more.is_empty() { tspan x="0" dy="1.3em" { (more) } }
                            }
                        }
                    }
                }
                @for (c, column) in self.columns.iter().enumerate().rev().step_by(every) {
                    text.tick x=(pixel(left + (c as f64 + 0.5) * cell_width)) y=(pixel(bottom + 15.0)) text-anchor="middle" { (shortened(column)) }
                }
                text.tick x=(pixel((left + WIDTH) / 2.0)) y=(pixel(bottom + 33.0)) text-anchor="middle" { (self.column_label) }
                text.tick.hint x="0" y=(pixel(bottom + 56.0)) { "Point at a cell, tap it or step to it for its numbers." }
            }
        }
    }
}
