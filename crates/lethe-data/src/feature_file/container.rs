//! The named arrays of a file: one without a name of an `.npy`, those of an `.npz` or a safetensors file. Opening reads
//! names, types and shapes; the values of one array are read when they are asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use safetensors::SafeTensorError;
use safetensors::tensor::Metadata;
use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};
use zip::result::ZipError;

use super::encoding::{Encoding, Kind};
use super::npy;
use crate::error::{At, Error, Result, io_text};

/// What the safetensors crate takes.
const SAFETENSORS_HEADER_LIMIT: u64 = 100_000_000;
/// Deflate makes a byte of at most 1,032.
const DEFLATE_RATIO: u64 = 1_032;

/// One array: what is known of it without its values.
pub(super) struct Array {
    /// Empty for the one of an `.npy`.
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    encoding: Encoding,
    /// Where the values begin: from the start of the file, or of the entry of an `.npz`.
    start: u64,
    bytes: u64,
}

impl Array {
    pub(super) fn kind(&self) -> Kind {
        self.encoding.kind()
    }

    /// `<f4 of shape [6, 4]`.
    pub(super) fn held(&self) -> String {
        format!("{} of shape {:?}", self.encoding.name(), self.shape)
    }

    /// `features <f4 [6, 4]`.
    pub(super) fn named(&self) -> String {
        format!("{} {} {:?}", self.name, self.encoding.name(), self.shape)
    }

    /// # Errors
    /// When an array holds other values.
    pub(super) fn expect_floats(&self) -> Result<()> {
        match self.kind() {
            Kind::Float => Ok(()),
            _ => Err(Error::failed(format!("holds {}, expected float16, float32 or float64", self.held()))),
        }
    }

    /// # Errors
    /// When an array is not one of labels.
    pub(super) fn expect_labels(&self) -> Result<()> {
        match (self.kind(), self.shape.len()) {
            (Kind::Integer, 1) => Ok(()),
            _ => Err(Error::failed(format!("holds {}, expected a 1-D array of integers", self.held()))),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Npy,
    Npz,
    Safetensors,
}

enum Source<R> {
    Plain(R),
    /// And the places of the arrays in it.
    Zip(ZipArchive<R>, Vec<usize>),
}

pub(super) struct Container<R> {
    pub(super) format: Format,
    /// In the order of the file.
    pub(super) arrays: Vec<Array>,
    /// Texts of a safetensors file.
    pub(super) metadata: BTreeMap<String, String>,
    source: Source<R>,
}

impl Container<BufReader<File>> {
    /// # Errors
    /// Names the file that cannot be read or is none of the formats.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).at(path)?;
        if file.metadata().at(path)?.is_dir() {
            return Err(Error::failed("it is a folder").at(path));
        }
        Self::new(BufReader::new(file)).at(path)
    }
}

impl<R: Read + Seek> Container<R> {
    /// # Errors
    /// When the content is none of the formats, or not whole.
    pub(super) fn new(mut reader: R) -> Result<Self> {
        let length = reader.seek(SeekFrom::End(0)).map_err(unread)?;
        reader.rewind().map_err(unread)?;
        let mut start = Vec::new();
        reader.by_ref().take(9).read_to_end(&mut start).map_err(unread)?;
        reader.rewind().map_err(unread)?;
        if start.is_empty() {
            return Err(Error::failed("is empty, expected .npy, .npz or safetensors"));
        }
        if start.starts_with(npy::MAGIC) {
            return Self::npy(reader, length);
        }
        if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
            return Self::npz(reader, length);
        }
        Self::safetensors(reader, length, &start)
    }

    fn npy(mut reader: R, length: u64) -> Result<Self> {
        let (header, start) = npy::read_header(&mut reader)?;
        let array = npy_array(String::new(), header, start, length)?;
        Ok(Self { format: Format::Npy, arrays: vec![array], metadata: BTreeMap::new(), source: Source::Plain(reader) })
    }

