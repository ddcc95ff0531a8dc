//! What the steps give, held on the device and read some steps at a time; and the last weights known to be good.

use std::time::Instant;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::hypergradient::norm;
use super::{Event, Watch};
use crate::error::{Error, Result};
use crate::nn::{Gradients, Weights};
use crate::run::Kind as RowKind;

/// Steps between two looks at the numbers; the device is waited for only then.
const FLUSH_EVERY: usize = 10;

/// A line of `undo.jsonl` about a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    pub kind: RowKind,
    /// Steps done.
    pub step: u64,
    /// Epochs begun, counted from 1.
    pub epoch: u32,
    pub repair: String,
    /// `ssl`, `inner` and `js` before the step, `outer` and `coding_rate_reduction` after the inner one; those that
    /// the repair has.
    #[serde(flatten)]
    pub terms: IndexMap<String, f64>,
    /// Joint norm of the gradients given to the optimiser.
    pub grad_norm: f64,
    pub lr: f64,
    /// Compute so far, in [passes](super::repair::Forward::pass): counted, not timed.
    pub passes: f64,
    /// Since the start, when the step was handed to the device.
    pub seconds: f64,
}

/// Numbers still on the device.
struct Pending {
    step: u64,
    epoch: u32,
    passes: f64,
    lr: f64,
    seconds: f64,
    names: Vec<&'static str>,
    /// The terms, then the norm.
    values: Tensor,
}

pub(super) struct StepLog {
    repair: &'static str,
    started: Instant,
    pending: Vec<Pending>,
    last: Option<StepRow>,
    /// A later step found the loss at these weights finite.
    good: Weights,
    /// Taken at the last flush; the first pending step tells whether they are good.
    candidate: Weights,
    failed: bool,
}

impl StepLog {
    pub(super) fn new(repair: &'static str, w: &Weights, started: Instant) -> Self {
        Self { repair, started, pending: Vec::new(), last: None, good: w.copy(), candidate: w.copy(), failed: false }
    }

    pub(super) fn push(
        &mut self,
        epoch: u32,
        step: u64,
        passes: f64,
        lr: f64,
        terms: Vec<(&'static str, Tensor)>,
        g: &Gradients,
    ) {
        let (names, mut values): (Vec<_>, Vec<_>) = terms.into_iter().unzip();
        values.push(norm(g));
        let values = Tensor::stack(&values, 0);
        let seconds = self.started.elapsed().as_secs_f64();
        self.pending.push(Pending { step, epoch: epoch + 1, passes, lr, seconds, names, values });
    }

    pub(super) fn is_due(&self) -> bool {
        self.pending.len() >= FLUSH_EVERY
    }

    /// Hands on the pending rows. Gives the error to stop with when a number is not finite.
    pub(super) fn flush(&mut self, w: &Weights, watch: Watch) -> Result<Option<Error>> {
        if self.pending.is_empty() {
            return Ok(None);
        }
        for (i, pending) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            let values = Vec::<f64>::try_from(pending.values.to_kind(Kind::Double).to_device(Device::Cpu))?;
            if let Some(k) = values.iter().position(|value| !value.is_finite()) {
                self.failed = true;
                if i > 0 {
                    std::mem::swap(&mut self.good, &mut self.candidate);
                }
                let name = pending.names.get(k).unwrap_or(&"the gradient's norm");
                return Ok(Some(
                    Error::failed(format!("step {}: {name} is {}", pending.step, values[k]))
                        .hint("lower --lr or --alpha"),
                ));
            }
            let (norm, terms) = values.split_last().expect("at least the norm");
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
        self.good = std::mem::replace(&mut self.candidate, w.copy());
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
