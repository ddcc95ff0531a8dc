//! `lethe undo`: trains the late stages of a pre-trained encoder further, so that they forget.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::checkpoint::{self, Checkpoint};
use crate::encoders::Part;
use crate::error::{Error, Result};
use crate::methods::{self, Method};
use crate::nn::Weights;
use crate::rng::{self, Purpose};
use crate::undo::{self, Batches, REPAIRS, Settings, StepRow, Subject, UndoFolder, hypergradient::HYPERGRADIENTS};
use crate::views::{self, Loader, LoaderSettings, Normalize, Order};
use crate::{config, data, interrupt, optim, progress};

/// Undoes memorisation in the late stages of a pre-trained encoder
#[derive(clap::Args)]
#[command(
    after_help = "Writes undone.safetensors (its head in the state beside it), undo.jsonl with a line a step, and
undo.toml; CKPT is left as it is.
Example:
  lethe undo runs/simclr/checkpoints/epoch-0200.safetensors --data cifar/train --split stage2 --out undone
  lethe undo resnet50.pth --method simclr --data photos --image-size 224 --split stage3 --out undone"
)]
pub(super) struct Args {
    /// The encoder, in any format
    #[arg(value_name = "CKPT")]
    checkpoint: PathBuf,
    /// The images it was trained on, as for pretrain
    #[arg(long, value_name = "D")]
    data: String,
    /// Folder for the result
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace an earlier repair in that folder
    #[arg(long)]
    overwrite: bool,
    /// Self-supervised method [default: what the checkpoint remembers]; with another one the head starts anew
    #[arg(long, value_parser = PossibleValuesParser::new(methods::METHODS.iter().map(|entry| entry.name)))]
    method: Option<String>,
    #[command(flatten)]
    settings: Flags,
    /// Mean and deviation: cifar10, cifar100, stl10, imagenet, .. or none [default: what the checkpoint remembers;
    /// imagenet for a foreign one]
    #[arg(long, value_name = "NAME")]
    normalize: Option<String>,
    /// Side of the views in pixels [default: what the checkpoint remembers; that of small images, else 224]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    image_size: Option<u32>,
    /// cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
}

/// The settings as flags; absent ones keep the default.
#[derive(clap::Args, Serialize)]
struct Flags {
    /// umm, or continue: plain further steps with the same part frozen [default: umm]
    #[arg(long, value_parser = PossibleValuesParser::new(REPAIRS.iter().map(|repair| repair.name)))]
    repair: Option<String>,
    /// The last stage that stays as it is [default: stage2]
    #[arg(long, value_name = "STAGE")]
    split: Option<String>,
    /// How the outer gradient passes the inner step [default: forward-difference]
    #[arg(long, value_parser = PossibleValuesParser::new(HYPERGRADIENTS.iter().map(|entry| entry.name)))]
    hypergradient: Option<String>,
    /// Step size of the inner problem [default: 0.01]
    #[arg(long)]
    alpha: Option<f64>,
    /// Weight of the alignment in the inner problem, 0 for none [default: 100]
    #[arg(long)]
    beta: Option<f64>,
    /// Weight of the coding rate reduction in the outer problem, 0 for none [default: 0.05]
    #[arg(long)]
    lambda: Option<f64>,
    /// Squared precision of the coding rate [default: 0.5]
    #[arg(long)]
    eps2: Option<f64>,
    /// Inner steps before the outer loss is taken [default: 1]
    #[arg(long, value_name = "K")]
    inner_steps: Option<usize>,
    /// [default: adamw]
    #[arg(long, value_parser = PossibleValuesParser::new(optim::OPTIMIZERS.iter().map(|entry| entry.name)))]
    optimizer: Option<String>,
    /// Learning rate at the start; it falls to zero along a cosine [default: 0.0003]
    #[arg(long)]
    lr: Option<f64>,
    /// [default: 0]
    #[arg(long)]
    weight_decay: Option<f64>,
    /// [default: 10]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// [default: 256]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// [default: 0]
    #[arg(long)]
    seed: Option<u64>,
}

