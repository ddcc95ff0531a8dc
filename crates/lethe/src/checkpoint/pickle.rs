//! PyTorch's own files (zip, the stream before 1.6, the archive before 0.1.10), read as data by `pytorch-reader`.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use indexmap::IndexMap;
use pytorch_reader::{DType, PickleValue, PytorchError, PytorchReader};
use tch::{Kind, Tensor};

use super::{Listing, MAX_TENSORS, unread};
use crate::error::{Error, Result};
use crate::native::torch;

/// Tensors that share a storage are copied, but nobody needs more than this multiple of the file: a few bytes
/// expanded to gigabytes are an attack.
const MAX_EXPANSION: u64 = 4;

pub(super) fn list(path: &Path) -> Result<Listing> {
    let file_length = fs::metadata(path).map_err(unread)?.len();
    if is_torchscript(path).map_err(unread)? {
        return Err(Error::failed("is TorchScript, a program; Lethe reads state dicts")
            .hint("in Python: torch.save(torch.jit.load(FILE).state_dict(), OUT)"));
    }
    let tree = PytorchReader::read_pickle_data(path, None).map_err(unreadable)?;
    let mut names = Vec::new();
    walk(&tree, &mut String::new(), &mut names)?;
    if names.len() > MAX_TENSORS {
        return Err(Error::failed(format!("lists {} tensors, more than {MAX_TENSORS}", names.len())));
    }
    names.sort_by_cached_key(|name| natural(name));
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::failed(format!("has two tensors named {}", pair[0])));
    }
    let epoch = match &tree {
        PickleValue::Dict(entries) => match entries.get("epoch") {
            Some(PickleValue::Int(epoch)) => u32::try_from(*epoch).ok(),
            _ => None,
        },
        _ => None,
    };
    let tensors = PytorchReader::new(path).map_err(unreadable)?.into_tensors();
    let shapes: IndexMap<String, Vec<i64>> = names
        .into_iter()
        .map(|name| {
            let tensor = tensors.get(&name).ok_or_else(|| Error::failed(format!("tensor {name} is missing")))?;
            let of =
                |&side: &usize| i64::try_from(side).map_err(|_| Error::failed(format!("tensor {name} is damaged")));
            Ok((name.clone(), tensor.shape().iter().map(of).collect::<Result<_>>()?))
        })
        .collect::<Result<_>>()?;
    let budget = Cell::new(file_length.saturating_mul(MAX_EXPANSION));
    let read = move |name: &str| {
        let tensor = tensors.get(name).ok_or_else(|| Error::failed(format!("tensor {name} is missing")))?;
        let left = budget.get().checked_sub(tensor.byte_len() as u64);
        budget.set(left.ok_or_else(|| Error::failed(format!("tensor {name} is larger than the file")))?);
        let kind = kind(tensor.dtype()).ok_or_else(|| {
            Error::failed(format!("tensor {name} has the type {:?}, which libtorch does not have", tensor.dtype()))
        })?;
        let shape: Vec<i64> = tensor.shape().iter().map(|&side| side as i64).collect();
        let bytes = tensor.read().map_err(|error| damaged(&error.to_string()))?;
        Tensor::f_from_data_size(&bytes, &shape, kind).map_err(torch)
    };
    Ok(Listing { shapes, metadata: Default::default(), epoch, read: Box::new(read) })
}

/// The dotted names of all tensors. The reader would leave out tensors without data, and merge two whose dotted
/// names are the same (`{"a.b": x, "a": {"b": y}}`), without a word; a key that is there as a number and as text
/// (`{1: x, "1": y}`) it merges before anyone can see it.
fn walk(value: &PickleValue, at: &mut String, names: &mut Vec<String>) -> Result<()> {
    let length = at.len();
    let mut step = |key: &str, value: &PickleValue, names: &mut Vec<String>| {
        if length > 0 {
            at.push('.');
        }
        at.push_str(key);
        let walked = walk(value, at, names);
        at.truncate(length);
        walked
    };
    match value {
        PickleValue::Dict(entries) => entries.iter().try_for_each(|(key, value)| step(key, value, names)),
        PickleValue::List(items) => {
            items.iter().enumerate().try_for_each(|(i, value)| step(&i.to_string(), value, names))
        }
        PickleValue::Unsupported(class) if class == "torch.Tensor" => {
            names.push(at.clone());
            Ok(())
        }
        PickleValue::Unsupported(class) if class.contains("_rebuild_meta_tensor") => {
            Err(Error::failed(format!("tensor {at} has no data: it was saved from PyTorch's meta device")))
        }
        _ => Ok(()),
    }
}

/// Orders `layer1.2` before `layer1.10`.
fn natural(name: &str) -> Vec<(u64, String)> {
    name.split('.').map(|part| (part.parse().unwrap_or(u64::MAX), part.to_owned())).collect()
}

fn kind(dtype: DType) -> Option<Kind> {
    Some(match dtype {
        DType::F64 => Kind::Double,
        DType::F32 => Kind::Float,
        DType::F16 => Kind::Half,
        DType::BF16 => Kind::BFloat16,
        DType::I64 => Kind::Int64,
        DType::I32 => Kind::Int,
        DType::I16 => Kind::Int16,
        DType::I8 => Kind::Int8,
        DType::U8 => Kind::Uint8,
        DType::Bool => Kind::Bool,
        DType::U64 | DType::U32 | DType::U16 => return None,
    })
}

/// TorchScript is a zip with `constants.pkl`, which the directory at the end of the file names.
fn is_torchscript(path: &Path) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    let mut start = [0; 4];
    if file.read(&mut start)? < 4 || start != *b"PK\x03\x04" {
        return Ok(false);
    }
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(1 << 20)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let name = b"/constants.pkl";
    Ok(end.windows(name.len()).any(|window| window == name))
}

const SAVE_STATE_DICT: &str = "in Python: torch.save(model.state_dict(), FILE)";

fn unreadable(error: PytorchError) -> Error {
    match &error {
        PytorchError::InvalidFormat(why) if why.starts_with("not a PyTorch checkpoint") => {
            Error::failed("is not a checkpoint").hint("expected safetensors or a PyTorch state dict (.pt, .pth, .ckpt)")
        }
        PytorchError::InvalidFormat(why) if why.starts_with("No data.pkl") => {
            Error::failed("is a zip archive, not a checkpoint")
        }
        PytorchError::InvalidFormat(why) if why.starts_with("Expected a dictionary at the root") => {
            let found = why.rsplit_once("found ").map_or("something else", |(_, found)| found);
            Error::failed(format!("holds a {found}, not a state dict")).hint(SAVE_STATE_DICT)
        }
        _ => damaged(&error.to_string()),
    }
}

fn damaged(why: &str) -> Error {
    Error::failed(format!("is damaged, or not a state dict: {why}"))
        .hint(format!("copy or download it again, or {SAVE_STATE_DICT}"))
}
