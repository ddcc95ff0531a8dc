//! Pre-training: the loop, in one page.

mod collapse;
mod log;
mod state;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tch::Device;

use crate::config::{self, RunConfig};
use crate::data::Dataset;
use crate::data::held_out::{self, HeldOut};
use crate::encoders::{self, Part};
use crate::error::Result;
use crate::interrupt;
use crate::loader::{Loader, LoaderSettings, Order};
use crate::methods::{self, Loss, Views};
use crate::nn::{DropPath, Gradients, Mode, Weights};
use crate::optim::{self, WarmupCosine};
use crate::progress::Progress;
use crate::rng::Purpose;
use crate::run::{IfThere, Metrics, RunFolder};
use crate::views::{self, Normalize};

pub use collapse::{Collapse, is_collapsed, spread};
use log::StepLog;
use state::Training;

/// Steps between two rows of metrics; a GPU is waited for only then.
const LOG_EVERY: u64 = 10;
/// A checkpoint that only serves to resume is written when this much work would be lost.
const RESUME_EVERY: Duration = Duration::from_secs(60);
/// Batches computed ahead of the training.
const PREFETCH: usize = 3;

/// What a finished training has to tell.
#[derive(Debug, serde::Serialize)]
pub struct Outcome {
    pub steps: u64,
    /// Mean loss of the last epoch; none where the run had ended already.
    pub loss: Option<f64>,
    /// Over all sittings.
    pub seconds: f64,
    /// Of this sitting, waiting included.
    pub images_per_s: f64,
    /// Share of this sitting in which training waited for images.
    pub data_wait: f64,
    pub bad_samples: usize,
    #[serde(serialize_with = "crate::files::as_text")]
    pub checkpoint: PathBuf,
}

/// A step that takes the place of a plain one now and then.
pub struct Instead<'a> {
    /// Of every so many steps the last, once so many epochs are over.
    pub every: u64,
    pub from: u32,
    /// From the weights of encoder, head and teacher and the views of a batch.
    pub step: &'a dyn Fn(&Weights, &Views) -> Result<Slope>,
}

/// What an optimiser's step is made of.
pub struct Slope {
    /// What is trained, in the storage of the weights.
    pub trained: Weights,
    /// In the order of its parameters.
    pub gradients: Gradients,
    /// At these weights.
    pub loss: Loss,
}

