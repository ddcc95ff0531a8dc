//! A repair from a checkpoint to a folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lethe_diagnosis::records::Repaired;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

use super::folder::Saved;
use super::monitor::{Monitor, changes};
use super::others::Given;
use super::sitting::{Chosen, Sitting};
use super::{Batches, Head, HeldOut, Settings, Snapshot, StepRow, Subject, UndoFolder, Undone, find, split, undo};
use crate::checkpoint::{self, Checkpoint};
use crate::data::{Dataset, copies};
use crate::diagnose::LEAST_IMAGES;
use crate::encoders::{self, Part};
use crate::error::{At, Error, Exit, Result};
use crate::evaluate::Sight;
use crate::loader::{Loader, LoaderSettings, Order};
use crate::methods::{self, Method, Views};
use crate::nn::{Weights, is_buffer};
use crate::rng::{self, Purpose};
use crate::run::IfThere;
use crate::views::{self, Normalize};
use crate::{config, data, files, interrupt, progress};

/// What to repair, with what, and where to.
pub struct Job<'a> {
    /// Of any format; it is only read.
    pub checkpoint: &'a Path,
    /// The specification of the images.
    pub data: &'a str,
    pub out: &'a Path,
    /// What to do with an earlier repair in that folder.
    pub if_there: IfThere,
    /// The specification of images of the same kind that were not trained on: the repair is watched on them. Without it
    /// those that the checkpoint's run held out.
    pub unseen: Option<&'a str>,
    /// What the checkpoint remembers unless given.
    pub method: Option<&'a str>,
    pub normalize: Option<&'a str>,
    pub image_size: Option<u32>,
    /// The recipe of views: that of the run that the checkpoint lies in, or the method's own, unless given.
    pub augmentation: Option<&'a str>,
    pub device: Device,
    pub threads: usize,
    pub settings: &'a Settings,
}

/// What a repair has to tell.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub repair: String,
    pub steps: u64,
    /// Compute spent, in [passes](super::repair::Forward::pass).
    pub passes: f64,
    pub seconds: f64,
    pub bad_samples: usize,
    #[serde(serialize_with = "crate::files::as_text")]
    pub checkpoint: PathBuf,
    /// Numbers of the first and the last step.
    pub first: Option<StepRow>,
    pub last: Option<StepRow>,
    /// With held-out images: the epochs done of the weights that were kept, 0 for those given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_epoch: Option<u32>,
    /// Whether it ended before its time because the features went bad.
    #[serde(default)]
    pub stopped_early: bool,
    /// With unseen images: the given encoder and the result, on images that chose nothing.
    #[serde(flatten)]
    pub repaired: Option<Repaired>,
}

