//! The diagnosis: encoders that have and have not memorised, the control, the method's loss, and feature files that tell
//! the same.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use insta::assert_snapshot;
use lethe::checkpoint::{self, Meta, State};
use lethe::data;
use lethe::diagnose::{self, Cell, Copies, Diagnosis, Images, Pooled, Sets, Settings, Subject, write_features};
use lethe::encoders::{EncoderSpec, Part, Stem};
use lethe::evaluate::Model;
use lethe::loader::{Loader, LoaderSettings, Order};
use lethe::methods::{self, Views};
use lethe::nn::Mode;
use lethe::optim;
use lethe::rng::{self, Purpose};
use lethe::run::RunFolder;
use lethe::views::{self, Normalize};
use lethe_diagnosis::findings::{Doubt, Memorises};
use lethe_diagnosis::{ControlKind, Estimate, Memorisation, Onset, Relation};
use lethe_measures::{ViewDistances, memorisation};
use rand::RngExt;
use serde_json::Value;
use tch::{Device, Kind};

use crate::support::{jpegs, lethe, lethe_err, lethe_ok, temp_dir, text};

/// Noise of deviation 1 around `mean`.
fn noise(n: usize, mean: f64, index: u64) -> Vec<f64> {
    let mut rng = rng::keyed(7, Purpose::Sample, 0, index, 0);
    (0..n).map(|_| mean + 12f64.sqrt() * (rng.random::<f64>() - 0.5)).collect()
}

/// The numbers of cells with these distances of training images and of unseen ones.
fn numbers(cells: Vec<[Vec<f64>; 2]>, seed: u64) -> Vec<Memorisation> {
    let distances = |[train, unseen]: [Vec<f64>; 2]| ViewDistances {
        between: 2.0,
        between_of: vec![2.0; unseen.len()],
        zero_rows: [0, 0],
        train,
        unseen,
    };
    let cells: Vec<ViewDistances> = cells.into_iter().map(distances).collect();
    let cells: Vec<_> = cells.iter().map(|distances| lethe_measures::Cell { distances, retrieval: None }).collect();
    memorisation(&cells, true, seed).unwrap()
}

#[test]
fn intervals_of_one_cell_are_those_of_the_mean() {
    let Estimate { value, low, high } = numbers(vec![[vec![2.0; 2000], noise(2000, 2.3, 0)]], 0)[0].memorisation_gap;
    assert!((value - 0.3).abs() < 0.08 && low < 0.3 && 0.3 < high, "{value}: {low} .. {high}");
    let half = (high - low) / 2.0;
    assert!((half / (1.96 / 2000f64.sqrt()) - 1.0).abs() < 0.08, "half width {half}");
}

