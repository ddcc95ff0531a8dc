//! Line charts as inline SVG.
//!
//! Not `plotters` or `poloto`: a page that follows the reader's light or dark theme needs colours from CSS classes,
//! hover text needs `<title>` children, and a phone needs charts drawn for 360 px and not scaled down to it. `plotters`
//! writes fixed RGB attributes and neither classes nor titles; `poloto` colours by CSS, but has no heat map, bands or
//! titles. What remains is scales, ticks and labels: this file.

use maud::{Markup, html};

use super::numbers::{padded, percent, range, short, ticks};

/// Units of the drawing; charts are shown at about this width, so that text keeps its size on a phone.
pub(super) const WIDTH: f64 = 370.0;
const HEIGHT: f64 = 232.0;
const LEFT: f64 = 48.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;
/// Height of a span above the curves.
const SPAN: f64 = 10.0;
/// Height of a line of text.
const LINE: f64 = 13.0;
/// Width of a letter of the labels, at most.
pub(super) const LETTER: f64 = 6.6;
/// Marks along one line (a longer one shows them under the pointer only), and labels beside one chart, at most.
const MARKS: usize = 24;
const LABELS: usize = 9;

pub(super) struct Series {
    /// Written beside the end of the line, once for every name.
    pub(super) name: String,
    /// What the hover text says beside the name ("unseen images").
    pub(super) part: &'static str,
    /// CSS class that gives the colour.
    pub(super) class: String,
    /// The second of a pair of lines: dashed, hollow marks.
    pub(super) dashed: bool,
    /// A value that is not finite breaks the line.
    pub(super) points: Vec<(f64, f64)>,
    /// Lowest and highest of every point, or nothing.
    pub(super) band: Vec<(f64, f64)>,
}

impl Series {
    fn classes(&self) -> String {
        let pair = if self.dashed {
            " dashed"
        } else if self.part.is_empty() {
            ""
        } else {
            " train"
        };
        format!("series {}{pair}", self.class)
    }
}

/// A stretch of the horizontal axis, drawn above the curves.
pub(super) struct Span {
    pub(super) low: f64,
    pub(super) high: f64,
    /// The most likely place.
    pub(super) at: f64,
    /// CSS class that gives the colour.
    pub(super) class: String,
    pub(super) words: String,
}

pub(super) enum Axis {
    Number(String),
    /// Positions 0, 1, ... with these names.
    Names(Vec<String>),
}

pub(super) struct LineChart {
    /// What is drawn, for those who cannot see it.
    pub(super) about: String,
    pub(super) x: Axis,
    /// Values are fractions, shown as per cent.
    pub(super) percent: bool,
    /// The value of nothing found, drawn as a line.
    pub(super) base: Option<f64>,
    pub(super) series: Vec<Series>,
    /// What `spans` are, in one word, and the spans; the first one is also shaded behind the curves.
    pub(super) span_name: &'static str,
    pub(super) spans: Vec<Span>,
}

impl LineChart {
    pub(super) fn is_empty(&self) -> bool {
        self.series.iter().all(|s| s.points.iter().all(|p| !p.1.is_finite()))
    }

    fn unit(&self) -> f64 {
        if self.percent { 100.0 } else { 1.0 }
    }

