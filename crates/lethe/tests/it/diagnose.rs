//! The diagnosis: its arithmetic, and two real ones, of encoders that have and have not memorised.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use insta::assert_snapshot;
use lethe::checkpoint::{self, Meta};
use lethe::data;
use lethe::diagnose::{self, Diagnosis, Images, Settings, Subject, alignment_distances, gaps};
use lethe::encoders::{EncoderSpec, Part, Stem};
use lethe::methods;
use lethe::nn::Mode;
use lethe::optim;
use lethe::rng::{self, Purpose};
use lethe::views::{self, Loader, LoaderSettings, Normalize, Order};
use ndarray::array;
use rand::RngExt;
use tch::{Device, Kind};

use crate::support::{jpegs, lethe_err, lethe_ok, temp_dir, text};

#[test]
fn distances_are_those_of_unit_rows() {
    let first = array![[3.0, 4.0], [1.0, 0.0], [2.0, 0.0], [0.0, 0.0]];
    let second = array![[0.6, 0.8], [0.0, 5.0], [-1.0, 0.0], [1.0, 0.0]];
    let found = alignment_distances(first.view(), second.view());
    for (found, expected) in found.iter().zip([0.0, 2.0, 4.0, 2.0]) {
        assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
    }
}

/// Noise of deviation 1 around `mean`.
fn noise(n: usize, mean: f64, index: u64) -> Vec<f64> {
    let mut rng = rng::keyed(7, Purpose::Sample, 0, index, 0);
    (0..n).map(|_| mean + 12f64.sqrt() * (rng.random::<f64>() - 0.5)).collect()
}

#[test]
fn intervals_of_one_cell_are_those_of_the_mean() {
    let found = gaps(&[noise(2000, 0.3, 0)], 0)[0];
    assert!((found.mean - 0.3).abs() < 0.08 && found.low < 0.3 && 0.3 < found.high, "{found:?}");
    let half = (found.high - found.low) / 2.0;
    assert!((half / (1.96 / 2000f64.sqrt()) - 1.0).abs() < 0.08, "half width {half}");
}

/// 40 diagnoses of 30 cells without any gap: at 95 % a cell nearly each would show one by luck.
#[test]
fn intervals_hold_together() {
    let excludes_0 = |trial: u64| {
        let cells: Vec<Vec<f64>> = (0..30).map(|cell| noise(100, 0.0, 1000 * trial + cell)).collect();
        gaps(&cells, trial).iter().any(|gap| gap.low > 0.0 || gap.high < 0.0)
    };
    let wrong = (0..40).filter(|&trial| excludes_0(trial)).count();
    assert!(wrong <= 6, "{wrong} of 40 diagnoses of nothing found something");
}

const SPEC: (&str, Stem) = ("resnet18-w8", Stem::Cifar);

/// Saves a fresh encoder.
fn untrained(folder: &Path, seed: u64, epoch: u32) -> PathBuf {
    let spec = EncoderSpec::new(SPEC.0, SPEC.1);
    let weights = spec.build().unwrap().init(&mut rng::once(seed, Purpose::Init));
    let path = folder.join(format!("epoch-{epoch:04}.safetensors"));
    let meta = Meta { epoch: Some(epoch), image_size: Some(16), normalize: Some("shapes".into()), ..Meta::new(spec) };
    checkpoint::save(&path, &meta, &weights).unwrap();
    path
}

