//! Bicubic resizing with anti-aliasing, as Pillow and torchvision do it: Keys' kernel with a = -1/2, widened by the
//! scale when shrinking, its weights normalised at the edges.
//!
//! One pass resizes the rows' axis and exchanges the axes; run twice it resizes both, and every inner loop is a weighted
//! sum of whole rows.

use std::ops::Range;

use image::RgbImage;

use super::lanes::unit;

/// Buffers that are used again.
#[derive(Debug, Default)]
pub struct Resizer {
    rows: Taps,
    columns: Taps,
    half: Vec<f32>,
    sum: Vec<f32>,
}

/// An axis: `before` positions become `after`, of which those in `kept` are wanted.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) before: u32,
    pub(super) after: usize,
    pub(super) kept: Range<usize>,
}

impl Axis {
    pub(super) fn whole(before: u32, after: usize) -> Self {
        Self { before, after, kept: 0..after }
    }
}

impl Resizer {
    /// Writes what is kept of the part of `image` that begins at (`left`, `top`), resized along both axes and clamped to
    /// `[0, 1]`, to `out` `[height, width, 3]`.
    pub(super) fn resize(
        &mut self,
        image: &RgbImage,
        (left, top): (u32, u32),
        columns: &Axis,
        rows: &Axis,
        out: &mut [f32],
    ) {
        let height = rows.kept.len();
        self.rows.set(rows, 1.0 / 255.0);
        self.columns.set(columns, 1.0);
        // Columns that nothing kept is made of are left out from the start.
        let needed = self.columns.needed();
        let stride = 3 * image.width() as usize;
        let first = stride * top as usize + 3 * (left as usize + needed.start);
        self.half.resize(3 * needed.len() * height, 0.0);

        pass(image.as_raw(), first, stride, needed.len(), &self.rows, &mut self.sum, &mut self.half);
        self.columns.begin_at(needed.start);
        pass(&self.half, 0, 3 * height, height, &self.columns, &mut self.sum, out);
        for value in out {
            *value = unit(*value);
        }
    }
}

/// For each position along an axis after resizing, the positions before that it is a weighted sum of.
#[derive(Debug, Default)]
struct Taps {
    /// First position and number of weights.
    ranges: Vec<(usize, usize)>,
    weights: Vec<f32>,
}

impl Taps {
    /// The weights of a position sum to `total`.
    fn set(&mut self, axis: &Axis, total: f64) {
        self.ranges.clear();
        self.weights.clear();
        let before = axis.before as usize;
        let scale = before as f64 / axis.after as f64;
        let widening = scale.max(1.0);
        let reach = 2.0 * widening;
        for position in axis.kept.clone() {
            let centre = scale * (position as f64 + 0.5);
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(before);
            let weight = |i: usize| keys((i as f64 - centre + 0.5) / widening);
            let sum: f64 = (first..end).map(weight).sum();
            self.ranges.push((first, end - first));
            self.weights.extend((first..end).map(|i| (weight(i) * total / sum) as f32));
        }
    }

    /// The positions before that any weight belongs to.
    fn needed(&self) -> Range<usize> {
        let start = self.ranges.first().map_or(0, |(first, _)| *first);
        start..self.ranges.last().map_or(0, |(first, count)| first + count)
    }

    /// Counts the positions before from `start`.
    fn begin_at(&mut self, start: usize) {
        self.ranges.iter_mut().for_each(|(first, _)| *first -= start);
    }
}

/// Keys' cubic kernel with a = -1/2 (Catmull-Rom).
fn keys(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Resizes the rows' axis of an image and exchanges the axes: `[before, width, 3]` to `[width, after, 3]`. Row `i` of
/// the source begins at `first + i * stride`.
fn pass<T: Copy + Into<f32>>(
    source: &[T],
    first: usize,
    stride: usize,
    width: usize,
    taps: &Taps,
    sum: &mut Vec<f32>,
    out: &mut [f32],
) {
    let after = taps.ranges.len();
    sum.resize(3 * width, 0.0);
    let mut weights = taps.weights.as_slice();
    for (position, &(start, count)) in taps.ranges.iter().enumerate() {
        let (row_weights, rest) = weights.split_at(count);
        weights = rest;
        sum.fill(0.0);
        for (i, &weight) in row_weights.iter().enumerate() {
            let row = &source[first + (start + i) * stride..][..3 * width];
            for (sum, &value) in sum.iter_mut().zip(row) {
                *sum += weight * value.into();
            }
        }
        let (pixels, _) = sum.as_chunks::<3>();
        for (column, pixel) in pixels.iter().enumerate() {
            out[3 * (column * after + position)..][..3].copy_from_slice(pixel);
        }
    }
}
