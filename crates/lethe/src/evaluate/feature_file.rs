//! Files of features for other tools, told apart by their ending.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2};
use ndarray_npy::WriteNpyExt;
use tch::Tensor;

use super::Features;
use crate::checkpoint;
use crate::error::{Error, Result};
use crate::files;
use crate::nn::Weights;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One `[n, d]` f32 tensor a stage, named after it, and `labels` i64.
    Safetensors,
    /// One stage as f32; labels as i64 in a file beside it.
    Npy,
    /// A line an image, a column a feature (`stage4.0`), then `label`.
    Csv,
}

impl Format {
    /// # Errors
    /// When the ending is none of ours.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("safetensors") => Ok(Self::Safetensors),
            Some("npy") => Ok(Self::Npy),
            Some("csv") => Ok(Self::Csv),
            _ => Err(Error::usage("is not the name of a feature file")
                .at(path)
                .hint("end it in .safetensors, .npy or .csv")),
        }
    }
}

/// `F.npy` -> `F.labels.npy`.
fn labels_path(path: &Path) -> PathBuf {
    path.with_extension("labels.npy")
}

/// Writes the plain features of one view, and says which files were written. `metadata` goes into safetensors.
///
/// # Errors
/// When a file cannot be written; several stages for `.npy`.
pub fn write_features(path: &Path, features: &Features, metadata: &BTreeMap<String, String>) -> Result<Vec<PathBuf>> {
    let labels =
        features.labels.as_ref().map(|labels| labels.iter().map(|&label| i64::from(label)).collect::<Vec<_>>());
    let mut written = vec![path.to_owned()];
    match Format::of(path)? {
        Format::Safetensors => {
            let mut tensors: Weights =
                features.stages.iter().map(|(name, rows)| (name.clone(), tensor(rows))).collect();
            if let Some(labels) = labels {
                tensors.insert("labels", Tensor::from_slice(&labels));
            }
            checkpoint::write_tensors(path, &tensors, metadata)?;
        }
        Format::Npy => {
            let [(_, rows)] = features.stages.as_slice() else {
                return Err(Error::usage("an .npy file holds one stage")
                    .at(path)
                    .hint("ask for one with --stages, or write .safetensors"));
            };
            files::write_atomically(path, &npy(rows))?;
            if let Some(labels) = labels {
                files::write_atomically(&labels_path(path), &npy(&Array1::from(labels)))?;
                written.push(labels_path(path));
            }
        }
        Format::Csv => files::write_atomically(path, csv(features).as_bytes())?,
    }
    Ok(written)
}

fn tensor(rows: &Array2<f32>) -> Tensor {
    let (n, d) = rows.dim();
    Tensor::from_slice(rows.as_slice().expect("features are contiguous")).view([n as i64, d as i64])
}

fn npy(array: &impl WriteNpyExt) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    array.write_npy(&mut bytes).expect("writing to memory");
    bytes.into_inner()
}

/// Rust writes the shortest decimal that reads back as the same f32.
fn csv(features: &Features) -> String {
    let mut columns: Vec<String> = Vec::new();
    for (name, rows) in &features.stages {
        columns.extend((0..rows.ncols()).map(|i| format!("{name}.{i}")));
    }
    columns.extend(features.labels.is_some().then(|| "label".into()));
    let mut text = columns.join(",") + "\n";
    for i in 0..features.images {
        let values = features.stages.iter().flat_map(|(_, rows)| rows.row(i).to_vec());
        let mut cells: Vec<String> = values.map(|value| value.to_string()).collect();
        cells.extend(features.labels.as_ref().map(|labels| labels[i].to_string()));
        let _ = writeln!(text, "{}", cells.join(","));
    }
    text
}
