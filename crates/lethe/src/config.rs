//! The settings of a run. Layers, each over the one before: defaults, the method's recipe, `--preset`, `--config` file, flags.

pub mod presets;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

use crate::data::Dataset;
use crate::data::held_out::HeldOut;
use crate::encoders::{self, EncoderSpec, Part, Pool, Stem};
use crate::error::{At, Error, Result};
use crate::{files, methods, progress};

/// Every setting of a pre-training, resolved; the content of a run folder's `config.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    pub method: String,
    pub data: String,
    pub encoder: String,
    /// What the encoder's name leaves open, as in [`EncoderSpec`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stem: Option<Stem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_scale: Option<bool>,
    /// Share of the images that skip the last residual branch, in training.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drop_path: f64,
    /// Side of the square views, in pixels.
    pub image_size: u32,
    pub normalize: String,
    pub augmentation: String,
    pub epochs: u32,
    pub batch_size: usize,
    pub optimizer: String,
    /// For a batch of 256; the rate used is this times `batch_size` / 256.
    pub lr: f64,
    pub weight_decay: f64,
    pub warmup_epochs: u32,
    /// Largest joint norm of the gradients; 0 leaves them as they are.
    pub clip_norm: f64,
    pub precision: Precision,
    pub device: String,
    /// Threads of libtorch and of the loader; a run repeats bit for bit only with the same number.
    pub threads: usize,
    pub seed: u64,
    /// Epochs from one kept checkpoint to the next.
    pub save_every: u32,
    /// Share of the images that may be unreadable before the run stops.
    pub bad_budget: f64,
    /// Images of `data` that are drawn by the seed and not trained on; the run folder's `held_out.json` names them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub hold_out: usize,
    /// A step of UMM in place of every so manieth one, 0 for none, once so many epochs are over.
    #[serde(default)]
    pub umm_every: u32,
    #[serde(default)]
    pub umm_from: u32,
    /// The method's hyper-parameters.
    pub method_settings: toml::Table,
    /// Those of UMM; empty without it.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub umm: toml::Table,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    F32,
    Bf16,
}

