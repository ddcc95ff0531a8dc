//! The front: memorisation left against use, a panel a base, a point a repair.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::plan::{Base, Front, NOTHING, Plan};
use super::results::Results;
use super::table::{by_seed, difference, mean};

/// Okabe and Ito's colours, told apart by colour-blind eyes too; further repairs begin anew with hollow points.
const COLOURS: [&str; 8] = ["#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31"];

const PANEL: [f64; 2] = [330.0, 280.0];
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 46.0;
const COLUMNS: usize = 3;
const LEGEND: f64 = 24.0;

/// A mean over seeds; the bars are the 95 % interval of the paired difference to nothing, which itself has none.
struct Point {
    repair: usize,
    at: [f64; 2],
    half: [f64; 2],
}

/// The plot as SVG.
pub(crate) fn draw(plan: &Plan, front: &Front, results: &Results) -> String {
    let panels: Vec<(String, String, Vec<Point>)> = plan
        .bases
        .iter()
        .filter_map(|base| {
            let has = |outcome: &&String| !by_seed(results, plan, &base.name, NOTHING, outcome).is_empty();
            let outcome = front.r#use.iter().find(has)?;
            let points = points(plan, results, base, [&front.memorisation, outcome]);
            (!points.is_empty()).then(|| (base.name.clone(), outcome.clone(), points))
        })
        .collect();
    let rows = panels.len().div_ceil(COLUMNS).max(1);
    let mut legend = String::new();
    let mut end = 10.0;
    for (i, repair) in plan.repairs.iter().enumerate() {
        let _ = writeln!(legend, "{}<text x=\"{:.1}\" y=\"16\">{}</text>", dot(i, end, 12.0), end + 8.0, repair.name);
        end += 26.0 + 6.8 * repair.name.len() as f64;
    }
    let width = (COLUMNS.min(panels.len()) as f64 * PANEL[0]).max(end);
    let height = rows as f64 * PANEL[1] + LEGEND;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width:.0}\" height=\"{height}\" fill=\"#fff\"/>\n{legend}"
    );
    for (i, (base, outcome, points)) in panels.iter().enumerate() {
        let (x, y) = ((i % COLUMNS) as f64 * PANEL[0], (i / COLUMNS) as f64 * PANEL[1] + LEGEND);
        let _ = writeln!(
            svg,
            "<g transform=\"translate({x} {y})\">\n{}</g>",
            panel(base, [&front.memorisation, outcome], points)
        );
    }
    svg + "</svg>\n"
}

fn points(plan: &Plan, results: &Results, base: &Base, outcomes: [&String; 2]) -> Vec<Point> {
    let of = |repair: &str| outcomes.map(|outcome| by_seed(results, plan, &base.name, repair, outcome));
    let nothing = of(NOTHING);
    let point = |(i, name): (usize, &str)| {
        let own: [BTreeMap<u64, f64>; 2] = of(name);
        let half = |axis: usize| difference(&own[axis], &nothing[axis]).map_or(0.0, |found| found.half);
        Some(Point { repair: i, at: [mean(&own[0])?, mean(&own[1])?], half: [half(0), half(1)] })
    };
    plan.repairs.iter().map(|repair| repair.name.as_str()).enumerate().filter_map(point).collect()
}

fn panel(base: &str, outcomes: [&String; 2], points: &[Point]) -> String {
    let ranges = [0, 1].map(|axis| range(points.iter().map(|point| (point.at[axis], point.half[axis]))));
    let part = |axis: usize, value: f64| (value - ranges[axis].0) / (ranges[axis].1 - ranges[axis].0);
    let x = |value: f64| LEFT + part(0, value) * (PANEL[0] - LEFT - RIGHT);
    let y = |value: f64| PANEL[1] - BOTTOM - part(1, value) * (PANEL[1] - BOTTOM - TOP);
    let middle = (PANEL[0] + LEFT - RIGHT) / 2.0;
    let mut svg = format!("<text x=\"{middle}\" y=\"18\" text-anchor=\"middle\" font-weight=\"bold\">{base}</text>\n");
    let _ =
        writeln!(svg, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>", PANEL[1] - 10.0, outcomes[0]);
    let side = (PANEL[1] - BOTTOM + TOP) / 2.0;
    let _ = writeln!(
        svg,
        "<text transform=\"translate(12 {side}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        outcomes[1]
    );
    let (low, high) = (PANEL[1] - BOTTOM, PANEL[0] - RIGHT);
    for tick in ticks(ranges[0]) {
        let at = x(tick);
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {TOP}V{low}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            low + 14.0,
            shown(tick)
        );
    }
    for tick in ticks(ranges[1]) {
        let at = y(tick);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{high}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 5.0,
            at + 4.0,
            shown(tick)
        );
    }
    for Point { repair, at, half } in points {
        let (left, right, low, high) = (x(at[0] - half[0]), x(at[0] + half[0]), y(at[1] - half[1]), y(at[1] + half[1]));
        let (x, y, colour) = (x(at[0]), y(at[1]), COLOURS[repair % COLOURS.len()]);
        let _ = writeln!(
            svg,
            "<path d=\"M{left:.1} {y:.1}H{right:.1}M{x:.1} {low:.1}V{high:.1}\" stroke=\"{colour}\" stroke-opacity=\".6\"/>{}",
            dot(*repair, x, y)
        );
    }
    svg
}

fn dot(repair: usize, x: f64, y: f64) -> String {
    let colour = COLOURS[repair % COLOURS.len()];
    let fill = if repair < COLOURS.len() { colour } else { "#fff" };
    format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>")
}

/// From the lowest to the highest end of the bars, with a margin.
fn range(values: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let ends = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = values.fold(ends, |(low, high), (at, half)| (low.min(at - half), high.max(at + half)));
    let margin = if high > low { 0.08 * (high - low) } else { 0.01 };
    (low - margin, high + margin)
}

/// Four or so round numbers in the range.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let rough = (high - low) / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|round| round * power).find(|&step| step >= rough).unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|&tick| tick <= high).collect()
}

fn shown(tick: f64) -> String {
    let text = format!("{tick:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}