#[test]
fn untrained_encoders_have_memorised_nothing() {
    let folder = temp_dir();
    let paths = [0, 1].map(|seed| untrained(folder.path(), seed, seed as u32));
    let out = folder.path().join("diagnosis");
    let args = [
        "diagnose",
        text(&paths[0]),
        text(&paths[1]),
        "--data",
        "shapes:n=150,size=16,seed=1",
        "--unseen",
        "shapes:n=120,size=16,seed=2",
        "--threads",
        "1",
        "--out",
        text(&out),
    ];
    let printed = lethe_ok(&args);
    assert!(printed.contains("Memorisation: none seen."), "{printed}");
    assert!(printed.contains("│ stage4 ┆ epoch 1 "), "{printed}");

    let diagnosis: Diagnosis =
        serde_json::from_str(&std::fs::read_to_string(out.join("diagnosis.json")).unwrap()).unwrap();
    assert_eq!(diagnosis.stages, ["stem", "stage1", "stage2", "stage3", "stage4"]);
    assert_eq!(diagnosis.settings["images"], 120);
    assert_eq!(diagnosis.cells.len(), 10);
    assert!(diagnosis.onsets.is_empty());
    for cell in &diagnosis.cells {
        let [low, high] = cell.gap_interval.unwrap();
        assert!(low <= 0.0 && 0.0 <= high, "{} {}: {low} .. {high}", cell.checkpoint, cell.stage);
        for side in [&cell.train, cell.unseen.as_ref().unwrap()] {
            let rates = &side.by_class;
            let reduction = rates["coding_rate"] - rates["compressed_rate"];
            assert!((reduction - rates["coding_rate_reduction"]).abs() < 1e-9);
            assert_eq!(rates["coding_rate"], side.measures["coding_rate"]);
            assert!(side.by_pair["alignment"] > 0.0 && side.by_pair["lidar"] > 0.0);
            // What cannot be taken says why.
            let narrow = ["stem", "stage1"].contains(&cell.stage.as_str());
            assert_eq!(side.measures.contains_key("alpha_req"), !narrow, "{}", cell.stage);
            assert_eq!(side.skipped.keys().collect::<Vec<_>>(), if narrow { vec!["alpha_req"] } else { vec![] });
            // 120 images are too few for 200 neighbours.
            assert_eq!(side.accuracy.keys().collect::<Vec<_>>(), ["knn-20", "linear"]);
        }
        let unseen = cell.unseen.as_ref().unwrap();
        let gap = unseen.by_pair["alignment"] - cell.train.by_pair["alignment"];
        assert!((gap - cell.memorisation_gap.unwrap()).abs() < 1e-6);
    }

    assert_snapshot!(lethe_err(&args, 2).replace(text(folder.path()), "DIR"), @r"
    error: DIR/diagnosis: there is a diagnosis in this folder already
      hint: --overwrite replaces it, or choose another --out
    ");
    let again = [&args[..], &["--overwrite", "--json"]].concat();
    let again: Diagnosis = serde_json::from_str(&lethe_ok(&again)).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&diagnosis).unwrap());
}

/// Steps of SimCLR on the very views that the diagnosis shows: enough to know them by heart.
const STEPS: u32 = 40;

