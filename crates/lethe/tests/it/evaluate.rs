//! Features, k-NN and the linear probe.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use insta::assert_snapshot;
use lethe::checkpoint::{self, Meta};
use lethe::data;
use lethe::encoders::{EncoderSpec, Part, Stem};
use lethe::evaluate::{self, Labelled, LinearProbe, LinearSettings, PROTOCOLS, accuracy, lbfgs};
use lethe::feature_file;
use lethe::loader::{Loader, LoaderSettings, Order};
use lethe::nn::Mode;
use lethe::progress::Progress;
use lethe::rng::{self, Purpose};
use lethe::views::{self, Augmentation, Normalize};
use ndarray::{Array2, s};
use tch::{Device, Kind, Tensor};

use crate::golden;
use crate::support::{lethe_err, lethe_ok, temp_dir, text};

fn rows(t: &Tensor) -> Array2<f32> {
    let (n, d) = t.size2().unwrap();
    Array2::from_shape_vec((n as usize, d as usize), Vec::try_from(t.to_kind(Kind::Float).view(-1)).unwrap()).unwrap()
}

fn labels(t: &Tensor) -> Vec<u32> {
    Vec::<i64>::try_from(t).unwrap().into_iter().map(|l| l as u32).collect()
}

#[test]
fn linear_probe_equals_scikit_learn() {
    let case = golden::load("linear");
    let (train, test) = (rows(case.get("train")), rows(case.get("test")));
    let digits = labels(case.get("labels"));
    let halves: Vec<u32> = digits.iter().map(|&digit| u32::from(digit >= 5)).collect();
    let value = |name: &str| case.get(name).double_value(&[]);
    for (name, labels, tolerance) in [("default", &digits, 1e-4), ("exact", &digits, 1e-8), ("binary", &halves, 1e-8)] {
        let (train_labels, test_labels) = labels.split_at(train.nrows());
        let settings = LinearSettings { tolerance, ..LinearSettings::default() };
        let probe = LinearProbe::fit(train.view(), train_labels, settings, Device::Cpu).unwrap();
        assert!(probe.converged, "{name}: {} iterations", probe.iterations);
        let exact = name != "default";

        let objective = probe.objective - value(&format!("{name}.objective"));
        assert!(objective.abs() < if exact { 1e-9 } else { 1e-4 }, "{name}: objective off by {objective:e}");
        for (side, found) in [
            ("train", accuracy(&probe.right(train.view(), train_labels))),
            ("test", accuracy(&probe.right(test.view(), test_labels))),
        ] {
            let expected = value(&format!("{name}.{side}_accuracy"));
            let allowed = if exact { 1e-12 } else { 0.005 };
            assert!((found - expected).abs() <= allowed, "{name}.{side}: {found} for {expected}");
        }
        if exact {
            let found = probe.probabilities(test.slice(ndarray::s![..100, ..]));
            golden::assert_close(name, &found, case.get(&format!("{name}.probabilities")), 1e-6);
        }
        if name == "exact" {
            golden::assert_close("weights", &probe.weights(), case.get("exact.weight"), 1e-5);
            golden::assert_close("biases", &probe.biases(), case.get("exact.bias"), 1e-5);
        }
    }
}

#[test]
fn linear_probe_says_what_it_cannot_fit() {
    let fit = |x: Array2<f32>, labels: &[u32]| {
        LinearProbe::fit(x.view(), labels, LinearSettings::default(), Device::Cpu).unwrap_err().what
    };
    assert_eq!(
        fit(Array2::zeros((3, 2)), &[4, 4, 4]),
        "a linear probe needs at least two classes, the training labels have 1"
    );
    assert_eq!(
        fit(Array2::from_elem((2, 2), f32::NAN), &[0, 1]),
        "a linear probe needs finite features, these hold NaN or infinity"
    );
}

