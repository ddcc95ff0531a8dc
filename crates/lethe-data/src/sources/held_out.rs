//! Images that a run held out of its training: `held_out.json` in its folder, which says which of what data they are.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{Dataset, Source, absolute, choose, without};
use crate::error::{Error, Result};
use crate::files;
use crate::rng::{self, Purpose};

pub const FILE: &str = "held_out.json";

pub(super) const SOURCE: Source = Source {
    kind: "held-out images",
    takes: "the held_out.json of a run: the images that it held out; @part=training for the others",
    example: "--data runs/simclr/held_out.json@part=training --unseen runs/simclr/held_out.json",
    recognises: |spec| {
        let path = Path::new(spec);
        path.file_name().is_some_and(|name| name == FILE) && path.is_file()
    },
    open: |spec| Ok(open(Path::new(spec))?.held_out),
    split: |first, second| {
        let (one, other) = (first.strip_suffix(TRAINING), second.strip_suffix(TRAINING));
        (one == Some(second) || other == Some(first)) && (SOURCE.recognises)(one.or(other).unwrap_or_default())
    },
};

/// What the specification of the images that were not held out ends in.
const TRAINING: &str = "@part=training";

/// Which images of a data set are held out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOut {
    /// The specification of the whole data set.
    pub data: String,
    /// How many images it has.
    pub images: usize,
    /// Of the images held out, in their order in it; those of files within its folder are relative to it.
    pub names: Vec<String>,
}

/// The two parts of a data set.
#[derive(Clone)]
pub struct Parts {
    pub training: Arc<dyn Dataset>,
    pub held_out: Arc<dyn Dataset>,
}

impl HeldOut {
    /// Draws `n` images of `whole`, which `data` opened, by the key of `seed`: of every class the same share, as nearly as
    /// whole numbers allow, and where there are no labels of all alike.
    ///
    /// # Panics
    /// When there are fewer images than `n`.
    pub fn draw(data: &str, whole: &dyn Dataset, n: usize, seed: u64) -> Self {
        let images = whole.len();
        assert!(n <= images, "{n} of {images} images");
        let mut rng = rng::once(seed, Purpose::HoldOut);
        let mut order: Vec<usize> = (0..images).collect();
        order.shuffle(&mut rng);
        if let Some(labels) = whole.labels() {
            let mut classes: Vec<usize> = (0..whole.classes().len()).collect();
            classes.shuffle(&mut rng);
            order.sort_by_key(|&i| classes[labels[i] as usize]);
        }
        // Systematic sampling from a random start: every image has the same chance, and every class its share.
        let start = rng.random_range(0..images.max(1));
        let mut held_out: Vec<usize> = (0..n).map(|k| order[(k * images + start) / n]).collect();
        held_out.sort_unstable();
        let relative = relative_to(data);
        let names = held_out.into_iter().map(|i| relative(whole.name(i))).collect();
        Self { data: absolute(data), images, names }
    }

    /// # Errors
    /// When the file cannot be read, or says something else.
    pub fn read(path: &Path) -> Result<Self> {
        files::read_json(path)
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write_json(path, self)
    }

    /// Whether `data` are the images that these were held out of, or a part of them. Where their folder is gone it was moved,
    /// and any folder may be it.
    pub fn is_of(&self, data: &str) -> bool {
        let own = Path::new(root(&self.data));
        let gone = own.is_absolute() && !own.exists();
        let place = |data: &str| std::fs::canonicalize(root(data)).unwrap_or_else(|_| root(data).into());
        gone || place(&self.data) == place(&absolute(data))
    }

    /// The places of the held-out images that `images`, which `data` opened, have.
    pub fn places(&self, data: &str, images: &dyn Dataset) -> Vec<usize> {
        let relative = relative_to(data);
        let by_name: HashMap<String, usize> = (0..images.len()).map(|i| (relative(images.name(i)), i)).collect();
        self.names.iter().filter_map(|name| by_name.get(name).copied()).collect()
    }

    /// The parts of `whole`, which `data` opened.
    ///
    /// # Errors
    /// When it lacks a held-out image, or has more or fewer images than it had.
    pub fn split(&self, data: &str, whole: Arc<dyn Dataset>) -> Result<Parts> {
        let places = self.places(data, whole.as_ref());
        let (found, held_out) = (places.len(), self.names.len());
        if found < held_out {
            return Err(Error::failed(format!("{data}: has {found} of the {held_out} images that were held out"))
                .hint("name the data of the run, with all its images"));
        }
        if whole.len() != self.images {
            let (now, then) = (whole.len(), self.images);
            return Err(Error::failed(format!("{data}: has {now} images, and had {then} when some were held out"))
                .hint("name the data as they were: of new images nobody knows whether they were trained on"));
        }
        Ok(Parts { training: without(Arc::clone(&whole), &places), held_out: choose(whole, places) })
    }
}

/// The parts that the file at `path` tells of.
///
/// # Errors
/// When the file or its data cannot be read, or are others than they were.
pub fn open(path: &Path) -> Result<Parts> {
    let held_out = HeldOut::read(path)?;
    let whole = super::open(&held_out.data).map_err(|error| {
        let hint = format!("the images were held out of these; where they were moved, change `data` in {FILE}");
        Error { hint: Some(hint), ..error }.of(&path.display().to_string())
    })?;
    held_out.split(&held_out.data, whole).map_err(|error| error.of(&path.display().to_string()))
}

/// What `PATH@part=training` names.
///
/// # Errors
/// When it is another part, or of another file.
pub(super) fn open_part(spec: &str, shown: &str, part: &str) -> Result<Arc<dyn Dataset>> {
    match part {
        "training" if (SOURCE.recognises)(spec) => Ok(open(Path::new(spec))?.training),
        "training" => Err(Error::usage(format!("{shown}: {spec} is no {FILE} of a run"))),
        _ => Err(Error::usage(format!("{shown}: part is {part:?}, expected training"))
            .hint(format!("without it {FILE} names the images held out"))),
    }
}

/// The path in a specification, or all of it.
fn root(data: &str) -> &str {
    let whole = data.rsplit_once('@').filter(|_| !Path::new(data).exists()).map_or(data, |(whole, _)| whole);
    whole.trim_end_matches('/')
}

/// Names without the path that `data` begin with.
fn relative_to(data: &str) -> impl Fn(String) -> String {
    let data = absolute(data);
    let root = root(&data).to_owned();
    move |name| {
        let path = std::path::absolute(&name).unwrap_or_else(|_| (&name).into());
        let inside = path.strip_prefix(&root).ok().filter(|inside| !inside.as_os_str().is_empty());
        inside.map(|inside| inside.to_string_lossy().into_owned()).unwrap_or(name)
    }
}
