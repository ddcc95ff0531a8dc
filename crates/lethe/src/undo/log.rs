//! What the steps give, held on the device and read some steps at a time; and the last weights known to be good.

use std::time::Instant;

use lethe_diagnosis::records::{Kind as RowKind, StepRow};
use tch::{Device, Kind, Tensor};

use super::hypergradient::norm;
use super::repair::Step;
use super::{Event, Watch};
use crate::error::{Error, Result};
use crate::native::torch;
use crate::nn::Weights;
use crate::train::{Collapse, is_collapsed};

/// Steps between two looks at the numbers; the device is waited for only then.
const FLUSH_EVERY: usize = 10;

/// Numbers still on the device.
struct Pending {
    step: u64,
    epoch: u32,
    passes: f64,
    lr: f64,
    seconds: f64,
    names: Vec<&'static str>,
    /// The terms, then the norm and the spread.
    values: Tensor,
}

pub(super) struct StepLog {
    repair: &'static str,
    started: Instant,
    pending: Vec<Pending>,
    last: Option<StepRow>,
    collapse: Collapse,
    /// A later step found the loss at these weights finite, and no collapse.
    good: Weights,
    /// Taken at the last flush; the first pending step tells whether they are good.
    candidate: Weights,
    failed: bool,
}

impl StepLog {
    pub(super) fn new(repair: &'static str, w: &Weights, started: Instant) -> Self {
        Self {
            repair,
            started,
            pending: Vec::new(),
            last: None,
            collapse: Collapse::of_repair(),
            good: w.copy(),
            candidate: w.copy(),
            failed: false,
        }
    }

    pub(super) fn push(&mut self, epoch: u32, step: u64, passes: f64, lr: f64, made: Step) {
        let (names, mut values): (Vec<_>, Vec<_>) = made.terms.into_iter().unzip();
        let norm = norm(&made.gradients);
        let spread = made.spread.to_kind(norm.kind());
        values.extend([norm, spread]);
        let values = Tensor::stack(&values, 0);
        let seconds = self.started.elapsed().as_secs_f64();
        self.pending.push(Pending { step, epoch: epoch + 1, passes, lr, seconds, names, values });
    }

    pub(super) fn is_due(&self) -> bool {
        self.pending.len() >= FLUSH_EVERY
    }

    /// Hands on the pending rows. Gives the error to stop with when a number or weight is not finite, or the projections
    /// have collapsed.
    pub(super) fn flush(&mut self, w: &Weights, watch: Watch) -> Result<Option<Error>> {
        if self.pending.is_empty() {
            return Ok(None);
        }
        let mut stopped = self.tell(watch)?;
        if stopped.is_none() {
            let step = self.last.as_ref().map_or(0, |row| row.step);
            stopped = w.expect_finite().err().map(|error| error.of(&format!("after step {step}")));
        }
        self.failed = stopped.is_some();
        if !self.failed {
            self.candidate = w.copy();
        }
        Ok(stopped.map(|error| error.hint("lower --lr or --alpha")))
    }

    /// What the pending rows say themselves.
    fn tell(&mut self, watch: Watch) -> Result<Option<Error>> {
        for (i, pending) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            let values =
                Vec::<f64>::try_from(pending.values.to_kind(Kind::Double).to_device(Device::Cpu)).map_err(torch)?;
            let (spread, numbers) = values.split_last().expect("at least the spread");
            if let Some(k) = numbers.iter().position(|value| !value.is_finite()) {
                let name = pending.names.get(k).unwrap_or(&"the gradient's norm");
                return Ok(Some(Error::failed(format!("step {}: {name} is {}", pending.step, numbers[k]))));
            }
            if let Err(error) = self.collapse.hear(*spread, pending.step) {
                return Ok(Some(error));
            }
            if i == 0 && !is_collapsed(*spread) {
                std::mem::swap(&mut self.good, &mut self.candidate);
            }
            let (norm, terms) = numbers.split_last().expect("at least the norm");
            let row = StepRow {
                kind: RowKind::Step,
                step: pending.step,
                epoch: pending.epoch,
                repair: self.repair.into(),
                terms: pending.names.iter().map(|name| (*name).to_owned()).zip(terms.iter().copied()).collect(),
                grad_norm: *norm,
                lr: pending.lr,
                passes: pending.passes,
                seconds: pending.seconds,
            };
            let _ = watch(Event::Step(&row))?;
            self.last = Some(row);
        }
        Ok(None)
    }

    pub(super) fn note(&self, epoch: u32, epochs: u32) -> String {
        let terms = self.last.iter().flat_map(|row| &row.terms).map(|(name, value)| format!(" {name} {value:.4}"));
        format!("epoch {}/{epochs}{}", epoch + 1, terms.collect::<String>())
    }

    /// `w`, or the last good weights after a failure; and the last row.
    pub(super) fn finish(self, w: Weights) -> (Weights, Option<StepRow>) {
        (if self.failed { self.good } else { w }, self.last)
    }
}
