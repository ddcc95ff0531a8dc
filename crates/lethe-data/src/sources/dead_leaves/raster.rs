//! Leaves to pixels, from the top of the pile down, so that a pixel is painted about once. Edges are soft over one pixel.

use std::f32::consts::{PI, TAU};
use std::ops::Range;

use image::{Rgb, RgbImage};
use rand::RngExt;

use super::Outline;
use crate::rng::Rng;

/// Leaves of an image; below them lies a last one that has no outline.
const LEAVES: usize = 80;

/// Half the length of a leaf, in halves of the image's side; drawn with a density r^-3.
const RADIUS: Range<f32> = 0.3..0.8;

/// Width of a leaf over its length.
const ASPECT: Range<f32> = 0.4..1.0;

/// The largest strength of a texture.
const TEXTURE: f32 = 0.3;

/// Waves of a texture.
const WAVES: usize = 3;

/// Periods of a wave across half the image, drawn evenly in octaves.
const PERIODS: Range<f32> = 1.0..8.0;

/// A pixel is covered when less than this share of what lies below shows.
const OPEN: f32 = 1.0 / 512.0;

/// The image of these random numbers, `size` x `size` pixels.
pub(super) fn draw(outline: Outline, rng: &mut Rng, size: u32) -> RgbImage {
    let side = size as usize;
    let pixel = 2.0 / size as f32;
    let centre = |i: usize| (i as f32 + 0.5) * pixel - 1.0;
    let mut sum = vec![[0.0f32; 3]; side * side];
    let mut open = vec![1.0f32; side * side];
    for layer in 0..=LEAVES {
        let leaf = Leaf::drawn(rng);
        let ground = layer == LEAVES;
        let reach = |at: f32| {
            if ground {
                return 0..side;
            }
            let first = ((at - leaf.radius + 1.0) / pixel - 1.0).max(0.0) as usize;
            let last = ((at + leaf.radius + 1.0) / pixel + 2.0).clamp(0.0, size as f32) as usize;
            first.min(last)..last
        };
        for row in reach(leaf.y) {
            let y = centre(row);
            for column in reach(leaf.x) {
                let i = row * side + column;
                if open[i] < OPEN {
                    continue;
                }
                let x = centre(column);
                let cover = if ground { 1.0 } else { (0.5 - leaf.distance(outline, x, y) / pixel).clamp(0.0, 1.0) };
                if cover > 0.0 {
                    let texture = leaf.texture(x, y);
                    for ((sum, colour), tint) in sum[i].iter_mut().zip(leaf.colour).zip(leaf.tint) {
                        *sum += open[i] * cover * (colour + texture * tint).clamp(0.0, 1.0);
                    }
                    open[i] *= 1.0 - cover;
                }
            }
        }
    }
    RgbImage::from_fn(size, size, |column, row| {
        Rgb(sum[row as usize * side + column as usize].map(|value| (value.min(1.0) * 255.0).round() as u8))
    })
}

/// Red, green and blue, more different in brightness than in hue, as in photographs.
fn colour(rng: &mut Rng) -> [f32; 3] {
    let grey: f32 = rng.random_range(0.1..0.9);
    std::array::from_fn(|_| (grey + 0.3 * (rng.random::<f32>() + rng.random::<f32>() - 1.0)).clamp(0.0, 1.0))
}

/// A plane wave: its phase at the image's centre, how it grows to the right and down in radians, and its amplitude.
struct Wave {
    phase: f32,
    right: f32,
    down: f32,
    amplitude: f32,
}

/// Places and lengths are in halves of the image's side, from -1 to 1.
struct Leaf {
    x: f32,
    y: f32,
    radius: f32,
    sin: f32,
    cos: f32,
    aspect: f32,
    colour: [f32; 3],
    /// What the texture adds to each channel where its waves sum to one.
    tint: [f32; 3],
    waves: [Wave; WAVES],
}

impl Leaf {
    fn drawn(rng: &mut Rng) -> Self {
        // The inverse of the distribution function.
        let (least, most) = (RADIUS.start.powi(-2), RADIUS.end.powi(-2));
        let radius = (least - rng.random::<f32>() * (least - most)).powf(-0.5);
        let mut place = || rng.random_range(-1.0 - radius..1.0 + radius);
        let (x, y) = (place(), place());
        let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
        let aspect = rng.random_range(ASPECT);
        let colour = colour(rng);
        let strength = TEXTURE * rng.random::<f32>();
        let tint = std::array::from_fn(|_| strength * rng.random_range(0.3..1.0));
        // The waves of a leaf run about one way, so that textures differ in direction too.
        let along = rng.random_range(0.0..PI);
        let waves = std::array::from_fn(|_| {
            let periods = PERIODS.start * (PERIODS.end / PERIODS.start).powf(rng.random::<f32>());
            let (down, right) = (along + rng.random_range(-0.5..0.5f32)).sin_cos();
            let rate = TAU * periods;
            Wave { phase: rng.random_range(0.0..TAU), right: rate * right, down: rate * down, amplitude: 1.0 / periods }
        });
        Self { x, y, radius, sin, cos, aspect, colour, tint, waves }
    }

    /// The signed distance to the outline or a bound of it, negative inside.
    fn distance(&self, outline: Outline, x: f32, y: f32) -> f32 {
        let (dx, dy) = (x - self.x, y - self.y);
        let along = (self.cos * dx + self.sin * dy) / self.radius;
        let across = (self.cos * dy - self.sin * dx) / (self.radius * self.aspect);
        let distance = match outline {
            Outline::Ellipse => along.hypot(across) - 1.0,
            Outline::Rectangle => along.abs().max(across.abs()) - 0.75,
            Outline::Triangle => (across - 0.5).max(0.866 * along.abs() - 0.5 * across - 0.5),
            Outline::Star => {
                let turn = across.atan2(along) * 5.0 / TAU;
                let off = 2.0 * (turn - turn.round()).abs(); // 0 at a point, 1 in a dent
                0.6 * (along.hypot(across) - 1.0 + 0.6 * off)
            }
            Outline::Ring => (along.hypot(across) - 0.7).abs() - 0.3,
        };
        distance * self.radius * self.aspect
    }

    fn texture(&self, x: f32, y: f32) -> f32 {
        self.waves.iter().map(|wave| wave.amplitude * (wave.phase + wave.right * x + wave.down * y).sin()).sum()
    }
}
