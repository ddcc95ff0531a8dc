//! `lethe evaluate`: how good an encoder's features are.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tch::Device;

use crate::data::copies;
use crate::encoders::{EncoderSpec, Pool, Stem};
use crate::error::Result;
use crate::evaluate::{self, Evaluation, EvaluationRow, Model, PROTOCOLS, Sight};
use crate::loader::Loader;
use crate::{config, data, files, progress};

use super::images::ImageArgs;

/// So many images of `--test` are looked for among those of `--data`.
const COPIES_ASKED: usize = 2000;

/// Judges features by k-NN and a linear probe
#[derive(clap::Args)]
#[command(after_help = help())]
pub(super) struct Args {
    /// Checkpoints, of any format
    #[arg(value_name = "CKPT", required_unless_present = "encoder")]
    checkpoints: Vec<PathBuf>,
    /// Labelled images that the protocols learn from
    #[arg(long, value_name = "TRAIN")]
    data: String,
    /// Labelled images that they are asked about
    #[arg(long, value_name = "TEST")]
    test: String,
    /// knn-20, knn-200, knn, linear
    #[arg(long, value_name = "NAMES", default_value = "knn,linear")]
    protocol: String,
    /// last, all, or names such as stage3,stage4
    #[arg(long, value_name = "NAMES", default_value = "last")]
    stage: String,
    /// An untrained encoder of this kind, as a control: resnet18, resnet34-w16, vit-tiny, ..
    #[arg(long, value_name = "E")]
    encoder: Option<String>,
    /// Its first convolution: cifar or imagenet [default: cifar up to 64 pixels]
    #[arg(long, requires = "encoder")]
    stem: Option<Stem>,
    /// Side of its patches, and its pooling, as for pretrain
    #[arg(long, requires = "encoder", value_name = "PIXELS")]
    patch: Option<u32>,
    #[arg(long, requires = "encoder")]
    pool: Option<Pool>,
    /// Of its weights, which are those that pretrain with this seed starts from
    #[arg(long, default_value_t = 0, requires = "encoder")]
    seed: u64,
    #[command(flatten)]
    images: ImageArgs,
    /// Write evaluation.json here as well
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn help() -> String {
    let protocols: Vec<String> = PROTOCOLS.iter().map(|p| format!("  {:<9}{}\n", p.name, p.does)).collect();
    format!(
        "Protocols (knn stands for both of its kind):
{}Example:
  lethe evaluate runs/simclr/checkpoints/epoch-0200.safetensors --data cifar/train --test cifar/test
  lethe evaluate --encoder resnet18 --stem cifar --seed 0 --data cifar/train --test cifar/test",
        protocols.concat()
    )
}

pub(super) fn run(args: Args) -> Result<()> {
    let checkpoints = super::without_states(&args.checkpoints);
    let device = args.images.start()?;
    let protocols = evaluate::choose_protocols(&args.protocol)?;
    if let Some(out) = &args.out {
        checkpoints.iter().try_for_each(|checkpoint| files::refuse_same(out, checkpoint))?;
        files::refuse_foreign(out, Evaluation::is_in)?;
        files::check(out)?;
    }
    let (train, test) = (data::open(&args.data)?, data::open(&args.test)?);
    let untrained = args.encoder.as_ref().map(|name| {
        let size = args.images.image_size.map_or_else(|| config::image_size_of(train.as_ref(), &args.data), Ok)?;
        let (name, stem, patch, pool) = (name.clone(), args.stem, args.patch, args.pool);
        let spec = EncoderSpec { name, stem, patch, pool, ..EncoderSpec::default() };
        Model::untrained(&spec.resolved(size)?, args.seed, device)
    });
    let untrained = untrained.transpose()?;
    // What is wrong with a later one is said before the work on the first.
    for path in &checkpoints {
        let model = Model::open(path, Device::Cpu)?;
        evaluate::choose_stages(model.encoder.as_ref(), &args.stage)?;
        args.images.sight(&model, train.as_ref(), &args.data)?;
    }
    let models = checkpoints.iter().map(|path| Model::open(path, device)).chain(untrained.map(Ok));

    let mut evaluation = Evaluation::new(&args.data, train.len(), &args.test, test.len());
    // Decoded images stay in the loaders, so checkpoints that see alike share them.
    let mut loaders: Option<(Sight, Loader, Loader)> = None;
    for model in models {
        let model = model?;
        let stages = evaluate::choose_stages(model.encoder.as_ref(), &args.stage)?;
        let sight = args.images.sight(&model, train.as_ref(), &args.data)?;
        let (_, bank, queries) = match &mut loaders {
            Some(kept) if kept.0 == sight => kept,
            other => {
                let sides = [&train, &test].map(|side| args.images.plain(side, &sight));
                let [bank, queries] = sides;
                other.insert((sight.clone(), bank?, queries?))
            }
        };
        for scores in evaluate::evaluate(&model, bank, queries, &stages, &protocols)? {
            evaluation.rows.push(EvaluationRow::new(&model, &sight, scores));
        }
    }
    let asked = data::sample(Arc::clone(&test), COPIES_ASKED, 0);
    let found = copies::find(copies::against(&train, 0, copies::OTHERS, 0).as_ref(), asked.as_ref());
    if let Some(pair) = found.pairs.first() {
        let copies: BTreeSet<usize> = found.pairs.iter().map(|pair| pair.unseen).collect();
        progress::say(&format!(
            "warning: {} of {} images of --test looked at are among {} of --data, whose answers are known: {} is {}",
            copies.len(),
            found.unseen_images,
            found.train_images,
            pair.unseen_name,
            pair.train_name
        ));
    }
    if let Some((_, bank, queries)) = &loaders {
        bank.say_bad_samples();
        queries.say_bad_samples();
    }
    if let Some(out) = &args.out {
        files::write_atomically(out, evaluation.to_json().as_bytes())?;
    }
    if args.json {
        return super::print(&evaluation.to_json());
    }
    let chosen: Vec<&str> = protocols.iter().map(|protocol| protocol.name).collect();
    let mut table = super::table(&[&["checkpoint", "epoch", "stage", "d"], chosen.as_slice()].concat());
    for row in &evaluation.rows {
        let mut cells = vec![
            row.checkpoint.clone(),
            row.epoch.map_or("-".into(), |epoch| epoch.to_string()),
            row.scores.stage.clone(),
            row.scores.dimension.to_string(),
        ];
        cells.extend(row.scores.accuracy.values().map(|accuracy| format!("{accuracy:.4}")));
        table.add_row(cells);
    }
    super::print(&table.to_string())
}