/// Repairs as `job` says and writes its folder.
///
/// # Errors
/// On an unknown method, a split that is not there, unreadable images, a folder in use; on a loss that is not finite or a
/// signal, after the last good weights were written.
pub fn run(job: &Job) -> Result<Outcome> {
    let Job { settings, device, threads, .. } = *job;
    settings.check()?;
    config::use_threads(threads);
    let opened = checkpoint::open(job.checkpoint)?;
    let encoder = opened.meta.encoder.build()?;
    let split = split::resolve(&Given { checkpoint: job.checkpoint, settings }, encoder.as_ref())?;
    let settings = &Settings { split, ..settings.clone() };
    let (_, late) = Part::cut(encoder.as_ref(), &settings.split)?;
    let (method_name, mut method) = method_of(&opened, job.method)?;
    method.check(&late)?;
    let held_out = settings.outer_data.as_deref().map(data::open).transpose()?;
    let given = Given { checkpoint: job.checkpoint, settings };
    let Images { dataset, unseen } = images_of(job, &given)?;
    let trained_on: Vec<_> = held_out.iter().chain([&dataset]).cloned().collect();
    for images in &trained_on {
        method.prepare(images.as_ref(), settings.batch_size)?;
    }
    let beside = (find(&settings.repair)?.others)(&given)?;
    let head = head_of(&opened, method_name, method.as_ref(), &late, settings)?;
    let others = beside
        .iter()
        .map(|path| {
            let other = checkpoint::open(path)?;
            if other.meta.encoder != opened.meta.encoder {
                let (found, expected) = (&other.meta.encoder, &opened.meta.encoder);
                return Err(Error::usage(format!("holds {found}, expected {expected}, as the given one")).at(path));
            }
            let head = head_of(&other, method_name, method.as_ref(), &late, settings)?;
            Ok(Snapshot { weights: other.encoder.to_device(device), head: head.to_device(device) })
        })
        .collect::<Result<Vec<Snapshot>>>()?;
    for path in &beside {
        progress::say(&format!("{}: takes {}", settings.repair, path.display()));
    }

    let mut meta = opened.meta;
    let sight = Sight::of(
        encoder.as_ref(),
        &job.checkpoint.display().to_string(),
        dataset.as_ref(),
        job.data,
        job.image_size.or(meta.image_size),
        job.normalize.or(meta.normalization()),
    )?;
    let recipe = recipe_of(job, &given, method_name)?;
    let augmentation = views::augmentation(&recipe, sight.size, Normalize::named(&sight.normalize)?)?;
    encoders::check_views(encoder.as_ref(), augmentation.views().iter().map(|view| view.size))?;
    let loader_settings = LoaderSettings {
        batch_size: settings.batch_size,
        order: Order::Shuffled,
        seed: settings.seed,
        threads,
        ..LoaderSettings::default()
    };
    let others_loader =
        held_out.map(|images| Loader::new(images, augmentation.clone(), loader_settings.clone())).transpose()?;
    let monitors = match &unseen {
        None => None,
        Some(unseen) => {
            let [train, unseen] = without_copies(&trained_on, unseen, settings.seed)?;
            Some(Monitor::pair(&train, &unseen, &augmentation, &loader_settings, settings.eps2)?)
        }
    };
    let loader = Loader::new(dataset, augmentation, loader_settings)?;

    let own = fs::canonicalize(job.checkpoint).at(job.checkpoint)?;
    files::refuse_same(job.out, own.parent().unwrap_or(&own))?;
    let unseen = unseen.as_ref().map(|unseen| unseen.spec.as_str());
    let table = table_of(job, settings, unseen, &beside, method_name, &sight, &recipe);
    let mut folder = UndoFolder::prepare(job.out, job.if_there)?;
    let mut saved = None;
    if job.if_there == IfThere::Resume {
        folder.expect_settings(&table)?;
        if let Some(outcome) = folder.outcome()? {
            progress::say("this repair has ended already");
            return Ok(outcome);
        }
        saved = folder.saved(device)?;
        let step = saved.as_ref().map_or(0, |saved| saved.reached.step);
        progress::say(&format!("resuming after step {step}"));
    }
    let (reached, before) = match saved {
        Some(Saved { reached, judge, kept }) => {
            let rows = folder.rewind(reached.step)?;
            (Some(reached), Some((judge, kept, rows)))
        }
        None => {
            folder.restart()?;
            (None, None)
        }
    };
    folder.write_settings(&table)?;
    interrupt::listen()?;

    let repair = find(&settings.repair)?;
    let (weights, head) = (opened.encoder.to_device(device), head.to_device(device));
    let monitor = monitors.as_ref().map(|(monitor, _)| monitor).filter(|_| repair.training.is_some());
    let bad = folder.bad_samples_path();
    let mut sitting = Sitting::begin(folder, repair.name, encoder.as_ref(), &weights, monitor, before)?;
    let subject =
        Subject { encoder: encoder.as_ref(), method: method.as_ref(), weights: &weights, head: &head, others: &others };
    let mut epoch = |epoch: u32| -> Box<dyn Iterator<Item = Result<Views>>> {
        let batches = loader.epoch(epoch, 0).map(|batch| batch.map_err(|error| loader.with_bad_samples(error, &bad)));
        Box::new(batches.map(move |batch| Ok(Views::of(&batch?, device, Kind::Float))))
    };
    let held_out = others_loader.as_ref().map(|loader| {
        move |step: u64| -> Box<dyn Iterator<Item = Result<Views>>> {
            let per_epoch = loader.batches_per_epoch() as u64;
            let mut first = (step % per_epoch) as usize;
            let epochs = (step / per_epoch) as u32..;
            let batches = epochs.flat_map(move |epoch| loader.epoch(epoch, std::mem::take(&mut first)));
            Box::new(batches.map(move |batch| Ok(Views::of(&batch?, device, Kind::Float))))
        }
    });
    let batches = Batches {
        per_epoch: loader.batches_per_epoch() as u64,
        epoch: &mut epoch,
        held_out: held_out.as_ref().map(|from| from as HeldOut),
    };
    let undone = undo(&subject, settings, batches, reached, &mut |event| sitting.hear(&event));
    let undone = match undone {
        Err(stop) if matches!(stop.exit, Exit::Signal(_)) && sitting.folder.can_resume() => {
            Err(stop.hint("--resume continues from the last whole epoch"))
        }
        Ok(Undone { stopped: Some(error), .. }) if sitting.last.is_none() => {
            Err(error.hint("not one step was good: lower --lr or --alpha"))
        }
        whole => whole,
    };
    if undone.is_err() && sitting.first.is_none() {
        sitting.folder.abandon();
    }
    let Undone { weights: end, head, steps, passes, seconds, stopped, .. } = undone?;

    meta.image_size = Some(sight.size);
    meta.normalize = Some(sight.normalize);
    meta.method = Some(method_name.to_owned());
    meta.method_settings = Some(method.settings());
    let notes: BTreeMap<String, String> = table.iter().map(|(key, value)| (key.clone(), plain(value))).collect();
    loader.list_bad_samples(&bad)?;
    let end = Snapshot { weights: end, head };
    if let Some(stopped) = stopped {
        let path = sitting.folder.save(&end, true, &meta, notes)?;
        let hint = stopped.hint.as_ref().map_or(String::new(), |hint| format!("; {hint}"));
        let resume = if sitting.folder.can_resume() { "; --resume continues from the last whole epoch" } else { "" };
        return Err(stopped.hint(format!("the last good weights are in {}{hint}{resume}", path.display())));
    }
    let chosen = sitting.chosen();
    let (kept_epoch, stopped_early) = match &chosen {
        Some(chosen) => (Some(chosen.epoch), chosen.stopped),
        None => (None, false),
    };
    let kept = match chosen {
        None => end,
        Some(Chosen { snapshot: Some(kept), .. }) => kept,
        Some(Chosen { snapshot: None, .. }) => {
            progress::say("no epoch is better than the given weights: the result is a copy of them");
            Snapshot { weights: subject.weights.frozen(), head: subject.head.frozen() }
        }
    };
    let table = monitors.as_ref().map(|(_, table)| table);
    let look = |weights: &Weights| table.map(|table| table.look(encoder.as_ref(), weights)).transpose();
    let repaired = look(subject.weights)?.zip(look(&kept.weights)?).map(|(before, after)| {
        let changes = changes(&before, &after)?;
        Ok::<Repaired, Error>(Repaired { before: before.seen, after: after.seen, changes })
    });
    let repaired = repaired.transpose()?;
    let watched = monitors.iter().flat_map(|(each, last)| [each.unseen(), last.unseen()]);
    let others: Vec<&Loader> = others_loader.iter().chain(watched).collect();
    others.iter().for_each(|loader| loader.say_bad_samples());
    let outcome = Outcome {
        repair: settings.repair.clone(),
        steps,
        passes,
        seconds,
        bad_samples: others.iter().chain(&[&loader]).map(|loader| loader.bad_samples().len()).sum(),
        checkpoint: sitting.folder.save(&kept, false, &meta, notes)?,
        first: sitting.first.take(),
        last: sitting.last.take(),
        kept_epoch,
        stopped_early,
        repaired,
    };
    sitting.folder.end(&outcome)?;
    Ok(outcome)
}