impl Flags {
    fn resolve(&self) -> Result<Settings> {
        let given = toml::Table::try_from(self).expect("flags are plain values");
        let settings: Settings =
            given.try_into().map_err(|error: toml::de::Error| Error::usage(error.message().to_owned()))?;
        settings.check()?;
        Ok(settings)
    }
}

/// What a repair has to tell.
#[derive(Serialize)]
struct Outcome<'a> {
    repair: &'a str,
    steps: u64,
    seconds: f64,
    bad_samples: usize,
    checkpoint: String,
    /// Numbers of the first and the last step.
    first: Option<StepRow>,
    last: Option<StepRow>,
}

pub(super) fn run(args: Args) -> Result<()> {
    let settings = args.settings.resolve()?;
    let device = config::device(&args.device)?;
    let threads = args.threads.map_or_else(config::available_threads, std::num::NonZero::get);
    tch::set_num_threads(threads as i32);
    let opened = checkpoint::open(&args.checkpoint)?;
    let encoder = opened.meta.encoder.build()?;
    Part::cut(encoder.as_ref(), &settings.split)?;
    let (method_name, method) = method_of(&opened, args.method.as_deref())?;
    let head = head_of(&opened, method_name, method.as_ref(), Part::whole(encoder.as_ref()).dim(), settings.seed)?;

    let dataset = data::open(&args.data)?;
    let mut meta = opened.meta;
    let size = match args.image_size.or(meta.image_size) {
        Some(size) => size,
        None => config::image_size_of(dataset.as_ref(), &args.data)?,
    };
    let foreign = meta.lethe.is_none();
    let normalize = args
        .normalize
        .clone()
        .or(meta.normalize.take())
        .unwrap_or_else(|| if foreign { "imagenet" } else { dataset.normalization() }.to_owned());
    let recipe = &methods::find(method_name)?.recipe;
    let augmentation = views::augmentation(recipe.augmentation, size, Normalize::named(&normalize)?)?;
    let loader_settings = LoaderSettings {
        batch_size: settings.batch_size,
        order: Order::Shuffled,
        seed: settings.seed,
        threads,
        ..LoaderSettings::default()
    };
    let loader = Loader::new(dataset, augmentation, loader_settings)?;

    let mut folder = UndoFolder::prepare(&args.out, args.overwrite)?;
    let mut table = toml::Table::try_from(&settings).expect("settings are plain values");
    table.insert("checkpoint".into(), args.checkpoint.display().to_string().into());
    table.insert("data".into(), args.data.clone().into());
    table.insert("method".into(), method_name.into());
    table.insert("image_size".into(), i64::from(size).into());
    table.insert("normalize".into(), normalize.clone().into());
    table.insert("threads".into(), (threads as i64).into());
    folder.write_settings(&table)?;
    interrupt::listen()?;

    let (weights, head) = (opened.encoder.to_device(device), head.to_device(device));
    let subject = Subject { encoder: encoder.as_ref(), method: method.as_ref(), weights: &weights, head: &head };
    let mut epoch = |epoch: u32| -> Box<dyn Iterator<Item = Result<Vec<Tensor>>>> {
        Box::new(loader.epoch(epoch, 0).map(move |batch| Ok(batch?.tensors(device, Kind::Float))))
    };
    let batches = Batches { per_epoch: loader.batches_per_epoch() as u64, epoch: &mut epoch };
    let mut first = None;
    let undone = undo::undo(&subject, &settings, batches, &mut |row| {
        first.get_or_insert_with(|| row.clone());
        folder.record(row)
    })?;

    meta.image_size = Some(size);
    meta.normalize = Some(normalize);
    meta.method = Some(method_name.to_owned());
    meta.method_settings = Some(method.settings());
    let notes: BTreeMap<String, String> = table.iter().map(|(key, value)| (key.clone(), plain(value))).collect();
    let bad = loader.bad_samples();
    let on_cpu = undo::Undone {
        weights: undone.weights.to_device(Device::Cpu),
        head: undone.head.to_device(Device::Cpu),
        ..undone
    };
    let path = folder.save(&on_cpu, &meta, notes, &bad)?;
    if let Some(stopped) = on_cpu.stopped {
        let hint = stopped.hint.as_ref().map_or(String::new(), |hint| format!("; {hint}"));
        return Err(stopped.hint(format!("the last good weights are in {}{hint}", path.display())));
    }
    let outcome = Outcome {
        repair: &settings.repair,
        steps: on_cpu.steps,
        seconds: on_cpu.last.as_ref().map_or(0.0, |row| row.seconds),
        bad_samples: bad.len(),
        checkpoint: path.display().to_string(),
        first,
        last: on_cpu.last,
    };
    if args.json { super::print_json(&outcome) } else { print(&outcome) }
}

