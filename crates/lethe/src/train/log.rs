//! What the steps give, averaged; the device is waited for only when a row is due.

use std::time::{Duration, Instant};

use indexmap::IndexMap;
use tch::Tensor;

use crate::error::{Error, Result};
use crate::methods::Loss;
use crate::run::{Kind, MetricRow, Metrics};

use super::collapse::{Collapse, spread};

pub(super) struct StepLog {
    metrics: Metrics,
    batch_size: usize,
    seconds_before: f64,
    started: Instant,
    waited: Duration,
    pending: Vec<Loss>,
    lr: f64,
    steps: u64,
    row: Window,
    epoch: Window,
    /// Means of the rows of this epoch, each with its number of steps.
    rows: Vec<(MetricRow, usize)>,
    last: Option<MetricRow>,
    collapse: Collapse,
}

/// A stretch of time over which rates are taken.
struct Window {
    since: Instant,
    waited: Duration,
    steps: u64,
}

impl StepLog {
    pub(super) fn new((metrics, seconds_before): (Metrics, f64), batch_size: usize) -> Self {
        let started = Instant::now();
        let window = || Window { since: started, waited: Duration::ZERO, steps: 0 };
        Self {
            metrics,
            batch_size,
            seconds_before,
            started,
            waited: Duration::ZERO,
            pending: Vec::new(),
            lr: 0.0,
            steps: 0,
            row: window(),
            epoch: window(),
            rows: Vec::new(),
            last: None,
            collapse: Collapse::of_training(),
        }
    }

    /// Counts the time that `next` takes as waiting for images.
    pub(super) fn wait_for<T>(&mut self, next: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let item = next();
        self.waited += start.elapsed();
        item
    }

    pub(super) fn record(&mut self, loss: &Loss, lr: f64) {
        self.pending.push(loss.detach());
        if let [.., before, _] = self.pending.as_mut_slice() {
            before.representations.clear();
            before.projections.clear(); // only the last ones are looked at
        }
        self.lr = lr;
        self.steps += 1;
    }

    /// Writes the means since the last row.
    ///
    /// # Errors
    /// When the loss is not finite, or the projections have collapsed.
    pub(super) fn step_row(&mut self, epoch: u32, step: u64) -> Result<()> {
        let Some(last) = self.pending.last() else { return Ok(()) };
        let mean = |of: &dyn Fn(&Loss) -> Tensor| {
            Tensor::stack(&self.pending.iter().map(of).collect::<Vec<_>>(), 0).mean(tch::Kind::Double).double_value(&[])
        };
        let terms = last
            .terms
            .iter()
            .enumerate()
            .map(|(i, (name, _))| ((*name).to_owned(), mean(&|loss: &Loss| loss.terms[i].1.shallow_clone())));
        let row = MetricRow {
            kind: Kind::Step,
            epoch: epoch + 1,
            step,
            loss: mean(&|loss: &Loss| loss.total.shallow_clone()),
            terms: terms.collect(),
            lr: self.lr,
            spread: spread(&last.projections[0]).double_value(&[]),
            images_per_s: self.rate(&self.row),
            data_wait: self.share_waited(&self.row),
            seconds: self.seconds(),
        };
        let steps = self.pending.len();
        self.pending.clear();
        self.row = self.window();
        self.check(&row)?;
        self.metrics.write(&row)?;
        self.last = Some(row.clone());
        self.rows.push((row, steps));
        Ok(())
    }

    /// Writes the means over the epoch.
    pub(super) fn epoch_row(&mut self, epoch: u32, step: u64) -> Result<()> {
        self.step_row(epoch, step)?;
        let rows = std::mem::take(&mut self.rows);
        let Some((last, _)) = rows.last() else { return Ok(()) };
        let steps: usize = rows.iter().map(|(_, steps)| steps).sum();
        let mean = |of: &dyn Fn(&MetricRow) -> f64| {
            rows.iter().map(|(row, n)| of(row) * *n as f64).sum::<f64>() / steps as f64
        };
        let terms: IndexMap<String, f64> =
            last.terms.keys().map(|name| (name.clone(), mean(&|row: &MetricRow| row.terms[name]))).collect();
        let row = MetricRow {
            kind: Kind::Epoch,
            loss: mean(&|row: &MetricRow| row.loss),
            terms,
            spread: mean(&|row: &MetricRow| row.spread),
            images_per_s: self.rate(&self.epoch),
            data_wait: self.share_waited(&self.epoch),
            seconds: self.seconds(),
            ..last.clone()
        };
        self.epoch = self.window();
        self.metrics.write(&row)?;
        self.last = Some(row);
        Ok(())
    }

    /// For the end of a line of progress.
    pub(super) fn note(&self, epoch: u32, epochs: u32) -> String {
        let loss = self.last.as_ref().map_or(String::new(), |row| format!(" loss {:.4}", row.loss));
        format!("epoch {}/{epochs}{loss} data_wait {:.0} %", epoch + 1, 100.0 * self.data_wait())
    }

    pub(super) fn epoch_loss(&self) -> Option<f64> {
        self.last.as_ref().map(|row| row.loss)
    }

    pub(super) fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    pub(super) fn images_per_s(&self) -> f64 {
        self.rate(&self.whole())
    }

    pub(super) fn data_wait(&self) -> f64 {
        self.share_waited(&self.whole())
    }

    fn whole(&self) -> Window {
        Window { since: self.started, waited: Duration::ZERO, steps: 0 }
    }

    fn window(&self) -> Window {
        Window { since: Instant::now(), waited: self.waited, steps: self.steps }
    }

    fn rate(&self, window: &Window) -> f64 {
        ((self.steps - window.steps) * self.batch_size as u64) as f64 / window.since.elapsed().as_secs_f64().max(1e-9)
    }

    fn share_waited(&self, window: &Window) -> f64 {
        (self.waited - window.waited).as_secs_f64() / window.since.elapsed().as_secs_f64().max(1e-9)
    }

    fn check(&mut self, row: &MetricRow) -> Result<()> {
        if !row.loss.is_finite() {
            return Err(not_finite(row.loss, row.step));
        }
        self.collapse
            .hear(row.spread, row.step)
            .map_err(|error| error.hint("the last good checkpoint is kept; lower --lr, or check the method's settings"))
    }
}

/// # Errors
/// When the loss is NaN or infinite; the weights have not been touched by it.
pub(super) fn check_finite(loss: &Tensor, step: u64) -> Result<()> {
    let value = loss.double_value(&[]);
    if value.is_finite() { Ok(()) } else { Err(not_finite(value, step + 1)) }
}

fn not_finite(loss: f64, step: u64) -> Error {
    Error::failed(format!("step {step}: the loss is {loss}"))
        .hint("the last good checkpoint is kept; lower --lr, set --clip-norm 1, or use --precision f32")
}
