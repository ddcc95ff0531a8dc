//! Encoders by name.

use std::fmt;
use std::str::FromStr;

use super::{Encoder, Pool, Stem, convnext, resnet, vit};
use crate::error::{Error, Result};

/// An encoder by name (`resnet18`, `resnet34-w16`, `vit-tiny`) with what the name leaves open; absent is what its family does
/// not have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncoderSpec {
    pub name: String,
    /// The first convolution of a ResNet.
    pub stem: Option<Stem>,
    /// Side of the patches of a vision transformer or of the first convolution of a ConvNeXt, pixels.
    pub patch: Option<u32>,
    /// Side of the images that the positional embedding of a vision transformer is made for, pixels; for others it is
    /// interpolated.
    pub image_size: Option<u32>,
    /// What a vision transformer makes a vector of.
    pub pool: Option<Pool>,
    /// Whether a vision transformer scales its residual branches by a learned factor a channel.
    pub layer_scale: Option<bool>,
}

impl fmt::Display for EncoderSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.stem.map(|stem| format!("{stem} stem")),
            self.patch.map(|patch| format!("patch {patch}")),
            self.image_size.map(|size| format!("{size} pixels")),
            self.pool.map(|pool| format!("{pool} pooling")),
            self.layer_scale.and_then(|scaled| scaled.then(|| "layer scale".to_owned())),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        write!(f, "{} ({})", self.name, parts.join(", "))
    }
}

/// A family of encoders, found by the beginning of the name.
pub struct Entry {
    pub name: &'static str,
    pub paper: &'static str,
    /// What suits images of a side, of all that names of the family leave open.
    pub(super) open: fn(image_size: u32) -> EncoderSpec,
    pub(super) build: fn(spec: &EncoderSpec) -> Result<Box<dyn Encoder>>,
}

pub const ENCODERS: &[Entry] =
    &[resnet::RESNET18, resnet::RESNET34, resnet::RESNET50, vit::TINY, vit::SMALL, vit::BASE, convnext::TINY];

/// Above it memory ends before the training begins.
const LARGEST_PATCH: u32 = 256;

impl EncoderSpec {
    /// A ResNet.
    pub fn new(name: &str, stem: Stem) -> Self {
        Self { name: name.to_owned(), stem: Some(stem), ..Self::default() }
    }

    /// What was not said is taken as it suits images of the side `image_size`.
    ///
    /// # Errors
    /// When the name is unknown, or something was said that its family does not have.
    pub fn resolved(self, image_size: u32) -> Result<Self> {
        let open = (self.entry()?.open)(image_size);
        let refused = [
            ("stem", self.stem.is_some() && open.stem.is_none()),
            ("patch", self.patch.is_some() && open.patch.is_none()),
            ("pool", self.pool.is_some() && open.pool.is_none()),
            ("layer-scale", self.layer_scale == Some(true) && open.layer_scale.is_none()),
        ];
        if let Some((flag, _)) = refused.iter().find(|(_, refused)| *refused) {
            return Err(Error::usage(format!("--{flag}: {} has nothing of the kind", self.name))
                .hint(format!("leave --{flag} out, or choose another encoder")));
        }
        Ok(Self {
            stem: self.stem.or(open.stem),
            patch: self.patch.or(open.patch),
            image_size: open.image_size.map(|size| self.image_size.unwrap_or(size)),
            pool: self.pool.or(open.pool),
            layer_scale: open.layer_scale.map(|none| self.layer_scale.unwrap_or(none)),
            name: self.name,
        })
    }

    /// # Errors
    /// When the name is unknown, its width or depth is no number in range, or the patches do not fit.
    pub fn build(&self) -> Result<Box<dyn Encoder>> {
        let entry = self.entry()?;
        match self.patch {
            Some(patch) if !(1..=LARGEST_PATCH).contains(&patch) => {
                Err(Error::usage(format!("--patch {patch}: expected 1 to {LARGEST_PATCH} pixels")))
            }
            _ => (entry.build)(self),
        }
    }

    fn entry(&self) -> Result<&'static Entry> {
        ENCODERS.iter().find(|entry| suffix(&self.name, entry.name).is_some()).ok_or_else(|| {
            let names: Vec<&str> = ENCODERS.iter().map(|entry| entry.name).collect();
            Error::usage(format!("unknown encoder {:?}", self.name))
                .hint(format!("one of {}, with -wW for another width (resnet18-w16)", names.join(", ")))
        })
    }
}

/// What follows the name of a family: nothing, or a part that begins with `-`.
fn suffix<'a>(name: &'a str, family: &str) -> Option<&'a str> {
    name.strip_prefix(family).filter(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The parts after the name of the family, each a letter of `letters` and a number from 1 to 1024: `resnet18-w16`. In the
/// order of the letters; none for one that is not there.
pub(super) fn numbers<const N: usize>(name: &str, family: &str, letters: [char; N]) -> Result<[Option<i64>; N]> {
    let mut found = [None; N];
    for part in suffix(name, family).unwrap_or_default().split('-').skip(1) {
        let place = letters.iter().position(|letter| part.starts_with(*letter));
        let number = place.and_then(|_| i64::from_str(&part[1..]).ok()).filter(|number| (1..=1024).contains(number));
        let (Some(place), Some(number)) = (place, number) else {
            let ranges = letters.map(|letter| format!("{letter}1 to {letter}1024")).join(" or ");
            let example = letters.map(|letter| format!("-{letter}16")).concat();
            return Err(Error::usage(format!("encoder {name:?}: {part:?} is not one of {ranges}"))
                .hint(format!("write it as in {family}{example}")));
        };
        found[place] = Some(number);
    }
    Ok(found)
}