/// 40 diagnoses of 30 cells without any gap: at 95 % a cell nearly each would show one by luck.
#[test]
fn intervals_hold_together() {
    let found = (0..40).map(|trial: u64| {
        let cell = |cell: u64| [0, 1].map(|side| noise(100, 2.0, 1000 * trial + 2 * cell + side));
        numbers((0..30).map(cell).collect(), trial)
    });
    let excludes = |found: &Estimate, level: f64| found.low > level || found.high < level;
    let (mut gaps, mut areas) = (0, 0);
    for cells in found {
        gaps += u32::from(cells.iter().any(|cell| excludes(&cell.memorisation_gap, 0.0)));
        areas += u32::from(cells.iter().any(|cell| excludes(&cell.membership, 0.5)));
    }
    assert!(gaps <= 6 && areas <= 6, "{gaps} and {areas} of 40 diagnoses of nothing found something");
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
    assert!(printed.contains("Does it memorise? None seen. In no stage are "), "{printed}");
    assert!(printed.contains("│ stage4 ┆ epoch 1 "), "{printed}");

    let diagnosis: Diagnosis =
        serde_json::from_str(&std::fs::read_to_string(out.join("diagnosis.json")).unwrap()).unwrap();
    assert_eq!(diagnosis.stages, ["stem", "stage1", "stage2", "stage3", "stage4"]);
    assert_eq!((&diagnosis.settings["images"], &diagnosis.settings["views"]), (&120.into(), &10.into()));
    assert_eq!(diagnosis.cells.len(), 10);
    assert!(diagnosis.onsets.is_empty());
    assert!(diagnosis.random_images.iter().all(|image| image.name.starts_with("shapes/")));
    for cell in &diagnosis.cells {
        let found = cell.memorisation.as_ref().unwrap();
        for (Estimate { low, high, .. }, nothing) in
            [(found.membership, 0.5), (found.memorisation_gap, 0.0), (found.retrieval_gap.unwrap(), 0.0)]
        {
            assert!(low <= nothing && nothing <= high, "{} {}: {low} .. {high}", cell.checkpoint, cell.stage);
        }
        let above = cell.membership_above_control.unwrap();
        assert!(above.low <= 0.0 && 0.0 <= above.high, "{} {}: {above:?}", cell.checkpoint, cell.stage);
        for side in [&cell.train, cell.unseen.as_ref().unwrap()] {
            let rates = &side.by_class;
            let reduction = rates["coding_rate"] - rates["compressed_rate"];
            assert!((reduction - rates["coding_rate_reduction"]).abs() < 1e-9);
            assert_eq!(rates["coding_rate"], side.measures["coding_rate"]);
            assert!(side.by_pair["alignment"] > 0.0 && side.by_pair["lidar"] > 0.0);
            // What cannot be taken says why.
            let narrow = ["stem", "stage1"].contains(&cell.stage.as_str());
            assert_eq!(side.measures.contains_key("alpha_req"), !narrow, "{}", cell.stage);
            assert_eq!(side.skipped.contains_key("alpha_req"), narrow, "{:?}", side.skipped);
            // 120 images are too few for 200 neighbours.
            let mut protocols: Vec<&str> = side.accuracy.keys().map(String::as_str).collect();
            protocols.sort_unstable();
            assert_eq!(protocols, ["knn-20", "linear"]);
        }
        let gap = found.d_unseen.value - found.d_train.value;
        assert!((gap - found.memorisation_gap.value).abs() < 1e-9);
        assert!((gap / found.d_between.value - found.relative_gap.unwrap().value).abs() < 1e-9);
    }

    // Every image has its row.
    let csv = std::fs::read_to_string(out.join("images.csv")).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let sides = |side: &str| rows[1..].iter().filter(|row| row[0] == side).count();
    assert_eq!((rows.len(), sides("train"), sides("unseen")), (241, 120, 120));
    let Memorises::NoneSeen { most } = &diagnosis.findings.memorises else { panic!("{:?}", diagnosis.findings) };
    let column = rows[0].iter().position(|name| *name == format!("calibrated.{}", most.stage)).unwrap();
    let highest = &diagnosis.most_memorised[0];
    let row = rows.iter().find(|row| row[0] == "train" && row[1] == highest.name).unwrap();
    assert!((row[column].parse::<f64>().unwrap() - highest.score).abs() < 1e-6, "{row:?} {highest:?}");
    assert!(highest.score > 0.0);
    assert!(rows[1..121].iter().all(|row| row[column].parse::<f64>().unwrap() <= highest.score + 1e-6));

    assert_snapshot!(lethe_err(&args, 2).replace(text(folder.path()), "DIR"), @r"
    error: DIR/diagnosis: there is a diagnosis in this folder already
      hint: --overwrite replaces it, or choose another --out
    ");
    let again = [&args[..], &["--overwrite", "--json"]].concat();
    let again: Diagnosis = serde_json::from_str(&lethe_ok(&again)).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&diagnosis).unwrap());

    // The spread of an image's own views is most of the gap's: the mean over more of them knows it better.
    let two = [&args[..], &["--views", "2", "--overwrite", "--json"]].concat();
    let two: Diagnosis = serde_json::from_str(&lethe_ok(&two)).unwrap();
    let width =
        |cell: &Cell| cell.memorisation.map(|found| found.memorisation_gap.high - found.memorisation_gap.low).unwrap();
    for (two, ten) in two.cells.iter().zip(&diagnosis.cells) {
        assert!(width(ten) < 0.75 * width(two), "{}: {} for {}", two.stage, width(ten), width(two));
        assert_eq!(ten.train.by_pair["alignment"], two.train.by_pair["alignment"], "of the first pair");
        assert!(!two.train.by_pair.contains_key("lidar"), "it needs ten views");
    }
}

/// Steps of SimCLR on the very views that the diagnosis shows: enough to know them by heart.
const STEPS: u32 = 40;

/// As many of CIFAR-10's training and test images: nothing tells Lethe that these folders are a random split.
fn sides() -> [String; 2] {
    ["train", "test"].map(|side| format!("{}@n=64", text(&jpegs().join(side))))
}

fn open(spec: String) -> Images {
    Images { dataset: data::open(&spec).unwrap(), spec }
}

/// An encoder that is fitted to the images of [`sides`] and to one pair of views of each, with its head beside it.
fn overfitted() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let [train, _] = sides();
        let spec = EncoderSpec::new(SPEC.0, SPEC.1);
        tch::set_num_threads(1);
        let encoder = spec.build().unwrap();
        let method = (methods::find("simclr").unwrap().build)(&toml::Table::new()).unwrap();
        let net = Part::whole(encoder.as_ref());
        let mut rng = rng::once(3, Purpose::Init);
        let mut weights = encoder.init(&mut rng);
        let of_encoder: Vec<String> = weights.names().map(str::to_owned).collect();
        weights.extend(method.init(net.dim(), &mut rng));
        // In float64, so that the rounding of a machine's kernels decides nothing.
        let weights = weights.to_kind(Kind::Double).trainable();
        let augmentation = views::augmentation("simclr", 16, Normalize::named("cifar10").unwrap()).unwrap();
        let settings = LoaderSettings {
            batch_size: 64,
            order: Order::Sequential,
            purpose: Purpose::Look,
            threads: 1,
            ..LoaderSettings::default()
        };
        let loader = Loader::new(open(train).dataset, augmentation, settings).unwrap();
        let views = Views::of(&loader.epoch(0, 0).next().unwrap().unwrap(), Device::Cpu, Kind::Double);
        let mut optimizer = optim::build("adamw", 1e-4).unwrap();
        for _ in 0..STEPS {
            let loss = method.loss(&net, &weights, &views, Mode::Train).unwrap();
            let gradients = weights.gradients(&loss.total, false).unwrap();
            optimizer.step(&weights, &gradients, 3e-3);
        }
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("overfitted-{}.safetensors", std::process::id()));
        let meta = Meta {
            epoch: Some(STEPS),
            image_size: Some(16),
            normalize: Some("cifar10".into()),
            method: Some("simclr".into()),
            ..Meta::new(spec)
        };
        let weights = weights.to_kind(Kind::Float).frozen();
        checkpoint::save(&path, &meta, &weights.filter(|name| of_encoder.iter().any(|own| own == name))).unwrap();
        let head = weights.filter(|name| of_encoder.iter().all(|own| own != name));
        checkpoint::save_state(&checkpoint::state_path(&path), &State { head, ..State::default() }).unwrap();
        path
    })
}

