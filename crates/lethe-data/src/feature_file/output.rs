//! Writing files of features: each array is streamed from where it stands in memory.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use ndarray::{ArrayView2, ArrayView3, ArrayViewD};
use serde_json::json;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::layout::{Layout, Named, Side, expect_finite};
use super::npy;
use crate::error::{At, Error, Result};
use crate::files;

pub(super) const LABELS: &str = "labels";
/// The names of the stages from first to last.
pub(super) const STAGES: &str = "stages";
pub(super) const EPOCH: &str = "epoch";
pub(super) const RANDOM_SPLIT: &str = "random_split";

/// One name and what stands under it.
pub(super) struct Item<'a> {
    name: String,
    values: Values<'a>,
}

pub(super) enum Values<'a> {
    Floats(ArrayViewD<'a, f32>),
    Labels(&'a [u32]),
    Texts(&'a [String]),
    Number(u32),
    Flag(bool),
}

impl<'a> Item<'a> {
    pub(super) fn new(name: impl Into<String>, values: Values<'a>) -> Self {
        Self { name: name.into(), values }
    }

    fn named(&self) -> Option<Named> {
        let shape = match &self.values {
            Values::Floats(values) => values.shape().to_vec(),
            Values::Labels(values) => vec![values.len()],
            Values::Texts(values) => vec![values.len()],
            Values::Number(_) | Values::Flag(_) => return None,
        };
        Some(Named { name: self.name.clone(), shape })
    }
}

/// The features of one checkpoint, as a diagnosis takes them.
pub struct Blocks<'a> {
    pub epoch: Option<u32>,
    /// Whether the two sides are a random split of one set.
    pub random_split: bool,
    /// `train` and `unseen`, or `canaries` alone.
    pub sides: Vec<Block<'a>>,
}

/// One side of [`Blocks`].
pub struct Block<'a> {
    pub side: Side,
    /// From first to last, the same ones on both sides.
    pub stages: Vec<Stage<'a>>,
    /// The classes of the n images.
    pub labels: Option<&'a [u32]>,
    /// The names of the n images.
    pub names: Option<&'a [String]>,
    /// Digests of the decoded pixels of the n images.
    pub digests: Option<&'a [String]>,
}

/// The features of one stage on one side.
pub struct Stage<'a> {
    pub name: &'a str,
    /// `[q, n, d]`: q random views of n images.
    pub views: ArrayView3<'a, f32>,
    /// `[n, d]`: the images as they are.
    pub plain: Option<ArrayView2<'a, f32>>,
}

/// Writes a file that [`FeatureBlocks`](super::FeatureBlocks) reads, float32, as `.safetensors` or `.npz` by the ending
/// of `path`. The arrays are streamed, so no copy of them is made.
///
/// # Errors
/// Another ending, blocks that a diagnosis would refuse (the array is named), or a file that cannot be written.
pub fn write_blocks(path: &Path, blocks: &Blocks) -> Result<()> {
    check_blocks(path)?;
    let stages: Vec<String> = match blocks.sides.first() {
        Some(block) => block.stages.iter().map(|stage| stage.name.to_owned()).collect(),
        None => Vec::new(),
    };
    let mut items = vec![Item::new(STAGES, Values::Texts(&stages))];
    items.extend(blocks.epoch.map(|epoch| Item::new(EPOCH, Values::Number(epoch))));
    items.push(Item::new(RANDOM_SPLIT, Values::Flag(blocks.random_split)));
    for block in &blocks.sides {
        let named = |part: &str| format!("{}.{part}", block.side.name());
        items.extend(block.labels.map(|labels| Item::new(named("labels"), Values::Labels(labels))));
        items.extend(block.names.map(|names| Item::new(named("names"), Values::Texts(names))));
        items.extend(block.digests.map(|digests| Item::new(named("digests"), Values::Texts(digests))));
        for stage in &block.stages {
            let floats = |part: &str, values: ArrayViewD<'_, f32>| -> Result<()> {
                expect_finite(&values, &format!("{}.{}", named(part), stage.name)).at(path)
            };
            floats("views", stage.views.reborrow().into_dyn())?;
            let name = format!("{}.{}", named("views"), stage.name);
            items.push(Item::new(name, Values::Floats(stage.views.reborrow().into_dyn())));
            if let Some(plain) = stage.plain {
                floats("plain", plain.reborrow().into_dyn())?;
                let name = format!("{}.{}", named("plain"), stage.name);
                items.push(Item::new(name, Values::Floats(plain.reborrow().into_dyn())));
            }
        }
    }
    let named: Vec<Named> = items.iter().filter_map(Item::named).collect();
    Layout::new(&named, Some(&stages)).at(path)?;
    match ending(path) {
        Some("npz") => write_npz(path, &items),
        _ => write_safetensors(path, &items),
    }
}

