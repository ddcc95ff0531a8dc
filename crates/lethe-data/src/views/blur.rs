//! Gaussian blur: torchvision's `gaussian_blur` with a kernel of three standard deviations to each side.
//!
//! lightly and solo-learn blur with Pillow, which has no kernel size: it runs three box filters that together reach about
//! as far.

use rand::RngExt;

use crate::rng::Rng;

/// The standard deviation is uniform in this range, in pixels.
#[derive(Debug, Clone, Copy)]
pub struct Blur {
    pub sigma: (f32, f32),
}

impl Blur {
    pub fn draw(&self, rng: &mut Rng) -> f32 {
        rng.random_range(self.sigma.0..=self.sigma.1)
    }
}

/// Blurs `[side, side, 3]` pixels in place, mirrored at the edges (without repeating the edge itself). The kernel's size
/// is `2 min(ceil(3 sigma), side - 1) + 1`.
pub fn gaussian_blur(pixels: &mut [f32], side: usize, sigma: f32, spare: &mut Vec<f32>) {
    let radius = ((3.0 * sigma).ceil() as usize).min(side - 1);
    let width = 3 * side;
    // The scratch: the kernel, one row with its mirrored margins, the image blurred along its rows.
    let taps = 2 * radius + 1;
    let margins = 6 * radius;
    spare.resize(taps + width + margins + pixels.len(), 0.0);
    let (kernel, rest) = spare.split_at_mut(taps);
    let (padded, blurred) = rest.split_at_mut(width + margins);

    for (i, weight) in kernel.iter_mut().enumerate() {
        let x = (i as f32 - radius as f32) / sigma;
        *weight = (-0.5 * x * x).exp();
    }
    let total: f32 = kernel.iter().sum();
    kernel.iter_mut().for_each(|weight| *weight /= total);

    for (row, out) in pixels.chunks_exact(width).zip(blurred.chunks_exact_mut(width)) {
        padded[3 * radius..][..width].copy_from_slice(row);
        for i in 1..=radius {
            padded[3 * (radius - i)..][..3].copy_from_slice(&row[3 * i..][..3]);
            padded[3 * (radius + side - 1 + i)..][..3].copy_from_slice(&row[3 * (side - 1 - i)..][..3]);
        }
        weighted_sum(out, kernel, |tap| &padded[3 * tap..]);
    }
    for (y, out) in pixels.chunks_exact_mut(width).enumerate() {
        weighted_sum(out, kernel, |tap| &blurred[width * mirrored(y + tap, radius, side)..]);
    }
}

/// `out = sum of kernel[tap] * row(tap)`.
fn weighted_sum<'a>(out: &mut [f32], kernel: &[f32], row: impl Fn(usize) -> &'a [f32]) {
    out.fill(0.0);
    for (tap, &weight) in kernel.iter().enumerate() {
        for (sum, value) in out.iter_mut().zip(row(tap)) {
            *sum += weight * value;
        }
    }
}

/// The row that stands at `position - radius` when the image is continued by its mirror image.
fn mirrored(position: usize, radius: usize, side: usize) -> usize {
    if position < radius {
        radius - position
    } else if position - radius >= side {
        2 * (side - 1) - (position - radius)
    } else {
        position - radius
    }
}
