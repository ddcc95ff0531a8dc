//! Files of features, from Lethe or any other tool: `.npy` and safetensors are read (known by their content, not their
//! names) and written, `.csv` is written.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use ndarray::{Array2, ShapeBuilder};
use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, SafeTensors};

use crate::error::{At, Error, Result};
use crate::files;

const NPY_MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy writes headers of under 200 bytes and by default reads none above 10,000.
const NPY_HEADER_LIMIT: usize = 10_000;
/// The key in a safetensors file's metadata that names the stages from first to last.
const STAGES: &str = "stages";
const LABELS: &str = "labels";

/// The matrices of a file, and the labels of their rows where the file has them.
#[derive(Debug)]
pub struct FeatureFile {
    /// `[n, d]` each. A safetensors file names them, in their order in the encoder if Lethe wrote it, else in that of
    /// the file; the one of an `.npy` has no name.
    pub matrices: Vec<(String, Array2<f64>)>,
    pub labels: Option<Vec<u32>>,
}

/// Reads an `.npy` with a 2-D array of float16, 32 or 64, in C or Fortran order and either byte order, or the 2-D float
/// tensors of a safetensors file and its 1-D integer tensor `labels`. `key` chooses one tensor of the latter.
///
/// # Errors
/// Names the file and what it holds in the place of features.
pub fn read(path: &Path, key: Option<&str>) -> Result<FeatureFile> {
    parse(&std::fs::read(path).at(path)?, key).at(path)
}

/// [`read`] of a file's content.
///
/// # Errors
/// As [`read`], without the name.
pub fn parse(bytes: &[u8], key: Option<&str>) -> Result<FeatureFile> {
    if bytes.starts_with(NPY_MAGIC) {
        if key.is_some() {
            return Err(Error::usage("an .npy has one array without a name, so --key does not apply"));
        }
        let matrix = Npy::parse(bytes)?.matrix()?;
        return Ok(FeatureFile { matrices: vec![(String::new(), matrix)], labels: None });
    }
    if bytes.is_empty() {
        return Err(Error::failed("is empty, expected .npy or safetensors"));
    }
    match SafeTensors::read_metadata(bytes) {
        Ok((_, metadata)) => {
            let file = SafeTensors::deserialize(bytes).map_err(|error| not_safetensors(&error))?;
            parse_safetensors(&file, &metadata, key)
        }
        Err(error) if looks_like_safetensors(bytes) => Err(not_safetensors(&error)),
        Err(_) => {
            Err(Error::failed("is neither .npy nor safetensors").hint("numpy.save(\"F.npy\", features) writes one"))
        }
    }
}

/// Reads an `.npy` with a 1-D array of integers of any width.
///
/// # Errors
/// Names the file, and what it holds in the place of labels.
pub fn read_labels(path: &Path) -> Result<Vec<u32>> {
    let bytes = std::fs::read(path).at(path)?;
    parse_labels(&bytes).at(path)
}

/// [`read_labels`] of a file's content.
///
/// # Errors
/// As [`read_labels`], without the name.
pub fn parse_labels(bytes: &[u8]) -> Result<Vec<u32>> {
    if !bytes.starts_with(NPY_MAGIC) {
        return Err(Error::failed("is not an .npy of labels").hint("numpy.save(\"L.npy\", labels) writes one"));
    }
    Npy::parse(bytes)?.labels()
}

/// Writes the matrices of an encoder's stages, from first to last, as the ending of `path` says. A `.safetensors` takes
/// any number, and `labels`; an `.npy` and a `.csv` take one. The labels of `F.npy` go to `F.labels.npy`, those of a
/// `.csv` into its last column.
///
/// # Errors
/// Another ending, several matrices for a file that takes one, or a file that cannot be written.
pub fn write(path: &Path, stages: &[(String, Array2<f32>)], labels: Option<&[u32]>) -> Result<()> {
    check(path, stages.len())?;
    match (ending(path), stages) {
        (Some("npy"), [(_, matrix)]) => {
            if let Some(labels) = labels {
                files::write_atomically(&labels_path(path), &npy_labels(labels))?;
            }
            files::write_atomically(path, &npy_matrix(matrix))
        }
        (Some("csv"), [(_, matrix)]) => files::write_atomically(path, csv(matrix, labels).as_bytes()),
        _ => files::write_atomically(path, &safetensors_bytes(stages, labels).at(path)?),
    }
}