/// Whether [`write_blocks`] knows the ending of `path`: to be asked before the features are computed.
///
/// # Errors
/// Another ending.
pub fn check_blocks(path: &Path) -> Result<()> {
    match ending(path) {
        Some("safetensors" | "npz") => Ok(()),
        _ => Err(Error::usage("expected a name that ends in .safetensors or .npz").at(path)),
    }
}

/// Arrays one after another, stored as they are: features hardly become smaller by packing.
pub(super) fn write_npz(path: &Path, items: &[Item]) -> Result<()> {
    files::write_with(path, |file| {
        let mut zip = ZipWriter::new_stream(file);
        for item in items {
            let bytes = match &item.values {
                Values::Floats(values) => values.len() as u64 * 4,
                _ => 0,
            };
            // The header has a place for sizes above 4 GiB where they can occur.
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .large_file(bytes >= u64::from(u32::MAX) - (1 << 16));
            zip.start_file(npyz::npz::file_name_from_array_name(&item.name), options)?;
            let mut entry = BufWriter::with_capacity(1 << 16, &mut zip);
            match &item.values {
                Values::Floats(values) => npy::write_floats(&mut entry, values)?,
                Values::Labels(values) => npy::write_integers(&mut entry, &[values.len()], values)?,
                Values::Texts(values) => npy::write_texts(&mut entry, values)?,
                Values::Number(value) => npy::write_integers(&mut entry, &[], &[*value])?,
                Values::Flag(value) => npy::write_flag(&mut entry, *value)?,
            }
            entry.flush()?;
        }
        zip.finish()?;
        Ok(())
    })
}

/// Texts, numbers and flags go into the metadata, since the format has no arrays of text. Labels come first: 8-byte
/// values stay aligned that way. The crate's own writer takes the metadata from a map without order, which would give
/// every run other bytes.
pub(super) fn write_safetensors(path: &Path, items: &[Item]) -> Result<()> {
    let mut metadata = serde_json::Map::new();
    let mut arrays: Vec<(&Item, serde_json::Value, usize)> = Vec::new();
    for item in items {
        let text = match &item.values {
            Values::Floats(values) => {
                arrays.push((item, json!({ "dtype": "F32", "shape": values.shape() }), values.len() * 4));
                continue;
            }
            Values::Labels(values) => {
                arrays.push((item, json!({ "dtype": "I64", "shape": [values.len()] }), values.len() * 8));
                continue;
            }
            Values::Texts(values) => json!(values).to_string(),
            Values::Number(value) => value.to_string(),
            Values::Flag(value) => value.to_string(),
        };
        metadata.insert(item.name.clone(), text.into());
    }
    arrays.sort_by_key(|(item, ..)| matches!(item.values, Values::Floats(_)));
    let mut header = serde_json::Map::from_iter([("__metadata__".to_owned(), metadata.into())]);
    let mut offset = 0;
    for (item, info, bytes) in &mut arrays {
        info["data_offsets"] = json!([offset, offset + *bytes]);
        offset += *bytes;
        header.insert(item.name.clone(), info.take());
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    files::write_with(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for (item, ..) in &arrays {
            match &item.values {
                Values::Floats(values) => little_endian(file, values.iter().map(|value| value.to_le_bytes()))?,
                Values::Labels(labels) => {
                    little_endian(file, labels.iter().map(|&label| i64::from(label).to_le_bytes()))?;
                }
                _ => {}
            }
        }
        Ok(())
    })
}

fn little_endian<const W: usize>(file: &mut dyn Write, values: impl Iterator<Item = [u8; W]>) -> io::Result<()> {
    values.into_iter().try_for_each(|bytes| file.write_all(&bytes))
}

pub(super) fn ending(path: &Path) -> Option<&str> {
    path.extension().and_then(|ending| ending.to_str())
}