#[test]
fn an_encoder_overfitted_to_32_images_shows_it_in_its_last_stage() {
    let folder = temp_dir();
    let open = |spec: String| Images { dataset: data::open(&spec).unwrap(), spec };
    let train = open(format!("{}@n=32", text(&jpegs().join("train"))));
    let unseen = open(format!("{}@n=32", text(&jpegs().join("test"))));
    let spec = EncoderSpec::new(SPEC.0, SPEC.1);
    tch::set_num_threads(1);
    let encoder = spec.build().unwrap();
    let method = (methods::find("simclr").unwrap().build)(&toml::Table::new()).unwrap();
    let net = Part::whole(encoder.as_ref());
    let mut rng = rng::once(3, Purpose::Init);
    let mut weights = encoder.init(&mut rng);
    weights.extend(method.init(net.dim(), &mut rng));
    let normalize = Normalize::named("cifar10").unwrap();
    let augmentation = views::augmentation("simclr", 16, normalize).unwrap();
    let settings = LoaderSettings { batch_size: 32, order: Order::Sequential, threads: 1, ..LoaderSettings::default() };
    let loader = Loader::new(Arc::clone(&train.dataset), augmentation, settings).unwrap();
    let inputs = loader.epoch(0, 0).next().unwrap().unwrap().tensors(Device::Cpu, Kind::Float);
    let mut optimizer = optim::build("adamw", 1e-4).unwrap();
    for _ in 0..STEPS {
        let loss = method.loss(&net, &weights, &inputs, Mode::Train).unwrap();
        let gradients = weights.gradients(&loss.total, false).unwrap();
        optimizer.step(&weights, &gradients, 3e-3);
    }
    let path = folder.path().join("overfitted.safetensors");
    checkpoint::save(&path, &Meta { epoch: Some(STEPS), ..Meta::new(spec) }, &weights).unwrap();

    let settings = Settings {
        images: 32,
        eps2: 0.5,
        seed: 0,
        image_size: Some(16),
        normalize: Some("cifar10".into()),
        augmentation: None,
        batch_size: 32,
        threads: 1,
        device: Device::Cpu,
    };
    let start = Subject::File(untrained(folder.path(), 3, 0));
    let found = diagnose::diagnose(&[start, Subject::File(path)], &train, Some(&unseen), &settings).unwrap();
    for cell in &found.cells {
        let [low, high] = cell.gap_interval.unwrap();
        let memorised = cell.checkpoint == 1 && cell.stage == "stage4";
        // Measured: 0.34 .. 0.59 there; elsewhere 0 lies well inside.
        assert_eq!(low > 0.1, memorised, "{} {}: {low} .. {high}", cell.checkpoint, cell.stage);
        assert!(memorised || low < 0.0, "{} {}: {low} .. {high}", cell.checkpoint, cell.stage);
    }
    assert_eq!(found.onsets.len(), 1);
    assert_eq!((found.onsets[0].stage.as_str(), found.onsets[0].checkpoint), ("stage4", 1));
    assert!(found.summary.starts_with("Memorisation: the gap is largest in stage4 at epoch 40, "), "{}", found.summary);
    assert!(found.summary.ends_with(" stage4: above 0 from epoch 40 on."), "{}", found.summary);
}

#[test]
fn wrong_use_is_said_in_one_line() {
    let folder = temp_dir();
    let path = untrained(folder.path(), 0, 5);
    let other = {
        let spec = EncoderSpec::new("resnet18-w4", Stem::Cifar);
        let weights = spec.build().unwrap().init(&mut rng::once(0, Purpose::Init));
        let path = folder.path().join("other.safetensors");
        checkpoint::save(&path, &Meta { image_size: Some(16), ..Meta::new(spec) }, &weights).unwrap();
        path
    };
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let out = folder.path().join("out");
    let data = "shapes:n=40,size=16";
    let fails = |args: &[&str], code: i32| {
        let args = [&["diagnose"], args, &["--out", text(&out)]].concat();
        lethe_err(&args, code).replace(text(folder.path()), "DIR")
    };
    assert_snapshot!(fails(&["DIR/missing.safetensors", "--data", data], 1), @"error: DIR/missing.safetensors: no such file or folder");
    assert_snapshot!(fails(&[text(&path), text(&other), "--data", data], 2), @r"
    error: DIR/other.safetensors holds resnet18-w4 (cifar stem), the first one resnet18-w8 (cifar stem)
      hint: diagnose checkpoints of one encoder at a time
    ");
    assert_snapshot!(fails(&[text(&path), "--data", data, "--unseen", text(&empty)], 2), @r"
    error: DIR/empty: no images in this folder
      hint: expected CLASS/*.jpg or *.jpg; endings: jpg, jpeg, png, webp, bmp
    ");
    assert_snapshot!(fails(&[text(&path), "--data", data, "--unseen", data], 2), @r"
    error: --unseen shapes:n=40,size=16: these are the training images
      hint: name images of the same kind that the encoder has not seen
    ");
    assert_snapshot!(fails(&[text(&path)], 2), @r"
    error: --data is missing
      hint: name the images the encoder was trained on; only a run folder remembers them
    ");
    assert_snapshot!(fails(&[text(folder.path()), "--data", data], 1), @r"
    error: DIR: not a run folder: it has no config.toml
      hint: name the --out folder of `lethe pretrain`
    ");
    assert_snapshot!(fails(&[text(&path), "--data", "shapes:n=10,size=16"], 2), @"error: 10 images a side are too few to diagnose, expected 20");
    assert!(!out.exists());
}