    /// The chart as `<svg>`.
    pub(super) fn draw(&self) -> Markup {
        let points = || self.series.iter().flat_map(|s| &s.points).filter(|p| p.1.is_finite());
        let heights =
            points().map(|p| p.1).chain(self.series.iter().flat_map(|s| s.band.iter().flat_map(|b| [b.0, b.1])));
        let heights = heights.chain(self.base).filter(|v| v.is_finite()).map(|v| v * self.unit());
        let y_range = padded(range(heights), 0.05);
        let x_range = match &self.x {
            Axis::Number(_) => {
                let spans = self.spans.iter().flat_map(|span| [span.low, span.high]);
                padded(range(points().map(|p| p.0).chain(spans)), 0.0)
            }
            Axis::Names(names) => (-0.3, names.len() as f64 - 0.7),
        };
        let labels = self.labels();
        let longest = labels.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
        let right = WIDTH - (longest as f64 * LETTER + 16.0).max(18.0);
        let top = TOP + SPAN * self.spans.len() as f64;
        let x = |v: f64| LEFT + (v - x_range.0) / (x_range.1 - x_range.0) * (right - LEFT);
        let y = |v: f64| {
            HEIGHT - BOTTOM - (v * self.unit() - y_range.0) / (y_range.1 - y_range.0) * (HEIGHT - BOTTOM - top)
        };
        let labels = apart(labels.into_iter().map(|(name, class, end)| (name, class, y(end))).collect());

        html! {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.words()) {
                @for (value, text) in ticks(y_range, 5) {
                    @let at = pixel(y(value / self.unit()));
                    line.grid x1=(LEFT) x2=(pixel(right)) y1=(at) y2=(at) {}
                    text.tick x=(LEFT - 9.0) y=(at) dy="0.35em" text-anchor="end" { (text) @if self.percent { "%" } }
                }
                @for (value, text) in self.x_ticks(x_range, right - LEFT) {
                    text.tick x=(pixel(x(value))) y=(HEIGHT - BOTTOM + 16.0) text-anchor="middle" { (text) }
                }
                @if let Axis::Number(label) = &self.x {
                    text.tick x=(pixel((LEFT + right) / 2.0)) y=(HEIGHT - 7.0) text-anchor="middle" { (label) }
                }
                @if let Some(base) = self.base {
                    line.zero x1=(LEFT) x2=(pixel(right)) y1=(pixel(y(base))) y2=(pixel(y(base))) {}
                    @if ticks(y_range, 5).iter().all(|(value, _)| (y(value / self.unit()) - y(base)).abs() > LINE) {
                        text.tick x=(LEFT - 9.0) y=(pixel(y(base))) dy="0.35em" text-anchor="end" { (short(base * self.unit())) }
                    }
                }
                @for (i, span) in self.spans.iter().enumerate() {
                    @let (left, width) = (x(span.low), (x(span.high) - x(span.low)).max(2.0));
                    @let line = SPAN * (i as f64 + 0.5) + 2.0;
                    g class=(format!("span {}", span.class)) {
                        title { (span.words) }
                        @if i == 0 {
                            rect.shade x=(pixel(left)) width=(pixel(width)) y=(pixel(line)) height=(pixel(HEIGHT - BOTTOM - line)) {}
                            line.since x1=(pixel(x(span.at))) x2=(pixel(x(span.at))) y1=(pixel(line)) y2=(HEIGHT - BOTTOM) {}
                        }
                        rect.bar x=(pixel(left)) width=(pixel(width)) y=(pixel(line - 2.0)) height="4" rx="2" {}
                        circle cx=(pixel(x(span.at))) cy=(pixel(line)) r="3.6" {}
                    }
                }
                @if !self.spans.is_empty() {
                    text.tick x=(LEFT - 9.0) y=(pixel(SPAN * 0.5 + 2.0)) dy="0.35em" text-anchor="end" { (self.span_name) }
                }
                @for series in &self.series {
                    g class=(series.classes()) {
                        @if !series.band.is_empty() { path.band d=(band(series, &x, &y)) {} }
                        path.line d=(path(&series.points, &x, &y)) {}
                        @for &(px, py) in marks(&series.points) {
                            circle.hit[series.points.len() > MARKS] cx=(pixel(x(px))) cy=(pixel(y(py))) r="3.2" { title { (self.hover(series, px, py)) } }
                        }
                    }
                }
                @for (name, class, at) in labels {
                    text class=(format!("label {class}")) x=(pixel(right + 8.0)) y=(pixel(at)) dy="0.35em" { (name) }
                }
            }
        }
    }

    /// One label a name, at the end of its line, evenly thinned out: name, class, last value.
    fn labels(&self) -> Vec<(String, String, f64)> {
        let mut all: Vec<(String, String, f64)> = Vec::new();
        for series in self.series.iter().filter(|s| !s.name.is_empty()) {
            let end = series.points.iter().rev().find(|p| p.1.is_finite());
            if let (Some(end), false) = (end, all.iter().any(|(name, ..)| *name == shortened(&series.name))) {
                all.push((shortened(&series.name), series.class.clone(), end.1));
            }
        }
        if all.len() == 1 {
            return Vec::new();
        }
        let every = all.len().div_ceil(LABELS);
        let last = all.len().saturating_sub(1);
        all.into_iter().enumerate().filter(|(i, _)| (last - i).is_multiple_of(every)).map(|(_, label)| label).collect()
    }

    fn x_ticks(&self, x_range: (f64, f64), width: f64) -> Vec<(f64, String)> {
        match &self.x {
            Axis::Number(_) => ticks(x_range, 5),
            Axis::Names(names) => {
                let wide = names.iter().map(|n| shortened(n).chars().count()).max().unwrap_or(1) as f64 * LETTER + 8.0;
                let every = (names.len() as f64 * wide / width).ceil().max(1.0) as usize;
                (0..names.len()).step_by(every).map(|i| (i as f64, shortened(&names[i]))).collect()
            }
        }
    }

    fn hover(&self, series: &Series, px: f64, py: f64) -> String {
        let place = match &self.x {
            Axis::Number(label) => format!("{label} {}", short(px)),
            Axis::Names(names) => names.get(px as usize).cloned().unwrap_or_default(),
        };
        let who = [series.name.as_str(), series.part, &place]
            .iter()
            .filter(|s| !s.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join(", ");
        let value = self.value(py);
        match series.points.iter().position(|p| *p == (px, py)).and_then(|i| series.band.get(i)) {
            Some(band) => format!("{who}: {value} (interval {} to {})", self.value(band.0), self.value(band.1)),
            None => format!("{who}: {value}"),
        }
    }

    fn value(&self, v: f64) -> String {
        if self.percent { percent(v) } else { short(v) }
    }

    /// The chart in words: where every line starts and ends.
    fn words(&self) -> String {
        let mut text = format!("Line chart: {}.", self.about);
        for span in &self.spans {
            text += &format!(" {}.", span.words);
        }
        for series in &self.series {
            let mut finite = series.points.iter().filter(|p| p.1.is_finite());
            if let Some(first) = finite.next() {
                let last = finite.next_back().unwrap_or(first);
                let who = [series.name.as_str(), series.part]
                    .iter()
                    .filter(|s| !s.is_empty())
                    .copied()
                    .collect::<Vec<_>>()
                    .join(", ");
                text += &format!(" {who}: from {} to {}.", self.value(first.1), self.value(last.1));
            }
        }
        text
    }
}

