//! Common corruptions: Hendrycks & Dietterich, arXiv 1903.12261, with the constants of CIFAR-10-C for images of 32
//! pixels (github.com/hendrycks/robustness, `make_cifar_c.py`). JPEG is left out: their encoder halves the colour planes.

use std::sync::Arc;

use image::RgbImage;
use rand_distr::{Distribution, Poisson, StandardNormal};

use super::spec::Settings;
use super::{Dataset, Encoding, Fault};
use crate::error::{Error, Result};
use crate::rng::{self, Purpose};

/// A random number that a corruption asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Law {
    /// Mean 0, deviation 1.
    Normal,
    Poisson {
        mean: f64,
    },
}

/// A way to corrupt an image.
pub struct Corruption {
    pub name: &'static str,
    corrupt: fn(&RgbImage, usize, &mut dyn FnMut(Law) -> f64) -> RgbImage,
}

impl Corruption {
    /// `image` at severity 1 to 5, with the random numbers of `draw`, in the order of the bytes.
    ///
    /// # Panics
    /// At another severity.
    pub fn apply(&self, image: &RgbImage, severity: usize, draw: &mut dyn FnMut(Law) -> f64) -> RgbImage {
        assert!((1..=5).contains(&severity), "severity {severity}");
        (self.corrupt)(image, severity - 1, draw)
    }
}

pub const CORRUPTIONS: &[Corruption] = &[
    Corruption { name: "gaussian-noise", corrupt: gaussian_noise },
    Corruption { name: "shot-noise", corrupt: shot_noise },
    Corruption { name: "defocus-blur", corrupt: |image, level, _| defocus_blur(image, level) },
    Corruption { name: "brightness", corrupt: |image, level, _| brightness(image, level) },
    Corruption { name: "contrast", corrupt: |image, level, _| contrast(image, level) },
    Corruption { name: "pixelate", corrupt: |image, level, _| pixelate(image, level) },
];

fn gaussian_noise(image: &RgbImage, level: usize, draw: &mut dyn FnMut(Law) -> f64) -> RgbImage {
    let deviation = [0.04, 0.06, 0.08, 0.09, 0.10][level];
    bytewise(image, |x| x + deviation * draw(Law::Normal))
}

fn shot_noise(image: &RgbImage, level: usize, draw: &mut dyn FnMut(Law) -> f64) -> RgbImage {
    let photons = [500.0, 250.0, 100.0, 75.0, 50.0][level];
    bytewise(image, |x| draw(Law::Poisson { mean: x * photons }) / photons)
}

fn bytewise(image: &RgbImage, mut change: impl FnMut(f64) -> f64) -> RgbImage {
    let mut changed = image.clone();
    changed.iter_mut().for_each(|byte| *byte = to_byte(change(f64::from(*byte) / 255.0)));
    changed
}

/// Cut off, not rounded, as NumPy makes bytes; but what rounding has put just below a whole number is that number.
fn to_byte(x: f64) -> u8 {
    (x.clamp(0.0, 1.0) * 255.0 + 1e-9) as u8
}

/// Adds to the value of HSV: hue and saturation stay, so the channels keep their ratios.
fn brightness(image: &RgbImage, level: usize) -> RgbImage {
    let more = [0.05, 0.1, 0.15, 0.2, 0.3][level];
    let mut changed = image.clone();
    for pixel in changed.pixels_mut() {
        let channels = pixel.0.map(|byte| f64::from(byte) / 255.0);
        let value = channels.into_iter().fold(0.0, f64::max);
        let brighter = f64::min(value + more, 1.0);
        pixel.0 = channels.map(|x| to_byte(brighter * if value > 0.0 { x / value } else { 1.0 }));
    }
    changed
}

fn contrast(image: &RgbImage, level: usize) -> RgbImage {
    let part = [0.75, 0.5, 0.4, 0.3, 0.15][level];
    let pixels = f64::from(image.width() * image.height());
    let mean = [0, 1, 2].map(|c| image.pixels().map(|pixel| f64::from(pixel.0[c]) / 255.0).sum::<f64>() / pixels);
    let mut changed = image.clone();
    for pixel in changed.pixels_mut() {
        pixel.0 = [0, 1, 2].map(|c| to_byte((f64::from(pixel.0[c]) / 255.0 - mean[c]) * part + mean[c]));
    }
    changed
}

/// A disk, softened at its edge, mirrored at the image's.
fn defocus_blur(image: &RgbImage, level: usize) -> RgbImage {
    let (radius, soft) = [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)][level];
    let kernel = soft_disk(radius, soft);
    let side = |at: u32, offset: i64, length: u32| {
        let last = i64::from(length) - 1;
        (last - (last - (i64::from(at) + offset).abs()).abs()).max(0) as u32
    };
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let mut sum = [0.0; 3];
        for &(dx, dy, weight) in &kernel {
            let pixel = image.get_pixel(side(x, dx, image.width()), side(y, dy, image.height()));
            sum.iter_mut().zip(pixel.0).for_each(|(sum, byte)| *sum += weight * (f64::from(byte) / 255.0));
        }
        image::Rgb(sum.map(to_byte))
    })
}