/// Trains as `config` says and writes the run folder `out`. `dataset` are the images that `config.data` opens: those that
/// the run holds out are among them.
///
/// # Errors
/// On unreadable data, a loss that is not finite, a collapsed representation, a full disk, or a signal; the last
/// good checkpoint stays.
pub fn train(
    config: &RunConfig,
    dataset: Arc<dyn Dataset>,
    out: &Path,
    if_there: IfThere,
    instead: Option<&Instead>,
) -> Result<Outcome> {
    let device = config::device(&config.device)?;
    let encoder = config.encoder_spec().build()?;
    let net = Part::whole(encoder.as_ref());
    let entry = methods::find(&config.method)?;
    let method = (entry.build)(&config.method_settings)?;
    let normalize = Normalize::named(&config.normalize)?;
    let augmentation = views::augmentation(&config.augmentation, config.image_size, normalize)?;
    entry.check_views(&augmentation)?;
    encoders::check_views(encoder.as_ref(), augmentation.views().iter().map(|view| view.size))?;
    let held_out = hold_out(config, dataset.as_ref(), out, if_there)?;
    let trained_on = match &held_out {
        Some(held_out) => held_out.split(&config.data, dataset)?.training,
        None => dataset,
    };
    let loader = Loader::new(trained_on, augmentation, loader_settings(config))?;
    let steps_per_epoch = loader.batches_per_epoch() as u64;
    let total_steps = u64::from(config.epochs) * steps_per_epoch;
    let schedule = WarmupCosine {
        base: config.lr * config.batch_size as f64 / 256.0,
        warmup_steps: u64::from(config.warmup_epochs) * steps_per_epoch,
        total_steps,
    };

    let folder = RunFolder::prepare(out, if_there)?;
    interrupt::listen()?;
    config::use_threads(config.threads);
    let mut training = Training::start(config, &net, method.as_ref(), device)?;
    if if_there == IfThere::Resume {
        training.resume(&folder, config)?;
    }
    if let Some(held_out) = held_out {
        held_out.write(&folder.held_out_path())?;
    }
    folder.write_config(config)?;
    let mut log = StepLog::new(Metrics::resume_at(&folder, training.step)?, config.batch_size);
    let batch_size = config.batch_size as u64;
    let progress = Progress::new("pretrain", "images", total_steps * batch_size);
    progress.resume_at(training.step * batch_size);
    let mut saved = Instant::now();

    for epoch in (training.step / steps_per_epoch) as u32..config.epochs {
        let mut batches = loader.epoch(epoch, (training.step % steps_per_epoch) as usize);
        while let Some(batch) = log.wait_for(|| batches.next()) {
            let lr = schedule.at(training.step);
            let batch = batch.map_err(|error| loader.with_bad_samples(error, &folder.bad_samples_path()))?;
            let views = Views {
                epoch: training.step as f64 / steps_per_epoch as f64,
                ..Views::of(&batch, device, config.precision.kind())
            };
            let due = |instead: &&Instead| epoch >= instead.from && (training.step + 1).is_multiple_of(instead.every);
            let Slope { trained, gradients, loss } = match instead.filter(due) {
                Some(instead) => (instead.step)(&training.weights, &views)?,
                None => {
                    let drop = DropPath::new(config.drop_path, views.draw);
                    let net = net.dropping(&drop);
                    let loss = method.loss(&net, &training.weights, &views, Mode::Train)?;
                    let gradients = training.weights.gradients(&loss.total, false)?;
                    Slope { trained: training.weights.under(""), gradients, loss }
                }
            };
            if device == Device::Cpu {
                log::check_finite(&loss.total, training.step)?;
            }
            if config.clip_norm > 0.0 {
                optim::clip_norm(&gradients, config.clip_norm);
            }
            training.optimizer.step(&trained, &gradients, lr);
            training.step += 1;
            methods::remember(&training.weights, &loss.memory);
            method.after_step(&training.weights, training.step as f64 / total_steps as f64);
            log.record(&loss, lr);
            if training.step % LOG_EVERY == 0 {
                log.step_row(epoch, training.step)?;
            }
            progress.advance_with(batch_size, || log.note(epoch, config.epochs));
            let epoch_ends = training.step.is_multiple_of(steps_per_epoch);
            if let Some(stop) = interrupt::asked().filter(|_| !epoch_ends) {
                training.save(&folder.step_checkpoint(training.step), config, epoch)?;
                return Err(stop.hint(format!("step {} is saved; --resume continues from it", training.step)));
            }
        }
        log.epoch_row(epoch, training.step)?;
        let done = epoch + 1;
        let kept = done % config.save_every == 0 || done == config.epochs;
        let stop = interrupt::asked().filter(|_| done < config.epochs);
        if kept || stop.is_some() || saved.elapsed() >= RESUME_EVERY {
            let path = if kept { folder.epoch_checkpoint(done) } else { folder.step_checkpoint(training.step) };
            training.save(&path, config, done)?;
            folder.remove_step_checkpoints_before(training.step)?;
            saved = Instant::now();
        }
        loader.list_bad_samples(&folder.bad_samples_path())?;
        if let Some(stop) = stop {
            return Err(stop.hint(format!("epoch {done} is saved; --resume continues from it")));
        }
    }
    folder.remove_step_checkpoints_before(u64::MAX)?;
    Ok(Outcome {
        steps: training.step,
        loss: log.epoch_loss(),
        seconds: log.seconds(),
        images_per_s: log.images_per_s(),
        data_wait: log.data_wait(),
        bad_samples: loader.bad_samples().len(),
        checkpoint: folder.epoch_checkpoint(config.epochs),
    })
}

/// The images to hold out: of a run that goes on those it did, else drawn.
fn hold_out(config: &RunConfig, whole: &dyn Dataset, out: &Path, if_there: IfThere) -> Result<Option<HeldOut>> {
    if config.hold_out == 0 {
        return Ok(None);
    }
    let path = out.join(held_out::FILE);
    if if_there == IfThere::Resume && path.exists() {
        return HeldOut::read(&path).map(Some);
    }
    config.check_batch(whole.len())?;
    Ok(Some(HeldOut::draw(&config.data, whole, config.hold_out, config.seed)))
}

fn loader_settings(config: &RunConfig) -> LoaderSettings {
    LoaderSettings {
        batch_size: config.batch_size,
        order: Order::Shuffled,
        seed: config.seed,
        purpose: Purpose::View,
        threads: config.threads,
        prefetch: PREFETCH,
        bad_budget: config.bad_budget,
    }
}