fn settings() -> Settings {
    Settings {
        images: 2000,
        views: 2,
        eps2: 0.5,
        margin: diagnose::MARGIN,
        seed: 0,
        image_size: None,
        normalize: None,
        control: true,
        reference: None,
        augmentation: None,
        gradients: false,
        copies: Copies { check: 0, allow: None },
        batch_size: 32,
        threads: 1,
        device: Device::Cpu,
    }
}

#[test]
fn an_encoder_overfitted_to_64_images_shows_it_in_its_last_stage() {
    let folder = temp_dir();
    let [train, unseen] = sides().map(open);
    let start = untrained(folder.path(), 3, 0);
    let settings = Settings {
        image_size: Some(16),
        normalize: Some("cifar10".into()),
        reference: Some(start.clone()),
        ..settings()
    };
    let sets = Sets { train: &train, unseen: Some(&unseen), transfer: None, relation: Relation::Unknown };
    let subjects = [Subject::File(start.clone()), Subject::File(overfitted().into())];
    let found = diagnose::diagnose(&subjects, &sets, &settings).unwrap().diagnosis;
    let memorised = |cell: &Cell| cell.checkpoint == 1 && cell.stage == "stage4";
    for cell in &found.cells {
        let numbers = cell.memorisation.as_ref().unwrap();
        let Estimate { low, high, .. } = numbers.memorisation_gap;
        // Measured: 1.19 .. 1.59 there; elsewhere 0 lies well inside.
        assert_eq!(low > 0.1, memorised(cell), "{} {}: {low} .. {high}", cell.checkpoint, cell.stage);
        assert!(memorised(cell) || low < 0.0, "{} {}: {low} .. {high}", cell.checkpoint, cell.stage);
    }
    let gaps: Vec<&Onset> = found.onsets.iter().filter(|onset| onset.of == "memorisation_gap").collect();
    assert_eq!(gaps.len(), 1);
    let Onset { stage, checkpoint, epoch, .. } = gaps[0];
    assert_eq!((stage.as_str(), *checkpoint, epoch.low, epoch.high), ("stage4", 1, 0.0, f64::from(STEPS)));
    assert_eq!((found.most_memorised.len(), found.random_images.len()), (16, 16));
    assert!(found.most_memorised.is_sorted_by(|a, b| a.score >= b.score));
    let mean = |images: &[lethe_diagnosis::ImageScore]| images.iter().map(|image| image.score).sum::<f64>() / 16.0;
    assert!(mean(&found.most_memorised) > mean(&found.random_images) && mean(&found.random_images) > 0.0);
    // Told from unseen images one by one, by the encoder alone and beside the untrained one.
    for cell in &found.cells {
        let memorised = memorised(cell);
        let alone = cell.memorisation.as_ref().unwrap().membership;
        assert_eq!(alone.low > 0.55, memorised, "{} {}: {alone:?}", cell.checkpoint, cell.stage);
        let above = cell.membership_above_control.unwrap();
        // Measured: 0.38 .. 0.60 there; stage3 reads -0.04 .. 0.16.
        assert_eq!(above.low > 0.05, memorised, "{} {}: {above:?}", cell.checkpoint, cell.stage);
        let Some(beside) = &cell.reference else {
            assert_eq!(cell.checkpoint, 0, "the reference is the first checkpoint itself");
            continue;
        };
        let auc = beside.membership.unwrap();
        assert_eq!(auc.low > 0.55, memorised, "{} {}: {auc:?}", cell.checkpoint, cell.stage);
        assert_eq!(beside.sslmem > beside.sslmem_unseen + 0.2, memorised, "{beside:?}");
    }
    let lines: Vec<&str> = found.summary.lines().collect();
    let yes = "Does it memorise? Yes. In stage4 at epoch 40 training images are told from unseen ones with AUC ";
    assert!(lines[0].starts_with(yes), "{}", found.summary);
    assert!(lines[0].contains(" The reference encoder has AUC "), "{}", found.summary);
    assert!(lines[1].starts_with("In which stage? stage4. "), "{}", found.summary);
    assert!(lines[2].starts_with("Since when? ") && lines[2].contains("stage4"), "{}", found.summary);
}

/// The diagnosis of a checkpoint by the program, of the images of [`sides`].
fn of_checkpoint(checkpoint: &Path, folder: &Path, more: &[&str]) -> Diagnosis {
    let [train, unseen] = sides();
    let out = folder.join(format!("diagnosis-{}", more.concat().replace('/', "-")));
    let shown = ["--data", &train, "--unseen", &unseen, "--views", "2", "--batch-size", "32", "--threads", "1"];
    let args = [&["diagnose", text(checkpoint)], &shown[..], &["--json", "--out", text(&out)], more].concat();
    serde_json::from_str(&lethe_ok(&args)).unwrap()
}