/// Whether [`write()`] takes `stages` matrices to this path: to be asked before they are computed.
///
/// # Errors
/// Another ending, or several matrices for a file that takes one.
pub fn check(path: &Path, stages: usize) -> Result<()> {
    match (ending(path), stages) {
        (Some("safetensors"), _) | (Some("npy" | "csv"), 1) => Ok(()),
        (Some("npy" | "csv"), _) => Err(Error::usage(format!("holds one stage, not {stages}"))
            .at(path)
            .hint("choose one stage, or write a .safetensors")),
        _ => Err(Error::usage("expected a name that ends in .safetensors, .npy or .csv").at(path)),
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

fn ending(path: &Path) -> Option<&str> {
    path.extension().and_then(|ending| ending.to_str())
}

fn not_safetensors(error: &safetensors::SafeTensorError) -> Error {
    Error::failed(format!("is not a whole safetensors file: {error}"))
}

/// A length, then a JSON object.
fn looks_like_safetensors(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

fn parse_safetensors(file: &SafeTensors, metadata: &Metadata, key: Option<&str>) -> Result<FeatureFile> {
    let mut names = metadata.offset_keys();
    if let Some(stages) = metadata.metadata().as_ref().and_then(|metadata| metadata.get(STAGES)) {
        let place = |name: &String| stages.split(',').position(|stage| stage == name).unwrap_or(usize::MAX);
        names.sort_by_key(place);
    }
    let mut matrices = Vec::new();
    for name in &names {
        if key.is_some_and(|key| key != name) {
            continue;
        }
        let view = file.tensor(name).map_err(|error| not_safetensors(&error))?;
        if let Some(matrix) = float_matrix(&view) {
            matrices.push((name.clone(), matrix));
        }
    }
    if matrices.is_empty() {
        let held = names.iter().take(4).map(|name| describe(name, metadata)).collect::<Vec<_>>().join(", ");
        let held = if names.len() > 4 { format!("{held}, ...") } else { held };
        return Err(match key {
            Some(key) => Error::usage(format!("--key {key}: no 2-D float tensor of that name, but {held}")),
            None => Error::failed(format!("no 2-D float tensor, but {held}"))
                .hint("of a checkpoint, `lethe features` writes them"),
        });
    }
    let labels = match file.tensor(LABELS) {
        Ok(view) if view.shape().len() == 1 => integer_kind(view.dtype())
            .map(|(kind, width)| labels_of(view.data(), kind, width, false))
            .transpose()
            .map_err(|error| Error::failed(format!("tensor {LABELS}: {error}")))?,
        _ => None,
    };
    Ok(FeatureFile { matrices, labels })
}

fn describe(name: &str, metadata: &Metadata) -> String {
    match metadata.info(name) {
        Some(info) => format!("{name} {:?} {:?}", info.dtype, info.shape),
        None => name.to_owned(),
    }
}

fn float_matrix(view: &TensorView) -> Option<Array2<f64>> {
    let &[n, d] = view.shape() else { return None };
    let values = match view.dtype() {
        Dtype::BF16 => numbers(view.data(), false, |bytes| f64::from(bf16::from_le_bytes(bytes))),
        Dtype::F16 => floats(view.data(), 2, false)?,
        Dtype::F32 => floats(view.data(), 4, false)?,
        Dtype::F64 => floats(view.data(), 8, false)?,
        _ => return None,
    };
    Array2::from_shape_vec((n, d), values).ok()
}

fn integer_kind(dtype: Dtype) -> Option<(char, usize)> {
    match dtype {
        Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => Some(('u', dtype.bitsize() / 8)),
        Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => Some(('i', dtype.bitsize() / 8)),
        _ => None,
    }
}

/// An array in the format of `numpy.save`, versions 1 to 3.
struct Npy<'a> {
    /// As in the header: `<f4`.
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
    data: &'a [u8],
}

impl<'a> Npy<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let broken = || Error::failed("is not a whole .npy: its header is broken");
        let version = *bytes.get(NPY_MAGIC.len()).ok_or_else(broken)?;
        let length_width = if version == 1 { 2 } else { 4 };
        let rest = bytes.get(NPY_MAGIC.len() + 2..).ok_or_else(broken)?;
        let (length, rest) = rest.split_at_checked(length_width).ok_or_else(broken)?;
        let length = length.iter().rev().fold(0usize, |length, &byte| length << 8 | usize::from(byte));
        if !(1..=3).contains(&version) || length > NPY_HEADER_LIMIT {
            return Err(broken());
        }
        let (header, data) = rest.split_at_checked(length).ok_or_else(broken)?;
        let header = std::str::from_utf8(header).map_err(|_| broken())?;
        let descr = after(header, "descr").ok_or_else(broken)?;
        let Some(descr) = descr.strip_prefix(['\'', '"']).and_then(|descr| descr.split(['\'', '"']).next()) else {
            return Err(Error::failed("holds records, expected plain numbers"));
        };
        let fortran_order = match after(header, "fortran_order").ok_or_else(broken)? {
            order if order.starts_with("True") => true,
            order if order.starts_with("False") => false,
            _ => return Err(broken()),
        };
        let shape = after(header, "shape").and_then(|shape| shape.strip_prefix('(')?.split(')').next());
        let shape = shape
            .ok_or_else(broken)?
            .split(',')
            .map(str::trim)
            .filter(|size| !size.is_empty())
            .map(|size| size.parse().map_err(|_| broken()))
            .collect::<Result<Vec<usize>>>()?;
        Ok(Self { descr: descr.to_owned(), fortran_order, shape, data })
    }

    /// Byte order, kind and width.
    fn kind(&self) -> Option<(bool, char, usize)> {
        let mut descr = self.descr.chars();
        let order = descr.next().filter(|order| "<>|=".contains(*order))?;
        let kind = descr.next()?;
        Some((order == '>', kind, descr.as_str().parse().ok().filter(|width| (1..=8).contains(width))?))
    }

    /// The data has to be all there, and nothing after it.
    fn check_length(&self, width: usize) -> Result<()> {
        let expected = self.shape.iter().try_fold(width, |product, &size| product.checked_mul(size));
        if expected == Some(self.data.len()) {
            return Ok(());
        }
        Err(Error::failed(format!(
            "is not a whole .npy: shape {:?} of {} does not fit the {} bytes it holds",
            self.shape,
            self.descr,
            self.data.len()
        )))
    }

    fn matrix(&self) -> Result<Array2<f64>> {
        let held = || format!("holds {} of shape {:?}", self.descr, self.shape);
        let &[n, d] = self.shape.as_slice() else {
            return Err(Error::failed(format!("{}, expected a 2-D array, a row an image", held())));
        };
        let no_float = || Error::failed(format!("{}, expected float16, float32 or float64", held()));
        let (big_endian, kind, width) = self.kind().ok_or_else(no_float)?;
        if kind != 'f' {
            return Err(no_float());
        }
        self.check_length(width)?;
        let values = floats(self.data, width, big_endian).ok_or_else(no_float)?;
        Array2::from_shape_vec((n, d).set_f(self.fortran_order), values).map_err(|_| no_float())
    }

    fn labels(&self) -> Result<Vec<u32>> {
        let expected = || {
            Error::failed(format!("holds {} of shape {:?}, expected a 1-D array of integers", self.descr, self.shape))
        };
        let (big_endian, kind, width) = self.kind().ok_or_else(expected)?;
        if self.shape.len() != 1 || !"iu".contains(kind) || !width.is_power_of_two() {
            return Err(expected());
        }
        self.check_length(width)?;
        labels_of(self.data, kind, width, big_endian)
    }
}

