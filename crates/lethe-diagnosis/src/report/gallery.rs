//! Pictures of the images that are memorised most, from the data set itself where it is still there.

use std::collections::HashSet;
use std::io::Cursor;

use image::{ImageFormat, RgbImage, imageops};
use indexmap::IndexMap;
use maud::{Markup, html};

use super::numbers::signed;
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
        let spec = diagnosis.settings.get("data").and_then(|data| data.as_str()).unwrap_or_default();
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
        let score = if d.settings.get("reference").is_some_and(|path| !path.is_null()) {
            "SSLMem of the image: how much closer its views lie than under the reference"
        } else {
            "how far the distance of the image's two views lies below the mean distance of unseen images"
        };
        let draws = match d.settings.get("draws").and_then(serde_json::Value::as_u64) {
            None | Some(1) => "one pair".to_owned(),
            Some(draws) => format!("{draws} pairs"),
        };
        let (last, stage) = (d.checkpoints.len().checked_sub(1)?, d.stages.last()?);
        (!d.most_memorised.is_empty()).then(|| html! {
            p {
                "Of the training images, by " (stage) " at " (d.checkpoint_name(last)) ". The number is the score: " (score) ". It rests on " (draws) " \
                 of views an image, and images with little in them to change have close views whether trained on or not; so hold \
                 both rows together, and see what the first has that the second has not."
            }
            @if let Some(why) = &self.why_not { p { "Pictures are missing: " (why) "." } }
            h4 { "Highest scores" }
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
        } } } }
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
