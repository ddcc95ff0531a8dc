//! Pictures of the images that are memorised most, from the data set itself where it is still there.

use std::collections::HashSet;
use std::io::Cursor;

use image::{ImageFormat, RgbImage, imageops};
use indexmap::IndexMap;
use maud::{Markup, html};

use super::numbers::signed;
use crate::words::control_name;
use crate::{Diagnosis, ImageScore};

/// The longest side of a picture.
const SIDE: u32 = 64;

/// Small pictures by the names of their images.
#[derive(Debug, Default)]
pub struct Gallery {
    /// As `data:` addresses.
    pictures: IndexMap<String, String>,
    /// Why pictures are missing.
    why_not: Option<String>,
}

impl Gallery {
    /// Reads the images that a diagnosis names. It is no error where they are gone: the page says so.
    pub(super) fn of(diagnosis: &Diagnosis) -> Self {
        let lists = [&diagnosis.most_memorised, &diagnosis.random_images];
        let names: HashSet<&str> = lists.into_iter().flatten().map(|image| image.name.as_str()).collect();
        if names.is_empty() {
            return Self::default();
        }
        let Some(spec) = diagnosis.settings.get("data").and_then(|data| data.as_str()) else {
            let why_not = "the diagnosis was made from features, without the images".to_owned();
            return Self { why_not: Some(why_not), ..Self::default() };
        };
        let images = match lethe_data::open(spec) {
            Ok(images) => images,
            Err(error) => return Self { why_not: Some(error.what), ..Self::default() },
        };
        let mut gallery = Self::default();
        for i in 0..images.len() {
            let name = images.name(i);
            if !names.contains(name.as_str()) {
                continue;
            }
            match images.image(i) {
                Ok(image) => drop(gallery.pictures.insert(name, address(&image))),
                Err(fault) => gallery.why_not = Some(format!("{}: {}", fault.name, fault.reason)),
            }
        }
        if gallery.why_not.is_none() && gallery.pictures.len() < names.len() {
            gallery.why_not = Some(format!("{spec}: not all of these images are there any more"));
        }
        gallery
    }

    /// The images of a diagnosis with their scores, most memorised first, then as many drawn at random.
    pub(super) fn draw(&self, d: &Diagnosis) -> Option<Markup> {
        let last = d.checkpoints.len().checked_sub(1)?;
        let stage = d.findings.memorises.place().map_or_else(|| d.stages.last(), |place| Some(&place.stage))?;
        // The start is no control of itself.
        let control = d.control.as_ref().filter(|_| !d.checkpoints[last].is_untrained());
        (!d.most_memorised.is_empty()).then(|| html! {
            p {
                "These are training images, scored by " (stage) " at " (d.checkpoint_name(last)) ". The score says how \
                 much closer together the views of an image lie than those of an average unseen image, as a share of \
                 the mean distance between unseen images. "
                @if let Some(control) = control {
                    "The score of the same image in " (control_name(control.kind)) " is subtracted, since some images \
                     have close views in any encoder."
                } @else {
                    "There is no control, and some images have close views in any encoder, so compare both rows."
                }
                @if self.has_copies(d) { " Below a score stands how many copies of the image the training set holds beside it." }
                " All images are in images.csv."
            }
            @if let Some(why) = &self.why_not { p { "Pictures are missing: " (why) "." } }
            h4 { "Most memorised" }
            (self.list(&d.most_memorised))
            h4 { "Drawn at random" }
            (self.list(&d.random_images))
        })
    }

    fn list(&self, images: &[ImageScore]) -> Markup {
        html! { ul.gallery { @for image in images { li {
            @if let Some(address) = self.pictures.get(&image.name) { img src=(address) alt=(image.name) title=(image.name); }
            @else { span.name { (image.name) } }
            b { (signed(image.score)) }
            @if let Some(copies) = image.copies.filter(|copies| *copies > 0) {
                span.copies { (copies) @if copies == 1 { " copy" } @else { " copies" } }
            }
        } } } }
    }

    fn has_copies(&self, d: &Diagnosis) -> bool {
        d.most_memorised.iter().chain(&d.random_images).any(|image| image.copies.is_some_and(|copies| copies > 0))
    }
}

/// A small copy as a PNG within a `data:` address.
fn address(image: &RgbImage) -> String {
    let (width, height) = image.dimensions();
    let longest = width.max(height);
    let small = if longest > SIDE {
        let side = |length: u32| (length * SIDE / longest).max(1);
        imageops::thumbnail(image, side(width), side(height))
    } else {
        image.clone()
    };
    let mut png = Cursor::new(Vec::new());
    small.write_to(&mut png, ImageFormat::Png).expect("a small image in memory");
    format!("data:image/png;base64,{}", base64(png.get_ref()))
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(group.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= group.len() { letter.into() } else { '=' });
        }
    }
    text
}