/// What follows `'name':` in a header.
fn after<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let at = header.find(&format!("'{name}'")).or_else(|| header.find(&format!("\"{name}\"")))?;
    let rest = header.get(at + name.len() + 2..)?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

/// The numbers of `W` bytes in `data`.
fn numbers<const W: usize, T>(data: &[u8], big_endian: bool, number: impl Fn([u8; W]) -> T) -> Vec<T> {
    let (chunks, _) = data.as_chunks::<W>();
    let little_endian = |&(mut bytes): &[u8; W]| {
        if big_endian {
            bytes.reverse();
        }
        number(bytes)
    };
    chunks.iter().map(little_endian).collect()
}

fn floats(data: &[u8], width: usize, big_endian: bool) -> Option<Vec<f64>> {
    match width {
        2 => Some(numbers(data, big_endian, |bytes| f64::from(f16::from_le_bytes(bytes)))),
        4 => Some(numbers(data, big_endian, |bytes| f64::from(f32::from_le_bytes(bytes)))),
        8 => Some(numbers(data, big_endian, f64::from_le_bytes)),
        _ => None,
    }
}

/// Integers of `width` bytes, a power of two up to 8; `kind` is `i` or `u`.
fn labels_of(data: &[u8], kind: char, width: usize, big_endian: bool) -> Result<Vec<u32>> {
    let label = |(row, bytes): (usize, &[u8])| {
        let significant: Vec<u8> = if big_endian { bytes.to_vec() } else { bytes.iter().rev().copied().collect() };
        let negative = kind == 'i' && significant[0] >= 0x80;
        let value = significant.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        let range = || Error::failed(format!("the label of row {row} is not within 0 to {}", u32::MAX));
        if negative {
            Err(range().hint("number the classes from 0"))
        } else {
            u32::try_from(value).map_err(|_| range())
        }
    };
    data.chunks_exact(width).enumerate().map(label).collect()
}

