//! Reading and writing encoders. Lethe writes safetensors with torchvision's names, or timm's; it reads those, and the state
//! dicts that PyTorch tools save, as data: nothing in a file is ever executed.

mod infer;
mod names;
mod pickle;
mod safetensors;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use tch::{Device, Kind, Tensor};

use crate::encoders::{Encoder, EncoderSpec, Pool, Stem};
use crate::error::{At, Error, Result, io_text};
use crate::nn::Weights;

/// What a checkpoint says of itself; of a foreign one only the encoder and, at most, the epoch are known.
#[derive(Debug, Clone, PartialEq)]
pub struct Meta {
    pub encoder: EncoderSpec,
    /// Side of the training images, pixels.
    pub image_size: Option<u32>,
    /// The name given to `--normalize`.
    pub normalize: Option<String>,
    pub method: Option<String>,
    pub method_settings: Option<toml::Table>,
    pub epoch: Option<u32>,
    /// Optimiser steps done.
    pub step: Option<u64>,
    /// The version of Lethe that wrote the file.
    pub lethe: Option<String>,
}

impl Meta {
    pub fn new(encoder: EncoderSpec) -> Self {
        Self {
            encoder,
            image_size: None,
            normalize: None,
            method: None,
            method_settings: None,
            epoch: None,
            step: None,
            lethe: None,
        }
    }

    /// How the encoder is to be shown images: as the file says; of a foreign one ImageNet's is the usual way. None leaves it
    /// to the data.
    pub fn normalization(&self) -> Option<&str> {
        self.normalize.as_deref().or(self.lethe.is_none().then_some("imagenet"))
    }
}

/// An encoder read from a file.
#[derive(Debug)]
pub struct Checkpoint {
    pub path: PathBuf,
    pub meta: Meta,
    /// Torchvision's or timm's names in their order, without the classifier; floats are f32, nothing requires a gradient.
    pub encoder: Weights,
    /// `projector.N.*` and `predictor.N.*` of a foreign file, where they are chains of linear layers, batch-norms
    /// and ReLUs. Lethe keeps its own heads in the state beside the checkpoint ([`state_path`]).
    pub head: Option<Weights>,
}

impl Checkpoint {
    /// The state beside it. One of another step is that of a checkpoint that stood here before.
    ///
    /// # Errors
    /// As [`open_state`].
    pub fn state(&self) -> Result<Option<State>> {
        let path = state_path(&self.path);
        if !path.is_file() {
            return Ok(None);
        }
        let state = open_state(&path)?;
        let step = state.progress.get("step");
        let own = step.is_none() || step.and_then(|step| step.parse().ok()) == self.meta.step;
        Ok(own.then_some(state))
    }
}

/// What a run needs besides the encoder to go on with the same bits.
#[derive(Debug, Default)]
pub struct State {
    /// Projector, predictor and teacher.
    pub head: Weights,
    /// Moments, by the names of their parameters.
    pub optimizer: Weights,
    /// Step, epoch, seed, threads and whatever else the loop notes.
    pub progress: BTreeMap<String, String>,
}

/// Opens a checkpoint of any format, which is told by its content.
///
/// # Errors
/// Names the file and what is wrong: no such file, not a checkpoint, damaged, or no encoder of ours; then the first
/// tensor that does not fit.
pub fn open(path: &Path) -> Result<Checkpoint> {
    contained(path, || {
        let listing = list(path)?;
        if listing.lethe().is_some() && !progress_of(&listing).is_empty() {
            return Err(Error::failed("is the state beside a checkpoint").hint("name the checkpoint: without `.state`"));
        }
        let found = names::find(&listing.shapes)?;
        let encoder = infer::encoder(&found, small_stem(&listing, &found), pool(&listing)?)?;
        let meta = meta(&listing, encoder.spec())?;
        let weights = read_encoder(&listing, &found.encoder, encoder.as_ref())?;
        let head: Weights = found
            .head
            .iter()
            .map(|(name, theirs)| Ok((name.clone(), single(listing.read(&theirs.name)?))))
            .collect::<Result<_>>()?;
        Ok(Checkpoint { path: path.to_owned(), meta, encoder: weights, head: (!head.is_empty()).then_some(head) })
    })
}

