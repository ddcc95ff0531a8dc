//! Images and labels, from wherever they lie.

pub mod catalog;
pub mod cifar;
pub mod corruption;
pub mod dead_leaves;
mod decode;
pub mod folder;
pub mod overlap;
pub mod shapes;
mod spec;
mod split;
mod subset;

use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub use split::is_random_split;
pub use subset::{part, sample};

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

    /// The same number for the same image, quick to get: of a file its length, else a hash of the pixels. None of a broken one.
    fn mark(&self, i: usize) -> Option<u64> {
        let mut hasher = std::hash::DefaultHasher::new();
        self.image(i).ok()?.as_raw().hash(&mut hasher);
        Some(hasher.finish())
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
pub const SOURCES: &[Source] = &[shapes::SOURCE, dead_leaves::SOURCE, cifar::SOURCE, folder::SOURCE];

/// Generated images; the kind may be the name of a folder too.
const GENERATED: [Source; 2] = [shapes::SOURCE, dead_leaves::SOURCE];

fn names_generated(spec: &str) -> bool {
    GENERATED.iter().any(|source| source.kind == spec)
}

/// Opens `shapes`, `shapes:n=2000,spurious=0.9`, `dead-leaves`, a folder of images, CIFAR binaries.
///
/// Any of them may end in `@n=5000,skip=0,seed=0`: images `skip..skip + n` of a permutation drawn from `seed`, so that
/// different ranges under one seed share no image. Without `n` it is all that is left. With
/// `corrupt=gaussian-noise,severity=3` they are corrupted, with noise drawn from the same `seed`.
pub fn open(spec: &str) -> Result<Arc<dyn Dataset>> {
    if let Some((whole, subset)) = spec.rsplit_once('@')
        && subset.contains('=')
        && !Path::new(spec).exists()
    {
        let shown = format!("@{subset}");
        let settings = spec::Settings::parse(&shown, subset, &["n", "skip", "seed", "corrupt", "severity"])?;
        let whole = corruption::wrap(open_whole(whole)?, &shown, &settings)?;
        return Ok(Arc::new(subset::Subset::parse(whole, &shown, &settings)?));
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