/// The two sides of a repair.
struct Images {
    dataset: Arc<dyn Dataset>,
    unseen: Option<Unseen>,
}

struct Unseen {
    spec: String,
    dataset: Arc<dyn Dataset>,
}

/// The images of `--data`, without those that the checkpoint's run held out, and the unseen ones: `--unseen`, else those
/// that the run held out, where they are enough to watch a repair.
fn images_of(job: &Job, given: &Given) -> Result<Images> {
    let mut dataset = data::open(job.data)?;
    let mut unseen = None;
    if let Some(run) = given.run()
        && let Some(spec) = run.held_out_spec()?
    {
        let held_out = data::held_out::HeldOut::read(&run.held_out_path())?;
        let places = if held_out.is_of(job.data) { held_out.places(job.data, dataset.as_ref()) } else { Vec::new() };
        if !places.is_empty() {
            progress::say(&format!("{} images of --data are left out: the run held them out", places.len()));
        }
        if job.unseen.is_none() && held_out.names.len() < 2 * LEAST_IMAGES {
            progress::say(&format!("{spec}: too few images to watch the repair"));
        } else if job.unseen.is_none() {
            // Where the images were moved they are found in --data.
            let all = places.len() == held_out.names.len();
            let dataset = if all { data::choose(Arc::clone(&dataset), places.clone()) } else { data::open(&spec)? };
            unseen = Some(Unseen { spec, dataset });
        }
        dataset = data::without(dataset, &places);
    }
    if let Some(spec) = job.unseen {
        unseen = Some(Unseen { spec: spec.to_owned(), dataset: data::open(spec)? });
    }
    Ok(Images { dataset, unseen })
}