/// The weights of the pixels around: the disk blurred by a Gaussian of 3 x 3 pixels.
fn soft_disk(radius: f64, soft: f64) -> Vec<(i64, i64, f64)> {
    let inside = |x: i64, y: i64| ((x * x + y * y) as f64) <= radius * radius;
    let reach = || -2..=2;
    let around = || -1..=1;
    let area = reach().flat_map(|y| reach().map(move |x| (x, y))).filter(|&(x, y)| inside(x, y)).count() as f64;
    let bell = |offset: i64| (-0.5 * (offset as f64 / soft).powi(2)).exp();
    let total: f64 = around().map(bell).sum();
    let weight = |x: i64, y: i64| {
        let taps = around().flat_map(|dy| around().map(move |dx| (dx, dy)));
        let inside = taps.filter(|&(dx, dy)| inside(x + dx, y + dy));
        inside.map(|(dx, dy)| bell(dx) * bell(dy)).sum::<f64>() / (total * total * area)
    };
    reach().flat_map(|y| reach().map(move |x| (x, y))).map(|(x, y)| (x, y, weight(x, y))).collect()
}

/// To fewer pixels and back, each the mean of those whose centres it covers.
fn pixelate(image: &RgbImage, level: usize) -> RgbImage {
    let part = [0.95, 0.9, 0.85, 0.75, 0.65][level];
    let fewer = |length: u32| ((f64::from(length) * part) as u32).max(1);
    let small = box_rows(&box_columns(image, fewer(image.width())), fewer(image.height()));
    box_rows(&box_columns(&small, image.width()), image.height())
}

fn box_columns(image: &RgbImage, width: u32) -> RgbImage {
    RgbImage::from_fn(width, image.height(), |x, y| {
        mean(covered(x, image.width(), width).map(|column| image.get_pixel(column, y).0))
    })
}

fn box_rows(image: &RgbImage, height: u32) -> RgbImage {
    RgbImage::from_fn(image.width(), height, |x, y| {
        mean(covered(y, image.height(), height).map(|row| image.get_pixel(x, row).0))
    })
}

/// The old pixels whose centres lie in new pixel `at`, as Pillow's box filter has them.
fn covered(at: u32, old: u32, new: u32) -> std::ops::Range<u32> {
    let scale = f64::from(old) / f64::from(new);
    let (centre, reach) = ((f64::from(at) + 0.5) * scale, 0.5 * scale.max(1.0));
    let bound = |x: f64| (x + 0.5).max(0.0) as u32;
    let inside = |i: &u32| {
        let x = (f64::from(*i) - centre + 0.5) / scale.max(1.0);
        x > -0.5 && x <= 0.5
    };
    let range = bound(centre - reach)..bound(centre + reach).min(old);
    let first = range.clone().find(inside).unwrap_or(range.start);
    first..range.rev().find(inside).map_or(first + 1, |last| last + 1)
}

fn mean(pixels: impl ExactSizeIterator<Item = [u8; 3]>) -> image::Rgb<u8> {
    let count = pixels.len() as f64;
    let sum = pixels.fold([0.0; 3], |sum, pixel| [0, 1, 2].map(|c| sum[c] + f64::from(pixel[c])));
    image::Rgb(sum.map(|sum| (sum / count + 0.5) as u8))
}

/// The images of a data set, corrupted. What is drawn is a function of the seed and the image's place in the whole.
struct Corrupted {
    whole: Arc<dyn Dataset>,
    /// Image i has the kind i modulo their number.
    kinds: &'static [Corruption],
    severity: usize,
    seed: u64,
}

/// `whole`, corrupted where the settings ask for it: `corrupt=NAME` or `corrupt=all`, `severity=1..5`.
pub(super) fn wrap(whole: Arc<dyn Dataset>, shown: &str, settings: &Settings) -> Result<Arc<dyn Dataset>> {
    let severity = settings.get("severity", "1 to 5")?;
    let Some(name) = settings.get::<String>("corrupt", "a name")? else {
        return match severity {
            None => Ok(whole),
            Some(_) => Err(Error::usage(format!("{shown}: severity of what?")).hint("corrupt=NAME names it")),
        };
    };
    let kinds = match CORRUPTIONS.iter().position(|kind| kind.name == name) {
        Some(i) => &CORRUPTIONS[i..=i],
        None if name == "all" => CORRUPTIONS,
        None => {
            let names: Vec<&str> = CORRUPTIONS.iter().map(|kind| kind.name).collect();
            return Err(Error::usage(format!("{shown}: unknown corruption {name:?}"))
                .hint(format!("{}, or all: a kind an image in turn", names.join(", "))));
        }
    };
    let severity = severity.unwrap_or(3);
    if !(1..=5).contains(&severity) {
        return Err(Error::usage(format!("{shown}: severity is {severity}, expected 1 to 5")));
    }
    let seed = settings.get("seed", "a whole number")?.unwrap_or(0);
    Ok(Arc::new(Corrupted { whole, kinds, severity, seed }))
}

impl Dataset for Corrupted {
    fn len(&self) -> usize {
        self.whole.len()
    }

    fn image(&self, i: usize) -> std::result::Result<RgbImage, Fault> {
        let mut rng = rng::keyed(self.seed, Purpose::Corruption, 0, i as u64, 0);
        let mut draw = |law| match law {
            Law::Normal => StandardNormal.sample(&mut rng),
            Law::Poisson { mean } => Poisson::new(mean).map_or(0.0, |poisson| poisson.sample(&mut rng)),
        };
        Ok(self.kinds[i % self.kinds.len()].apply(&self.whole.image(i)?, self.severity, &mut draw))
    }

    fn name(&self, i: usize) -> String {
        self.whole.name(i)
    }

    fn encoding(&self, i: usize) -> Option<Encoding> {
        self.whole.encoding(i)
    }

    fn labels(&self) -> Option<&[u32]> {
        self.whole.labels()
    }

    fn classes(&self) -> &[String] {
        self.whole.classes()
    }

    fn normalization(&self) -> &'static str {
        self.whole.normalization()
    }
}