#[test]
fn the_control_and_the_sides_decide_how_plain_the_answer_is() {
    let folder = temp_dir();
    let fresh = untrained(folder.path(), 0, 7);
    let kind = |found: &Diagnosis| found.control.as_ref().map(|control| control.kind);
    let says_no_control = |found: &Diagnosis| found.findings.doubts.contains(&Doubt::NoControl);
    let answer = |found: &Diagnosis| match &found.findings.memorises {
        Memorises::Yes { most } => Some((true, most.stage.clone())),
        Memorises::YesOrSidesDiffer { most } => Some((false, most.stage.clone())),
        _ => None,
    };
    let (plain, doubtful) = (Some((true, "stage4".to_owned())), Some((false, "stage4".to_owned())));

    // A checkpoint by itself has a fresh encoder of its shape for a control.
    let found = of_checkpoint(overfitted(), folder.path(), &[]);
    assert_eq!((kind(&found), answer(&found)), (Some(ControlKind::FreshEncoder), doubtful.clone()));
    assert!(!says_no_control(&found));
    let path = fresh.to_str().unwrap();
    let of_fresh = of_checkpoint(&fresh, folder.path(), &["--image-size", "16", "--normalize", "cifar10"]);
    for (control, cell) in found.control.unwrap().stages.iter().zip(&of_fresh.cells) {
        let own = cell.memorisation.unwrap();
        assert_eq!(control.membership.value, own.membership.value, "the weights that seed 0 draws");
        assert_eq!(control.memorisation_gap.value, own.memorisation_gap.value);
    }
    assert!(matches!(of_fresh.findings.memorises, Memorises::NoneSeen { .. }), "{}", of_fresh.summary);

    let found = of_checkpoint(overfitted(), folder.path(), &["--random-split"]);
    assert_eq!((kind(&found), answer(&found)), (Some(ControlKind::FreshEncoder), plain.clone()));
    let found = of_checkpoint(overfitted(), folder.path(), &["--reference", path]);
    assert_eq!((kind(&found), answer(&found)), (Some(ControlKind::Reference), plain));
    assert_eq!(found.control.unwrap().path.as_deref(), Some(path));
    let found = of_checkpoint(overfitted(), folder.path(), &["--no-control", "--random-split"]);
    assert_eq!((kind(&found), answer(&found)), (None, doubtful));
    assert!(says_no_control(&found) && found.cells.iter().all(|cell| cell.membership_above_control.is_none()));
}

#[test]
fn the_loss_of_an_overtrained_encoder_is_higher_on_unseen_images() {
    let folder = temp_dir();
    let found = of_checkpoint(overfitted(), folder.path(), &[]);
    let gap = found.checkpoints[0].loss_gap.as_ref().unwrap();
    assert!(gap.gap > 0.0 && (gap.unseen - gap.train - gap.gap).abs() < 1e-9, "{gap:?}");
    let Estimate { value, low, .. } = gap.interval.unwrap();
    assert!(value == gap.gap && low > 0.0 && gap.batches == 8, "{gap:?}");

    // Fewer batches have no interval. A diagnosis cuts its images into 8 at least.
    let (train, unseen) = ([1.0, 1.5, 1.0, 1.2, 1.1, 0.9, 1.0, 1.3], [2.0, 2.2, 2.1, 2.5, 2.0, 2.3, 2.2, 2.4]);
    let interval = |batches: usize| lethe_measures::loss_gap(&train[..batches], &unseen[..batches]).unwrap().interval;
    assert!(interval(7).is_none() && interval(8).is_some_and(|gap| gap.low > 0.0));
    let fewest = of_checkpoint(overfitted(), folder.path(), &["--images", "20"]);
    let gap = fewest.checkpoints[0].loss_gap.as_ref().unwrap();
    assert!(gap.batches == 10 && gap.interval.is_some(), "{gap:?}");

    // What comes without its method has no loss.
    let foreign = untrained(folder.path(), 0, 7);
    let found = of_checkpoint(&foreign, folder.path(), &["--image-size", "16", "--seed", "1"]);
    assert!(found.checkpoints[0].loss_gap.is_none());
}

/// Expects the same of two JSON texts, numbers to 1e-6, but for what a feature file does not hold.
#[track_caller]
fn assert_same_diagnosis(encoder: &Diagnosis, features: &Diagnosis) {
    /// Paths, settings, and numbers of the encoder alone.
    const OF_THE_ENCODER: [&str; 7] = ["path", "settings", "encoder", "loss_gap", "linear", "copies", "reference"];
    fn same(place: &str, a: &Value, b: &Value) {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => {
                let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
                assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{place}: {a} and {b}");
            }
            (Value::Array(a), Value::Array(b)) => {
                let linear = |item: &&Value| item["criterion"] != "linear";
                let (a, b) = (a.iter().filter(linear), b.iter().filter(linear));
                assert_eq!(a.clone().count(), b.clone().count(), "{place}");
                a.zip(b).enumerate().for_each(|(i, (a, b))| same(&format!("{place}[{i}]"), a, b));
            }
            (Value::Object(a), Value::Object(b)) => {
                let keys = |fields: &serde_json::Map<String, Value>| -> Vec<String> {
                    let of_encoder = |key: &str| OF_THE_ENCODER.contains(&key);
                    // Where the linear probe alone judges, nothing does without it.
                    let empty = |value: &Value| {
                        value.as_object().is_some_and(|fields| fields.keys().all(|key| of_encoder(key)))
                    };
                    let kept = fields.iter().filter(|(key, value)| !of_encoder(key) && !empty(value));
                    let mut keys: Vec<String> = kept.map(|(key, _)| key.clone()).collect();
                    keys.sort();
                    keys
                };
                assert_eq!(keys(a), keys(b), "{place}");
                keys(a).iter().for_each(|key| same(&format!("{place}.{key}"), &a[key], &b[key]));
            }
            _ => assert_eq!(a, b, "{place}"),
        }
    }
    same("", &serde_json::to_value(encoder).unwrap(), &serde_json::to_value(features).unwrap());
    assert_eq!(encoder.summary, features.summary);
}