/// The images that the repair is watched on, of the last of `trained_on` and of `unseen`, without copies: up to a hundredth
/// of them.
///
/// # Errors
/// When there are more.
fn without_copies(trained_on: &[Arc<dyn Dataset>], unseen: &Unseen, seed: u64) -> Result<[Arc<dyn Dataset>; 2]> {
    let (train, others) = trained_on.split_last().expect("--data");
    let looked_at = Monitor::looked_at(train.len(), unseen.dataset.len());
    let mut sides = [train, &unseen.dataset].map(Arc::clone);
    for (images, looked_at_here) in others.iter().map(|images| (images, 0)).chain([(train, looked_at)]) {
        let asked = data::sample(Arc::clone(&sides[1]), looked_at, seed);
        let against = copies::against(images, looked_at_here, copies::OTHERS, seed);
        let found = copies::find(against.as_ref(), asked.as_ref());
        let flag = format!("--unseen {}", unseen.spec);
        let left_out = found.left_out(looked_at_here, None).map_err(|many| {
            Error::usage(format!("{flag}: {many}")).hint("name images of the same kind that the encoder has not seen")
        })?;
        for pair in &found.pairs {
            let (unseen, train) = (&pair.unseen_name, &pair.train_name);
            progress::say(&format!("warning: {flag}: {unseen} is left out: it is the training image {train}"));
        }
        if !found.pairs.is_empty() {
            sides[1] = data::without(asked, &left_out.unseen);
            if looked_at_here > 0 {
                sides[0] = data::without(data::sample(Arc::clone(train), looked_at, seed), &left_out.train);
            }
        }
    }
    Ok(sides)
}

