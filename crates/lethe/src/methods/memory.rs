//! What a method remembers from step to step besides weights: buffers under `memory.`, written after a step, and never by a
//! loss.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::nn::{self, Weights, unit_rows};
use crate::progress;
use crate::rng::Rng;

/// A change of the buffer `memory.NAME`.
#[derive(Debug)]
pub enum Memory {
    /// Its new value.
    Value { name: &'static str, value: Tensor },
    /// Rows for a `queue`, in the place of the oldest; no more than it holds.
    Rows { name: &'static str, rows: Tensor },
}

impl Memory {
    pub(super) fn shallow_clone(&self) -> Self {
        match self {
            Memory::Value { name, value } => Memory::Value { name, value: value.shallow_clone() },
            Memory::Rows { name, rows } => Memory::Rows { name, rows: rows.shallow_clone() },
        }
    }
}

/// A ring of `length` random rows of unit length: `memory.NAME` `[length, p]`, and where the next row goes.
pub(super) fn queue(name: &str, length: i64, p: i64, rng: &mut Rng) -> Weights {
    let mut w = Weights::new();
    w.insert(format!("memory.{name}"), unit_rows(&nn::normal(&[length, p], 1.0, rng).detach()));
    w.insert(format!("memory.{name}.next"), Tensor::zeros([1], (Kind::Int64, Device::Cpu)));
    w
}

/// Says so where a queue of the setting `queue_size` comes to hold every one of the `images` several times: the published
/// sizes are those of larger data sets.
///
/// # Errors
/// When the rows of a batch do not fit into it.
pub(super) fn check_queue(queue_size: i64, images: usize, batch_size: usize) -> Result<()> {
    if queue_size < batch_size as i64 {
        return Err(Error::usage(format!("queue_size {queue_size}: it cannot hold a batch of {batch_size} images"))
            .hint(format!("[method_settings]: queue_size = {batch_size} or more")));
    }
    if queue_size > 2 * images as i64 {
        progress::say(&format!(
            "warning: a queue of {queue_size} rows holds each of {images} images several times, and takes an image's own \
             earlier rows for another's: give a smaller queue_size in [method_settings]"
        ));
    }
    Ok(())
}

/// Writes the changes into `w`, in place and without waiting for the device.
pub fn remember(w: &Weights, changes: &[Memory]) {
    tch::no_grad(|| {
        for change in changes {
            match change {
                Memory::Value { name, value } => w.get(&format!("memory.{name}")).shallow_clone().copy_(value),
                Memory::Rows { name, rows } => {
                    let mut ring = w.get(&format!("memory.{name}")).shallow_clone();
                    let mut next = w.get(&format!("memory.{name}.next")).shallow_clone();
                    let (count, length) = (rows.size()[0], ring.size()[0]);
                    let places = (Tensor::arange(count, (Kind::Int64, rows.device())) + &next).remainder(length);
                    let _ = ring.index_copy_(0, &places, &rows.to_kind(ring.kind()));
                    next.copy_(&(&next + count).remainder(length));
                }
            }
        }
    });
}