/// The diagnosis of feature files by the program.
fn of_features(files: &[&Path], out: &Path, more: &[&str]) -> Diagnosis {
    let files: Vec<&str> = files.iter().map(|path| text(path)).collect();
    let args = [&["diagnose", "--features"], &files[..], more, &["--json", "--out", text(out)]].concat();
    serde_json::from_str(&lethe_ok(&args)).unwrap()
}

#[test]
fn feature_files_of_a_run_give_its_diagnosis() {
    let folder = temp_dir();
    let place = |name: &str| folder.path().join(name);
    let (run, data, unseen) = (place("run"), "shapes:n=80,size=16,seed=1", "shapes:n=70,size=16,seed=2");
    let what = ["pretrain", "--method", "simclr", "--data", data, "--encoder", "resnet18-w4", "--epochs", "3"];
    let how = ["--batch-size", "40", "--warmup-epochs", "1", "--save-every", "1", "--threads", "1"];
    lethe_ok(&[&what[..], &how, &["--out", text(&run)]].concat());
    let out = place("d");
    let args = ["diagnose", text(&run), "--unseen", unseen, "--threads", "1", "--json", "--out", text(&out)];
    let of_encoder: Diagnosis = serde_json::from_str(&lethe_ok(&args)).unwrap();
    assert!(of_encoder.checkpoints.iter().skip(1).all(|row| row.loss_gap.is_some()));

    // The start is in no file of the run.
    let config = RunFolder::open(&run).unwrap().read_config().unwrap();
    let model = Model {
        image_size: Some(config.image_size),
        normalize: Some(config.normalize.clone()),
        method: Some(config.method.clone()),
        ..Model::untrained(&config.encoder_spec(), config.seed, Device::Cpu).unwrap()
    };
    let [train, others] = [data, unseen].map(|spec| open(spec.to_owned()));
    let sets = Sets { train: &train, unseen: Some(&others), transfer: None, relation: Relation::RandomSplit };
    let start = place("epoch-0000.safetensors");
    let settings = Settings { views: 10, batch_size: 256, ..settings() };
    let written = write_features(&start, &model, &sets, &[0, 1, 2, 3, 4], &settings).unwrap();
    assert_eq!((written.images, written.stages.len()), (70, 5));

    let mut files = vec![start];
    for (epoch, ending) in [(1, "npz"), (2, "safetensors"), (3, "npz")] {
        let checkpoint = run.join(format!("checkpoints/epoch-{epoch:04}.safetensors"));
        let file = place(&format!("epoch-{epoch:04}.{ending}"));
        let shown = ["--data", data, "--unseen", unseen, "--views", "10", "--threads", "1", "--out", text(&file)];
        lethe_ok(&[&["features", text(&checkpoint)], &shown[..]].concat());
        files.push(file);
    }
    // In whatever order they are named.
    let named: Vec<&Path> = files.iter().rev().map(PathBuf::as_path).collect();
    let of_files = of_features(&named, &place("f"), &[]);
    assert_same_diagnosis(&of_encoder, &of_files);
    assert_eq!(of_files.control.as_ref().map(|control| control.kind), Some(ControlKind::UntrainedStart));
    assert_eq!(of_files.sides.as_ref().map(|sides| sides.relation), Some(Relation::RandomSplit));
    assert!(of_files.checkpoints.iter().all(|row| row.loss_gap.is_none()), "a loss needs the encoder");
    assert!(place("f").join("images.csv").exists() && place("f").join("report.html").exists());
    let scores = |out: &str| std::fs::read_to_string(place(out).join("images.csv")).unwrap();
    assert_eq!(scores("f"), scores("d"));
}

