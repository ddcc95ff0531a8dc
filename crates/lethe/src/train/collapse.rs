//! A collapse: all projections point the same way, whatever the image.

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::nn::unit_rows;

/// Projections whose directions vary less than this, over this many rows in a row, have collapsed.
const COLLAPSED_SPREAD: f64 = 0.01;
const COLLAPSED_ROWS: u32 = 10;
/// From this to a collapse is no fluctuation: to trained weights one row of it is enough.
const HEALTHY_SPREAD: f64 = 0.1;

/// Hears the spread of the projections, a row of a log at a time.
pub struct Collapse {
    rows: u32,
    /// Rows in a row that are one.
    patience: u32,
    trained: bool,
}

impl Collapse {
    /// Of a training from fresh weights, whose projections may hardly vary at first.
    pub fn of_training() -> Self {
        Self { rows: 0, patience: COLLAPSED_ROWS, trained: false }
    }

    /// Of one from trained weights: once the projections vary well, the first row in which they do not is a collapse.
    pub fn of_repair() -> Self {
        Self { trained: true, ..Self::of_training() }
    }

    /// # Errors
    /// When the projections have collapsed.
    pub fn hear(&mut self, spread: f64, step: u64) -> Result<()> {
        if !is_collapsed(spread) {
            self.rows = 0;
            if self.trained && spread >= HEALTHY_SPREAD {
                self.patience = 1;
            }
            return Ok(());
        }
        self.rows += 1;
        if self.rows < self.patience {
            return Ok(());
        }
        Err(Error::failed(format!(
            "step {step}: the representation has collapsed (all projections point the same way: spread {spread:.1e}, healthy is near 1)"
        )))
    }
}

pub fn is_collapsed(spread: f64) -> bool {
    spread < COLLAPSED_SPREAD
}

/// Mean over dimensions of the standard deviation of the unit-length rows of `[n, p]`, times sqrt(p); on their device.
pub fn spread(projections: &Tensor) -> Tensor {
    let p = projections.size()[1] as f64;
    unit_rows(&projections.detach()).std_dim([0i64].as_slice(), true, false).mean(Kind::Double) * p.sqrt()
}