impl Precision {
    /// The kind of the images that enter the network; weights follow them.
    pub fn kind(self) -> Kind {
        match self {
            Precision::F32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_none(images: &usize) -> bool {
    *images == 0
}

/// Images looked at to find their size.
const SIZE_PROBE: usize = 16;

impl RunConfig {
    /// Puts `given` (the table of `file`, where there is one, with the flags over it) over the method's recipe and what the
    /// data suggest.
    ///
    /// # Errors
    /// On unknown keys, values of the wrong type or out of range, unknown names, or images that cannot be read. `file` is named
    /// for keys and types, which flags have right.
    pub fn resolve(
        given: toml::Table,
        file: Option<&Path>,
        open: impl Fn(&str) -> Result<std::sync::Arc<dyn Dataset>>,
    ) -> Result<Self> {
        let of_file = |error: Error| match file {
            Some(file) => error.at(file),
            None => error,
        };
        let text = |key: &str| given.get(key).and_then(toml::Value::as_str);
        let method = methods::find(text("method").unwrap_or("simclr"))?;
        let data = text("data").unwrap_or("shapes");
        let dataset = open(data)?;
        let image_size = match given.get("image_size").and_then(toml::Value::as_integer) {
            Some(size) => size as u32,
            None => image_size_of(dataset.as_ref(), data)?,
        };
        let recipe = &method.recipe;
        let defaults = toml::toml! {
            encoder = "resnet18"
            epochs = 100
            batch_size = 256
            clip_norm = 0.0
            precision = "f32"
            device = "cpu"
            seed = 0
            save_every = 10
            bad_budget = 0.001
        };
        let mut table = defaults;
        table.insert("method".into(), method.name.into());
        table.insert("data".into(), data.into());
        table.insert("optimizer".into(), recipe.optimizer.into());
        table.insert("lr".into(), recipe.lr.into());
        table.insert("weight_decay".into(), recipe.weight_decay.into());
        table.insert("augmentation".into(), recipe.augmentation.into());
        table.insert("image_size".into(), i64::from(image_size).into());
        table.insert("normalize".into(), dataset.normalization().into());
        let epochs = given.get("epochs").and_then(toml::Value::as_integer).unwrap_or(100);
        table.insert("warmup_epochs".into(), (epochs / 10).clamp(0, 10).into());
        table.insert("threads".into(), (available_threads() as i64).into());
        table.insert("method_settings".into(), toml::Table::new().into());
        table.extend(given);
        let mut config: RunConfig = table.try_into().map_err(|error: toml::de::Error| {
            of_file(Error::usage(format!("settings: {error}")).hint("`lethe pretrain --help` lists the keys"))
        })?;
        let encoder = config.encoder_spec().resolved(image_size)?.build()?;
        let EncoderSpec { name, stem, patch, pool, layer_scale, .. } = encoder.spec();
        config = Self { encoder: name, stem, patch, pool, layer_scale, ..config };
        let mut method = (method.build)(&config.method_settings).map_err(of_file)?;
        method.check(&Part::whole(encoder.as_ref()))?;
        config.check()?;
        config.check_batch(dataset.len())?;
        device(&config.device)?;
        let trained_on = match config.hold_out {
            0 => dataset,
            n => HeldOut::draw(&config.data, dataset.as_ref(), n, config.seed).split(&config.data, dataset)?.training,
        };
        method.prepare(trained_on.as_ref(), config.batch_size)?;
        config.method_settings = method.settings();
        Ok(config)
    }

    /// What can be said without the images and the machine.
    fn check(&self) -> Result<()> {
        let counts = [
            ("epochs", self.epochs as usize, 1, usize::MAX),
            ("batch_size", self.batch_size, 2, usize::MAX),
            ("image_size", self.image_size as usize, 1, LARGEST_SIZE),
            ("threads", self.threads, 1, MOST_THREADS),
            ("save_every", self.save_every as usize, 1, usize::MAX),
        ];
        for (key, value, least, most) in counts {
            if value < least {
                return Err(Error::usage(format!("{key} is {value}, expected at least {least}")));
            }
            if value > most {
                return Err(Error::usage(format!("{key} is {value}, expected at most {most}")));
            }
        }
        let rates = [
            ("lr", self.lr),
            ("weight_decay", self.weight_decay),
            ("clip_norm", self.clip_norm),
            ("bad_budget", self.bad_budget),
        ];
        if let Some((key, value)) = rates.iter().find(|(_, value)| !value.is_finite() || *value < 0.0) {
            return Err(Error::usage(format!("{key} must be a number of at least 0, not {value}")));
        }
        if self.bad_budget > 1.0 {
            return Err(Error::usage(format!("bad_budget is {}, expected a share of at most 1", self.bad_budget)));
        }
        if self.umm_every > 0 && self.umm_from >= self.epochs {
            let (from, epochs) = (self.umm_from, self.epochs);
            return Err(Error::usage(format!("umm_from is {from}: of {epochs} epochs none is left for a step of UMM")));
        }
        if !(0.0..1.0).contains(&self.drop_path) || self.drop_path > 0.0 && self.patch.is_none() {
            let why = if self.patch.is_none() { "has no paths to drop" } else { "needs a share below 1" };
            return Err(Error::usage(format!("drop_path {}: {} {why}", self.drop_path, self.encoder)));
        }
        encoders::check_size(self.encoder_spec().build()?.as_ref(), self.image_size)
    }

    /// # Errors
    /// When `images`, less those held out, do not fill a batch.
    pub fn check_batch(&self, images: usize) -> Result<()> {
        let (batch_size, hold_out) = (self.batch_size, self.hold_out);
        if batch_size.checked_add(hold_out).is_some_and(|needed| needed <= images) {
            return Ok(());
        }
        if batch_size <= images {
            let left = images.saturating_sub(hold_out);
            let what =
                format!("hold_out {hold_out}: of {images} images {left} are left, fewer than a batch of {batch_size}");
            return Err(Error::usage(what).hint(format!("--hold-out {} or less", images - batch_size)));
        }
        let what = format!("batch_size {} is larger than the data set ({images} images)", self.batch_size);
        let hint = if images < 2 { "name more images".into() } else { format!("--batch-size {images}") };
        Err(Error::usage(what).hint(hint))
    }

    pub fn encoder_spec(&self) -> EncoderSpec {
        EncoderSpec {
            name: self.encoder.clone(),
            stem: self.stem,
            patch: self.patch,
            // Of all that pool it is the vision transformers alone that are made for a size.
            image_size: self.pool.map(|_| self.image_size),
            pool: self.pool,
            layer_scale: self.layer_scale,
        }
    }

    /// # Errors
    /// When the file cannot be read, holds an unknown key, or a value out of its range.
    pub fn read(path: &Path) -> Result<Self> {
        let table = read_table(path)?;
        let config: Self =
            table.try_into().map_err(|error: toml::de::Error| Error::failed(error.to_string()).at(path))?;
        config.check().at(path)?;
        Ok(config)
    }

    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("settings are plain values")
    }
}

/// # Errors
/// When the file cannot be read or is not TOML.
pub fn read_table(path: &Path) -> Result<toml::Table> {
    let text = files::read_text(path)?;
    text.parse::<toml::Table>().map_err(|error| Error::usage(files::toml_error(&text, &error)).at(path))
}

/// Puts the values of `above` over those of `table`, inside tables too.
pub fn put_over(table: &mut toml::Table, above: toml::Table) {
    for (key, value) in above {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(own)), toml::Value::Table(value)) => own.extend(value),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// `cpu` or `cuda:N`.
///
/// # Errors
/// When the name is neither, or this machine has no such device.
pub fn device(name: &str) -> Result<Device> {
    let unknown = || Error::usage(format!("--device {name}: expected cpu or cuda:N"));
    let index = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => "0",
        Some(("cuda", index)) => index,
        _ => return Err(unknown()),
    };
    let index: usize = index.parse().map_err(|_| unknown())?;
    crate::cuda::load()?;
    let devices = tch::Cuda::device_count();
    if index >= devices as usize {
        return Err(Error::failed(format!("--device {name}: this machine has {devices} CUDA devices")));
    }
    Ok(Device::Cuda(index))
}

/// More help no machine of today, and end in the system refusing them.
const MOST_THREADS: usize = 1024;
/// Of a side of the views, in pixels; above it memory ends before the images begin.
const LARGEST_SIZE: usize = 4096;

/// The value of `--threads`.
///
/// # Errors
/// When it is no number that a machine can have.
pub fn threads(text: &str) -> std::result::Result<usize, String> {
    let allowed = |n: &usize| (1..=MOST_THREADS).contains(n);
    text.parse().ok().filter(allowed).ok_or_else(|| format!("expected a number from 1 to {MOST_THREADS}"))
}

/// The value of a flag that stands in settings files, whose integers are signed.
///
/// # Errors
/// When it is no whole number of at least 0 that they can hold.
pub fn number<T: TryFrom<u64>>(text: &str) -> std::result::Result<T, String> {
    let number = text.parse::<u64>().ok().filter(|number| i64::try_from(*number).is_ok());
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| format!("expected a whole number from 0 to {}", i64::MAX))
}

