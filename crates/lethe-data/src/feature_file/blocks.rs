//! The features of one checkpoint for a diagnosis: random views of two sides at every stage.
//!
//! A file is safetensors or an `.npz`. Its arrays, `SIDE` being `train` and `unseen`, or `canaries` alone:
//!
//! | name | shape | |
//! |---|---|---|
//! | `SIDE.views.STAGE` | `[q, n, d]` | q >= 2 random views of n images, floats; q and n the same everywhere |
//! | `SIDE.plain.STAGE` | `[n, d]` | may be missing: the images as they are, floats; on both sides or on none |
//! | `SIDE.labels` | `[n]` | may be missing: classes, integers |
//! | `SIDE.names` | `[n]` | may be missing: names of the images, text |
//! | `SIDE.digests` | `[n]` | may be missing: digests of their decoded pixels, text |
//! | `epoch` | | a whole number; else the name of the file tells it |
//! | `stages` | | names from first to last; else the order of the arrays in the file counts |
//! | `random_split` | | true where the two sides are a random split of one set; else false |
//!
//! Safetensors has no arrays of text. There, `names` and `digests` are metadata: a JSON list of texts under that key
//! (`train.names`), and so is `stages`; `epoch` is `"200"` and `random_split` is `"true"`. An `.npz` has no metadata.
//! There, names, digests and stages are 1-D arrays of NumPy's strings (of bytes: UTF-8); epoch and random split are
//! arrays of one number or bool, of no dimension or one. Other arrays and keys are passed over.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ndarray::{Array2, Array3, ArrayD, Ix2, Ix3};

use super::container::{Array, Container, Format, in_rows, subject};
use super::encoding::Kind;
use super::layout::{Layout, Named, Part, Side, expect_finite, part, stage_names};
use super::matrices::labels;
use super::output::{EPOCH, RANDOM_SPLIT, STAGES};
use crate::error::{At, Error, Result};

/// The features of one checkpoint. Names, shapes and types are known and checked; the values of an array are read when
/// they are asked for, so that those of one stage are in memory at a time.
pub struct FeatureBlocks {
    path: PathBuf,
    epoch: Option<u32>,
    random_split: bool,
    layout: Layout,
    labels: BTreeMap<Side, Vec<u32>>,
    names: BTreeMap<Side, Vec<String>>,
    digests: BTreeMap<Side, Vec<String>>,
    file: Mutex<Container<BufReader<File>>>,
}

