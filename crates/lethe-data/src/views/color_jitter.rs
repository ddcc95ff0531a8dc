//! Brightness, contrast, saturation and hue, in a random order: torchvision's `ColorJitter`.

use rand::RngExt;
use rand::seq::SliceRandom;

use super::grayscale::{luma, mean_luma};
use super::lanes::{LANES, by_planes, unit};
use crate::rng::Rng;

/// Strengths: a factor is uniform in `[max(0, 1 - s), 1 + s]`, the hue's shift in `[-hue, hue]`.
#[derive(Debug, Clone, Copy)]
pub struct ColorJitter {
    pub brightness: f32,
    pub contrast: f32,
    pub saturation: f32,
    /// A part of the colour circle, at most 0.5.
    pub hue: f32,
}

/// What was drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    /// A permutation of brightness (0), contrast (1), saturation (2), hue (3).
    pub order: [u8; 4],
    pub brightness: f32,
    pub contrast: f32,
    pub saturation: f32,
    pub hue: f32,
}

impl ColorJitter {
    pub fn draw(&self, rng: &mut Rng) -> Jitter {
        let mut order = [0, 1, 2, 3];
        order.shuffle(rng);
        let mut factor = |strength: f32| rng.random_range((1.0 - strength).max(0.0)..=1.0 + strength);
        Jitter {
            order,
            brightness: factor(self.brightness),
            contrast: factor(self.contrast),
            saturation: factor(self.saturation),
            hue: rng.random_range(-self.hue..=self.hue),
        }
    }
}

impl Jitter {
    pub fn apply(&self, pixels: &mut [f32]) {
        for step in self.order {
            match step {
                0 => adjust_brightness(pixels, self.brightness),
                1 => adjust_contrast(pixels, self.contrast),
                2 => adjust_saturation(pixels, self.saturation),
                _ => adjust_hue(pixels, self.hue),
            }
        }
    }
}

/// Scales all values.
pub fn adjust_brightness(pixels: &mut [f32], factor: f32) {
    for value in pixels {
        *value = unit(*value * factor);
    }
}

/// Moves all values from the image's mean luma (`factor` 0) through themselves (1) and beyond.
pub fn adjust_contrast(pixels: &mut [f32], factor: f32) {
    let rest = (1.0 - factor) * mean_luma(pixels);
    for value in pixels {
        *value = unit(*value * factor + rest);
    }
}

/// Moves each pixel from its luma (`factor` 0) through itself (1) and beyond.
pub fn adjust_saturation(pixels: &mut [f32], factor: f32) {
    by_planes(pixels, |planes| {
        for i in 0..LANES {
            let rest = (1.0 - factor) * luma(planes, i);
            for plane in planes.iter_mut() {
                plane[i] = unit(plane[i] * factor + rest);
            }
        }
    });
}

/// Turns the hue by `shift` of the colour circle, `-1/2..=1/2`; saturation and value (of HSV) stay.
///
/// Without the six cases of HSV: with the largest channel `v`, the range `c` of the channels and the hue `h` in sixths,
/// channel `n = 5, 3, 1` is `v - c clamp(min(k, 4 - k), 0, 1)`, `k = (n + h) mod 6`.
pub fn adjust_hue(pixels: &mut [f32], shift: f32) {
    let shift = shift * 6.0;
    by_planes(pixels, |[red, green, blue]| {
        for i in 0..LANES {
            let (r, g, b) = (red[i], green[i], blue[i]);
            let largest = larger(r, larger(g, b));
            let range = largest - smaller(r, smaller(g, b));
            let per_range = if range > 0.0 { 1.0 / range } else { 0.0 };
            let hue = if r == largest {
                (g - b) * per_range
            } else if g == largest {
                (b - r) * per_range + 2.0
            } else {
                (r - g) * per_range + 4.0
            };
            // In -1..5 plus -3..3; brought to 0..6.
            let hue = wrapped(wrapped_up(hue + shift));
            let channel = |n: f32| {
                let k = wrapped(n + hue);
                largest - range * unit(smaller(k, 4.0 - k))
            };
            (red[i], green[i], blue[i]) = (channel(5.0), channel(3.0), channel(1.0));
        }
    });
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// `-6..6` to `0..6`.
#[inline(always)]
fn wrapped_up(sixths: f32) -> f32 {
    sixths + if sixths < 0.0 { 6.0 } else { 0.0 }
}

/// `0..12` to `0..6`.
#[inline(always)]
fn wrapped(sixths: f32) -> f32 {
    sixths - if sixths >= 6.0 { 6.0 } else { 0.0 }
}