#[test]
fn feature_files_of_an_encoder_that_memorises_say_yes_as_it_does() {
    let folder = temp_dir();
    let place = |name: &str| folder.path().join(name);
    let ([train, unseen], start) = (sides(), untrained(folder.path(), 3, 0));
    let shown =
        ["--image-size", "16", "--normalize", "cifar10", "--batch-size", "64", "--threads", "1", "--data", &train];
    let shown = [&shown[..], &["--unseen", &unseen, "--views", "4"]].concat();
    let features = |checkpoint: &Path, name: &str| {
        let file = place(name);
        lethe_ok(&[&["features", text(checkpoint), "--out", text(&file)], &shown[..]].concat());
        file
    };
    let of_start = features(&start, "epoch-0.npz");
    let of_end = features(overfitted(), "epoch-40.safetensors");
    let both = ["diagnose", text(&start), text(overfitted()), "--reference", text(&start)];
    let out = place("d");
    let args = [&both[..], &shown, &["--json", "--out", text(&out)]].concat();
    let of_encoder: Diagnosis = serde_json::from_str(&lethe_ok(&args)).unwrap();
    assert!(matches!(of_encoder.findings.memorises, Memorises::Yes { .. }), "{}", of_encoder.summary);
    let of_files = of_features(&[&of_start, &of_end], &place("f"), &["--control", text(&of_start)]);
    assert_same_diagnosis(&of_encoder, &of_files);

    // Without the user's word the file of epoch 0 is the start of a training, and the sides may differ.
    let of_files = of_features(&[&of_start, &of_end], &place("g"), &[]);
    assert_eq!(of_files.control.as_ref().map(|control| control.kind), Some(ControlKind::UntrainedStart));
    assert!(matches!(of_files.findings.memorises, Memorises::YesOrSidesDiffer { .. }), "{}", of_files.summary);
    let of_files = of_features(&[&of_start, &of_end], &place("h"), &["--random-split"]);
    assert!(matches!(of_files.findings.memorises, Memorises::Yes { .. }), "{}", of_files.summary);
    let of_files = of_features(&[&of_end], &place("i"), &["--random-split"]);
    assert!(matches!(of_files.findings.memorises, Memorises::YesOrSidesDiffer { .. }), "{}", of_files.summary);
    assert!(of_files.findings.doubts.contains(&Doubt::NoControl));
}

#[test]
fn flags_without_effect_are_refused_by_name() {
    let folder = temp_dir();
    let out = folder.path().join("out");
    let refused = |args: &[&str]| lethe_err(&[args, &["--out", text(&out)]].concat(), 2);
    let of_an_encoder = [
        "--data d",
        "--unseen d",
        "--transfer a b",
        "--reference c",
        "--images 10",
        "--views 10",
        "--check-copies all",
        "--augmentation simclr",
        "--gradients",
        "--normalize none",
        "--image-size 16",
        "--batch-size 256",
        "--device cpu",
        "--threads 1",
    ];
    for flag in of_an_encoder {
        let flag: Vec<&str> = flag.split(' ').collect();
        let said = refused(&[&["diagnose", "--features", "f.npz"], &flag[..]].concat());
        assert!(
            said.contains(&format!("'{}", flag[0])) || said.contains(&format!("  {}", flag[0])),
            "{flag:?}: {said}"
        );
        assert!(said.contains("cannot be used with") && said.contains("--features"), "{flag:?}: {said}");
    }
    let said = refused(&["diagnose", "run", "--features", "f.npz"]);
    assert!(said.contains("cannot be used with") && said.contains("RUN|CKPT"), "{said}");
    let said = refused(&["diagnose", "--features", "f.npz", "--control", "c.npz", "--no-control"]);
    assert!(said.contains("cannot be used with") && said.contains("--control"), "{said}");
    let said = refused(&["diagnose", "run", "--control", "c.npz"]);
    assert!(said.contains("cannot be used with") && said.contains("--control"), "{said}");

    // Nothing is compared without unseen images.
    let checkpoint = untrained(folder.path(), 0, 5);
    let alone = ["diagnose", text(&checkpoint), "--data", "shapes:n=40,size=16"];
    for flag in
        [&["--random-split"][..], &["--no-control"], &["--reference", text(&checkpoint)], &["--allow-overlap", "1"]]
    {
        let said = refused(&[&alone[..], flag].concat());
        assert_eq!(said, format!("error: {} needs unseen images\n  hint: name some with --unseen\n", flag[0]));
    }
    let said = refused(
        &[&alone[..], &["--unseen", "shapes:n=40,size=16,seed=2", "--reference", "c", "--no-control"]].concat(),
    );
    assert!(said.contains("cannot be used with"), "{said}");
    let alone = ["features", text(&checkpoint), "--data", "shapes:n=40,size=16"];
    for flag in ["--views 4", "--random-split", "--augmentation simclr", "--images 10", "--seed 1"] {
        let flag: Vec<&str> = flag.split(' ').collect();
        let said = refused(&[&alone[..], &flag].concat());
        assert!(said.contains("--unseen"), "{flag:?}: {said}");
    }
    assert!(!out.exists());
}

