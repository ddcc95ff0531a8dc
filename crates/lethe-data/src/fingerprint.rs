//! What is kept of an image to find it again: a digest of its pixels, a perceptual hash, and a thumbnail.
//!
//! The digest finds exact copies. Of pictures that were saved again or enlarged the hash proposes pairs, and the
//! thumbnails confirm them. The hash has the signs of the low waves of the luminance (Zauner, Implementation and
//! Benchmarking of Perceptual Image Hash Functions, 2010, whose median is zero here). The limits were set on CIFAR-10:
//! 10,000 images saved again as JPEG of quality 95 or 75 or enlarged are all within them, and of the 500 million pairs
//! of its training and test images 9 are, which show one photograph each.

use std::sync::LazyLock;

use image::RgbImage;
use sha2::{Digest, Sha256};

/// Of a thumbnail, in pixels.
pub const SIDE: usize = 16;
/// Waves along an axis whose signs the hash holds.
const WAVES: usize = 8;
/// Waves along an axis that two pictures of one light and one slope of colour share: they confirm nothing.
const SLOW: usize = 2;

/// Most of the 63 bits in which the hashes of copies differ.
const MOST_BITS: u32 = 10;
/// Largest root mean square of the differences between thumbnails of copies, of 255 levels.
const LARGEST_DIFFERENCE: f64 = 12.0;
/// Least correlation of what is fine in thumbnails of copies.
const LEAST_CORRELATION: f64 = 0.9;
/// Least root mean square of what is fine in a thumbnail, in levels: below it only equal pixels are a copy.
const LEAST_FINE: f64 = 2.0;

/// SHA-256 of width and height (32 bits each, the low byte first) and the RGB bytes row by row: a function of the
/// decoded pixels alone.
pub fn digest(image: &RgbImage) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(image.width().to_le_bytes());
    hasher.update(image.height().to_le_bytes());
    hasher.update(image.as_raw());
    hasher.finalize().into()
}

/// 816 bytes an image.
#[derive(Debug, Clone)]
pub struct Fingerprint {
    pub digest: [u8; 32],
    /// Signs of the waves (row, column) of the luminance, bit 8 row + column; bit 0 is not used.
    pub hash: u64,
    /// `[16, 16, 3]`, the means of areas.
    pub thumbnail: [u8; 3 * SIDE * SIDE],
}

/// How alike two images are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likeness {
    /// Bits in which the hashes differ.
    pub bits: u32,
    /// Root mean square of the differences between the thumbnails, in levels.
    pub difference: f64,
    /// Of what is fine in the thumbnails; 0 where either has too little of it.
    pub correlation: f64,
}

impl Likeness {
    /// Whether they are one picture, saved again or enlarged.
    pub fn is_copy(&self) -> bool {
        self.bits <= MOST_BITS && self.difference <= LARGEST_DIFFERENCE && self.correlation >= LEAST_CORRELATION
    }
}

impl Fingerprint {
    pub fn of(image: &RgbImage) -> Self {
        let thumbnail = thumbnail(image);
        Self { digest: digest(image), hash: hash(&thumbnail), thumbnail }
    }

    pub fn likeness(&self, other: &Self) -> Likeness {
        let levels = |print: &Self| print.thumbnail.map(f64::from);
        let (a, b) = (levels(self), levels(other));
        let mean = |sum: f64| sum / a.len() as f64;
        let difference = mean(a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum()).sqrt();
        let (a, b) = (fine(&a), fine(&b));
        let product = |a: &[f64], b: &[f64]| mean(a.iter().zip(b).map(|(a, b)| a * b).sum());
        let (size_a, size_b) = (product(&a, &a).sqrt(), product(&b, &b).sqrt());
        let correlation = if size_a.min(size_b) < LEAST_FINE { 0.0 } else { product(&a, &b) / (size_a * size_b) };
        Likeness { bits: (self.hash ^ other.hash).count_ones(), difference, correlation }
    }

    /// Whether both are one picture, but not of equal pixels. The thumbnails are looked at where the hashes propose it.
    pub fn is_near(&self, other: &Self) -> bool {
        proposes(self.hash, other.hash) && self.likeness(other).is_copy()
    }
}