#[test]
fn lbfgs_finds_the_minimum_of_rosenbrock() {
    let rosenbrock = |x: &Tensor| {
        let v = Vec::<f64>::try_from(x).unwrap();
        let (a, b) = (1.0 - v[0], v[1] - v[0] * v[0]);
        let gradient = [-2.0 * a - 400.0 * v[0] * b, 200.0 * b];
        Ok((a * a + 100.0 * b * b, Tensor::from_slice(&gradient)))
    };
    let settings = lbfgs::Settings { max_iterations: 100, tolerance: 1e-9 };
    let minimum = lbfgs::minimize(rosenbrock, Tensor::from_slice(&[-1.2, 1.0]), settings).unwrap();
    assert!(minimum.converged && minimum.value < 1e-18, "{minimum:?}");
    let short = lbfgs::Settings { max_iterations: 3, tolerance: 1e-9 };
    assert!(!lbfgs::minimize(rosenbrock, Tensor::from_slice(&[-1.2, 1.0]), short).unwrap().converged);
}

fn loader(spec: &str, augmentation: Augmentation, batch_size: usize) -> Loader {
    let settings =
        LoaderSettings { batch_size, order: Order::Sequential, seed: 5, threads: 2, ..LoaderSettings::default() };
    Loader::new(data::open(spec).unwrap(), augmentation, settings).unwrap()
}

#[test]
fn what_is_wrong_with_a_later_checkpoint_is_said_before_the_work_on_the_first() {
    let folder = temp_dir();
    let run = folder.path().join("run");
    let data = ["--data", "shapes:n=64,size=16", "--batch-size", "32"];
    let pretrain = ["pretrain", "--method", "simclr", "--encoder", "resnet18-w4", "--epochs", "1", "--out", text(&run)];
    lethe_ok(&[&pretrain[..], &data].concat());
    let checkpoint = run.join("checkpoints/epoch-0001.safetensors");
    let test = ["--test", "shapes:n=40,size=16,seed=2", "--protocol", "knn-20"];
    let said = lethe_err(&[&["evaluate", text(&checkpoint), "gone.safetensors"], &data[..], &test].concat(), 1);
    assert!(said.starts_with("error: gone.safetensors: no such file"), "{said}");
}

#[test]
fn extraction_is_the_forward_pass_in_the_data_s_order() {
    let encoder = EncoderSpec::new("resnet18-w8", Stem::Cifar).build().unwrap();
    let w = encoder.init(&mut rng::once(0, Purpose::Init)).frozen();
    let normalize = Normalize::named("shapes").unwrap();
    let spec = "shapes:n=11,size=16";
    for augmentation in [Augmentation::plain(16, normalize), views::augmentation("simclr", 16, normalize).unwrap()] {
        // All images at once, straight from the loader, against batches of 4 with a smaller last one.
        let whole = loader(spec, augmentation.clone(), 11).epoch(0, 0).next().unwrap().unwrap();
        let in_batches = loader(spec, augmentation.clone(), 4);
        let progress = Progress::new("features", "images", 11);
        let found = evaluate::extract(encoder.as_ref(), &w, &in_batches, 0, &[1, 4], &progress).unwrap();

        assert_eq!(found.images, 11);
        assert_eq!(found.labels.as_deref(), Arc::clone(in_batches.dataset()).labels());
        assert_eq!(found.stages.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["stage1", "stage4"]);
        for (view, x) in whole.tensors(Device::Cpu, Kind::Float).iter().enumerate() {
            let expected = Part::whole(encoder.as_ref()).represent_stages(&w, x, Mode::Eval);
            for (place, stage) in [(0, 1), (1, 4)] {
                let expected = rows(&expected[stage]);
                let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
                let off = (&found.view(place, view) - &expected).fold(0f32, |most, x| most.max(x.abs()));
                assert!(off <= 1e-5 * largest, "view {view}, stage {stage}: off by {off} of {largest}");
            }
        }
    }
}

