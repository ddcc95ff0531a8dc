//! How far a download has come: one line that moves on a terminal, a line every few seconds elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

pub(super) struct Progress<'a> {
    name: &'a str,
    total: u64,
    first: u64,
    start: Instant,
    shown: Instant,
    terminal: bool,
}

impl<'a> Progress<'a> {
    /// `first` bytes are there from an earlier call: they count, but not into the rate.
    pub(super) fn new(name: &'a str, first: u64, total: u64) -> Self {
        let start = Instant::now();
        Self { name, total, first, start, shown: start, terminal: std::io::stderr().is_terminal() }
    }

    pub(super) fn show(&mut self, done: u64) {
        let every = Duration::from_millis(if self.terminal { 200 } else { 5000 });
        if done < self.total && self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        let (start, end) =
            if self.terminal { ("\r\x1b[K", if done < self.total { "" } else { "\n" }) } else { ("", "\n") };
        let line = line(self.name, done, self.total, done.saturating_sub(self.first), self.start.elapsed());
        let _ = write!(std::io::stderr(), "{start}{line}{end}");
    }
}

fn line(name: &str, done: u64, total: u64, fetched: u64, time: Duration) -> String {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let rate = megabytes(fetched) / time.as_secs_f64().max(1e-3);
    let mut line = format!("{name}: {:.0} of {:.0} MB, {rate:.1} MB/s", megabytes(done), megabytes(total));
    if done < total && rate > 0.0 {
        line += &format!(", {:.0} s left", megabytes(total - done) / rate);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_only_what_this_call_fetched() {
        let line = line("torch", 300_000_000, 500_000_000, 100_000_000, Duration::from_secs(10));
        assert_eq!(line, "torch: 300 of 500 MB, 10.0 MB/s, 20 s left");
    }
}
