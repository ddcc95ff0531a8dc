//! In what the files of two sides differ: format, size or compression alone can make a gap between them.

use std::collections::BTreeSet;
use std::fmt;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::sources::{Dataset, Encoding};

/// So many images of a side are looked at, evenly spread.
const LOOKED_AT: usize = 256;
/// Least distance between the distributions of two sides that is told.
const LEAST: f64 = 0.25;
/// That of Kolmogorov and Smirnov which two samples of one distribution exceed in one of 1,000 cases, times the root of
/// n m / (n + m).
const BY_CHANCE: f64 = 1.95;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Of {
    Format,
    /// In pixels.
    Size,
    /// The quality of JPEG.
    Compression,
}

/// One thing in which two sides differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub of: Of,
    /// What the training images have, in words: `jpeg`, `32x32 pixels`, `JPEG of quality 95`.
    pub train: String,
    pub unseen: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "training images are {}, unseen ones {}", self.train, self.unseen)
    }
}

/// In what `train` and `unseen` differ as files; nothing where they are alike. Heads of files are read, of 256 images a
/// side at most.
pub fn differences(train: &dyn Dataset, unseen: &dyn Dataset) -> Vec<Difference> {
    let sides = [train, unseen].map(encodings);
    if sides.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut tell = |of: Of, [train, unseen]: [String; 2]| found.push(Difference { of, train, unseen });

    let formats: BTreeSet<&str> = sides.iter().flatten().map(|encoding| encoding.format.as_str()).collect();
    let is = |format: &str| sides.each_ref().map(|side| values(side, |e| Some(u64::from(e.format == format))));
    if formats.iter().any(|format| differ(&is(format))) {
        tell(Of::Format, sides.each_ref().map(|side| usual_formats(side)));
    }
    let pixels = |e: &Encoding| Some(u64::from(e.width) * u64::from(e.height));
    let width = |e: &Encoding| Some(u64::from(e.width));
    if [&pixels as &dyn Fn(&Encoding) -> Option<u64>, &width]
        .iter()
        .any(|of| differ(&sides.each_ref().map(|side| values(side, of))))
    {
        tell(Of::Size, sides.each_ref().map(|side| usual_size(side)));
    }
    let quality = sides.each_ref().map(|side| values(side, |e| e.jpeg_quality.map(u64::from)));
    if differ(&quality) {
        tell(Of::Compression, quality.map(|values| format!("JPEG of quality {}", values[values.len() / 2])));
    }
    found
}

fn encodings(data: &dyn Dataset) -> Vec<Encoding> {
    let looked_at = data.len().min(LOOKED_AT);
    (0..looked_at).into_par_iter().filter_map(|i| data.encoding(i * data.len() / looked_at)).collect()
}

/// In order.
fn values(side: &[Encoding], of: impl Fn(&Encoding) -> Option<u64>) -> Vec<u64> {
    let mut values: Vec<u64> = side.iter().filter_map(of).collect();
    values.sort_unstable();
    values
}

/// Whether two samples, in order, are further apart than chance and [`LEAST`]: the largest distance between their
/// distribution functions.
fn differ([a, b]: &[Vec<u64>; 2]) -> bool {
    let (n, m) = (a.len() as f64, b.len() as f64);
    if a.is_empty() || b.is_empty() {
        return false;
    }
    let below = |values: &[u64], bound: u64| values.partition_point(|&value| value <= bound) as f64;
    let distance = a.iter().chain(b).map(|&bound| (below(a, bound) / n - below(b, bound) / m).abs());
    distance.fold(0.0, f64::max) >= LEAST.max(BY_CHANCE * ((n + m) / (n * m)).sqrt()).min(1.0)
}

/// The formats with their shares: `jpeg`, `jpeg (60 %), png (40 %)`.
fn usual_formats(side: &[Encoding]) -> String {
    let formats: BTreeSet<&str> = side.iter().map(|encoding| encoding.format.as_str()).collect();
    let share = |format: &&str| {
        let of_format = side.iter().filter(|encoding| encoding.format == **format).count();
        format!("{format} ({:.0} %)", 100.0 * of_format as f64 / side.len() as f64)
    };
    match formats.first() {
        Some(only) if formats.len() == 1 => (*only).to_owned(),
        _ => formats.iter().map(share).collect::<Vec<_>>().join(", "),
    }
}

/// The size with the median number of pixels.
fn usual_size(side: &[Encoding]) -> String {
    let mut sizes: Vec<(u32, u32)> = side.iter().map(|encoding| (encoding.width, encoding.height)).collect();
    sizes.sort_unstable_by_key(|&(width, height)| (u64::from(width) * u64::from(height), width));
    let (width, height) = sizes[sizes.len() / 2];
    let several = if sizes.iter().any(|size| *size != sizes[0]) { " and others" } else { "" };
    format!("{width}x{height} pixels{several}")
}
