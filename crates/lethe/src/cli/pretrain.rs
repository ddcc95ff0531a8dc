//! `lethe pretrain`: trains an encoder.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::json;

use crate::config::presets::{self, Published};
use crate::config::{self, Precision, RunConfig};
use crate::encoders::{EncoderSpec, Pool, Stem};
use crate::error::{Error, Result};
use crate::methods::{Entry, Views};
use crate::nn::Weights;
use crate::run::{IfThere, RunFolder};
use crate::train::{self, Instead};
use crate::undo::during::During;
use crate::{data, files, methods, optim, views};

/// Trains an encoder without labels
#[derive(clap::Args)]
#[command(after_help = "Example:
  lethe pretrain --method simclr --data cifar/train --encoder resnet18 --epochs 200 --out runs/simclr
  lethe pretrain --resume --out runs/simclr")]
pub(super) struct Args {
    /// Folder of the run
    #[arg(long, value_name = "RUN", required_unless_present = "list")]
    out: Option<PathBuf>,
    /// Methods, their papers, presets and published accuracies, and end
    #[arg(long)]
    list: bool,
    /// A published recipe, such as cifar10/simclr; --config and flags go over it
    #[arg(long, value_name = "NAME", requires = "data", conflicts_with = "method")]
    preset: Option<String>,
    /// Settings in TOML, with the names of config.toml; flags go over them
    #[arg(long, value_name = "F.toml")]
    config: Option<PathBuf>,
    /// Continue a run that was cut off, with its own settings
    #[arg(long, conflicts_with_all = ["preset", "config", "overwrite"])]
    resume: bool,
    /// Start anew in the folder of an earlier run
    #[arg(long)]
    overwrite: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// The settings as flags; each goes over the same key of `--config`.
#[derive(clap::Args, Serialize)]
struct Settings {
    /// Self-supervised method [default: simclr]
    #[arg(long, value_parser = PossibleValuesParser::new(methods::METHODS.iter().map(|entry| entry.name)))]
    method: Option<String>,
    /// Images: a folder, CIFAR binaries or shapes[:n=..,spurious=..]; @n=5000,skip=0 takes a part [default: shapes]
    #[arg(long, value_name = "D")]
    data: Option<String>,
    /// resnet18, resnet34, resnet50, vit-tiny, vit-small, vit-base or convnext-tiny; -wW for another width (resnet18-w16,
    /// vit-tiny-w64), -dD for another depth of a vit [default: resnet18]
    #[arg(long, value_name = "E")]
    encoder: Option<String>,
    /// First convolution of a resnet: 3x3, or 7x7 with max-pooling [default: cifar up to 64 pixels]
    #[arg(long)]
    stem: Option<Stem>,
    /// Side of the patches of a vit [default: 4 up to 64 pixels, else 16] or of a convnext [default: 2, else 4]
    #[arg(long, value_name = "PIXELS")]
    patch: Option<u32>,
    /// What a vit makes a vector of: its class token, or the mean of the others: cls or mean [default: cls]
    #[arg(long)]
    pool: Option<Pool>,
    /// Scale the residual branches of a vit by learned factors, from 1e-5
    #[arg(long, num_args = 0, default_missing_value = "true")]
    layer_scale: Option<bool>,
    /// Share of the images that skip the last residual branch of a vit or convnext; of earlier ones fewer [default: 0]
    #[arg(long, value_name = "SHARE")]
    drop_path: Option<f64>,
    /// Side of the views in pixels [default: that of small images, else 224]
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<u32>,
    /// Mean and deviation of the channels [default: the data set's own]
    #[arg(long, value_parser = PossibleValuesParser::new(views::NORMALIZATIONS.iter().map(|(name, _)| *name)))]
    normalize: Option<String>,
    /// Recipe of the views [default: the method's own]
    #[arg(long, value_parser = PossibleValuesParser::new(views::RECIPES.iter().map(|recipe| recipe.name)))]
    augmentation: Option<String>,
    /// [default: 100]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// [default: 256]
    #[arg(long, value_name = "N", value_parser = config::number::<usize>)]
    batch_size: Option<usize>,
    /// [default: the method's own]
    #[arg(long, value_parser = PossibleValuesParser::new(optim::OPTIMIZERS.iter().map(|entry| entry.name)))]
    optimizer: Option<String>,
    /// Learning rate for a batch of 256; it is scaled by batch / 256 [default: the method's own]
    #[arg(long)]
    lr: Option<f64>,
    /// [default: the method's own]
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Epochs of linear warm-up before the cosine [default: 10, of fewer than 100 epochs a tenth]
    #[arg(long, value_name = "N")]
    warmup_epochs: Option<u32>,
    /// Largest joint norm of the gradients, 0 for none [default: 0]
    #[arg(long)]
    clip_norm: Option<f64>,
    /// bf16: the network in bfloat16, weights and loss in f32 [default: f32]
    #[arg(long)]
    precision: Option<Precision>,
    /// cpu or cuda:N [default: cpu]
    #[arg(long)]
    device: Option<String>,
    /// [default: all cores]
    #[arg(long, value_name = "N", value_parser = config::number::<usize>)]
    threads: Option<usize>,
    /// [default: 0]
    #[arg(long, value_parser = config::number::<u64>)]
    seed: Option<u64>,
    /// Epochs from one kept checkpoint to the next [default: 10]
    #[arg(long, value_name = "N")]
    save_every: Option<u32>,
    /// Share of unreadable images to put up with [default: 0.001]
    #[arg(long, value_name = "SHARE")]
    bad_budget: Option<f64>,
    /// Keep N random images out of the training, of every class the same share: the unseen side of the run's diagnosis and
    /// of its repairs; held_out.json names them [default: 0]
    #[arg(long, value_name = "N", value_parser = config::number::<usize>)]
    hold_out: Option<usize>,
    /// A step of UMM on the late stages in place of every Nth step, 0 for none; [umm] of --config holds its settings,
    /// with the names of `lethe undo` [default: 0]
    #[arg(long, value_name = "N")]
    umm_every: Option<u32>,
    /// Plain epochs before the first step of UMM [default: 0]
    #[arg(long, value_name = "EPOCH")]
    umm_from: Option<u32>,
}

pub(super) fn run(args: Args) -> Result<()> {
    let Some(out) = args.out.as_ref().filter(|_| !args.list) else { return list(args.json) };
    let flags = toml::Table::try_from(&args.settings).expect("flags are plain values");
    let (mut config, if_there) = if args.resume {
        let config = RunFolder::open(out)?.read_config()?;
        refuse_others(&flags, &config)?;
        (config, IfThere::Resume)
    } else {
        let mut given = match &args.preset {
            Some(name) => presets::find(name)?.settings(args.settings.encoder.as_deref())?,
            None => toml::Table::new(),
        };
        if let Some(path) = &args.config {
            config::put_over(&mut given, config::read_table(path)?);
        }
        given.extend(flags);
        let if_there = if args.overwrite { IfThere::Overwrite } else { IfThere::Refuse };
        (RunConfig::resolve(given, args.config.as_deref(), data::open)?, if_there)
    };
    files::refuse_same(out, Path::new(&config.data))?;
    if config.umm_every == 0 && !config.umm.is_empty() {
        return Err(
            Error::usage("[umm]: no step of training is one of UMM").hint("--umm-every N: one in N, such as 10")
        );
    }
    let during = if config.umm_every > 0 { Some(During::new(&config)?) } else { None };
    config.umm = during.as_ref().map_or_else(toml::Table::new, During::settings);
    let step = during.as_ref().map(|during| |w: &Weights, views: &Views| during.step(w, views));
    let instead = step.as_ref().map(|step| Instead { every: config.umm_every.into(), from: config.umm_from, step });
    let images = data::open(&config.data)?;
    // The run may be gone on with from another folder.
    config.data = data::absolute(&config.data);
    let outcome = train::train(&config, images, out, if_there, instead.as_ref())?;
    if args.json {
        return super::print_json(&outcome);
    }
    let mut table = super::table(&["steps", "loss", "seconds", "images/s", "data wait", "unreadable", "checkpoint"]);
    table.add_row([
        outcome.steps.to_string(),
        outcome.loss.map_or("-".into(), |loss| format!("{loss:.4}")),
        format!("{:.1}", outcome.seconds),
        format!("{:.1}", outcome.images_per_s),
        format!("{:.1} %", 100.0 * outcome.data_wait),
        outcome.bad_samples.to_string(),
        outcome.checkpoint.display().to_string(),
    ]);
    super::print(&table.to_string())
}

/// A method with the recipes published for it.
#[derive(Serialize)]
struct Listed {
    method: &'static str,
    title: &'static str,
    paper: &'static str,
    presets: IndexMap<&'static str, Published>,
}

fn list(json: bool) -> Result<()> {
    let presets = |method: &str| {
        let own = presets::PRESETS.iter().filter(|preset| preset.name.rsplit('/').next() == Some(method));
        own.map(|preset| (preset.name, preset.read().1)).collect()
    };
    let methods = methods::METHODS.iter().map(|&Entry { name, title, paper, .. }| Listed {
        method: name,
        title,
        paper,
        presets: presets(name),
    });
    let methods: Vec<Listed> = methods.collect();
    if json {
        return super::print_json(&json!({ "methods": methods }));
    }
    let mut table = super::table(&["method", "title", "paper", "preset", "published", "measured by"]);
    for Listed { method, title, paper, presets } in &methods {
        if presets.is_empty() {
            table.add_row([*method, *title, *paper, "-", "-", "-"]);
        }
        for (preset, published) in presets {
            let accuracy = published.accuracy.map_or("-".into(), |accuracy| format!("{accuracy:.2} %"));
            let protocol = published.protocol.as_deref().unwrap_or("-");
            table.add_row([*method, *title, *paper, *preset, &accuracy, protocol]);
        }
    }
    super::print(&table.to_string())
}

/// A run goes on with its own settings: flags that say something else would be passed over.
fn refuse_others(flags: &toml::Table, config: &RunConfig) -> Result<()> {
    let own = toml::Table::try_from(config).expect("settings are plain values");
    let spelt_out = |name: &str| EncoderSpec { name: name.to_owned(), ..config.encoder_spec() };
    let same = |key: &str, value: &toml::Value| match (key, value) {
        ("data", toml::Value::String(spec)) => data::absolute(spec) == data::absolute(&config.data),
        ("encoder", toml::Value::String(name)) if *name != config.encoder => {
            spelt_out(name).build().is_ok_and(|encoder| encoder.spec() == config.encoder_spec())
        }
        ("drop_path", toml::Value::Float(share)) => *share == config.drop_path,
        ("hold_out", toml::Value::Integer(0)) => config.hold_out == 0,
        _ => own.get(key) == Some(value),
    };
    match flags.iter().find(|(key, value)| !same(key, value)) {
        None => Ok(()),
        Some((key, value)) => {
            let flag = key.replace('_', "-");
            let has = own.get(key).map_or("none".into(), ToString::to_string);
            Err(Error::usage(format!("--{flag} {value}: the run that --resume continues has {has}"))
                .hint(format!("leave --{flag} out, or start a run of its own in another folder")))
        }
    }
}
