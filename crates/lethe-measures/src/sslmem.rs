//! SSLMem: Wang, Kaleem, Dziedzic, Backes, Papernot and Boenisch 2024, "Memorization in Self-Supervised Learning
//! Improves Downstream Generalization" (ICLR 2024, arXiv 2401.12233), definition 1, scaled as in its authors' code.

use crate::error::{MeasureError, Result};

/// How much nearer an encoder that was trained on images holds their views than one that was not.
#[derive(Debug, Clone, PartialEq)]
pub struct SslMem {
    /// One number an image: above 0 where the encoder that was trained on it is nearer.
    pub of_images: Vec<f64>,
}

impl SslMem {
    pub fn mean(&self) -> f64 {
        self.of_images.iter().sum::<f64>() / self.of_images.len() as f64
    }
}

/// (b - a) / (max - min) for every image, a its alignment distance under the encoder `with` that was trained on the
/// images, b that under the encoder `without`; max and min of b - a over the images.
///
/// An alignment distance is the mean over views (the authors take 5) of the Euclidean distance, not squared, between
/// the unit-length features of the image and of its view. The range is that of these images, so a mean compares only
/// with means over the same ones; one far image shrinks all others. Between -1 and 1, or beyond where all differences
/// have one sign.
///
/// `O(n)` time.
///
/// Known failures: the two encoders differ by seed as well as by the images, so images that neither has seen give the
/// zero to hold it to; needs a second training.
///
/// # Errors
/// Fewer than two images, another number of distances, a distance that is not finite or below 0 (its column is 0 for
/// `with` and 1 for `without`), or all differences the same.
pub fn sslmem(with: &[f64], without: &[f64]) -> Result<SslMem> {
    let (first, second) = (with.len(), without.len());
    if first != second {
        return Err(MeasureError::RowCounts { first, second });
    }
    if first < 2 {
        return Err(MeasureError::TooFewRows { rows: first, needed: 2 });
    }
    for (column, distances) in [with, without].into_iter().enumerate() {
        if let Some((row, &value)) = distances.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(MeasureError::NonFinite { row, column, value });
        }
        if let Some((row, &value)) = distances.iter().enumerate().find(|(_, value)| **value < 0.0) {
            return Err(MeasureError::Negative { row, column, value });
        }
    }
    let differences: Vec<f64> = without.iter().zip(with).map(|(without, with)| without - with).collect();
    let max = differences.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let min = differences.iter().copied().fold(f64::INFINITY, f64::min);
    let range = max - min;
    if range > 0.0 && range.is_finite() {
        Ok(SslMem { of_images: differences.iter().map(|difference| difference / range).collect() })
    } else {
        Err(MeasureError::NoVariance)
    }
}
