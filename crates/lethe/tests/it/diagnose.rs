//! The diagnosis: its arithmetic, and two real ones, of encoders that have and have not memorised.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use insta::assert_snapshot;
use lethe::checkpoint::{self, Meta};
use lethe::data;
use lethe::diagnose::{
    self, Cell, Diagnosis, Images, Onset, Pooled, Sets, Settings, Subject, alignment_distances, gaps,
};
use lethe::encoders::{EncoderSpec, Part, Stem};
use lethe::loader::{Loader, LoaderSettings, Order};
use lethe::methods::{self, Views};
use lethe::nn::Mode;
use lethe::optim;
use lethe::rng::{self, Purpose};
use lethe::views::{self, Normalize};
use ndarray::array;
use rand::RngExt;
use tch::{Device, Kind};

use crate::support::{jpegs, lethe, lethe_err, lethe_ok, temp_dir, text};

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
    let with = |draws| {
        [
            "diagnose",
            text(&paths[0]),
            text(&paths[1]),
            "--data",
            "shapes:n=150,size=16,seed=1",
            "--unseen",
            "shapes:n=120,size=16,seed=2",
            "--draws",
            draws,
            "--threads",
            "1",
            "--out",
            text(&out),
        ]
    };
    let args = with("1");
    let printed = lethe_ok(&args);
    assert!(printed.contains("Memorisation: none seen."), "{printed}");
    assert!(printed.contains("│ stage4 ┆ epoch 1 "), "{printed}");

    let diagnosis: Diagnosis =
        serde_json::from_str(&std::fs::read_to_string(out.join("diagnosis.json")).unwrap()).unwrap();
    assert_eq!(diagnosis.stages, ["stem", "stage1", "stage2", "stage3", "stage4"]);
    assert_eq!(diagnosis.settings["images"], 120);
    assert_eq!(diagnosis.cells.len(), 10);
    assert!(diagnosis.onsets.is_empty());
    let mean = diagnosis.cells[9].unseen.as_ref().unwrap().by_pair["alignment"];
    let highest = diagnosis.most_memorised[0].score;
    assert!(0.0 < highest && highest <= mean, "{highest}: no distance is below 0");
    assert!(diagnosis.random_images.iter().all(|image| image.name.starts_with("shapes/") && image.score <= highest));
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

    // The spread of an image's own views is most of the gap's: the mean over more of them knows it better.
    let more = [&with("4")[..], &["--overwrite", "--json"]].concat();
    let more: Diagnosis = serde_json::from_str(&lethe_ok(&more)).unwrap();
    let width = |cell: &Cell| cell.gap_interval.map(|[low, high]| high - low).unwrap();
    for (more, one) in more.cells.iter().zip(&diagnosis.cells) {
        assert!(width(more) < 0.75 * width(one), "{}: {} for {}", one.stage, width(more), width(one));
        assert_eq!(more.train.by_pair["alignment"], one.train.by_pair["alignment"], "of the first pair");
    }
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
    // In float64, so that the rounding of a machine's kernels decides nothing.
    let weights = weights.to_kind(Kind::Double).trainable();
    let normalize = Normalize::named("cifar10").unwrap();
    let augmentation = views::augmentation("simclr", 16, normalize).unwrap();
    let settings = LoaderSettings {
        batch_size: 32,
        order: Order::Sequential,
        purpose: Purpose::Look,
        threads: 1,
        ..LoaderSettings::default()
    };
    let loader = Loader::new(Arc::clone(&train.dataset), augmentation, settings).unwrap();
    let views = Views::of(&loader.epoch(0, 0).next().unwrap().unwrap(), Device::Cpu, Kind::Double);
    let mut optimizer = optim::build("adamw", 1e-4).unwrap();
    for _ in 0..STEPS {
        let loss = method.loss(&net, &weights, &views, Mode::Train).unwrap();
        let gradients = weights.gradients(&loss.total, false).unwrap();
        optimizer.step(&weights, &gradients, 3e-3);
    }
    let path = folder.path().join("overfitted.safetensors");
    checkpoint::save(&path, &Meta { epoch: Some(STEPS), ..Meta::new(spec) }, &weights.to_kind(Kind::Float)).unwrap();

    let settings = Settings {
        images: 32,
        eps2: 0.5,
        seed: 0,
        image_size: Some(16),
        normalize: Some("cifar10".into()),
        reference: Some(untrained(folder.path(), 3, 0)),
        augmentation: None,
        draws: 1,
        fisher: false,
        batch_size: 32,
        threads: 1,
        device: Device::Cpu,
    };
    let sets = Sets { train: &train, unseen: Some(&unseen), transfer: None };
    let start = Subject::File(untrained(folder.path(), 3, 0));
    let found = diagnose::diagnose(&[start, Subject::File(path)], &sets, &settings).unwrap().diagnosis;
    for cell in &found.cells {
        let [low, high] = cell.gap_interval.unwrap();
        let memorised = cell.checkpoint == 1 && cell.stage == "stage4";
        // Measured: 0.34 .. 0.59 there; elsewhere 0 lies well inside.
        assert_eq!(low > 0.1, memorised, "{} {}: {low} .. {high}", cell.checkpoint, cell.stage);
        assert!(memorised || low < 0.0, "{} {}: {low} .. {high}", cell.checkpoint, cell.stage);
    }
    let gaps: Vec<&Onset> = found.onsets.iter().filter(|onset| onset.of == "memorisation_gap").collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].stage.as_str(), gaps[0].checkpoint, gaps[0].interval), ("stage4", 1, [0.0, f64::from(STEPS)]));
    assert_eq!((found.most_memorised.len(), found.random_images.len()), (16, 16));
    assert!(found.most_memorised.is_sorted_by(|a, b| a.score >= b.score));
    let beside = found.cells.last().and_then(|cell| cell.reference.as_ref()).unwrap();
    assert!(found.most_memorised[0].score > beside.sslmem, "the highest lies above the mean");
    // Told from unseen images one by one, by the encoder alone and beside the untrained one.
    for cell in &found.cells {
        let memorised = cell.checkpoint == 1 && cell.stage == "stage4";
        let alone = cell.membership.as_ref().unwrap().auc;
        // stage3 reads 0.52 .. 0.79, by the encoder alone and beside the other.
        assert_eq!(alone.low > 0.55, memorised, "{} {}: {alone:?}", cell.checkpoint, cell.stage);
        let Some(beside) = &cell.reference else {
            assert_eq!(cell.checkpoint, 0, "the reference is the first checkpoint itself");
            continue;
        };
        let auc = beside.membership.as_ref().unwrap().auc;
        assert_eq!(auc.low > 0.55, memorised, "{} {}: {auc:?}", cell.checkpoint, cell.stage);
        assert_eq!(beside.sslmem > beside.sslmem_unseen.unwrap() + 0.2, memorised, "{beside:?}");
    }
    assert!(found.summary.starts_with("Memorisation: the gap is largest in stage4 at epoch 40, "), "{}", found.summary);
    assert!(found.summary.contains(" Onset: the gap grows in stage4 after epoch "), "{}", found.summary);
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
        assert!((0..4).all(|c| accuracy(c) <= accuracy(best)));
        let regret = choice("rankme").judged["knn-20"].regret.value;
        assert!((regret - accuracy(best) + accuracy(choice("rankme").checkpoint)).abs() < 1e-9);
        let transferred = choice("transfer").checkpoint;
        assert!((0..4).all(|c| diagnosis.cells[5 * c + 4].transfer <= diagnosis.cells[5 * transferred + 4].transfer));
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
    let evaluation: serde_json::Value =
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
    error: --unseen shapes:n=40,size=16: 40 of 40 images looked at are training images: shapes/0 is shapes/0
      hint: name images of the same kind that the encoder has not seen
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
    let diagnosis: serde_json::Value = serde_json::from_str(&lethe_ok(&args)).unwrap();
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
fn fisher_traces_need_the_head_of_the_method() {
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
        "--batch-size",
        "32",
        "--threads",
        "1",
        "--out",
        text(&run),
    ]);
    let diagnosis = |subjects: &[&str], out: &str| -> (Diagnosis, String) {
        let out = folder.path().join(out);
        let shown = ["--data", data, "--batch-size", "32", "--threads", "1", "--fisher", "--out", text(&out)];
        let output = lethe(&[&["diagnose"], subjects, &shown[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json = std::fs::read_to_string(out.join("diagnosis.json")).unwrap();
        (serde_json::from_str(&json).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (own, said) = diagnosis(&[text(&run)], "own");
    assert!(!said.contains("fisher_trace"), "{said}");
    assert!(own.cells.iter().all(|cell| cell.fisher_trace.is_some_and(|trace| trace > 0.0)), "{:?}", own.cells);
    assert!(own.choices.iter().any(|choice| choice.criterion == "fisher_trace"), "{:?}", own.choices);
    let (again, _) = diagnosis(&[text(&run)], "again");
    assert_eq!(serde_json::to_value(&again.cells).unwrap(), serde_json::to_value(&own.cells).unwrap());

    let foreign = [0, 1].map(|seed| untrained(folder.path(), seed, seed as u32));
    let (found, said) = diagnosis(&[text(&foreign[0]), text(&foreign[1])], "foreign");
    assert!(found.cells.iter().all(|cell| cell.fisher_trace.is_none()));
    let said: Vec<&str> = said.lines().filter(|line| line.contains("fisher_trace")).collect();
    let said = said.join("\n").replace(text(folder.path()), "DIR");
    let reason = "it comes without its method's head, whose loss it is of";
    assert_eq!(said, format!("warning: no fisher_trace of DIR/epoch-0000.safetensors: {reason}"));
}