#[test]
fn every_protocol_tells_apart_what_is_apart_and_not_what_is_not() {
    let n = 300;
    let labels: Vec<u32> = (0..n).map(|i| i % 3).collect();
    let apart = Array2::from_shape_fn((n as usize, 3), |(i, j)| if i % 3 == j { 5.0 } else { 0.1 * (i as f32).sin() });
    let mixed: Vec<u32> = (0..n).map(|i| (i / 3) % 3).collect();
    for protocol in PROTOCOLS {
        let accuracies = |labels: &[u32]| {
            let train = Labelled { features: apart.slice(s![..240, ..]), labels: &labels[..240] };
            let test = Labelled { features: apart.slice(s![240.., ..]), labels: &labels[240..] };
            let classifier = (protocol.fit)(train, Device::Cpu).unwrap();
            (accuracy(&classifier.on_training().unwrap()), accuracy(&classifier.on(test).unwrap()))
        };
        assert_eq!(accuracies(&labels), (1.0, 1.0), "{}", protocol.name);
        assert!(accuracies(&mixed).1 < 0.6, "{}", protocol.name);
    }
}

#[test]
fn protocols_and_stages_are_chosen_by_name() {
    let names =
        |text: &str| evaluate::choose_protocols(text).unwrap().iter().map(|protocol| protocol.name).collect::<Vec<_>>();
    assert_eq!(names("linear,knn"), ["knn-20", "knn-200", "linear"]);
    assert_eq!(names("knn-200"), ["knn-200"]);
    let encoder = EncoderSpec::new("resnet18-w8", Stem::Cifar).build().unwrap();
    let stages = |text: &str| evaluate::choose_stages(encoder.as_ref(), text).unwrap();
    assert_eq!(stages("all"), [0, 1, 2, 3, 4]);
    assert_eq!(stages("last"), [4]);
    assert_eq!(stages("stage3, stem"), [0, 3]);
}

pub(crate) fn save(folder: &Path, name: &str, encoder: &str) -> PathBuf {
    let spec = EncoderSpec::new(encoder, Stem::Cifar);
    let weights = spec.build().unwrap().init(&mut rng::once(0, Purpose::Init));
    let path = folder.join(name);
    let meta = Meta { epoch: Some(7), image_size: Some(16), normalize: Some("shapes".into()), ..Meta::new(spec) };
    checkpoint::save(&path, &meta, &weights).unwrap();
    path
}

#[test]
fn evaluation_of_an_untrained_encoder_is_that_of_its_checkpoint() {
    let folder = temp_dir();
    let path = save(folder.path(), "fresh.safetensors", "resnet18-w8");
    let out = folder.path().join("evaluation.json");
    let args = [
        "evaluate",
        text(&path),
        "--encoder",
        "resnet18-w8",
        "--data",
        "shapes:n=400,size=16,seed=1",
        "--test",
        "shapes:n=200,size=16,seed=2",
        "--stage",
        "all",
        "--normalize",
        "shapes",
        "--image-size",
        "16",
        "--threads",
        "1",
        "--out",
        text(&out),
    ];
    let table = lethe_ok(&args);
    assert!(
        table.contains("checkpoint") && table.contains("knn-200") && table.contains("untrained (seed 0)"),
        "{table}"
    );
    let json: serde_json::Value = serde_json::from_str(&lethe_ok(&[&args[..], &["--json"]].concat())).unwrap();
    assert_eq!(json, serde_json::from_str::<serde_json::Value>(&std::fs::read_to_string(&out).unwrap()).unwrap());
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 10);
    for (saved, fresh) in rows[..5].iter().zip(&rows[5..]) {
        assert_eq!(saved["accuracy"], fresh["accuracy"], "{}", saved["stage"]);
        assert_eq!(saved["epoch"], 7);
        // The classes of shapes can be told from colours and sizes without any training.
        assert!(saved["accuracy"]["linear"].as_f64().unwrap() > 0.3, "{saved}");
    }
}