/// The method by `--method`, else by the checkpoint.
fn method_of(opened: &Checkpoint, asked: Option<&str>) -> Result<(&'static str, Box<dyn Method>)> {
    let known = opened.meta.method.as_deref();
    let Some(name) = asked.or(known) else {
        let names: Vec<&str> = methods::METHODS.iter().map(|entry| entry.name).collect();
        return Err(Error::usage("does not say which method trained it")
            .at(&opened.path)
            .hint(format!("--method {}", names.join(" or "))));
    };
    let entry = methods::find(name)?;
    let settings = opened.meta.method_settings.clone().filter(|_| known == Some(name)).unwrap_or_default();
    Ok((entry.name, (entry.build)(&settings)?))
}

/// The head of the checkpoint's state, or of a foreign file where it fits; else a new one, which is said.
fn head_of(opened: &Checkpoint, name: &str, method: &dyn Method, dim: i64, seed: u64) -> Result<Weights> {
    let fresh = method.init(dim, &mut rng::once(seed, Purpose::Init));
    let state = checkpoint::state_path(&opened.path);
    let same_method = opened.meta.method.as_deref().is_none_or(|known| known == name);
    let found = if !same_method {
        None
    } else if state.is_file() {
        Some(checkpoint::open_state(&state)?.head)
    } else {
        opened.head.as_ref().map(Weights::frozen)
    };
    let fits = |head: &Weights| {
        ["projector.0.weight", "predictor.0.weight"].iter().all(|first| match (fresh.find(first), head.find(first)) {
            (Some(ours), Some(theirs)) => {
                theirs.dim() == 2 && (*first != "projector.0.weight" || theirs.size()[1] == ours.size()[1])
            }
            (Some(_), None) => false,
            (None, _) => true,
        })
    };
    if let Some(head) = found.filter(fits) {
        return Ok(head);
    }
    progress::say(&format!("warning: {} has no {name} head: a new one is trained along", opened.path.display()));
    Ok(fresh)
}

fn plain(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn print(outcome: &Outcome) -> Result<()> {
    let mut table = super::table(&["", "first step", "last step"]);
    if let (Some(first), Some(last)) = (&outcome.first, &outcome.last) {
        for (name, value) in &first.terms {
            let end = last.terms.get(name).map_or_else(|| "-".into(), |value| format!("{value:.4}"));
            table.add_row([name.clone(), format!("{value:.4}"), end]);
        }
        table.add_row(["grad_norm".into(), format!("{:.4}", first.grad_norm), format!("{:.4}", last.grad_norm)]);
    }
    super::print(&format!(
        "{table}\n{}: {} steps in {:.1} s, {} unreadable images; {}",
        outcome.repair, outcome.steps, outcome.seconds, outcome.bad_samples, outcome.checkpoint
    ))
}
