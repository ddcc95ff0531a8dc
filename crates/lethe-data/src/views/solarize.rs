//! Bright values inverted: torchvision's `solarize`.

/// 128 of 255, as Pillow and lightly have it.
pub(super) const THRESHOLD: f32 = 128.0 / 255.0;

/// Inverts every value of at least `threshold`.
pub fn solarize(pixels: &mut [f32], threshold: f32) {
    for value in pixels {
        *value = if *value >= threshold { 1.0 - *value } else { *value };
    }
}