/// How many threads libtorch takes from here on, and the first time how many the measures do.
pub fn use_threads(threads: usize) {
    tch::set_num_threads(threads as i32);
    // A pool that stands already stays.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
}

pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The side of small images as they are (of several sizes, the middle one of their shorter sides), 224 of photographs.
/// Several sizes are said, with what follows from them.
///
/// # Errors
/// When none of the images looked at can be read; `data` is the specification that opened them.
pub fn image_size_of(dataset: &dyn Dataset, data: &str) -> Result<u32> {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let probes = dataset.len().min(SIZE_PROBE);
    let (images, faults): (Vec<_>, Vec<_>) =
        (0..probes).map(|i| dataset.image(i * dataset.len() / probes)).partition(std::result::Result::is_ok);
    let sizes: Vec<(u32, u32)> = images.iter().flatten().map(image::RgbImage::dimensions).collect();
    let mut sides: Vec<u32> = sizes.iter().map(|(width, height)| *width.min(height)).collect();
    sides.sort_unstable();
    let Some(&middle) = sides.get(sides.len() / 2) else {
        let first = faults.into_iter().find_map(std::result::Result::err);
        let first = first.map_or(String::new(), |fault| format!("; {}: {}", fault.name, fault.reason));
        return Err(Error::failed(format!("--data {data}: none of the {probes} images looked at can be read{first}"))
            .hint("mend or remove the broken images"));
    };
    let side = if middle <= 96 { middle } else { 224 };
    if let Some((width, height)) = sizes.iter().find(|size| **size != sizes[0]) {
        let (first_width, first_height) = sizes[0];
        if SAID.lock().is_ok_and(|mut said| said.insert(data.to_owned())) {
            progress::say(&format!(
                "{data}: images differ in size ({first_width}x{first_height}, {width}x{height}, ..): \
                 they are shown at {side}x{side}; --image-size says otherwise"
            ));
        }
    }
    Ok(side)
}