#[test]
fn feature_files_hold_the_features_in_order() {
    let folder = temp_dir();
    let path = save(folder.path(), "fresh.safetensors", "resnet18-w8");
    let spec = "shapes:n=30,size=16,seed=4";
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str, stages: &str| {
        lethe_ok(&["features", text(&path), "--data", spec, "--stages", stages, "--out", text(&at(name))])
    };
    write("f.safetensors", "all");
    write("f.npy", "stage4");
    write("f.csv", "stage4");

    let labels = data::open(spec).unwrap().labels().unwrap().to_vec();
    let all = feature_file::read(&at("f.safetensors"), None).unwrap();
    assert_eq!(all.labels.as_ref(), Some(&labels));
    let names: Vec<&str> = all.matrices.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["stem", "stage1", "stage2", "stage3", "stage4"]);
    let npy = feature_file::read(&at("f.npy"), None).unwrap();
    assert_eq!(npy.matrices[0].1, all.matrices[4].1);
    assert_eq!(feature_file::read_labels(&at("f.labels.npy")).unwrap(), labels);
    let csv = std::fs::read_to_string(at("f.csv")).unwrap();
    let line: Vec<f32> = csv.lines().nth(3).unwrap().split(',').map(|cell| cell.parse().unwrap()).collect();
    let (&label, values) = line.split_last().unwrap();
    assert_eq!(label as u32, labels[2]);
    assert!(values.iter().zip(npy.matrices[0].1.row(2)).all(|(&a, &b)| f64::from(a) == b));
}

/// Ten images of two sizes without labels.
pub(crate) fn mixed_sizes(folder: &Path) -> PathBuf {
    let images = folder.join("mixed");
    std::fs::create_dir(&images).unwrap();
    for i in 0..10 {
        let image = image::RgbImage::from_pixel(if i < 5 { 16 } else { 20 }, 16, image::Rgb([9 * i as u8; 3]));
        image.save(images.join(format!("{i}.png"))).unwrap();
    }
    images
}

#[test]
fn wrong_use_is_said_in_one_line() {
    let folder = temp_dir();
    let path = save(folder.path(), "fresh.safetensors", "resnet18-w8");
    let images = mixed_sizes(folder.path());
    let shapes = "shapes:n=40,size=16";
    let evaluates =
        |args: &[&str], code| lethe_err(&[&["evaluate"], args].concat(), code).replace(text(folder.path()), "DIR");
    let both = ["--data", shapes, "--test", shapes];
    assert_snapshot!(evaluates(&[&["missing.safetensors"], &both[..]].concat(), 1), @"error: missing.safetensors: no such file or folder");
    assert_snapshot!(evaluates(&[&[text(&path), "--protocol", "svm"], &both[..]].concat(), 2), @r#"
    error: unknown protocol "svm"
      hint: knn, or some of: knn-20,knn-200,linear
    "#);
    assert_snapshot!(evaluates(&[&[text(&path), "--stage", "stage5"], &both[..]].concat(), 2), @r#"
    error: resnet18-w8 (cifar stem) has no stage "stage5"
      hint: all, last, or some of: stem,stage1,stage2,stage3,stage4
    "#);
    assert_snapshot!(evaluates(&[&[text(&path)], &both[..]].concat(), 2), @r"
    error: knn-200 needs at least 201 training images, there are 40
      hint: --protocol knn-20,linear
    ");
    assert_snapshot!(evaluates(&[text(&path), "--data", shapes, "--test", text(&images)], 2), @r"
    error: the test images have no labels
      hint: put them into a folder a class
    ");
    assert!(evaluates(&both, 2).contains("<CKPT>..."));

    let features = |out: &str, stages: &str| {
        let out = folder.path().join(out);
        let args = ["features", text(&path), "--data", shapes, "--stages", stages, "--out", text(&out)];
        lethe_err(&args, 2).replace(text(folder.path()), "DIR")
    };
    assert_snapshot!(features("f.npy", "all"), @r"
    error: DIR/f.npy: holds one stage, not 5
      hint: choose one stage, or write a .safetensors
    ");
    assert_snapshot!(features("f.pt", "last"), @"error: DIR/f.pt: expected a name that ends in .safetensors, .npz, .npy or .csv");
}
