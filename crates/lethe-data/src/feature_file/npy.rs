//! The format of `numpy.save`, versions 1 to 3, by the crate npyz.

use std::io::{self, Read, Write};

use ndarray::ArrayViewD;
use npyz::{AutoSerialize, DType, NpyHeader, Serialize, TypeStr, WriteOptions, WriterBuilder};

use crate::error::{Error, Result};

pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy writes headers of under 200 bytes and by default reads none above 10,000.
const HEADER_LIMIT: usize = 10_000;
/// Sizes of so many digits in all have a product within 64 bits.
const DIGITS_LIMIT: usize = 19;

/// The header that `reader` begins with, and its length in bytes with all that stands before the data.
///
/// # Errors
/// When it is not whole, or describes records.
pub(super) fn read_header(mut reader: impl Read) -> Result<(NpyHeader, u64)> {
    let broken = || Error::failed("is not a whole .npy: its header is broken");
    let mut bytes = vec![0; MAGIC.len() + 2];
    reader.read_exact(&mut bytes).map_err(|_| broken())?;
    let version = bytes[MAGIC.len()];
    let mut length = [0; 4];
    let length_bytes = if version == 1 { &mut length[..2] } else { &mut length[..] };
    reader.read_exact(length_bytes).map_err(|_| broken())?;
    bytes.extend_from_slice(length_bytes);
    let length = u32::from_le_bytes(length) as usize;
    if !(1..=3).contains(&version) || length > HEADER_LIMIT {
        return Err(broken());
    }
    let before = bytes.len();
    bytes.resize(before + length, 0);
    reader.read_exact(&mut bytes[before..]).map_err(|_| broken())?;
    let text = std::str::from_utf8(&bytes[before..]).map_err(|_| broken())?;
    if !is_plain(text) {
        let records = text.contains('[') && text.contains('(');
        return Err(if records { Error::failed("holds records, expected plain numbers") } else { broken() });
    }
    let header = NpyHeader::from_reader(&bytes[..]).map_err(|_| broken())?;
    Ok((header, bytes.len() as u64))
}

/// Whether npyz can be trusted with a header: its parser recurses, and it multiplies sizes without a check. The header
/// of a plain array has one dictionary with one tuple.
fn is_plain(header: &str) -> bool {
    let count = |of: &[char]| header.chars().filter(|c| of.contains(c)).count();
    let digits = header.chars().filter(char::is_ascii_digit).count();
    let other_bases = ["0x", "0X"].iter().any(|base| header.contains(base));
    count(&['(', '[', '{']) <= 3 && digits <= DIGITS_LIMIT && !other_bases
}

/// The type of a plain array.
pub(super) fn plain_type(header: &NpyHeader) -> Option<TypeStr> {
    match header.dtype() {
        DType::Plain(kind) => Some(kind),
        _ => None,
    }
}

/// Writes `values` of `shape` in row-major order.
fn write<'a, T>(
    writer: impl Write,
    dtype: DType,
    shape: &[usize],
    values: impl Iterator<Item = &'a T>,
) -> io::Result<()>
where
    T: Serialize + ?Sized + 'a,
{
    let shape: Vec<u64> = shape.iter().map(|&size| size as u64).collect();
    let mut npy = WriteOptions::<T>::new().dtype(dtype).shape(&shape).writer(writer).begin_nd()?;
    for value in values {
        npy.push(value)?;
    }
    npy.finish()
}

pub(super) fn write_floats(writer: impl Write, values: &ArrayViewD<f32>) -> io::Result<()> {
    write(writer, little_endian("<f4")?, values.shape(), values.iter())
}

/// As 64-bit integers, which is NumPy's own type of labels.
pub(super) fn write_integers(writer: impl Write, shape: &[usize], values: &[u32]) -> io::Result<()> {
    let values: Vec<i64> = values.iter().map(|&value| i64::from(value)).collect();
    write(writer, little_endian("<i8")?, shape, values.iter())
}

/// As NumPy's unicode strings of one length.
pub(super) fn write_texts(writer: impl Write, values: &[String]) -> io::Result<()> {
    let longest = values.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
    write(writer, little_endian(&format!("<U{longest}"))?, &[values.len()], values.iter().map(String::as_str))
}

pub(super) fn write_flag(writer: impl Write, value: bool) -> io::Result<()> {
    write(writer, bool::default_dtype(), &[], std::iter::once(&value))
}

fn little_endian(kind: &str) -> io::Result<DType> {
    kind.parse().map(DType::Plain).map_err(io::Error::other)
}