    fn npz(reader: R, length: u64) -> Result<Self> {
        // Without the offset, the crate searches the whole file for other beginnings.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let mut zip = ZipArchive::with_config(config, reader).map_err(|error| match error {
            ZipError::Io(error) => unread(error),
            _ => not_whole(".npz", "its list of arrays is broken or missing").hint("copy or write the file again"),
        })?;
        let (mut arrays, mut places) = (Vec::new(), Vec::new());
        for place in 0..zip.len() {
            let broken = |error: &ZipError| not_whole(".npz", &zip_text(error));
            let file_name = zip.name_for_index(place).transpose().map_err(|error| broken(&error))?;
            let Some(name) = file_name.as_deref().and_then(npyz::npz::array_name_from_file_name) else { continue };
            let name = &name.to_owned();
            let mut entry = zip.by_index(place).map_err(|error| zip_error(&error).of(&subject(name)))?;
            let (size, compressed) = (entry.size(), entry.compressed_size());
            if compressed > length || size / DEFLATE_RATIO > compressed {
                return Err(not_whole(".npz", "its sizes cannot be right").of(&subject(name)));
            }
            let array = npy::read_header(&mut entry)
                .and_then(|(header, start)| npy_array(name.clone(), header, start, size))
                .map_err(|error| error.of(&subject(name)))?;
            arrays.push(array);
            places.push(place);
        }
        if arrays.is_empty() {
            return Err(Error::failed("is a zip file without an .npy in it, expected an .npz")
                .hint("numpy.savez(\"F.npz\", features=features) writes one"));
        }
        Ok(Self { format: Format::Npz, arrays, metadata: BTreeMap::new(), source: Source::Zip(zip, places) })
    }

    fn safetensors(mut reader: R, length: u64, start: &[u8]) -> Result<Self> {
        let unknown = || {
            Error::failed("is neither .npy, .npz nor safetensors").hint("numpy.save(\"F.npy\", features) writes one")
        };
        // A length, then a JSON object.
        let (Some(header_length), Some(b'{')) = (start.first_chunk(), start.get(8)) else { return Err(unknown()) };
        let header_length = u64::from_le_bytes(*header_length);
        let broken = |error: SafeTensorError| not_whole("safetensors file", &error.to_string());
        if header_length > SAFETENSORS_HEADER_LIMIT {
            return Err(broken(SafeTensorError::HeaderTooLarge));
        }
        if 8 + header_length > length {
            return Err(broken(SafeTensorError::InvalidHeaderLength));
        }
        let mut header = vec![0; header_length as usize];
        reader.seek(SeekFrom::Start(8)).and_then(|_| reader.read_exact(&mut header)).map_err(unread)?;
        let header: Metadata = serde_json::from_slice(&header)
            .map_err(|error| broken(SafeTensorError::InvalidHeaderDeserialization(error)))?;
        if 8 + header_length + header.data_len() as u64 != length {
            return Err(broken(SafeTensorError::MetadataIncompleteBuffer));
        }
        let array = |name: String| {
            let info = header.info(&name)?;
            let (begin, end) = info.data_offsets;
            Some(Array {
                shape: info.shape.clone(),
                encoding: Encoding::Safetensors(info.dtype),
                start: 8 + header_length + begin as u64,
                bytes: (end - begin) as u64,
                name,
            })
        };
        // Arrays without values begin at one place, where the crate gives them another order every time.
        let mut arrays: Vec<Array> = header.offset_keys().into_iter().filter_map(array).collect();
        arrays.sort_by(|a, b| (a.start, a.bytes, &a.name).cmp(&(b.start, b.bytes, &b.name)));
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { format: Format::Safetensors, arrays, metadata, source: Source::Plain(reader) })
    }

    /// The place of an array.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.arrays.iter().position(|array| array.name == name)
    }

    /// The arrays there are, for an error: the first four.
    pub(super) fn held(&self) -> String {
        let held = self.arrays.iter().take(4).map(Array::named).collect::<Vec<_>>().join(", ");
        if self.arrays.len() > 4 { format!("{held}, ...") } else { held }
    }

    /// The values of the array at `place`, which has to be one of [`Kind::Float`], rows first or columns first as in
    /// the file.
    ///
    /// # Errors
    /// When they cannot be read; names the array.
    pub(super) fn floats(&mut self, place: usize) -> Result<ArrayD<f64>> {
        let values = self.values(place, Encoding::floats)?;
        let array = &self.arrays[place];
        let shape = IxDyn(&array.shape).set_f(array.encoding.is_fortran());
        ArrayD::from_shape_vec(shape, values)
            .map_err(|_| Error::failed("holds another number of values than its shape says").of(&subject(&array.name)))
    }

    /// The values of the array at `place`, which has to be one of [`Kind::Integer`] or [`Kind::Bool`].
    ///
    /// # Errors
    /// As [`Self::floats`].
    pub(super) fn integers(&mut self, place: usize) -> Result<Vec<i128>> {
        self.values(place, Encoding::integers)
    }

    /// The values of the array at `place`, which has to be one of [`Kind::Text`].
    ///
    /// # Errors
    /// As [`Self::floats`].
    pub(super) fn texts(&mut self, place: usize) -> Result<Vec<String>> {
        self.values(place, Encoding::texts)
    }

    fn values<T>(
        &mut self,
        place: usize,
        decode: impl FnOnce(&Encoding, &mut dyn Read) -> io::Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let array = &self.arrays[place];
        let read = match &mut self.source {
            Source::Plain(reader) => reader
                .seek(SeekFrom::Start(array.start))
                .and_then(|_| decode(&array.encoding, &mut reader.take(array.bytes))),
            Source::Zip(zip, places) => zip.by_index(places[place]).map_err(io::Error::from).and_then(|mut entry| {
                io::copy(&mut entry.by_ref().take(array.start), &mut io::sink())?;
                let values = decode(&array.encoding, &mut entry.by_ref().take(array.bytes))?;
                // The checksum is compared at the end.
                io::copy(&mut entry, &mut io::sink())?;
                Ok(values)
            }),
        };
        read.map_err(|error| {
            let error = not_read(&error);
            if array.name.is_empty() { error } else { error.of(&subject(&array.name)) }
        })
    }
}

