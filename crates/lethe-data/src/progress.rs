//! How far long work has come, on stderr: a bar with rate and time left on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

static SHOWN: OnceLock<()> = OnceLock::new();

/// Lets progress appear; a library user who does not call this hears nothing.
pub fn show() {
    let _ = SHOWN.set(());
}

/// Seconds between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The progress of one task of `total` units.
pub struct Progress {
    label: String,
    unit: &'static str,
    total: u64,
    done: AtomicU64,
    before: AtomicU64,
    start: Instant,
    last_line: std::sync::Mutex<Instant>,
    bar: Option<ProgressBar>,
    finished: AtomicBool,
    hidden: bool,
}

impl Progress {
    /// `unit` is the plural of what is counted ("images").
    pub fn new(label: impl Into<String>, unit: &'static str, total: u64) -> Self {
        let label = label.into();
        let bar = (SHOWN.get().is_some() && std::io::stderr().is_terminal()).then(|| {
            let template =
                "{prefix} {bar:24} {percent:>3}% {human_pos}/{human_len} {unit} [{elapsed}<{eta}, {per_sec}] {msg}"
                    .replace("{unit}", unit);
            let style = ProgressStyle::with_template(&template).expect("a valid template");
            ProgressBar::new(total).with_style(style).with_prefix(label.clone())
        });
        let start = Instant::now();
        let last_line = start.checked_sub(LINE_EVERY).unwrap_or(start).into();
        Self {
            label,
            unit,
            total,
            done: AtomicU64::new(0),
            before: AtomicU64::new(0),
            start,
            last_line,
            bar,
            finished: AtomicBool::new(false),
            hidden: false,
        }
    }

    /// One that shows nothing: of a part of work that is shown already.
    pub fn hidden() -> Self {
        let mut hidden = Self::new("", "", 0);
        (hidden.hidden, hidden.bar) = (true, None);
        hidden
    }

    /// Work that an earlier sitting has done: it counts, but not into the rate.
    pub fn resume_at(&self, units: u64) {
        self.done.store(units, Ordering::Relaxed);
        self.before.store(units, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_position(units);
            bar.reset_eta();
        }
    }

    pub fn advance(&self, units: u64) {
        self.advance_with(units, String::new);
    }

    /// `note` is only asked for when it is about to be shown.
    pub fn advance_with(&self, units: u64, note: impl FnOnce() -> String) {
        let done = self.done.fetch_add(units, Ordering::Relaxed) + units;
        if SHOWN.get().is_none() || self.hidden {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.set_message(note());
            bar.set_position(done);
            return;
        }
        let mut last = self.last_line.lock().expect("no holder panics");
        if last.elapsed() < LINE_EVERY && done < self.total {
            return;
        }
        *last = Instant::now();
        let seconds = self.start.elapsed().as_secs_f64().max(1e-9);
        let rate = (done - self.before.load(Ordering::Relaxed)) as f64 / seconds;
        let left = Duration::from_secs_f64((self.total.saturating_sub(done)) as f64 / rate.max(1e-9));
        let note = note();
        let (label, unit, total) = (&self.label, self.unit, self.total);
        line(
            format!("{label} {done}/{total} {unit}, {rate:.1} {unit}/s, {} left {note}", HumanDuration(left))
                .trim_end(),
        );
    }

    /// Ends the display; called on drop too.
    pub fn finish(&self) {
        if !self.finished.swap(true, Ordering::Relaxed)
            && let Some(bar) = &self.bar
        {
            bar.finish_and_clear();
        }
    }

    /// Says something above the bar.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => say(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Says something on stderr, where progress is shown.
pub fn say(text: &str) {
    if SHOWN.get().is_some() {
        line(text);
    }
}

/// A closed stderr is no reason to stop.
fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