fn safetensors_bytes(stages: &[(String, Array2<f32>)], labels: Option<&[u32]>) -> Result<Vec<u8>> {
    let data: Vec<Vec<u8>> = stages.iter().map(|(_, matrix)| f32_bytes(matrix)).collect();
    let label_data = labels.map(i64_bytes);
    let mut views = Vec::new();
    for ((name, matrix), data) in stages.iter().zip(&data) {
        views.push((name.as_str(), TensorView::new(Dtype::F32, matrix.shape().to_vec(), data)));
    }
    if let (Some(labels), Some(data)) = (labels, &label_data) {
        views.push((LABELS, TensorView::new(Dtype::I64, vec![labels.len()], data)));
    }
    let order = stages.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(",");
    let metadata = HashMap::from([(STAGES.to_owned(), order)]);
    let views: std::result::Result<Vec<_>, _> =
        views.into_iter().map(|(name, view)| view.map(|view| (name, view))).collect();
    views
        .and_then(|views| safetensors::serialize(views, Some(metadata)))
        .map_err(|error| Error::failed(format!("cannot be written as safetensors: {error}")))
}

fn npy_matrix(matrix: &Array2<f32>) -> Vec<u8> {
    let (n, d) = matrix.dim();
    npy("<f4", &format!("({n}, {d})"), f32_bytes(matrix))
}

fn npy_labels(labels: &[u32]) -> Vec<u8> {
    npy("<i8", &format!("({},)", labels.len()), i64_bytes(labels))
}

/// Version 1; the data begin at a multiple of 64 bytes.
fn npy(descr: &str, shape: &str, data: Vec<u8>) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let before = NPY_MAGIC.len() + 4;
    let padded = (before + header.len() + 1).next_multiple_of(64) - before;
    header = format!("{header:<width$}\n", width = padded - 1);
    let length = u16::try_from(header.len()).expect("a header of two sizes is short");
    [NPY_MAGIC, &[1, 0], &length.to_le_bytes(), header.as_bytes(), &data].concat()
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

fn f32_bytes(matrix: &Array2<f32>) -> Vec<u8> {
    matrix.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn i64_bytes(labels: &[u32]) -> Vec<u8> {
    labels.iter().flat_map(|&label| i64::from(label).to_le_bytes()).collect()
}
