//! ITU-R 601 luma, as torchvision's `rgb_to_grayscale`.

use super::lanes::{LANES, Planes, by_planes};

const RED: f32 = 0.2989;
const GREEN: f32 = 0.587;
const BLUE: f32 = 0.114;

#[inline(always)]
pub(super) fn luma([red, green, blue]: &Planes, i: usize) -> f32 {
    RED * red[i] + GREEN * green[i] + BLUE * blue[i]
}

/// Sets all three channels to the luma.
pub fn grayscale(pixels: &mut [f32]) {
    by_planes(pixels, |planes| {
        for i in 0..LANES {
            let grey = luma(planes, i);
            for plane in planes.iter_mut() {
                plane[i] = grey;
            }
        }
    });
}

/// The mean luma, which is the luma of the mean colour.
pub(super) fn mean_luma(pixels: &[f32]) -> f32 {
    // Twelve floats are four whole pixels; sixteen such groups are summed before float rounding could matter.
    let mut sums = [0.0f64; 12];
    for group in pixels.chunks(12 * 16) {
        let mut part = [0.0f32; 12];
        let (whole, rest) = group.as_chunks::<12>();
        for twelve in whole {
            for (sum, value) in part.iter_mut().zip(twelve) {
                *sum += value;
            }
        }
        for (sum, value) in part.iter_mut().zip(rest) {
            *sum += value;
        }
        for (sum, value) in sums.iter_mut().zip(part) {
            *sum += f64::from(value);
        }
    }
    let channel = |c: usize| sums[c] + sums[c + 3] + sums[c + 6] + sums[c + 9];
    let total = f64::from(RED) * channel(0) + f64::from(GREEN) * channel(1) + f64::from(BLUE) * channel(2);
    (total / (pixels.len() / 3) as f64) as f32
}
