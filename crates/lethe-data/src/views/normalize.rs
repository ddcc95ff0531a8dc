//! Mean and standard deviation of the channels of a data set.

use crate::error::{Error, Result};

/// Per-channel mean and standard deviation of values in `[0, 1]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalize {
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

/// The names that `--normalize` takes. ImageNet's are torchvision's, the small sets' solo-learn's, Tiny
/// ImageNet's those of W-MSE's authors, those of `shapes` and `dead-leaves` are measured on the default 2,000 images.
pub const NORMALIZATIONS: &[(&str, Normalize)] = &[
    ("cifar10", Normalize { mean: [0.4914, 0.4822, 0.4465], std: [0.2470, 0.2435, 0.2616] }),
    ("cifar100", Normalize { mean: [0.5071, 0.4865, 0.4409], std: [0.2673, 0.2564, 0.2762] }),
    ("stl10", Normalize { mean: [0.4914, 0.4823, 0.4466], std: [0.247, 0.243, 0.261] }),
    ("tiny-imagenet", Normalize { mean: [0.480, 0.448, 0.398], std: [0.277, 0.269, 0.282] }),
    ("imagenet", Normalize { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }),
    ("shapes", Normalize { mean: [0.385, 0.369, 0.368], std: [0.193, 0.167, 0.186] }),
    ("dead-leaves", Normalize { mean: [0.502, 0.501, 0.500], std: [0.238, 0.238, 0.238] }),
    ("none", Normalize { mean: [0.0; 3], std: [1.0; 3] }),
];

impl Normalize {
    pub fn named(name: &str) -> Result<Self> {
        NORMALIZATIONS.iter().find(|(known, _)| *known == name).map(|(_, normalize)| *normalize).ok_or_else(|| {
            let names: Vec<&str> = NORMALIZATIONS.iter().map(|(name, _)| *name).collect();
            Error::usage(format!("{name}: unknown normalization, expected one of {}", names.join(", ")))
        })
    }

    /// Writes `(pixels - mean) / std` to `out`, both `[.., 3]`.
    pub fn write(&self, pixels: &[f32], out: &mut [f32]) {
        // Twelve floats are four whole pixels and a whole number of vectors.
        let scale: [f32; 12] = std::array::from_fn(|i| 1.0 / self.std[i % 3]);
        let mean: [f32; 12] = std::array::from_fn(|i| self.mean[i % 3]);
        for (out, pixels) in out.chunks_mut(12).zip(pixels.chunks(12)) {
            for (((out, pixel), mean), scale) in out.iter_mut().zip(pixels).zip(&mean).zip(&scale) {
                *out = (pixel - mean) * scale;
            }
        }
    }
}
