//! The values of one array, from the bytes of either format.

use std::io::{self, BufReader, Read};

use half::{bf16, f16};
use npyz::{Deserialize, NpyFile, NpyHeader, Order, TypeChar};
use safetensors::Dtype;

use super::npy;

/// What an array holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// float16, bfloat16, float32 or float64.
    Float,
    /// Integers of 8 to 64 bits, with a sign or without.
    Integer,
    Bool,
    /// NumPy's unicode or byte strings.
    Text,
    Other,
}

/// How the values of an array stand in its bytes.
#[derive(Clone)]
pub(super) enum Encoding {
    /// Either byte order, rows or columns first.
    Npy(NpyHeader),
    /// Little-endian, rows first.
    Safetensors(Dtype),
}

impl Encoding {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Encoding::Safetensors(Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64) => Kind::Float,
            Encoding::Safetensors(Dtype::BOOL) => Kind::Bool,
            Encoding::Safetensors(dtype) => match dtype {
                Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => Kind::Integer,
                Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => Kind::Integer,
                _ => Kind::Other,
            },
            Encoding::Npy(header) => match npy::plain_type(header) {
                Some(kind) => match (kind.type_char(), kind.size_field()) {
                    (TypeChar::Float, 2 | 4 | 8) => Kind::Float,
                    (TypeChar::Int | TypeChar::Uint, _) => Kind::Integer,
                    (TypeChar::Bool, _) => Kind::Bool,
                    (TypeChar::UnicodeStr | TypeChar::ByteStr, _) => Kind::Text,
                    _ => Kind::Other,
                },
                None => Kind::Other,
            },
        }
    }

    /// The type as the format names it: `<f4`, `F32`.
    pub(super) fn name(&self) -> String {
        match self {
            Encoding::Npy(header) => header.dtype().descr().trim_matches('\'').to_owned(),
            Encoding::Safetensors(dtype) => format!("{dtype:?}"),
        }
    }

    /// Bytes of a value, where all have the same number of them.
    pub(super) fn width(&self) -> Option<usize> {
        match self {
            Encoding::Npy(header) => header.dtype().num_bytes(),
            Encoding::Safetensors(dtype) => Some(dtype.bitsize() / 8),
        }
    }

    pub(super) fn is_fortran(&self) -> bool {
        matches!(self, Encoding::Npy(header) if header.order() == Order::Fortran)
    }

    /// The values of an array of [`Kind::Float`] in the order of the file.
    pub(super) fn floats(&self, data: &mut dyn Read) -> io::Result<Vec<f64>> {
        match self {
            Encoding::Npy(header) => match self.width() {
                Some(2) => npy_values(header, data, |value: f16| f64::from(value)),
                Some(4) => npy_values(header, data, |value: f32| f64::from(value)),
                _ => npy_values(header, data, |value: f64| value),
            },
            Encoding::Safetensors(Dtype::BF16) => raw_values(data, |bytes| f64::from(bf16::from_le_bytes(bytes))),
            Encoding::Safetensors(Dtype::F16) => raw_values(data, |bytes| f64::from(f16::from_le_bytes(bytes))),
            Encoding::Safetensors(Dtype::F32) => raw_values(data, |bytes| f64::from(f32::from_le_bytes(bytes))),
            Encoding::Safetensors(_) => raw_values(data, f64::from_le_bytes),
        }
    }

    /// The values of an array of [`Kind::Integer`], or of [`Kind::Bool`] as 0 and 1.
    pub(super) fn integers(&self, data: &mut dyn Read) -> io::Result<Vec<i128>> {
        match self {
            Encoding::Npy(header) => {
                let signed = npy::plain_type(header).is_some_and(|kind| kind.type_char() == TypeChar::Int);
                match (self.kind(), signed, self.width()) {
                    (Kind::Bool, ..) => npy_values(header, data, |value: bool| i128::from(value)),
                    (_, true, Some(1)) => npy_values(header, data, |value: i8| i128::from(value)),
                    (_, true, Some(2)) => npy_values(header, data, |value: i16| i128::from(value)),
                    (_, true, Some(4)) => npy_values(header, data, |value: i32| i128::from(value)),
                    (_, true, _) => npy_values(header, data, |value: i64| i128::from(value)),
                    (_, false, Some(1)) => npy_values(header, data, |value: u8| i128::from(value)),
                    (_, false, Some(2)) => npy_values(header, data, |value: u16| i128::from(value)),
                    (_, false, Some(4)) => npy_values(header, data, |value: u32| i128::from(value)),
                    (_, false, _) => npy_values(header, data, |value: u64| i128::from(value)),
                }
            }
            Encoding::Safetensors(dtype) => match dtype {
                Dtype::BOOL | Dtype::U8 => raw_values(data, |bytes| i128::from(u8::from_le_bytes(bytes))),
                Dtype::I8 => raw_values(data, |bytes| i128::from(i8::from_le_bytes(bytes))),
                Dtype::U16 => raw_values(data, |bytes| i128::from(u16::from_le_bytes(bytes))),
                Dtype::I16 => raw_values(data, |bytes| i128::from(i16::from_le_bytes(bytes))),
                Dtype::U32 => raw_values(data, |bytes| i128::from(u32::from_le_bytes(bytes))),
                Dtype::I32 => raw_values(data, |bytes| i128::from(i32::from_le_bytes(bytes))),
                Dtype::U64 => raw_values(data, |bytes| i128::from(u64::from_le_bytes(bytes))),
                _ => raw_values(data, |bytes| i128::from(i64::from_le_bytes(bytes))),
            },
        }
    }

    /// The values of an array of [`Kind::Text`]; byte strings are taken for UTF-8.
    pub(super) fn texts(&self, data: &mut dyn Read) -> io::Result<Vec<String>> {
        match self {
            Encoding::Npy(header) => npy_values(header, data, |text: String| text),
            Encoding::Safetensors(_) => Ok(Vec::new()),
        }
    }
}

/// Room is made for all values at once: the caller has compared their number with the bytes that are there.
fn npy_values<T: Deserialize, V>(
    header: &NpyHeader,
    data: &mut dyn Read,
    value: impl Fn(T) -> V,
) -> io::Result<Vec<V>> {
    let mut values = Vec::with_capacity(header.len() as usize);
    let data = NpyFile::with_header(header.clone(), BufReader::with_capacity(1 << 16, data));
    for read in data.data::<T>().map_err(io::Error::other)? {
        values.push(value(read?));
    }
    Ok(values)
}

/// All values of `W` bytes in `data`.
fn raw_values<const W: usize, V>(data: &mut dyn Read, value: impl Fn([u8; W]) -> V) -> io::Result<Vec<V>> {
    let mut values = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let mut filled = 0;
    loop {
        let read = data.read(&mut buffer[filled..])?;
        filled += read;
        let (whole, rest) = buffer[..filled].as_chunks::<W>();
        values.extend(whole.iter().map(|&bytes| value(bytes)));
        let rest = filled - rest.len()..filled;
        filled = rest.len();
        buffer.copy_within(rest, 0);
        if read == 0 {
            return Ok(values);
        }
    }
}