/// Writes `encoder` as safetensors that `load_state_dict(strict=True)` of torchvision's or timm's network without classifier
/// takes.
///
/// # Errors
/// When the file cannot be written, the weights are not those of `meta.encoder`, or not all of them are finite.
pub fn save(path: &Path, meta: &Meta, encoder: &Weights) -> Result<()> {
    encoder.expect_finite().at(path)?;
    let expected = meta.encoder.build()?.shapes();
    let mut ordered = Weights::new();
    for (name, shape) in &expected {
        match encoder.find(name) {
            Some(tensor) if tensor.size() == *shape => ordered.insert(name.clone(), tensor.shallow_clone()),
            _ => return Err(Error::failed(format!("no {name} {shape:?} to save as {}", meta.encoder)).at(path)),
        }
    }
    let mut metadata = BTreeMap::from([("encoder".to_owned(), meta.encoder.name.clone())]);
    let settings = meta.method_settings.as_ref().map(ToString::to_string);
    let optional = [
        ("stem", meta.encoder.stem.map(|stem| stem.to_string())),
        ("pool", meta.encoder.pool.map(|pool| pool.to_string())),
        ("image_size", meta.image_size.map(|size| size.to_string())),
        ("normalize", meta.normalize.clone()),
        ("method", meta.method.clone()),
        ("method_settings", settings),
        ("epoch", meta.epoch.map(|epoch| epoch.to_string())),
        ("step", meta.step.map(|step| step.to_string())),
    ];
    metadata.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    write_tensors(path, &ordered, &metadata)
}

/// Where the state of a checkpoint stands: `epoch-0010.safetensors` -> `epoch-0010.state.safetensors`.
pub fn state_path(checkpoint: &Path) -> PathBuf {
    checkpoint.with_extension("state.safetensors")
}

/// Removes the state of the checkpoint that stood at `checkpoint` before another took its place. What is no state stays.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_state(checkpoint: &Path) -> Result<()> {
    let path = state_path(checkpoint);
    match open_progress(&path) {
        Ok(progress) if !progress.is_empty() => fs::remove_file(&path).at(&path),
        _ => Ok(()),
    }
}

/// # Errors
/// When the file cannot be written.
pub fn save_state(path: &Path, state: &State) -> Result<()> {
    let mut tensors = state.head.prefixed("head.");
    tensors.extend(state.optimizer.prefixed("optimizer."));
    let metadata = state.progress.iter().map(|(key, value)| (format!("progress.{key}"), value.clone())).collect();
    write_tensors(path, &tensors, &metadata)
}

/// # Errors
/// When the file cannot be read, is damaged or is not a state.
pub fn open_state(path: &Path) -> Result<State> {
    contained(path, || {
        let listing = list(path)?;
        let tensors = listing.read_all()?;
        let known = |name: &str| name.starts_with("head.") || name.starts_with("optimizer.");
        if listing.lethe().is_none() || !tensors.names().all(known) {
            return Err(Error::failed("is not the state of a run")
                .hint("it stands beside the checkpoint, as epoch-NNNN.state.safetensors"));
        }
        let progress = progress_of(&listing);
        Ok(State { head: tensors.under("head."), optimizer: tensors.under("optimizer."), progress })
    })
}

/// The `progress` of a state, without reading its tensors.
///
/// # Errors
/// When the file cannot be read or is damaged.
pub fn open_progress(path: &Path) -> Result<BTreeMap<String, String>> {
    contained(path, || Ok(progress_of(&list(path)?)))
}

fn progress_of(listing: &Listing) -> BTreeMap<String, String> {
    let entries = listing.metadata.iter();
    entries.filter_map(|(key, value)| Some((key.strip_prefix("progress.")?.to_owned(), value.clone()))).collect()
}

/// All tensors of a file, with their names and types as they are; of Lethe's own in the order they were written,
/// integers of 8 bytes first.
///
/// # Errors
/// When the file cannot be read, is damaged, or holds a tensor of a type libtorch does not have.
pub fn read_tensors(path: &Path) -> Result<Weights> {
    contained(path, || list(path)?.read_all())
}

/// Writes safetensors. The version of Lethe and of libtorch and a checksum of all names, shapes, values and metadata
/// are added; the checksum is verified when Lethe reads the file.
///
/// # Errors
/// When the file cannot be written, or a tensor has a type that safetensors does not.
pub fn write_tensors(path: &Path, w: &Weights, metadata: &BTreeMap<String, String>) -> Result<()> {
    safetensors::write(path, w, metadata)
}

/// What a file lists; tensors are read one at a time.
struct Listing {
    shapes: IndexMap<String, Vec<i64>>,
    /// The `__metadata__` of safetensors.
    metadata: BTreeMap<String, String>,
    /// The entry `epoch` of a PyTorch file.
    epoch: Option<u32>,
    read: Read,
}

/// Reads the tensor of a name.
type Read = Box<dyn Fn(&str) -> Result<Tensor>>;

impl Listing {
    fn read(&self, name: &str) -> Result<Tensor> {
        (self.read)(name)
    }

    fn read_all(&self) -> Result<Weights> {
        self.shapes.keys().map(|name| Ok((name.clone(), self.read(name)?))).collect()
    }

    /// The version of Lethe that wrote the file, if it did.
    fn lethe(&self) -> Option<&String> {
        self.metadata.get(safetensors::LETHE)
    }
}