/// `undo.toml`: all that the result depends on.
fn table_of(
    job: &Job,
    settings: &Settings,
    unseen: Option<&str>,
    beside: &[PathBuf],
    method: &str,
    sight: &Sight,
    recipe: &str,
) -> toml::Table {
    let mut table = toml::Table::try_from(settings).expect("settings are plain values");
    let text = |path: &Path| toml::Value::from(path.display().to_string());
    table.insert("checkpoint".into(), text(job.checkpoint));
    table.insert("others".into(), beside.iter().map(|path| text(path)).collect::<Vec<_>>().into());
    table.insert("data".into(), job.data.into());
    table.insert("method".into(), method.into());
    table.insert("image_size".into(), i64::from(sight.size).into());
    table.insert("normalize".into(), sight.normalize.clone().into());
    table.insert("augmentation".into(), recipe.into());
    table.insert("threads".into(), (job.threads as i64).into());
    table.extend(unseen.map(|unseen| ("unseen".to_owned(), unseen.into())));
    table
}

/// The recipe of views: `--augmentation`, else that of the run that the checkpoint lies in, else the method's own.
fn recipe_of(job: &Job, given: &Given, method: &str) -> Result<String> {
    if let Some(asked) = job.augmentation {
        return Ok(asked.to_owned());
    }
    let config = given.run().map(|run| run.read_config()).transpose()?.filter(|config| config.method == method);
    let own = methods::find(method)?.recipe.augmentation;
    Ok(config.map_or_else(|| own.to_owned(), |config| config.augmentation))
}

/// The method by `--method`, else by the checkpoint.
fn method_of(opened: &Checkpoint, asked: Option<&str>) -> Result<(&'static str, Box<dyn Method>)> {
    let known = opened.meta.method.as_deref();
    let Some(name) = asked.or(known) else {
        let names: Vec<&str> = methods::METHODS.iter().map(|entry| entry.name).collect();
        return Err(Error::usage("does not say which method trained it")
            .at(&opened.path)
            .hint(format!("--method, one of: {}", names.join(", "))));
    };
    let entry = methods::find(name)?;
    let settings = opened.meta.method_settings.clone().filter(|_| known == Some(name)).unwrap_or_default();
    Ok((entry.name, (entry.build)(&settings)?))
}

/// The head of the checkpoint's state, or of a foreign file where it fits; else a new one, which is said.
fn head_of(opened: &Checkpoint, name: &str, method: &dyn Method, net: &Part, settings: &Settings) -> Result<Weights> {
    let fresh = method.init_for(net, &mut rng::once(settings.seed, Purpose::Init));
    if settings.head == Head::New {
        return Ok(fresh);
    }
    let same_method = opened.meta.method.as_deref().is_none_or(|known| known == name);
    let found = if same_method {
        opened.state()?.map(|state| state.head).or(opened.head.as_ref().map(Weights::frozen))
    } else {
        None
    };
    if let Some(found) = found.filter(|head| takes_place_of(head, &fresh, net.dim())) {
        let mut head = fresh.filter(|name| name.starts_with("memory."));
        head.extend(found);
        return Ok(head);
    }
    progress::say(&format!("warning: {} has no {name} head: a new one is trained along", opened.path.display()));
    Ok(fresh)
}

/// Whether the head `found` in a file can stand where `fresh` would. A chain of layers may be of other sizes behind its
/// first one, unless buffers go with them; all else is of one size.
fn takes_place_of(found: &Weights, fresh: &Weights, dim: i64) -> bool {
    let remembers = fresh.names().any(|name| name.starts_with("memory."));
    fresh.iter().filter(|(name, _)| !is_buffer(name)).all(|(name, ours)| {
        let theirs = found.find(name);
        let place_in_chain = name.split('.').nth(1).and_then(|place| place.parse::<usize>().ok());
        match place_in_chain {
            Some(0) if !remembers && ours.dim() == 2 => {
                theirs.is_some_and(|theirs| theirs.dim() == 2 && (ours.size()[1] != dim || theirs.size()[1] == dim))
            }
            Some(_) if !remembers => true,
            _ => theirs.is_some_and(|theirs| theirs.size() == ours.size()),
        }
    })
}

fn plain(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
