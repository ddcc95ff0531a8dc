//! The safetensors format: 8 bytes of length, a JSON header, the tensors' bytes.
//!
//! The crate reads it. Writing is ours, because a map without order would give every run other bytes.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorInfo};
use serde_json::json;
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

use super::{Listing, MAX_TENSORS, unread};
use crate::error::{At, Error, Result};
use crate::files;
use crate::native::torch;
use crate::nn::Weights;

/// The keys of `__metadata__` that every file of ours has.
pub(super) const LETHE: &str = "lethe";
const CHECKSUM: &str = "sha256";

/// torch-sys 0.24 builds with no other version.
const LIBTORCH: &str = "2.11.0";

/// A header of `MAX_TENSORS` tensors takes 3 MB.
const MAX_HEADER: u64 = 8 << 20;

const TYPES: &[(Kind, Dtype)] = &[
    (Kind::Double, Dtype::F64),
    (Kind::Float, Dtype::F32),
    (Kind::Half, Dtype::F16),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Int64, Dtype::I64),
    (Kind::Int, Dtype::I32),
    (Kind::Int16, Dtype::I16),
    (Kind::Int8, Dtype::I8),
    (Kind::Uint8, Dtype::U8),
    (Kind::Bool, Dtype::BOOL),
];

/// Whether a file that begins like this can only be safetensors.
pub(super) fn starts(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|length| u64::from_le_bytes(*length) <= 100_000_000) && bytes.get(8) == Some(&b'{')
}

pub(super) fn list(path: &Path) -> Result<Listing> {
    let bytes = fs::read(path).map_err(unread)?;
    let damaged = |why: String| Error::failed(format!("is damaged: {why}")).hint("copy or download the file again");
    let length = bytes.first_chunk().map(|length| u64::from_le_bytes(*length)).unwrap_or_default();
    if length > MAX_HEADER {
        return Err(Error::failed(format!("has a header of {length} bytes, more than {MAX_HEADER}")));
    }
    let (length, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
    let mut tensors: Vec<(String, TensorInfo)> =
        header.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
    if tensors.len() > MAX_TENSORS {
        return Err(Error::failed(format!("lists {} tensors, more than {MAX_TENSORS}", tensors.len())));
    }
    tensors.sort_by(|(a, x), (b, y)| (x.data_offsets, a).cmp(&(y.data_offsets, b)));
    let metadata: BTreeMap<String, String> = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let data = length + 8;
    if metadata.contains_key(LETHE) || metadata.contains_key(CHECKSUM) {
        let mut checksum = Checksum::new(&metadata);
        for (name, info) in &tensors {
            checksum.tensor(name, info.dtype, &info.shape);
        }
        checksum.data(&bytes[data..]);
        if metadata.get(CHECKSUM) != Some(&checksum.finish()) {
            return Err(damaged("its checksum does not match".into()));
        }
    }
    let shapes = tensors.iter().map(|(name, info)| Ok((name.clone(), shape(info)?))).collect::<Result<_>>()?;
    let infos: BTreeMap<String, TensorInfo> = tensors.into_iter().collect();
    let read = move |name: &str| {
        let info = infos.get(name).ok_or_else(|| Error::failed(format!("tensor {name} is missing")))?;
        let kind = TYPES.iter().find(|(_, dtype)| *dtype == info.dtype).map(|(kind, _)| *kind).ok_or_else(|| {
            Error::failed(format!("tensor {name} has the type {}, which libtorch does not have", info.dtype))
        })?;
        let (start, end) = info.data_offsets;
        Tensor::f_from_data_size(&bytes[data + start..data + end], &shape(info)?, kind).map_err(torch)
    };
    Ok(Listing { shapes, metadata, epoch: None, read: Box::new(read) })
}

fn shape(info: &TensorInfo) -> Result<Vec<i64>> {
    let of = |&side: &usize| i64::try_from(side).map_err(|_| Error::failed(format!("is damaged: a side of {side}")));
    info.shape.iter().map(of).collect()
}

pub(super) fn write(path: &Path, w: &Weights, metadata: &BTreeMap<String, String>) -> Result<()> {
    let mut tensors = w.iter().map(|(name, tensor)| Entry::new(name, tensor).at(path)).collect::<Result<Vec<_>>>()?;
    // Wide types first keep every tensor aligned; within a type the map's order stays.
    tensors.sort_by_key(|entry| Reverse(entry.kind.elt_size_in_bytes()));

    let mut metadata = metadata.clone();
    metadata.insert("format".into(), "pt".into());
    metadata.insert(LETHE.into(), env!("CARGO_PKG_VERSION").into());
    metadata.insert("torch".into(), LIBTORCH.into());
    let mut checksum = Checksum::new(&metadata);
    for entry in &tensors {
        checksum.tensor(entry.name, entry.dtype, &entry.shape);
    }
    for entry in &tensors {
        checksum.data(&entry.bytes()?);
    }
    metadata.insert(CHECKSUM.into(), checksum.finish());

    let mut header = serde_json::Map::from_iter([("__metadata__".to_owned(), json!(metadata))]);
    let mut offset = 0;
    for entry in &tensors {
        let end = offset + entry.length;
        let info = json!({ "dtype": entry.dtype, "shape": entry.shape, "data_offsets": [offset, end] });
        header.insert(entry.name.to_owned(), info);
        offset = end;
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');

    files::write_with(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for entry in &tensors {
            file.write_all(&entry.bytes().map_err(io::Error::other)?)?;
        }
        Ok(())
    })
}

/// A tensor about to be written.
struct Entry<'a> {
    name: &'a str,
    tensor: Tensor,
    kind: Kind,
    dtype: Dtype,
    shape: Vec<usize>,
    length: usize,
}

impl<'a> Entry<'a> {
    fn new(name: &'a str, tensor: &Tensor) -> Result<Self> {
        let kind = tensor.kind();
        let dtype = TYPES.iter().find(|(known, _)| *known == kind).map(|(_, dtype)| *dtype).ok_or_else(|| {
            Error::failed(format!("tensor {name} has the type {kind:?}, which safetensors does not have"))
        })?;
        let shape = tensor.size().iter().map(|&side| side as usize).collect();
        let length = tensor.numel() * kind.elt_size_in_bytes();
        Ok(Self { name, tensor: tensor.detach(), kind, dtype, shape, length })
    }

    /// Row-major, little-endian.
    fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        self.tensor
            .f_to_device(tch::Device::Cpu)
            .map_err(torch)?
            .f_contiguous()
            .map_err(torch)?
            .f_copy_data_u8(&mut bytes, self.tensor.numel())
            .map_err(torch)?;
        Ok(bytes)
    }
}

/// SHA-256 over the metadata, then names, types and shapes, then the bytes: all that a file says. Every text is
/// preceded by its length, so that no two files share a sequence.
struct Checksum(Sha256);

impl Checksum {
    fn new(metadata: &BTreeMap<String, String>) -> Self {
        let mut checksum = Self(Sha256::new());
        for (key, value) in metadata.iter().filter(|(key, _)| *key != CHECKSUM) {
            checksum.text(key);
            checksum.text(value);
        }
        checksum
    }

    fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }

    fn tensor(&mut self, name: &str, dtype: Dtype, shape: &[usize]) {
        self.text(name);
        self.text(&format!("{dtype} {shape:?}"));
    }

    fn data(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self) -> String {
        format!("{:x}", self.0.finalize())
    }
}
