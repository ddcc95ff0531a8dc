//! Matrices `[n, d]` of features, a row an image, and labels of the rows.

use std::fmt::Write;
use std::io::{Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use ndarray::{Array2, Ix2};

use super::container::{Array, Container, Format, subject};
use super::encoding::Kind;
use super::layout::stage_names;
use super::npy;
use super::output::{Item, LABELS, STAGES, Values, ending, write_npz, write_safetensors};
use crate::error::{At, Error, Result};
use crate::files;

/// The matrices of a file, and the labels of their rows where the file has them.
#[derive(Debug)]
pub struct FeatureFile {
    /// `[n, d]` each. An `.npz` and a safetensors file name them, in their order in the encoder if Lethe wrote it, else
    /// in that of the file; the one of an `.npy` has no name.
    pub matrices: Vec<(String, Array2<f64>)>,
    pub labels: Option<Vec<u32>>,
}

/// Reads an `.npy` with a 2-D array of float16, 32 or 64, in C or Fortran order and either byte order, or the 2-D float
/// arrays of an `.npz` or a safetensors file (also bfloat16 there) and its 1-D integer array `labels`. `key` chooses
/// one array of the latter two.
///
/// # Errors
/// Names the file and what it holds in the place of features.
pub fn read(path: &Path, key: Option<&str>) -> Result<FeatureFile> {
    matrices(Container::open(path)?, key).at(path)
}

/// [`read`] of a file's content.
///
/// # Errors
/// As [`read`], without the name.
pub fn parse(bytes: &[u8], key: Option<&str>) -> Result<FeatureFile> {
    matrices(Container::new(Cursor::new(bytes))?, key)
}

fn matrices(mut file: Container<impl Read + Seek>, key: Option<&str>) -> Result<FeatureFile> {
    if file.format == Format::Npy {
        if key.is_some() {
            return Err(Error::usage("an .npy has one array without a name, so --key does not apply"));
        }
        let array = &file.arrays[0];
        if array.shape.len() != 2 {
            return Err(Error::failed(format!("holds {}, expected a 2-D array, a row an image", array.held())));
        }
        array.expect_floats()?;
        let matrix = matrix(&mut file, 0)?;
        return Ok(FeatureFile { matrices: vec![(String::new(), matrix)], labels: None });
    }
    let asked = |array: &Array| key.is_none_or(|key| key == array.name);
    let is_matrix = |array: &Array| array.shape.len() == 2 && array.kind() == Kind::Float && asked(array);
    let mut places: Vec<usize> = (0..file.arrays.len()).filter(|&place| is_matrix(&file.arrays[place])).collect();
    if places.is_empty() {
        let what = if file.format == Format::Npz { "array" } else { "tensor" };
        return Err(match key {
            Some(key) => Error::usage(format!("--key {key}: no 2-D float {what} of that name, but {}", file.held())),
            None => Error::failed(format!("no 2-D float {what}, but {}", file.held()))
                .hint("of a checkpoint, `lethe features` writes them"),
        });
    }
    if let Some(stages) = file.metadata.get(STAGES).and_then(|stages| stage_names(stages)) {
        let order = |place: &usize| stages.iter().position(|stage| *stage == file.arrays[*place].name);
        places.sort_by_key(|place| order(place).unwrap_or(usize::MAX));
    }
    let mut matrices = Vec::new();
    for place in places {
        matrices.push((file.arrays[place].name.clone(), matrix(&mut file, place)?));
    }
    let is_labels = |array: &Array| array.shape.len() == 1 && array.kind() == Kind::Integer;
    let labels = match file.find(LABELS).filter(|&place| is_labels(&file.arrays[place])) {
        Some(place) => Some(labels(&mut file, place)?),
        None => None,
    };
    Ok(FeatureFile { matrices, labels })
}

fn matrix(file: &mut Container<impl Read + Seek>, place: usize) -> Result<Array2<f64>> {
    file.floats(place)?
        .into_dimensionality::<Ix2>()
        .map_err(|_| Error::failed("holds no matrix").of(&subject(&file.arrays[place].name)))
}

/// Reads the labels of images: an `.npy` with a 1-D array of integers of any width, or the array `labels` of an `.npz`
/// or a safetensors file.
///
/// # Errors
/// Names the file, and what it holds in the place of labels.
pub fn read_labels(path: &Path) -> Result<Vec<u32>> {
    parse_labels(&std::fs::read(path).at(path)?).at(path)
}

/// [`read_labels`] of a file's content.
///
/// # Errors
/// As [`read_labels`], without the name.
pub fn parse_labels(bytes: &[u8]) -> Result<Vec<u32>> {
    let mut file = Container::new(Cursor::new(bytes))
        .map_err(|error| error.hint("numpy.save(\"L.npy\", labels) writes a file of labels"))?;
    let place = match file.format {
        Format::Npy => Some(0),
        _ => file.find(LABELS),
    };
    let place = place.ok_or_else(|| Error::failed(format!("no array `{LABELS}`, but {}", file.held())))?;
    file.arrays[place].expect_labels()?;
    labels(&mut file, place)
}

/// The values of an array that [`Array::expect_labels`] takes.
pub(super) fn labels(file: &mut Container<impl Read + Seek>, place: usize) -> Result<Vec<u32>> {
    let label = |(row, value): (usize, i128)| {
        u32::try_from(value).map_err(|_| {
            let range = Error::failed(format!("the label of row {row} is not within 0 to {}", u32::MAX));
            if value < 0 { range.hint("number the classes from 0") } else { range }
        })
    };
    let labels = file.integers(place)?.into_iter().enumerate().map(label).collect::<Result<_>>();
    labels.map_err(|error| match file.arrays[place].name.as_str() {
        "" => error,
        name => error.of(&subject(name)),
    })
}

/// Writes the matrices of an encoder's stages, from first to last, as the ending of `path` says. A `.safetensors` and
/// an `.npz` take any number, and `labels`; an `.npy` and a `.csv` take one. The labels of `F.npy` go to
/// `F.labels.npy`, those of a `.csv` into its last column.
///
/// # Errors
/// Another ending, several matrices for a file that takes one, or a file that cannot be written.
pub fn write(path: &Path, stages: &[(String, Array2<f32>)], labels: Option<&[u32]>) -> Result<()> {
    check(path, stages.len())?;
    match (ending(path), stages) {
        (Some("npy"), [(_, matrix)]) => {
            if let Some(labels) = labels {
                files::write_with(&labels_path(path), |file| npy::write_integers(file, &[labels.len()], labels))?;
            }
            files::write_with(path, |file| npy::write_floats(file, &matrix.view().into_dyn()))
        }
        (Some("csv"), [(_, matrix)]) => files::write_atomically(path, csv(matrix, labels).as_bytes()),
        (kind, _) => {
            let names: Vec<String> = stages.iter().map(|(name, _)| name.clone()).collect();
            let mut items: Vec<Item> =
                stages.iter().map(|(name, matrix)| Item::new(name, Values::Floats(matrix.view().into_dyn()))).collect();
            items.extend(labels.map(|labels| Item::new(LABELS, Values::Labels(labels))));
            if kind == Some("npz") {
                return write_npz(path, &items);
            }
            items.push(Item::new(STAGES, Values::Texts(&names)));
            write_safetensors(path, &items)
        }
    }
}

/// Whether [`write()`] takes `stages` matrices to this path: to be asked before they are computed.
///
/// # Errors
/// Another ending, or several matrices for a file that takes one.
pub fn check(path: &Path, stages: usize) -> Result<()> {
    match (ending(path), stages) {
        (Some("safetensors" | "npz"), _) | (Some("npy" | "csv"), 1) => Ok(()),
        (Some("npy" | "csv"), _) => Err(Error::usage(format!("holds one stage, not {stages}"))
            .at(path)
            .hint("choose one stage, or write a .safetensors")),
        _ => Err(Error::usage("expected a name that ends in .safetensors, .npz, .npy or .csv").at(path)),
    }
}

/// # Errors
/// When the labels of `F.npy` would take the place of a file that stands there without `F.npy`.
pub fn check_labels(path: &Path) -> Result<()> {
    let labels = labels_path(path);
    if ending(path) != Some("npy") || !labels.exists() || path.exists() {
        return Ok(());
    }
    Err(Error::usage("is there already, and the labels would go there").at(&labels).hint("choose another --out"))
}

/// `F.npy` -> `F.labels.npy`.
pub fn labels_path(path: &Path) -> PathBuf {
    path.with_extension("labels.npy")
}

/// A header `f0,f1,...`, and `label` where there are some; values in the shortest form that reads back the same.
fn csv(matrix: &Array2<f32>, labels: Option<&[u32]>) -> String {
    let mut text = (0..matrix.ncols()).map(|column| format!("f{column}")).collect::<Vec<_>>().join(",");
    text.push_str(if labels.is_some() { ",label\n" } else { "\n" });
    for (i, row) in matrix.outer_iter().enumerate() {
        for (column, value) in row.iter().enumerate() {
            let comma = if column == 0 { "" } else { "," };
            write!(text, "{comma}{value}").expect("a string takes all");
        }
        if let Some(label) = labels.map(|labels| labels[i]) {
            write!(text, ",{label}").expect("a string takes all");
        }
        text.push('\n');
    }
    text
}
