//! `lethe convert`.

use std::path::PathBuf;

use serde::Serialize;

use super::{print_json, table};
use crate::encoders::{EncoderSpec, Pool, Stem};
use crate::error::{Error, Result};
use crate::{checkpoint, files};

/// Rewrites a checkpoint of any tool as safetensors with torchvision's names, or timm's of a vision transformer.
///
/// Reads safetensors and PyTorch state dicts (.pt, .pth, .ckpt of torchvision, timm, lightly, solo-learn, MoCo, SimSiam,
/// Barlow Twins, VICReg, DINO, MAE), always as data. The encoder is inferred from its tensors; heads are left out.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  lethe convert moco_v2_800ep.pth.tar resnet50.safetensors")]
pub(super) struct Args {
    /// The checkpoint to read
    input: PathBuf,
    /// The file to write
    output: PathBuf,
    /// First convolution, where the file does not tell: cifar, or cifar-pad2 for what was taken out of a solo-learn
    /// checkpoint of CIFAR (whole ones are known)
    #[arg(long)]
    stem: Option<Stem>,
    /// What a vit makes a vector of, which its tensors do not tell: cls or mean [default: cls]
    #[arg(long)]
    pool: Option<Pool>,
    /// Replace an output that is there
    #[arg(long)]
    overwrite: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Converted {
    #[serde(serialize_with = "files::as_text")]
    input: PathBuf,
    #[serde(serialize_with = "files::as_text")]
    output: PathBuf,
    encoder: String,
    stem: Option<String>,
    patch: Option<u32>,
    pool: Option<String>,
    epoch: Option<u32>,
    tensors: usize,
}

pub(super) fn run(args: Args) -> Result<()> {
    files::refuse_same(&args.output, &args.input)?;
    if args.output.extension().is_none_or(|ending| ending != "safetensors") {
        return Err(
            Error::usage("expected a name that ends in .safetensors, which is what is written").at(&args.output)
        );
    }
    let replaces = args.output.exists();
    if replaces && !args.overwrite {
        return Err(Error::usage("is there already").at(&args.output).hint("--overwrite replaces it"));
    }
    let mut read = checkpoint::open(&args.input)?;
    if args.stem.is_some() || args.pool.is_some() {
        let held = &read.meta.encoder;
        let asked = EncoderSpec { stem: args.stem.or(held.stem), pool: args.pool.or(held.pool), ..held.clone() };
        let asked = asked.resolved(0)?;
        if asked.build()?.shapes() != held.build()?.shapes() {
            let stem = asked.stem.map_or(String::new(), |stem| stem.to_string());
            return Err(Error::usage(format!("--stem {stem}: the file holds {held}")).at(&args.input));
        }
        read.meta.encoder = asked;
    }
    read.meta.normalize = read.meta.normalization().map(str::to_owned);
    checkpoint::save(&args.output, &read.meta, &read.encoder)?;
    if replaces {
        checkpoint::remove_state(&args.output)?;
    }
    let converted = Converted {
        input: args.input,
        output: args.output,
        encoder: read.meta.encoder.name,
        stem: read.meta.encoder.stem.map(|stem| stem.to_string()),
        patch: read.meta.encoder.patch,
        pool: read.meta.encoder.pool.map(|pool| pool.to_string()),
        epoch: read.meta.epoch,
        tensors: read.encoder.len(),
    };
    if args.json {
        return print_json(&converted);
    }
    let first = match (&converted.stem, converted.patch) {
        (Some(stem), _) => stem.clone(),
        (None, patch) => patch.map_or(String::new(), |patch| format!("patch {patch}")),
    };
    let mut table = table(&["encoder", "stem", "epoch", "tensors", "written to"]);
    let epoch = converted.epoch.map_or("unknown".into(), |epoch| epoch.to_string());
    let output = converted.output.display().to_string();
    table.add_row([converted.encoder, first, epoch, converted.tensors.to_string(), output]);
    super::print(&table.to_string())
}
