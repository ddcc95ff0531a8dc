//! Images and labels, from wherever they lie.

pub mod catalog;
pub mod cifar;
pub mod corruption;
pub mod dead_leaves;
mod decode;
mod encoding;
pub mod folder;
pub mod held_out;
pub mod shapes;
mod spec;
mod split;
mod subset;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub use encoding::Encoding;
pub use split::is_random_split;
pub use subset::{choose, part, sample, without};

/// Images by index, with or without labels.
pub trait Dataset: Send + Sync {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Image `i`, decoded. A broken image is a [`Fault`], never a panic.
    fn image(&self, i: usize) -> std::result::Result<image::RgbImage, Fault>;

    /// The file of image `i`, or its place in a file or generator: `shapes/17`.
    fn name(&self, i: usize) -> String;

    /// How image `i` is stored, of a file by its head. None of a broken one.
    fn encoding(&self, i: usize) -> Option<Encoding> {
        let (width, height) = self.image(i).ok()?.dimensions();
        Some(Encoding { format: "pixels".into(), width, height, jpeg_quality: None })
    }

    /// One label an image, an index into [`Dataset::classes`].
    fn labels(&self) -> Option<&[u32]>;

    /// The names of the labels; empty without labels.
    fn classes(&self) -> &[String];

    /// The `--normalize` name that is usual for these images.
    fn normalization(&self) -> &'static str;
}

/// Why an image cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fault {
    pub name: String,
    pub reason: String,
}

/// A kind of data that `--data` takes.
pub struct Source {
    pub kind: &'static str,
    pub takes: &'static str,
    pub example: &'static str,
    recognises: fn(&str) -> bool,
    open: fn(&str) -> Result<Arc<dyn Dataset>>,
    /// Whether two specifications of this kind are known to be a random split of one set.
    split: fn(&str, &str) -> bool,
}

/// Every kind of data, the first that recognises a specification opens it.
pub const SOURCES: &[Source] = &[shapes::SOURCE, dead_leaves::SOURCE, cifar::SOURCE, folder::SOURCE, held_out::SOURCE];

/// Generated images; the kind may be the name of a folder too.
const GENERATED: [Source; 2] = [shapes::SOURCE, dead_leaves::SOURCE];

fn names_generated(spec: &str) -> bool {
    GENERATED.iter().any(|source| source.kind == spec)
}

/// Opens `shapes`, `shapes:n=2000,spurious=0.9`, `dead-leaves`, a folder of images, CIFAR binaries.
///
/// Any of them may end in `@n=5000,skip=0,seed=0`: images `skip..skip + n` of a permutation drawn from `seed`, so that
/// different ranges under one seed share no image. Without `n` it is all that is left, and without `skip` as well all of
/// them in their own order. With
/// `corrupt=gaussian-noise,severity=3` they are corrupted, with noise drawn from the same `seed`. `part=training` takes
/// the images that a `held_out.json` did not hold out.
pub fn open(spec: &str) -> Result<Arc<dyn Dataset>> {
    if let Some((whole, subset)) = spec.rsplit_once('@')
        && subset.contains('=')
        && !Path::new(spec).exists()
    {
        let shown = format!("@{subset}");
        let settings = spec::Settings::parse(&shown, subset, &["part", "n", "skip", "seed", "corrupt", "severity"])?;
        let whole = match settings.get::<String>("part", "training")? {
            None => open_whole(whole)?,
            Some(part) => held_out::open_part(whole, &shown, &part)?,
        };
        let whole = corruption::wrap(whole, &shown, &settings)?;
        return subset::parse(whole, &shown, &settings);
    }
    open_whole(spec)
}

/// The same images whatever folder one is in: the path of files made absolute, and the name of generated images spelt so
/// that no folder of that name is meant.
pub fn absolute(spec: &str) -> String {
    let path = if Path::new(spec).exists() { spec } else { spec.rsplit_once('@').map_or(spec, |(whole, _)| whole) };
    let rest = &spec[path.len()..];
    if names_generated(path) {
        return format!("{path}:{rest}");
    }
    match std::path::absolute(path) {
        Ok(whole) if Path::new(path).exists() && !GENERATED.iter().any(|source| (source.recognises)(path)) => {
            format!("{}{rest}", whole.display())
        }
        _ => spec.to_owned(),
    }
}

fn open_whole(spec: &str) -> Result<Arc<dyn Dataset>> {
    if names_generated(spec) && Path::new(spec).is_dir() {
        return Err(Error::usage(format!("{spec}: names both the generated images and a folder here"))
            .hint(format!("./{spec} for the folder, {spec}: for the generated images")));
    }
    if let Some(source) = SOURCES.iter().find(|source| (source.recognises)(spec)) {
        return (source.open)(spec);
    }
    if let Some(known) = catalog::KNOWN.iter().find(|known| known.name == spec) {
        return Err(Error::usage(format!("{spec}: lethe does not download data sets, expected the path of its files"))
            .hint(format!("get it from {}, unpack it, and pass the folder or file", known.home)));
    }
    let path = Path::new(spec);
    let what = if spec.is_empty() {
        "the name of the images is empty".into()
    } else if path.is_file() {
        format!("{spec}: expected a folder of images, or a CIFAR .bin file")
    } else {
        format!("{spec}: no such folder, file or data set")
    };
    Err(Error::usage(what).hint("see `lethe data list` for what --data takes"))
}