/// What an error puts before what it says of an array.
pub(super) fn subject(name: &str) -> String {
    format!("array {name}")
}

/// An array in a file or an entry of `length` bytes, which have to be its header, its values and nothing after them.
fn npy_array(name: String, header: npyz::NpyHeader, start: u64, length: u64) -> Result<Array> {
    let broken = || Error::failed("is not a whole .npy: its header is broken");
    let shape = header.shape().iter().map(|&size| usize::try_from(size)).collect::<std::result::Result<Vec<_>, _>>();
    let (shape, encoding) = (shape.map_err(|_| broken())?, Encoding::Npy(header));
    let bytes = length.checked_sub(start).ok_or_else(broken)?;
    let array = Array { name, shape, encoding, start, bytes };
    if let Some(width) = array.encoding.width() {
        if width == 0 {
            return Err(broken());
        }
        let expected = array.shape.iter().try_fold(width, |product, &size| product.checked_mul(size));
        if expected.map(|expected| expected as u64) != Some(bytes) {
            let held = format!("shape {:?} of {}", array.shape, array.encoding.name());
            return Err(Error::failed(format!("is not a whole .npy: {held} does not fit the {bytes} bytes it holds")));
        }
    }
    Ok(array)
}

fn unread(error: io::Error) -> Error {
    Error::failed(io_text(&error))
}

fn not_whole(what: &str, why: &str) -> Error {
    Error::failed(format!("is not a whole {what}: {why}"))
}

fn not_read(error: &io::Error) -> Error {
    Error::failed(format!("its values cannot be read: {}", io_text(error))).hint("write or copy the file again")
}

fn zip_text(error: &ZipError) -> String {
    match error {
        ZipError::Io(error) => io_text(error),
        ZipError::InvalidArchive(why) => why.to_string(),
        error => error.to_string(),
    }
}

fn zip_error(error: &ZipError) -> Error {
    match error {
        ZipError::CompressionMethodNotSupported(_) | ZipError::UnsupportedArchive(_) => {
            Error::failed(format!("is packed in a way that is not read: {}", zip_text(error)))
                .hint("numpy.savez and numpy.savez_compressed write what is read")
        }
        error => not_whole(".npz", &zip_text(error)),
    }
}

/// Row-major, as those expect who take slices of it.
pub(super) fn in_rows(values: ArrayD<f64>) -> ArrayD<f64> {
    if values.is_standard_layout() { values } else { values.as_standard_layout().into_owned() }
}
