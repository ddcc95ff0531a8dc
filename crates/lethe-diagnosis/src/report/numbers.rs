//! Numbers as people read them: texts, ranges and round ticks.

use lethe_measures::Estimate;

/// Two digits after the point, three below 0.1, with its sign.
pub(super) fn signed(v: f64) -> String {
    let text = if v.abs() < 0.0995 { format!("{v:+.3}") } else { format!("{v:+.2}") };
    text.replace('-', "−")
}

/// `0.140 (95 % interval 0.124 to 0.156)`, to two digits of the interval's width.
pub(super) fn with_interval(Estimate { value, low, high }: Estimate) -> String {
    let [value, low, high] = together([value, low, high]);
    format!("{value} (95\u{a0}% interval {low} to {high})")
}

/// `0.140 (0.124 to 0.156)`: the same for tables, whose heads say what the interval is.
pub(super) fn in_table(Estimate { value, low, high }: Estimate) -> String {
    let [value, low, high] = together([value, low, high]);
    format!("{value} ({low} to {high})")
}

/// A number and its interval to the same digits: two of the interval's width, and enough that no end rounds to 0.
fn together([value, low, high]: [f64; 3]) -> [String; 3] {
    let zero = |v: f64, digits: usize| v != 0.0 && format!("{:.digits$}", v.abs()).parse() == Ok(0.0);
    if low == high {
        return [value, low, high].map(short);
    }
    let width = (high - low).max(1e-5);
    let digits = if width.is_finite() { (1.0 - width.log10().floor()).clamp(0.0, 6.0) as usize } else { 3 };
    let digits = (digits..6).find(|&digits| !zero(low, digits) && !zero(high, digits)).unwrap_or(6);
    [value, low, high].map(|v| {
        let minus = if v < 0.0 && !zero(v, digits) { "−" } else { "" };
        format!("{minus}{:.digits$}", v.abs())
    })
}

pub(super) fn percent(v: f64) -> String {
    format!("{:.1}\u{a0}%", v * 100.0)
}

/// Four significant digits at most.
pub(super) fn short(v: f64) -> String {
    let size = v.abs();
    let text = match size {
        0.0 => return "0".into(),
        _ if !(1e-4..1e7).contains(&size) => return format!("{v:.3e}"),
        _ if size >= 1000.0 => return format!("{v:.0}"),
        _ => format!("{v:.*}", (3 - size.log10().floor() as i32).max(0) as usize),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

pub(super) fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// `share` of the range more on both sides; a single value gets some room.
pub(super) fn padded((low, high): (f64, f64), share: f64) -> (f64, f64) {
    if high - low > 1e-12 * high.abs().max(1e-290) {
        (low - share * (high - low), high + share * (high - low))
    } else {
        let room = if high == 0.0 { 1.0 } else { high.abs() * 0.1 };
        (low - room, high + room)
    }
}

/// About `count` round numbers in the range (steps of 1, 2 or 5 by a power of ten), with their texts.
pub(super) fn ticks((low, high): (f64, f64), count: usize) -> Vec<(f64, String)> {
    let raw = (high - low) / count as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw * 0.999).unwrap_or(10.0 * power);
    let largest = low.abs().max(high.abs());
    let digits = (-step.log10().floor()).max(0.0) as usize;
    let text = |v: f64| match v {
        _ if v.abs() < step * 1e-6 => "0".into(),
        _ if step >= 1e6 || digits > 4 => format!("{v:.*e}", usize::from(largest / step >= 10.0)),
        _ if largest >= 1e4 && step >= 100.0 => format!("{}k", short(v / 1000.0)),
        _ => format!("{v:.digits$}"),
    };
    let first = (low / step - 1e-9).ceil() as i64;
    (first..first + 12)
        .map(|i| i as f64 * step)
        .take_while(|v| *v <= high + step * 1e-9)
        .map(|v| (v, text(v)))
        .collect()
}
