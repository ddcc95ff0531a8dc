//! A repair of a checkpoint on disk: what it reads, and the folder it leaves.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tch::{Device, Kind};

use super::{Batches, Settings, StepRow, Subject, Undone, undo};
use crate::checkpoint::{self, Meta, State};
use crate::data::Dataset;
use crate::encoders::Part;
use crate::error::{At, Error, Result};
use crate::evaluate::Sight;
use crate::methods;
use crate::nn::Weights;
use crate::rng::{self, Purpose};
use crate::views::{self, Loader, LoaderSettings, Normalize};
use crate::{config, files, interrupt};

/// The repaired encoder.
pub const UNDONE: &str = "undone.safetensors";
/// A line a step.
pub const STEPS: &str = "undo.jsonl";
const SETTINGS: &str = "undo.toml";

pub struct Job<'a> {
    pub checkpoint: &'a Path,
    /// Images, and the specification that opened them.
    pub data: (&'a str, Arc<dyn Dataset>),
    pub out: &'a Path,
    pub settings: &'a Settings,
    /// For a checkpoint that does not say how it was trained.
    pub method: Option<&'a str>,
    pub image_size: Option<u32>,
    pub normalize: Option<&'a str>,
    pub augmentation: Option<&'a str>,
    pub threads: usize,
    pub device: Device,
    /// Replace an earlier repair in the folder.
    pub overwrite: bool,
}

/// Where the projector and predictor came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// The one the encoder was trained with.
    PreTrained,
    /// The checkpoint holds none.
    New,
}

#[derive(Debug, Serialize)]
pub struct Outcome {
    pub checkpoint: PathBuf,
    pub repair: String,
    pub method: String,
    pub head: Head,
    pub steps: u64,
    pub seconds: f64,
    /// The numbers of the last step.
    pub last: Option<StepRow>,
}

/// What `undo.toml` keeps: enough to do the same again.
#[derive(Serialize)]
struct Record<'a> {
    checkpoint: String,
    data: &'a str,
    method: &'a str,
    head: Head,
    image_size: u32,
    normalize: &'a str,
    augmentation: &'a str,
    threads: usize,
    settings: &'a Settings,
}

/// Repairs the checkpoint, which itself is only read, into `out`.
///
/// # Errors
/// On an unknown method, a split that is not there, unreadable data, a loss that is not finite or a signal; in the last
/// two cases the last good weights are written first.
pub fn run(job: &Job) -> Result<Outcome> {
    let started = Instant::now();
    job.settings.check()?;
    let opened = checkpoint::open(job.checkpoint)?;
    let encoder = opened.meta.encoder.build()?;
    Part::cut(encoder.as_ref(), &job.settings.split)?;
    let name = job.method.or(opened.meta.method.as_deref()).ok_or_else(|| {
        Error::usage("the checkpoint does not say by which method it was trained")
            .at(job.checkpoint)
            .hint("name it: --method simclr")
    })?;
    let entry = methods::find(name)?;
    let own = opened.meta.method.as_deref() == Some(name);
    let settings = opened.meta.method_settings.clone().filter(|_| own).unwrap_or_default();
    let method = (entry.build)(&settings)?;

    let sight = sight(job, &opened.meta)?;
    let augmentation_name = job.augmentation.unwrap_or(entry.recipe.augmentation);
    let augmentation = views::augmentation(augmentation_name, sight.size, Normalize::named(&sight.normalize)?)?;
    let loader = Loader::new(
        Arc::clone(&job.data.1),
        augmentation,
        LoaderSettings {
            batch_size: job.settings.batch_size,
            seed: job.settings.seed,
            threads: job.threads,
            ..LoaderSettings::default()
        },
    )?;
    let dim = Part::whole(encoder.as_ref()).dim();
    let fresh = method.init(dim, &mut rng::once(job.settings.seed, Purpose::Init));
    let (head, origin) = match trained_head(job.checkpoint, opened.head, &fresh)? {
        Some(head) => (head, Head::PreTrained),
        None => (fresh, Head::New),
    };

    prepare(job)?;
    let record = Record {
        checkpoint: job.checkpoint.display().to_string(),
        data: job.data.0,
        method: name,
        head: origin,
        image_size: sight.size,
        normalize: &sight.normalize,
        augmentation: augmentation_name,
        threads: job.threads,
        settings: job.settings,
    };
    let record = toml::to_string(&record).map_err(|error| Error::failed(error.to_string()))?;
    files::write_atomically(&job.out.join(SETTINGS), record.as_bytes())?;
    interrupt::listen()?;
    tch::set_num_threads(job.threads as i32);

    let subject = Subject {
        encoder: encoder.as_ref(),
        method: method.as_ref(),
        weights: &opened.encoder.to_device(job.device),
        head: &head.to_device(job.device),
    };
    let undone = repair(job, &subject, &loader)?;
    write(job, &opened.meta, name, &method.settings(), &undone)?;
    if let Some(error) = undone.stopped {
        let hint = format!("{} holds the last good weights", job.out.join(UNDONE).display());
        return Err(Error { hint: Some(error.hint.map_or(hint.clone(), |own| format!("{own}; {hint}"))), ..error });
    }
    Ok(Outcome {
        checkpoint: job.out.join(UNDONE),
        repair: job.settings.repair.clone(),
        method: name.to_owned(),
        head: origin,
        steps: undone.steps,
        seconds: started.elapsed().as_secs_f64(),
        last: undone.last,
    })
}

