//! A random part of an image at a fixed size: torchvision's `RandomResizedCrop`.

use image::RgbImage;
use rand::RngExt;

use super::resize::{Axis, Resizer};
use crate::rng::Rng;

/// The part's area is uniform in `scale` of the image's, the logarithm of its width over height in that of `ratio`.
#[derive(Debug, Clone, Copy)]
pub struct RandomResizedCrop {
    pub scale: (f64, f64),
    pub ratio: (f64, f64),
}

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropBox {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

impl RandomResizedCrop {
    /// torchvision's ratio, 3/4 to 4/3.
    pub fn with_scale(smallest: f64, largest: f64) -> Self {
        Self { scale: (smallest, largest), ratio: (3.0 / 4.0, 4.0 / 3.0) }
    }

    /// Tries ten times for a part that fits, then takes the middle at the nearest allowed ratio.
    pub fn draw(&self, width: u32, height: u32, rng: &mut Rng) -> CropBox {
        let area = f64::from(width) * f64::from(height);
        let log_ratio = (self.ratio.0.ln(), self.ratio.1.ln());
        for _ in 0..10 {
            let target_area = area * rng.random_range(self.scale.0..=self.scale.1);
            let ratio = rng.random_range(log_ratio.0..=log_ratio.1).exp();
            let w = (target_area * ratio).sqrt().round_ties_even() as u32;
            let h = (target_area / ratio).sqrt().round_ties_even() as u32;
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let top = rng.random_range(0..=height - h);
                let left = rng.random_range(0..=width - w);
                return CropBox { left, top, width: w, height: h };
            }
        }
        let ratio = f64::from(width) / f64::from(height);
        let (w, h) = if ratio < self.ratio.0 {
            (width, (f64::from(width) / self.ratio.0).round_ties_even() as u32)
        } else if ratio > self.ratio.1 {
            ((f64::from(height) * self.ratio.1).round_ties_even() as u32, height)
        } else {
            (width, height)
        };
        let (w, h) = (w.clamp(1, width), h.clamp(1, height));
        CropBox { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
    }
}

/// The part `crop` of `image` resized to `out` `[height, width, 3]`: bicubic (a = -1/2), anti-aliased, clamped to `[0, 1]`
/// as torchvision does for byte images.
pub fn resized_crop(
    image: &RgbImage,
    crop: CropBox,
    width: usize,
    height: usize,
    resizer: &mut Resizer,
    out: &mut [f32],
) {
    let CropBox { left, top, .. } = crop;
    resizer.resize(image, (left, top), &Axis::whole(crop.width, width), &Axis::whole(crop.height, height), out);
}

/// The shorter side resized to `side`, and the middle of the longer one: torchvision's `Resize` and `CenterCrop`.
pub fn resize_and_centre_crop(image: &RgbImage, side: usize, resizer: &mut Resizer, out: &mut [f32]) {
    let shorter = image.width().min(image.height()) as usize;
    let middle = |before: u32| {
        let after = side * before as usize / shorter;
        let start = ((after - side) as f64 / 2.0).round_ties_even() as usize;
        Axis { before, after, kept: start..start + side }
    };
    resizer.resize(image, (0, 0), &middle(image.width()), &middle(image.height()), out);
}
