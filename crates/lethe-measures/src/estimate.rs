//! A number with its interval.

/// A number and the two ends of the interval around it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    /// `value` give or take `width`.
    pub(crate) fn around(value: f64, width: f64) -> Self {
        Self { value, low: value - width, high: value + width }
    }

    /// The same, with its ends cut to `least` and `most`.
    pub(crate) fn within(self, least: f64, most: f64) -> Self {
        Self { value: self.value, low: self.low.max(least), high: self.high.min(most) }
    }
}