#[test]
fn several_runs_are_diagnosed_each_by_itself_and_scored_together() {
    let folder = temp_dir();
    let place = |name: &str| folder.path().join(name);
    let runs = [0, 1].map(|seed| {
        let run = place(&format!("seed-{seed}"));
        let data = format!("shapes:n=64,size=16,seed={seed}");
        let seed = seed.to_string();
        let what = ["pretrain", "--method", "simclr", "--data", &data, "--encoder", "resnet18-w4", "--epochs", "3"];
        let how =
            ["--batch-size", "32", "--warmup-epochs", "1", "--save-every", "1", "--threads", "1", "--seed", &seed];
        lethe_ok(&[&what[..], &how, &["--out", text(&run)]].concat());
        run
    });
    let out = place("diagnosis");
    let args =
        ["diagnose", text(&runs[0]), text(&runs[1]), "--unseen", "shapes:n=64,size=16,seed=9", "--out", text(&out)];
    let transfer = ["--transfer", "shapes:n=80,size=16,seed=3,split=test", "shapes:n=50,size=16,seed=4,split=test"];
    let printed = lethe_ok(&[&args[..], &transfer, &["--threads", "1"]].concat());
    let pooled: Pooled = serde_json::from_str(&std::fs::read_to_string(out.join("scores.json")).unwrap()).unwrap();
    assert_eq!(pooled.runs, ["seed-0", "seed-1"]);
    let truths = |criterion: &str| {
        pooled.scores.iter().filter(|score| score.criterion == criterion).map(|score| &*score.truth).collect::<Vec<_>>()
    };
    assert_eq!(truths("rankme"), ["knn-20", "linear", "transfer"]);
    assert_eq!(truths("transfer"), ["knn-20", "linear"]);
    let rankme = pooled.scores.iter().find(|score| score.criterion == "rankme").unwrap();
    assert!(rankme.runs == 2 && rankme.regret >= 0.0 && printed.contains("rankme"), "{rankme:?}\n{printed}");
    let tau = rankme.kendall.unwrap();
    assert!(-1.0 <= tau.low && tau.low <= tau.value && tau.value <= tau.high && tau.high <= 1.0, "{tau:?}");
    let mut missed = 0.0;
    for run in &pooled.runs {
        let json = std::fs::read_to_string(out.join(run).join("diagnosis.json")).unwrap();
        let diagnosis: Diagnosis = serde_json::from_str(&json).unwrap();
        assert_eq!(diagnosis.checkpoints.iter().map(|row| row.epoch).collect::<Vec<_>>(), [0, 1, 2, 3].map(Some));
        assert!(out.join(run).join("report.html").exists());
        let choice = |name: &str| diagnosis.choices.iter().find(|choice| choice.criterion == name).unwrap();
        missed += choice("rankme").judged["knn-20"].epochs.abs() / 2.0;
        // What k-NN itself chooses is the best of its own curve.
        let accuracy = |c: usize| diagnosis.cells[5 * c + 4].unseen.as_ref().unwrap().accuracy["knn-20"];
        let best = choice("knn-20").checkpoint;
        // The untrained start is no candidate.
        assert!(best > 0 && (1..4).all(|c| accuracy(c) <= accuracy(best)));
        let regret = choice("rankme").judged["knn-20"].regret.value;
        assert!((regret - accuracy(best) + accuracy(choice("rankme").checkpoint)).abs() < 1e-9);
        let transferred = choice("transfer").checkpoint;
        assert!((1..4).all(|c| diagnosis.cells[5 * c + 4].transfer <= diagnosis.cells[5 * transferred + 4].transfer));
        assert!(diagnosis.choices.iter().all(|choice| choice.checkpoint > 0), "{:?}", diagnosis.choices);
        for cell in &diagnosis.cells {
            assert!((0.0..=1.0).contains(&cell.transfer.unwrap()));
            assert_eq!(cell.cka_checkpoint.is_some(), cell.checkpoint > 0);
            assert_eq!(cell.cka_stage.is_some(), cell.stage != "stem");
            assert!(cell.cka_stage.into_iter().chain(cell.cka_checkpoint).all(|cka| (0.0..=1.0 + 1e-9).contains(&cka)));
        }
    }
    assert!((missed - rankme.epochs).abs() < 1e-9);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    for part in ["Several runs", "<th class=\"path\">seed-1</th>", "<a href=\"#def-rankme\">RankMe</a>"] {
        assert!(page.contains(part), "{part} is missing on the page of all runs");
    }
    let failed = |args: &[&str]| lethe_err(args, 2).replace(text(folder.path()), "DIR");
    assert_snapshot!(failed(&args), @r"
    error: DIR/diagnosis/seed-0: there is a diagnosis in this folder already
      hint: --overwrite replaces it, or choose another --out
    ");
    assert_snapshot!(failed(&["diagnose", text(&runs[0]), text(&runs[0]), "--out", text(&place("other"))]), @r"
    error: two runs are called seed-0
      hint: rename one folder
    ");
    // As a shell's `checkpoints/*` names them, states among them.
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(runs[0].join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    let all: Vec<&str> = all.iter().map(|path| text(path)).collect();
    let told = ["--data", "shapes:n=64,size=16,seed=0", "--test", "shapes:n=64,size=16,seed=9", "--json"];
    let evaluation: Value =
        serde_json::from_str(&lethe_ok(&[&["evaluate"], &all[..], &told, &["--protocol", "knn-20"]].concat())).unwrap();
    assert_eq!(evaluation["rows"].as_array().unwrap().len(), 3);
    let checkpoint = runs[0].join("checkpoints/epoch-0003.safetensors");
    assert_snapshot!(failed(&["diagnose", text(&runs[0]), text(&checkpoint), "--out", text(&place("other"))]), @r"
    error: DIR/seed-0: is a folder among checkpoints
      hint: name runs only, or checkpoints only
    ");
    assert!(!place("other").exists());
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
    error: --unseen shapes:n=40,size=16: 40 of 40 images are copies of training images: shapes/0 is shapes/0
      hint: name images that the encoder has not seen, or pass --allow-overlap N
    ");
    assert_snapshot!(fails(&[text(&path)], 2), @r"
    error: --data is missing
      hint: name the images the encoder was trained on; only a run folder remembers them
    ");
    assert_snapshot!(fails(&[text(folder.path()), "--data", data], 1), @r"
    error: DIR: not a run folder: it has no config.toml
      hint: name the --out folder of `lethe pretrain`, or the checkpoints in it one by one, oldest first
    ");
    assert_snapshot!(fails(&[text(&path), "--data", "shapes:n=10,size=16"], 2), @"error: 10 images a side are too few to diagnose, expected 20");
    assert!(!out.exists());
}

#[test]
fn the_names_of_foreign_checkpoints_tell_their_epochs() {
    let folder = temp_dir();
    let spec = EncoderSpec::new("resnet18-w4", Stem::Cifar);
    // In the order of a shell.
    let names = ["checkpoint_1.pth", "checkpoint_10.pth", "checkpoint_2.pth"].map(|name| folder.path().join(name));
    for (seed, path) in (0..).zip(&names) {
        let weights = spec.build().unwrap().init(&mut rng::once(seed, Purpose::Init));
        checkpoint::save(path, &Meta { image_size: Some(16), ..Meta::new(spec.clone()) }, &weights).unwrap();
    }
    let out = folder.path().join("out");
    let mut args = vec!["diagnose", "--data", "shapes:n=40,size=16", "--json", "--out", text(&out)];
    args.extend(names.iter().map(|path| text(path)));
    let diagnosis: Value = serde_json::from_str(&lethe_ok(&args)).unwrap();
    let epochs: Vec<u64> =
        diagnosis["checkpoints"].as_array().unwrap().iter().map(|row| row["epoch"].as_u64().unwrap()).collect();
    assert_eq!(epochs, [1, 2, 10]);
}

/// A derivative along the gradient is its squared length; doubling the loss makes four of it.
#[test]
fn squares_of_gradients_are_slopes_along_them() {
    let encoder = EncoderSpec::new("resnet18-w2", Stem::Cifar).build().unwrap();
    let net = Part::whole(encoder.as_ref());
    let method = (methods::find("simclr").unwrap().build)(&toml::Table::new()).unwrap();
    let mut rng = rng::once(5, Purpose::Init);
    let mut w = encoder.init(&mut rng);
    w.extend(method.init(net.dim(), &mut rng));
    let w = w.to_kind(Kind::Double).trainable();
    let view = |view| tch::Tensor::from_slice(&noise(6 * 3 * 8 * 8, 0.0, view)).view([6, 3, 8, 8]);
    let views = Views::from(vec![view(0), view(1)]);
    let loss = |w: &_| method.loss(&net, w, &views, Mode::TrainKeepStats).unwrap().total;
    let squares = diagnose::squares(encoder.as_ref(), &w, &loss(&w)).unwrap();
    let doubled = diagnose::squares(encoder.as_ref(), &w, &(2.0 * loss(&w))).unwrap();
    let gradients = w.gradients(&loss(&w), false).unwrap();
    for (stage, (&square, doubled)) in squares.iter().zip(doubled).enumerate() {
        assert!(square > 0.0 && (doubled / square - 4.0).abs() < 1e-9, "stage {stage}: {square}, doubled {doubled}");
        let of_stage: Vec<tch::Tensor> = w
            .parameters()
            .zip(&gradients)
            .map(|((name, _), g)| if encoder.owns(stage, name) { g.copy() } else { g.zeros_like() })
            .collect();
        let step = 1e-6 / square.sqrt();
        let [above, below] = [step, -step].map(|step| loss(&w.plus(step, &of_stage)).double_value(&[]));
        let slope = (above - below) / (2.0 * step);
        assert!((slope / square - 1.0).abs() < 1e-4, "stage {stage}: {square}, slope {slope}");
    }
}

#[test]
fn gradients_need_the_head_of_the_method() {
    let folder = temp_dir();
    let run = folder.path().join("run");
    let data = "shapes:n=64,size=16,seed=1";
    lethe_ok(&[
        "pretrain",
        "--method",
        "byol",
        "--data",
        data,
        "--encoder",
        "resnet18-w4",
        "--epochs",
        "2",
        "--save-every",
        "1",
        "--batch-size",
        "32",
        "--threads",
        "1",
        "--out",
        text(&run),
    ]);
    let diagnosis = |subjects: &[&str], out: &str| -> (Diagnosis, String) {
        let out = folder.path().join(out);
        let shown = ["--data", data, "--batch-size", "32", "--threads", "1", "--gradients", "--out", text(&out)];
        let output = lethe(&[&["diagnose"], subjects, &shown[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json = std::fs::read_to_string(out.join("diagnosis.json")).unwrap();
        (serde_json::from_str(&json).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (own, said) = diagnosis(&[text(&run)], "own");
    assert!(!said.contains("gradients"), "{said}");
    let squares = |cell: &Cell| cell.batch_gradient_norm_squared;
    assert!(own.cells.iter().all(|cell| squares(cell).is_some_and(|square| square > 0.0)), "{:?}", own.cells);
    let named = |choice: &lethe_diagnosis::Choice| choice.criterion == "batch_gradient_norm_squared";
    assert!(own.choices.iter().any(named), "{:?}", own.choices);
    let (again, _) = diagnosis(&[text(&run)], "again");
    assert_eq!(serde_json::to_value(&again.cells).unwrap(), serde_json::to_value(&own.cells).unwrap());

    let foreign = [0, 1].map(|seed| untrained(folder.path(), seed, seed as u32));
    let (found, said) = diagnosis(&[text(&foreign[0]), text(&foreign[1])], "foreign");
    assert!(found.cells.iter().all(|cell| squares(cell).is_none()));
    let said: Vec<&str> = said.lines().filter(|line| line.contains("gradients")).collect();
    let said = said.join("\n").replace(text(folder.path()), "DIR");
    let reason = "it comes without its method's head";
    assert_eq!(said, format!("warning: no batch gradients of DIR/epoch-0000.safetensors: {reason}"));
}