/// More than any encoder with its optimiser and teacher has; above it a header is made to exhaust memory.
const MAX_TENSORS: usize = 20_000;

/// How files begin that are often taken for checkpoints.
const OTHERS: &[(&[u8], &str)] = &[
    (b"<", "a web page"),
    (b"version https://git-lfs", "a Git LFS pointer (run `git lfs pull`)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"\x1f\x8b", "a gzip archive"),
];

fn list(path: &Path) -> Result<Listing> {
    let found = fs::metadata(path).map_err(unread)?;
    if found.is_dir() {
        return Err(Error::failed("is a folder, not a checkpoint").hint("name one of the checkpoints in it"));
    }
    let mut start = Vec::new();
    File::open(path).and_then(|file| file.take(32).read_to_end(&mut start)).map_err(unread)?;
    if start.is_empty() {
        return Err(Error::failed("is empty, not a checkpoint"));
    }
    if safetensors::starts(&start) {
        return safetensors::list(path);
    }
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(Error::failed(format!("is {what}, not a checkpoint")));
    }
    pickle::list(path)
}

/// The stem of a 3x3 first convolution: what Lethe noted in the file, else that of the tool that wrote it.
fn small_stem(listing: &Listing, found: &names::Found) -> Stem {
    let padded = Stem::CifarPad2.to_string();
    if found.solo_learn || listing.metadata.get("stem") == Some(&padded) { Stem::CifarPad2 } else { Stem::Cifar }
}

/// The pooling that Lethe noted in the file; a file of others does not tell.
fn pool(listing: &Listing) -> Result<Pool> {
    let noted = listing.metadata.get("pool");
    noted.map_or_else(|| Ok(Pool::default()), |pool| pool.parse().map_err(|error: Error| error.of("metadata pool")))
}

fn meta(listing: &Listing, inferred: EncoderSpec) -> Result<Meta> {
    if listing.lethe().is_none() {
        return Ok(Meta { epoch: listing.epoch, image_size: inferred.image_size, ..Meta::new(inferred) });
    }
    let of = |key: &str| listing.metadata.get(key).cloned();
    let number = |key: &str| {
        let parse = |text: String| {
            text.parse::<u64>().map_err(|_| Error::failed(format!("metadata {key}: {text:?} is not a number")))
        };
        of(key).map(parse).transpose()
    };
    let parse = |text: String| {
        text.parse::<toml::Table>().map_err(|error| Error::failed(format!("metadata method_settings: {error}")))
    };
    let (name, stem) = (of("encoder"), of("stem"));
    let inferred_stem = inferred.stem.map(|stem| stem.to_string());
    if name.is_some_and(|name| name != inferred.name) || stem.is_some_and(|stem| Some(stem) != inferred_stem) {
        return Err(Error::failed(format!("its metadata names another encoder than its tensors: {inferred}")));
    }
    Ok(Meta {
        encoder: inferred,
        image_size: number("image_size")?.map(|size| size as u32),
        normalize: of("normalize"),
        method: of("method"),
        method_settings: of("method_settings").map(parse).transpose()?,
        epoch: number("epoch")?.map(|epoch| epoch as u32),
        step: number("step")?,
        lethe: listing.lethe().cloned(),
    })
}

/// The tensors of `encoder` in its order. Files from before PyTorch 0.4.1 count no batches: the counters start at 0.
fn read_encoder(listing: &Listing, tensors: &names::Renamed, encoder: &dyn Encoder) -> Result<Weights> {
    let mut weights = Weights::new();
    for (name, _) in encoder.shapes() {
        let counter = name.ends_with("num_batches_tracked");
        let tensor = match tensors.get(&name) {
            Some(theirs) => single(listing.read(&theirs.name)?),
            None => Tensor::zeros([0i64; 0], (Kind::Int64, Device::Cpu)),
        };
        let expected = if counter { Kind::Int64 } else { Kind::Float };
        if tensor.kind() != expected {
            let found = tensor.kind();
            return Err(Error::failed(format!("tensor {name} holds {found:?}, expected {expected:?}")));
        }
        weights.insert(name, tensor);
    }
    weights
        .expect_finite()
        .map_err(|error| error.hint("the training that wrote it broke: use an earlier checkpoint"))?;
    Ok(weights)
}

/// Floats of any precision as f32; other types stay.
fn single(tensor: Tensor) -> Tensor {
    if tensor.is_floating_point() { tensor.to_kind(Kind::Float) } else { tensor }
}

/// An error of the system, without the file: [`contained`] names it.
fn unread(error: std::io::Error) -> Error {
    Error::failed(io_text(&error))
}

/// Names the file in an error, and makes one of a panic of the decoders of others.
fn contained<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::failed("is damaged")));
    result.at(path)
}
