//! Random views of an image: a recipe is a list of steps a view, one file an operation.
//!
//! Every operation is a drawing of parameters, with torchvision's ranges, and a pure function of the image and what was
//! drawn, equal to `torchvision.transforms.v2.functional` on float images. Images are interleaved `[height, width, 3]`
//! f32 in `[0, 1]`.

mod blur;
mod color_jitter;
mod crop;
mod flip;
mod grayscale;
mod lanes;
mod normalize;
mod recipes;
mod resize;
mod solarize;

pub use blur::{Blur, gaussian_blur};
pub use color_jitter::{ColorJitter, Jitter, adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation};
pub use crop::{CropBox, RandomResizedCrop, resize_and_centre_crop, resized_crop};
pub use flip::flip;
pub use grayscale::grayscale;
pub use normalize::{NORMALIZATIONS, Normalize};
pub use recipes::{RECIPES, Recipe};
pub use resize::Resizer;
pub use solarize::solarize;

use image::RgbImage;
use rand::RngExt;

use crate::error::{Error, Result};
use crate::rng::Rng;

/// How an image becomes one or more views.
#[derive(Debug, Clone)]
pub struct Augmentation {
    views: Vec<View>,
    normalize: Normalize,
}

/// One view: a crop to its size, then steps that each happen with a probability.
#[derive(Debug, Clone)]
pub struct View {
    /// Width and height in pixels.
    pub size: u32,
    pub crop: Crop,
    pub steps: Vec<Step>,
}

impl View {
    /// Values of its pixels.
    pub fn floats(&self) -> usize {
        3 * self.size as usize * self.size as usize
    }
}

#[derive(Debug, Clone)]
pub enum Crop {
    /// The shorter side resized to the view's size, and the middle.
    Centre,
    Random(RandomResizedCrop),
}

#[derive(Debug, Clone)]
pub struct Step {
    pub probability: f64,
    pub op: Op,
}

#[derive(Debug, Clone)]
pub enum Op {
    Flip,
    ColorJitter(ColorJitter),
    Grayscale,
    Blur(Blur),
    Solarize,
}

/// The views of the recipe `name` for images of `size` pixels.
///
/// # Errors
/// When there is no recipe of this name.
pub fn augmentation(name: &str, size: u32, normalize: Normalize) -> Result<Augmentation> {
    let Some(recipe) = RECIPES.iter().find(|recipe| recipe.name == name) else {
        let names: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
        return Err(Error::usage(format!("{name}: unknown augmentation, expected one of {}", names.join(", "))));
    };
    Ok(Augmentation::new((recipe.views)(size), normalize))
}

impl Augmentation {
    /// Views of one's own; [`Recipe::views`] is a place to begin.
    pub fn new(views: Vec<View>, normalize: Normalize) -> Self {
        Self { views, normalize }
    }

    /// One view without chance: the shorter side resized to `size`, and the middle.
    pub fn plain(size: u32, normalize: Normalize) -> Self {
        Self::new(vec![View { size, crop: Crop::Centre, steps: Vec::new() }], normalize)
    }

    /// The views of an image.
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// Two views to compare: the first two where they have one size, else two draws of the first.
    pub fn pair(&self) -> Self {
        let first = &self.views[0];
        let second = self.views.get(1).filter(|second| second.size == first.size).unwrap_or(first);
        Self::new(vec![first.clone(), second.clone()], self.normalize)
    }

    /// Writes view `view` of `image`, drawn from `rng` and normalised, to `out` `[size, size, 3]`.
    pub fn apply(&self, image: &RgbImage, view: usize, rng: &mut Rng, scratch: &mut Scratch, out: &mut [f32]) {
        let View { crop, steps, .. } = &self.views[view];
        let side = self.views[view].size as usize;
        let Scratch { resizer, pixels, spare } = scratch;
        pixels.resize(self.views[view].floats(), 0.0);
        match crop {
            Crop::Centre => resize_and_centre_crop(image, side, resizer, pixels),
            Crop::Random(crop) => {
                let drawn = crop.draw(image.width(), image.height(), rng);
                resized_crop(image, drawn, side, side, resizer, pixels);
            }
        }
        for step in steps {
            if !rng.random_bool(step.probability) {
                continue;
            }
            match &step.op {
                Op::Flip => flip(pixels, side),
                Op::ColorJitter(jitter) => jitter.draw(rng).apply(pixels),
                Op::Grayscale => grayscale(pixels),
                Op::Blur(blur) => gaussian_blur(pixels, side, blur.draw(rng), spare),
                Op::Solarize => solarize(pixels, solarize::THRESHOLD),
            }
        }
        self.normalize.write(pixels, out);
    }
}

/// Buffers that a thread uses again for every view.
#[derive(Debug, Default)]
pub struct Scratch {
    resizer: Resizer,
    pixels: Vec<f32>,
    spare: Vec<f32>,
}