/// Whether two hashes may be those of copies.
pub(crate) fn proposes(a: u64, b: u64) -> bool {
    (a ^ b).count_ones() <= MOST_BITS
}

/// Orthonormal cosines (DCT-II), `[wave][place]`.
static COSINES: LazyLock<[[f64; SIDE]; WAVES]> = LazyLock::new(|| {
    let side = SIDE as f64;
    std::array::from_fn(|wave| {
        let size = if wave == 0 { 1.0 / side } else { 2.0 / side }.sqrt();
        std::array::from_fn(|place| size * (std::f64::consts::PI * wave as f64 * (place as f64 + 0.5) / side).cos())
    })
});

/// How much of a wave a plane of `[16, 16]` values holds, given by place.
fn wave(row: usize, column: usize, value: impl Fn(usize, usize) -> f64) -> f64 {
    let (rows, columns) = (&COSINES[row], &COSINES[column]);
    let along = |y: usize| (0..SIDE).map(|x| columns[x] * value(y, x)).sum::<f64>();
    (0..SIDE).map(|y| rows[y] * along(y)).sum()
}

fn hash(thumbnail: &[u8]) -> u64 {
    let light = |y: usize, x: usize| {
        let [red, green, blue] = [0, 1, 2].map(|c| f64::from(thumbnail[3 * (SIDE * y + x) + c]));
        0.299 * red + 0.587 * green + 0.114 * blue
    };
    let bits = (1..WAVES * WAVES).filter(|bit| wave(bit / WAVES, bit % WAVES, light) > 0.0);
    bits.fold(0, |hash, bit| hash | 1 << bit)
}

/// A thumbnail without its slow waves.
fn fine(levels: &[f64]) -> Vec<f64> {
    let mut fine = levels.to_vec();
    for slow in 0..SLOW * SLOW * 3 {
        let (row, column, channel) = (slow / 3 / SLOW, slow / 3 % SLOW, slow % 3);
        let size = wave(row, column, |y, x| levels[3 * (SIDE * y + x) + channel]);
        for place in 0..SIDE * SIDE {
            fine[3 * place + channel] -= size * COSINES[row][place / SIDE] * COSINES[column][place % SIDE];
        }
    }
    fine
}

/// Means of areas, rounded; in whole numbers, so that it is the same on every machine.
fn thumbnail(image: &RgbImage) -> [u8; 3 * SIDE * SIDE] {
    let stride = 3 * image.width() as usize;
    let (rows, columns) = (areas(image.height()), areas(image.width()));
    let area = u64::from(image.width()) * u64::from(image.height());
    let mut thumbnail = [0; 3 * SIDE * SIDE];
    let mut sums = vec![0u32; stride];
    for (covered, out) in rows.iter().zip(thumbnail.chunks_exact_mut(3 * SIDE)) {
        sums.fill(0);
        for &(y, part) in covered {
            let row = &image.as_raw()[stride * y..][..stride];
            sums.iter_mut().zip(row).for_each(|(sum, &byte)| *sum += part * u32::from(byte));
        }
        for (covered, pixel) in columns.iter().zip(out.chunks_exact_mut(3)) {
            for (channel, byte) in pixel.iter_mut().enumerate() {
                let sum: u64 =
                    covered.iter().map(|&(x, part)| u64::from(part) * u64::from(sums[3 * x + channel])).sum();
                *byte = ((2 * sum + area) / (2 * area)) as u8;
            }
        }
    }
    thumbnail
}

/// For each of the 16 equal parts of an axis of `length` pixels: the pixels that it covers, and how many sixteenths of
/// each; together they are `length`.
fn areas(length: u32) -> [Vec<(usize, u32)>; SIDE] {
    let length = length as usize;
    std::array::from_fn(|part| {
        let (start, end) = (part * length, (part + 1) * length);
        let covered = |pixel: usize| (end.min((pixel + 1) * SIDE) - start.max(pixel * SIDE)) as u32;
        (start / SIDE..end.div_ceil(SIDE)).map(|pixel| (pixel, covered(pixel))).collect()
    })
}