impl fmt::Debug for FeatureBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeatureBlocks").field("path", &self.path).field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl FeatureBlocks {
    /// Opens a file, and looks at everything in it but the values of the features.
    ///
    /// # Errors
    /// Names the file, and the array that is missing or has another shape, type or length than it should.
    pub fn open(path: &Path) -> Result<Self> {
        Self::of_container(path, Container::open(path)?).at(path)
    }

    fn of_container(path: &Path, mut file: Container<BufReader<File>>) -> Result<Self> {
        if file.format == Format::Npy {
            return Err(Error::failed("is an .npy, which has one array, expected .safetensors or .npz")
                .hint("numpy.savez(\"F.npz\", **arrays) writes several"));
        }
        let texts = TextLists::read(&mut file)?;
        let mut arrays = texts.named();
        arrays.retain(|list| file.find(&list.name).is_none());
        for array in &file.arrays {
            arrays.push(Named { name: array.name.clone(), shape: array.shape.clone() });
            let of_array = |error: Error| error.of(&subject(&array.name));
            match part(&array.name)? {
                Some((_, Part::Views(_) | Part::Plain(_))) => array.expect_floats().map_err(of_array)?,
                Some((_, Part::Labels)) => array.expect_labels().map_err(of_array)?,
                _ => {}
            }
        }
        let stages = stages(&mut file)?;
        let layout = Layout::new(&arrays, stages.as_deref())?;
        let mut side_labels = BTreeMap::new();
        for &side in &layout.sides {
            if let Some(place) = file.find(&format!("{side}.labels")) {
                side_labels.insert(side, labels(&mut file, place)?);
            }
        }
        let epoch = match number(&mut file, EPOCH)? {
            Some(epoch) => Some(u32::try_from(epoch).map_err(|_| {
                Error::failed(format!("{EPOCH} {epoch}: expected a whole number from 0 to {}", u32::MAX))
            })?),
            None => epoch_in_name(path),
        };
        let random_split = number(&mut file, RANDOM_SPLIT)?.unwrap_or(0) != 0;
        let TextLists { names, digests } = texts;
        let file = Mutex::new(file);
        Ok(Self { path: path.to_owned(), epoch, random_split, layout, labels: side_labels, names, digests, file })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As the file says it, else as its name does: the digits after the last `epoch` in it (`epoch-0200`,
    /// `epoch=10-step=99`), or where there is none the last digits (`convnext-0200`).
    pub fn epoch(&self) -> Option<u32> {
        self.epoch
    }

    /// Whether the file says that its two sides are a random split of one set of images.
    pub fn random_split(&self) -> bool {
        self.random_split
    }

    /// `train` and `unseen`, or `canaries` alone.
    pub fn sides(&self) -> &[Side] {
        &self.layout.sides
    }

    /// From first to last.
    pub fn stages(&self) -> &[String] {
        &self.layout.stages
    }

    /// Numbers in a row of each stage, d, in the order of [`Self::stages`].
    pub fn dimensions(&self) -> &[usize] {
        &self.layout.dimensions
    }

    /// Views an image, q.
    pub fn views_per_image(&self) -> usize {
        self.layout.views
    }

    /// Images of a side, n: the same number on each, and 0 of a side that the file does not have.
    pub fn images(&self, side: Side) -> usize {
        if self.layout.sides.contains(&side) { self.layout.images } else { 0 }
    }

    /// The classes of the images of a side.
    pub fn labels(&self, side: Side) -> Option<&[u32]> {
        self.labels.get(&side).map(Vec::as_slice)
    }

    /// The names of the images of a side.
    pub fn names(&self, side: Side) -> Option<&[String]> {
        self.names.get(&side).map(Vec::as_slice)
    }

    /// Digests of the decoded pixels of the images of a side.
    pub fn digests(&self, side: Side) -> Option<&[String]> {
        self.digests.get(&side).map(Vec::as_slice)
    }

    /// Reads the random views of a side at a stage, `[q, n, d]`, row-major.
    ///
    /// # Errors
    /// Names file and array when it is not there, cannot be read, or where a value is not finite.
    pub fn views(&self, side: Side, stage: &str) -> Result<Array3<f64>> {
        let name = format!("{side}.views.{stage}");
        let values = self.floats(&name)?.ok_or_else(|| {
            Error::failed(format!("is not there, but stages {}", self.layout.stages.join(", "))).of(&subject(&name))
        });
        values.and_then(|values| values.into_dimensionality::<Ix3>().map_err(|_| other_shape(&name))).at(&self.path)
    }

    /// Reads the features of the images of a side as they are, `[n, d]`, row-major; none where the file has none.
    ///
    /// # Errors
    /// As [`Self::views`].
    pub fn plain(&self, side: Side, stage: &str) -> Result<Option<Array2<f64>>> {
        let name = format!("{side}.plain.{stage}");
        let values = self.floats(&name)?.map(|values| values.into_dimensionality::<Ix2>());
        values.transpose().map_err(|_| other_shape(&name).at(&self.path))
    }

    fn floats(&self, name: &str) -> Result<Option<ArrayD<f64>>> {
        // A panic elsewhere leaves nothing half done here: every reading seeks its place.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = file.find(name) else { return Ok(None) };
        let values = file.floats(place).at(&self.path)?;
        expect_finite(&values.view(), name).at(&self.path)?;
        Ok(Some(in_rows(values)))
    }

    /// Whether this file can stand in one diagnosis with another: the same images at the same stages.
    ///
    /// # Errors
    /// Names both files and the first thing in which they differ.
    pub fn expect_alike(&self, other: &Self) -> Result<()> {
        let differs = |what: &str, own: String, others: String| {
            let what = format!("{what} {own}, but {others} in {}", other.path.display());
            Err(Error::failed(what)
                .at(&self.path)
                .hint("the files of one diagnosis show the same images at the same stages"))
        };
        if self.layout.stages != other.layout.stages {
            return differs("stages", self.layout.stages.join(", "), other.layout.stages.join(", "));
        }
        if self.layout.sides != other.layout.sides {
            let sides = |file: &Self| file.layout.sides.iter().map(|side| side.name()).collect::<Vec<_>>().join(", ");
            return differs("sides", sides(self), sides(other));
        }
        let sizes = |file: &Self| [file.layout.views, file.layout.images];
        if sizes(self) != sizes(other) {
            let text = |[q, n]: [usize; 2]| format!("{q} views of {n} images");
            return differs("holds", text(sizes(self)), text(sizes(other)));
        }
        for &side in &self.layout.sides {
            if let Some((row, own, others)) = first_difference(self.labels(side), other.labels(side)) {
                return differs(&format!("{side}.labels: image {row} has"), own, others);
            }
            if let Some((row, own, others)) = first_difference(self.names(side), other.names(side)) {
                return differs(&format!("{side}.names: image {row} is"), own, others);
            }
            if let Some((row, own, others)) = first_difference(self.digests(side), other.digests(side)) {
                return differs(&format!("{side}.digests: image {row} has"), own, others);
            }
        }
        Ok(())
    }
}

/// Puts the files of one diagnosis in the order of their epochs. A single file needs no epoch.
///
/// # Errors
/// Names the file that tells no epoch, the two that tell the same one, or the two that do not fit together.
pub fn in_order(mut files: Vec<FeatureBlocks>) -> Result<Vec<FeatureBlocks>> {
    let hint = "say it in the metadata key epoch, or in the name: epoch-0200.safetensors";
    if files.len() > 1
        && let Some(file) = files.iter().find(|file| file.epoch.is_none())
    {
        return Err(Error::usage("tells no epoch, which several files need").at(&file.path).hint(hint));
    }
    files.sort_by_key(|file| file.epoch);
    for pair in files.windows(2) {
        if pair[0].epoch == pair[1].epoch {
            let (epoch, other) = (pair[0].epoch.unwrap_or_default(), pair[0].path.display());
            return Err(Error::usage(format!("tells epoch {epoch}, and so does {other}")).at(&pair[1].path).hint(hint));
        }
        pair[1].expect_alike(&pair[0])?;
    }
    Ok(files)
}

/// The place of the first difference, where both are there.
fn first_difference<T: PartialEq + fmt::Display>(a: Option<&[T]>, b: Option<&[T]>) -> Option<(usize, String, String)> {
    let (a, b) = (a?, b?);
    let row = a.iter().zip(b).position(|(a, b)| a != b)?;
    Some((row, a[row].to_string(), b[row].to_string()))
}

fn other_shape(name: &str) -> Error {
    Error::failed("has another shape than when it was opened").of(&subject(name))
}

/// Names and digests by side.
struct TextLists {
    names: BTreeMap<Side, Vec<String>>,
    digests: BTreeMap<Side, Vec<String>>,
}

impl TextLists {
    fn read(file: &mut Container<BufReader<File>>) -> Result<Self> {
        let mut lists = Self { names: BTreeMap::new(), digests: BTreeMap::new() };
        let keys: Vec<String> = file.metadata.keys().chain(file.arrays.iter().map(|a| &a.name)).cloned().collect();
        for key in keys {
            // What ends in no part is told of arrays only: metadata may say what it likes.
            match part(&key) {
                Ok(Some((side, Part::Names))) => drop(lists.names.insert(side, texts(file, &key)?)),
                Ok(Some((side, Part::Digests))) => drop(lists.digests.insert(side, texts(file, &key)?)),
                _ => {}
            }
        }
        Ok(lists)
    }

    fn named(&self) -> Vec<Named> {
        let of = |part: &str, lists: &BTreeMap<Side, Vec<String>>| {
            let named = |(side, texts): (&Side, &Vec<String>)| Named {
                name: format!("{side}.{part}"),
                shape: vec![texts.len()],
            };
            lists.iter().map(named).collect::<Vec<_>>()
        };
        of("names", &self.names).into_iter().chain(of("digests", &self.digests)).collect()
    }
}

/// The texts of a 1-D array, or of a JSON list in the metadata.
fn texts(file: &mut Container<BufReader<File>>, name: &str) -> Result<Vec<String>> {
    if let Some(text) = file.metadata.get(name) {
        return serde_json::from_str(text).map_err(|_| {
            Error::failed(format!("metadata {name}: expected a JSON list of texts"))
                .hint("json.dumps(list_of_texts) makes one")
        });
    }
    let place = file.find(name).unwrap_or_default();
    let array = &file.arrays[place];
    if array.kind() != Kind::Text || array.shape.len() != 1 {
        let hint = match file.format {
            Format::Npz => "numpy.array(texts, dtype=str) makes one",
            _ => "safetensors has no arrays of text: put json.dumps(texts) into the metadata under this key",
        };
        let what = format!("holds {}, expected a 1-D array of text", array.held());
        return Err(Error::failed(what).of(&subject(name)).hint(hint));
    }
    file.texts(place)
}

/// The names of the stages from first to last, where the file says them.
fn stages(file: &mut Container<BufReader<File>>) -> Result<Option<Vec<String>>> {
    let expected = || Error::failed("expected a JSON list of the names of the stages").of(STAGES);
    if let Some(text) = file.metadata.get(STAGES) {
        return stage_names(text).map(Some).ok_or_else(expected);
    }
    let Some(place) = file.find(STAGES) else { return Ok(None) };
    if file.arrays[place].kind() == Kind::Text && file.arrays[place].shape.is_empty() {
        return file.texts(place)?.first().and_then(|text| stage_names(text)).map(Some).ok_or_else(expected);
    }
    texts(file, STAGES).map(Some)
}

/// One whole number or truth value, where the file says it.
fn number(file: &mut Container<BufReader<File>>, name: &str) -> Result<Option<i128>> {
    if let Some(text) = file.metadata.get(name) {
        return match text.trim().to_lowercase().as_str() {
            "true" => Ok(Some(1)),
            "false" => Ok(Some(0)),
            text => text.parse().map(Some).map_err(|_| {
                let expected = if name == EPOCH { "a whole number" } else { "true or false" };
                Error::failed(format!("metadata {name}: expected {expected}, not {text:?}"))
            }),
        };
    }
    let Some(place) = file.find(name) else { return Ok(None) };
    let array: &Array = &file.arrays[place];
    let single = array.shape.iter().all(|&size| size == 1) && array.shape.len() < 2;
    if !single || !matches!(array.kind(), Kind::Integer | Kind::Bool) {
        let what = format!("holds {}, expected one whole number or bool", array.held());
        return Err(Error::failed(what).of(&subject(name)));
    }
    Ok(file.integers(place)?.first().copied())
}

/// The digits after the last `epoch` in the name of a file, or the last digits in it.
fn epoch_in_name(path: &Path) -> Option<u32> {
    let name = path.file_stem()?.to_str()?.to_lowercase();
    let digits = |text: &str| text.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok();
    let after = name.rfind("epoch").map(|at| &name[at + "epoch".len()..]);
    after
        .and_then(|text| digits(text.trim_start_matches(['-', '_', '='])))
        .or_else(|| name.rsplit(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok())
}