fn repair(job: &Job, subject: &Subject, loader: &Loader) -> Result<Undone> {
    let path = job.out.join(STEPS);
    let mut steps = File::create(&path).at(&path)?;
    let batches = Batches {
        per_epoch: loader.batches_per_epoch() as u64,
        epoch: &mut |epoch| {
            let batches = loader.epoch(epoch, 0);
            Box::new(batches.map(|batch| Ok(batch?.tensors(job.device, Kind::Float))))
        },
    };
    undo(subject, job.settings, batches, &mut |row| {
        let line = serde_json::to_string(row).map_err(|error| Error::failed(error.to_string()))?;
        writeln!(steps, "{line}").at(&path)
    })
}

/// The head of the run the checkpoint belongs to, or the one a foreign file holds.
fn trained_head(path: &Path, foreign: Option<Weights>, fresh: &Weights) -> Result<Option<Weights>> {
    let state = checkpoint::state_path(path);
    let head = if state.is_file() { Some(checkpoint::open_state(&state)?.head) } else { foreign };
    let Some(head) = head else { return Ok(None) };
    let student = head.filter(|name| !name.starts_with("teacher."));
    // A foreign head may lack the predictor, or be of other dimensions: then all of it is new.
    Ok(fresh.filled_from(&student).ok())
}

fn sight(job: &Job, meta: &Meta) -> Result<Sight> {
    let size = match job.image_size.or(meta.image_size) {
        Some(size) => size,
        None => config::image_size_of(job.data.1.as_ref(), job.data.0)?,
    };
    let usual = || if meta.lethe.is_some() { job.data.1.normalization() } else { "imagenet" };
    let normalize = job.normalize.or(meta.normalize.as_deref()).unwrap_or_else(usual);
    Ok(Sight { size, normalize: normalize.to_owned() })
}

fn prepare(job: &Job) -> Result<()> {
    let there = [UNDONE, STEPS].iter().any(|name| job.out.join(name).exists());
    if there && !job.overwrite {
        return Err(Error::usage("there is a repair in this folder already")
            .at(job.out)
            .hint("--overwrite replaces it, or choose another --out"));
    }
    std::fs::create_dir_all(job.out).at(job.out)?;
    files::sweep(job.out).map(drop)
}

/// The state first, as in a run folder: where the encoder stands, its head stands beside it.
fn write(job: &Job, base: &Meta, method: &str, settings: &toml::Table, undone: &Undone) -> Result<()> {
    let path = job.out.join(UNDONE);
    let progress = [("step".to_owned(), undone.steps.to_string())].into();
    let state = State { head: undone.head.to_device(Device::Cpu), optimizer: Weights::new(), progress };
    checkpoint::save_state(&checkpoint::state_path(&path), &state)?;
    let meta = Meta {
        method: Some(method.to_owned()),
        method_settings: Some(settings.clone()),
        step: Some(undone.steps),
        lethe: None,
        ..base.clone()
    };
    checkpoint::save(&path, &meta, &undone.weights.to_device(Device::Cpu))
}
