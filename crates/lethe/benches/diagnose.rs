//! What a diagnosis costs beside the bare forward passes that it needs: 2,000 images a side as they are and as ten random
//! views, of two checkpoints and a control, first extracted alone and then diagnosed.
//!
//! `cargo bench -p lethe --bench diagnose [ENCODER...]`; resnet18-w16 unless named. A run of `resnet18` takes some ten
//! minutes on two cores.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use lethe::checkpoint::{self, Meta};
use lethe::data;
use lethe::diagnose::{Copies, Images, MARGIN, Sets, Settings, Subject, VIEWS, diagnose};
use lethe::encoders::{EncoderSpec, Stem};
use lethe::evaluate::extract;
use lethe::loader::{Loader, LoaderSettings, Order};
use lethe::progress::Progress;
use lethe::rng::{self, Purpose};
use lethe::views::{self, Augmentation, Normalize};
use lethe_diagnosis::Relation;
use tch::Device;

const IMAGES: usize = 2000;
const CHECKPOINTS: u64 = 2;
const ROUNDS: usize = 2;

fn untrained(folder: &Path, spec: &EncoderSpec, seed: u64) -> PathBuf {
    let path = folder.join(format!("epoch-{seed:04}.safetensors"));
    let weights = spec.build().expect("a known encoder").init(&mut rng::once(seed, Purpose::Init));
    let meta = Meta {
        epoch: Some(seed as u32),
        image_size: Some(32),
        normalize: Some("shapes".into()),
        ..Meta::new(spec.clone())
    };
    checkpoint::save(&path, &meta, &weights).expect("a file");
    path
}

/// Seconds of the forward passes of one round.
fn forward(spec: &EncoderSpec, sides: &[Images], settings: &Settings) -> f64 {
    let normalize = || Normalize::named("shapes").expect("a known name");
    let pairs = views::augmentation("simclr", 32, normalize()).expect("a known name");
    let encoder = spec.build().expect("a known encoder");
    let stages: Vec<usize> = (0..encoder.stages().len()).collect();
    let start = Instant::now();
    // The control is one more encoder.
    for seed in 0..=CHECKPOINTS {
        let w = encoder.init(&mut rng::once(seed, Purpose::Init)).frozen();
        for side in sides {
            let plain = (Augmentation::plain(32, normalize()), 1);
            for (augmentation, draws) in [plain, (pairs.clone(), VIEWS.div_ceil(2) as u32)] {
                let settings = LoaderSettings {
                    batch_size: settings.batch_size,
                    order: Order::Sequential,
                    threads: settings.threads,
                    ..LoaderSettings::default()
                };
                let loader = Loader::new(Arc::clone(&side.dataset), augmentation, settings).expect("images");
                let progress = Progress::new("features", "images", IMAGES as u64);
                for draw in 0..draws {
                    extract(encoder.as_ref(), &w, &loader, draw, &stages, &progress).expect("features");
                }
            }
        }
    }
    start.elapsed().as_secs_f64()
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let asked = if asked.is_empty() { vec!["resnet18-w16".to_owned()] } else { asked };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    tch::set_num_threads(threads as i32);
    let settings = Settings {
        images: IMAGES,
        views: VIEWS,
        eps2: 0.5,
        margin: MARGIN,
        seed: 0,
        image_size: None,
        normalize: None,
        control: true,
        reference: None,
        augmentation: None,
        gradients: false,
        copies: Copies { check: 0, allow: None },
        batch_size: 256,
        threads,
        device: Device::Cpu,
    };
    let sides = [1, 2].map(|seed| {
        let spec = format!("shapes:n={IMAGES},size=32,seed={seed}");
        Images { dataset: data::open(&spec).expect("shapes"), spec }
    });
    let (train, unseen) = (&sides[0], Some(&sides[1]));
    let sets = Sets { train, unseen, transfer: None, relation: Relation::RandomSplit };
    for name in asked {
        let folder = tempfile::tempdir().expect("a folder");
        let spec = EncoderSpec::new(&name, Stem::Cifar);
        let subjects: Vec<Subject> =
            (0..CHECKPOINTS).map(|seed| Subject::File(untrained(folder.path(), &spec, seed))).collect();
        for round in 1..=ROUNDS {
            let bare = forward(&spec, &sides, &settings);
            let start = Instant::now();
            diagnose(&subjects, &sets, &settings).expect("a diagnosis");
            let whole = start.elapsed().as_secs_f64();
            // Only a bench may print.
            #[allow(clippy::print_stdout)]
            {
                println!(
                    "{name}, round {round}: forward passes {bare:.1} s, diagnosis {whole:.1} s, ratio {:.2}",
                    whole / bare
                );
            }
        }
    }
}