pub(super) fn pixel(v: f64) -> String {
    format!("{v:.1}")
}

pub(super) fn shortened(name: &str) -> String {
    if name.chars().count() <= 12 { name.into() } else { name.chars().take(11).chain(['…']).collect() }
}

fn path(points: &[(f64, f64)], x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut pen = 'M';
    for &(px, py) in points {
        if py.is_finite() {
            path += &format!("{pen}{:.1} {:.1}", x(px), y(py));
            pen = 'L';
        } else {
            pen = 'M';
        }
    }
    path
}

fn band(series: &Series, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let edges = || series.points.iter().zip(&series.band).filter(|(_, b)| b.0.is_finite() && b.1.is_finite());
    let lows = edges().map(|(p, b)| format!("{:.1} {:.1}", x(p.0), y(b.0)));
    let highs = edges().rev().map(|(p, b)| format!("{:.1} {:.1}", x(p.0), y(b.1)));
    let corners = lows.chain(highs).collect::<Vec<_>>();
    if corners.is_empty() { String::new() } else { format!("M{}Z", corners.join("L")) }
}

fn marks(points: &[(f64, f64)]) -> impl Iterator<Item = &(f64, f64)> {
    let every = points.len().div_ceil(MARKS).max(1);
    let last = points.len().saturating_sub(1);
    points.iter().enumerate().filter(move |(i, p)| (last - i).is_multiple_of(every) && p.1.is_finite()).map(|(_, p)| p)
}

/// Pushes labels apart that would overlap, and back inside the chart.
fn apart(mut labels: Vec<(String, String, f64)>) -> Vec<(String, String, f64)> {
    labels.sort_by(|a, b| a.2.total_cmp(&b.2));
    for i in 1..labels.len() {
        labels[i].2 = labels[i].2.max(labels[i - 1].2 + LINE);
    }
    let mut floor = HEIGHT - BOTTOM;
    for label in labels.iter_mut().rev() {
        label.2 = label.2.min(floor);
        floor = label.2 - LINE;
    }
    labels
}
