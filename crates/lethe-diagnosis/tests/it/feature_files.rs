//! `diagnose --features` on files of any tool.

use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use lethe_diagnosis::findings::{Doubt, Memorises};
use lethe_diagnosis::{ControlKind, Diagnosis, Relation};
use serde_json::{Value, json};

use crate::support::{Encoder, Given, diagnosed, names, refused, shown, text};

/// The start of a run and three checkpoints that memorise more and more.
fn run() -> Vec<Encoder> {
    [0.0, 0.0, 0.4, 0.5].into_iter().zip(0..).map(|(memory, i)| Encoder { memory, ..Encoder::new(20 * i) }).collect()
}

fn written(encoders: &[Encoder], folder: &Path, ending: &str, given: &Given) -> Vec<PathBuf> {
    encoders.iter().map(|encoder| encoder.write(folder, ending, given)).collect()
}

/// The arguments of a diagnosis of `files` into `out`.
fn diagnose<'a>(files: &'a [PathBuf], out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let files = files.iter().map(|path| text(path));
    let arguments = ["diagnose", "--out", text(out)].into_iter().chain(more.iter().copied());
    arguments.chain(["--features"]).chain(files).collect()
}

fn made(files: &[PathBuf], out: &Path, more: &[&str]) -> Diagnosis {
    shown(&diagnose(files, out, more));
    Diagnosis::read(&out.join("diagnosis.json")).unwrap()
}

/// What must not depend on where the features come from.
fn content(diagnosis: &Diagnosis) -> Value {
    let json: Value = serde_json::from_str(&serde_json::to_string(diagnosis).unwrap()).unwrap();
    ["stages", "control", "cells", "onsets", "choices", "findings", "summary", "most_memorised", "random_images"]
        .into_iter()
        .map(|key| (key.to_owned(), json[key].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn files_say_what_memory_says() {
    let memory = diagnosed(&run(), Relation::RandomSplit);
    assert!(matches!(memory.findings.memorises, Memorises::Yes { .. }), "{:?}", memory.findings.memorises);
    for ending in ["safetensors", "npz"] {
        let folder = tempfile::tempdir().unwrap();
        let given = Given { random_split: true, ..Given::named(200) };
        let mut files = written(&run(), folder.path(), ending, &given);
        files.reverse();
        let out = folder.path().join("out");
        let said = shown(&diagnose(&files, &out, &[]));
        let found = Diagnosis::read(&out.join("diagnosis.json")).unwrap();
        assert_eq!(content(&found), content(&memory), "{ending}");
        assert!(said.contains(&memory.summary), "{ending}: the terminal shows the same words: {said}");
        let epochs: Vec<Option<u32>> = found.checkpoints.iter().map(|row| row.epoch).collect();
        assert_eq!(epochs, [Some(0), Some(20), Some(40), Some(60)], "{ending}: in the order of the epochs");
        assert!(out.join("report.html").is_file() && out.join("images.csv").is_file(), "{ending}");

        let printed: Value = serde_json::from_str(&shown(&diagnose(&files, &out, &["--overwrite", "--json"]))).unwrap();
        assert_eq!(printed["summary"], json!(memory.summary), "{ending}: --json is diagnosis.json");
        assert_eq!(printed["findings"], content(&memory)["findings"], "{ending}");
        let again = refused(&diagnose(&files, &out, &[]), 2);
        assert!(again.contains("there is a diagnosis in this folder already"), "{again}");
    }
}

#[test]
fn the_file_of_epoch_0_is_the_control() {
    let folder = tempfile::tempdir().unwrap();
    let files = written(&run(), folder.path(), "safetensors", &Given::default());
    let out = |name: &str| folder.path().join(name);

    let found = made(&files, &out("start"), &["--random-split"]);
    let control = found.control.as_ref().expect("a control");
    assert_eq!((control.kind, &control.path), (ControlKind::UntrainedStart, &None));
    assert!(found.cells.iter().all(|cell| cell.membership_above_control.is_some() == (cell.checkpoint > 0)));
    assert!(matches!(found.findings.memorises, Memorises::Yes { .. }));

    let found = made(&files[1..], &out("without"), &["--random-split"]);
    assert!(found.control.is_none() && found.findings.doubts.contains(&Doubt::NoControl));
    assert!(matches!(found.findings.memorises, Memorises::YesOrSidesDiffer { .. }));

    let found = made(&files, &out("refused"), &["--random-split", "--no-control"]);
    assert!(found.control.is_none(), "--no-control");
}

#[test]
fn a_control_of_ones_own_decides_without_a_random_split() {
    let folder = tempfile::tempdir().unwrap();
    let files = written(&run(), folder.path(), "npz", &Given::default());
    let other = Encoder { name: "other".into(), epoch: None, seed: 7, ..Encoder::new(0) };
    let other = other.write(folder.path(), "safetensors", &Given::default());
    let found = made(&files[2..], &folder.path().join("out"), &["--control", text(&other)]);
    let control = found.control.as_ref().expect("a control");
    assert_eq!((control.kind, control.path.as_deref()), (ControlKind::Reference, Some(text(&other))));
    assert_eq!(found.sides.as_ref().unwrap().relation, Relation::Unknown);
    assert!(matches!(found.findings.memorises, Memorises::Yes { .. }), "{:?}", found.findings.memorises);
    assert!(found.summary.contains("The reference encoder has AUC"), "{}", found.summary);

    let smaller = Encoder { name: "smaller".into(), images: 100, ..Encoder::new(0) };
    let smaller = smaller.write(folder.path(), "npz", &Given::default());
    let said = refused(&diagnose(&files, &folder.path().join("no"), &["--control", text(&smaller)]), 1);
    assert!(said.contains("smaller.npz") && said.contains("4 views of 100 images"), "{said}");
}

#[test]
fn a_random_split_is_said_by_every_file_or_by_the_user() {
    let folder = tempfile::tempdir().unwrap();
    let split = Given { random_split: true, ..Given::default() };
    let mut files = written(&run(), folder.path(), "npz", &split);
    let relation = |files: &[PathBuf], name: &str, more: &[&str]| {
        made(files, &folder.path().join(name), more).sides.unwrap().relation
    };
    assert_eq!(relation(&files, "said", &[]), Relation::RandomSplit);
    files[1] = run()[1].write(folder.path(), "safetensors", &Given::default());
    assert_eq!(relation(&files, "not-by-all", &[]), Relation::Unknown);
    assert_eq!(relation(&files, "by-the-user", &["--random-split"]), Relation::RandomSplit);
}

/// Digests of `images` images a side, of which the first `copies` unseen ones are the training images 5, 6, ...
fn digests(images: usize, copies: usize) -> [Vec<String>; 2] {
    let mut digests = ["train", "unseen"].map(|side| names(side, images));
    for i in 0..copies {
        digests[1][i] = digests[0][i + 5].clone();
    }
    digests
}

#[test]
fn equal_digests_are_copies_and_leave_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let with = |copies: usize, name: &str| {
        let place = folder.path().join(name);
        std::fs::create_dir(&place).unwrap();
        written(&run(), &place, "safetensors", &Given { digests: Some(digests(200, copies)), ..Given::named(200) })
    };
    let two = with(2, "two");
    let found = made(&two, &folder.path().join("out-two"), &[]);
    let sides = found.sides.as_ref().unwrap();
    assert_eq!(sides.images, 196, "both images of a pair leave both sides");
    let copies = sides.copies.as_ref().unwrap();
    let named = [["train/5.png", "unseen/0.png"], ["train/6.png", "unseen/1.png"]].map(|pair| pair.map(String::from));
    assert_eq!(copies.left_out, named);
    assert!(found.findings.doubts.contains(&Doubt::CopiesLeftOut { pairs: 2 }));
    assert!(found.summary.contains("2 images that are on both sides were left out of both."), "{}", found.summary);
    let rows = std::fs::read_to_string(folder.path().join("out-two/images.csv")).unwrap();
    assert!(!rows.contains("train/5.png") && !rows.contains("unseen/0.png") && !rows.contains("train/0.png"), "{rows}");
    assert!(rows.contains("train/2.png") && rows.contains("unseen/199.png"));

    let three = with(3, "three");
    let out = folder.path().join("out-three");
    let said = refused(&diagnose(&three, &out, &[]), 2).replace(text(folder.path()), "");
    assert_snapshot!(said, @r#"
    error: /three/epoch-0000.safetensors: 3 of 200 unseen images are training images: unseen/0.png is train/5.png
      hint: give images that the encoder has not seen, or pass --allow-overlap N
    "#);
    assert!(!out.exists(), "nothing is left");
    let found = made(&three, &out, &["--allow-overlap", "3"]);
    assert_eq!(found.sides.unwrap().copies.unwrap().left_out.len(), 3);
    refused(&diagnose(&three, &out, &["--allow-overlap", "2", "--overwrite"]), 2);
}

#[test]
fn equal_plain_rows_are_copies_too() {
    let folder = tempfile::tempdir().unwrap();
    let with = |copies: usize| {
        let encoders: Vec<Encoder> = run().into_iter().map(|encoder| Encoder { copies, ..encoder }).collect();
        written(&encoders, folder.path(), "npz", &Given::default())
    };
    let found = made(&with(2), &folder.path().join("two"), &[]);
    let sides = found.sides.unwrap();
    assert_eq!(sides.images, 198, "image i of one side is image i of the other");
    let named = [["train 0", "unseen 0"], ["train 1", "unseen 1"]].map(|pair| pair.map(String::from));
    assert_eq!(sides.copies.unwrap().left_out, named, "images without names go by their place");
    let said = refused(&diagnose(&with(3), &folder.path().join("three"), &[]), 2);
    assert!(said.contains("3 of 200 unseen images are training images: unseen 0 is train 0"), "{said}");
    // Digests, where they are there, decide: equal rows of other pixels are no copies.
    let encoder = Encoder { copies: 3, ..Encoder::new(20) };
    let given = Given { digests: Some(digests(200, 0)), ..Given::default() };
    let found = made(&[encoder.write(folder.path(), "npz", &given)], &folder.path().join("digests"), &[]);
    assert!(found.sides.unwrap().copies.unwrap().left_out.is_empty());
}

#[test]
fn the_same_images_on_both_sides_are_no_unseen_images() {
    // Without plain rows or digests nothing but the distances tells.
    let folder = tempfile::tempdir().unwrap();
    let [train, _] = Encoder::new(20).sides(0);
    let values: Vec<f32> = train.views.iter().map(|value| *value as f32).collect();
    let (q, n, d) = train.views.dim();
    let file = folder.path().join("epoch-20.safetensors");
    let arrays = ["train", "unseen"].map(|side| (format!("{side}.views.stem"), vec![q, n, d], values.clone()));
    safetensors(&file, &arrays);
    let said = refused(&diagnose(&[file], &folder.path().join("out"), &[]), 2);
    assert!(said.contains("the two sides are the same images") && !folder.path().join("out").exists(), "{said}");
}

/// A safetensors file of float32 arrays, right or wrong.
fn safetensors(path: &Path, arrays: &[(String, Vec<usize>, Vec<f32>)]) {
    let (mut header, mut bytes) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in arrays {
        let begin = bytes.len();
        values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        let info = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, bytes.len()]});
        header.insert(name.clone(), info);
    }
    let mut header = Value::from(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let whole = [&(header.len() as u64).to_le_bytes()[..], &header, &bytes].concat();
    std::fs::write(path, whole).unwrap();
}

/// What is said of one file of arrays of these shapes, `NAME: q n d`, with a NaN at the end of those that end in `!`.
fn said_of(arrays: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let array = |text: &&str| {
        let (name, shape) = text.split_once(": ").unwrap();
        let shape: Vec<usize> = shape.trim_end_matches('!').split(' ').map(|size| size.parse().unwrap()).collect();
        let mut values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| ((i * i) % 97) as f32).collect();
        if text.ends_with('!') {
            *values.last_mut().unwrap() = f32::NAN;
        }
        (name.to_owned(), shape, values)
    };
    let file = folder.path().join("epoch-20.safetensors");
    safetensors(&file, &arrays.iter().map(array).collect::<Vec<_>>());
    failure(&[file], folder.path())
}

/// The first line and the exit code; nothing may be left behind.
fn failure(files: &[PathBuf], folder: &Path) -> String {
    let out = folder.join("out");
    let output = crate::support::program(&diagnose(files, &out, &[]));
    assert!(!out.exists(), "nothing half written");
    let said = String::from_utf8(output.stderr).unwrap().replace(&format!("{}/", text(folder)), "");
    let errors: Vec<&str> = said.lines().filter(|line| !line.starts_with("  hint: ")).collect();
    assert_eq!(errors.len(), 1, "one line: {said}");
    format!("{} (exit {})", errors[0], output.status.code().unwrap())
}

#[test]
fn what_is_wrong_is_named_by_file_and_array() {
    assert_snapshot!(said_of(&["train.views.stem: 4 60 8", "unseen.views.stem: 3 60 8"]), @"error: epoch-20.safetensors: array unseen.views.stem: 3 views an image, but train.views.stem has 4 (exit 1)");
    assert_snapshot!(said_of(&["train.views.stem: 4 60 8", "unseen.views.stem: 4 50 8"]), @"error: epoch-20.safetensors: array unseen.views.stem: 50 images, but train.views.stem has 60 (exit 1)");
    assert_snapshot!(said_of(&["train.views.stem: 4 60 8", "unseen.views.stem: 4 60 9"]), @"error: epoch-20.safetensors: array unseen.views.stem: rows of 9 numbers, but train.views.stem has 8 (exit 1)");
    assert_snapshot!(said_of(&["train.views.stem: 60 8", "unseen.views.stem: 4 60 8"]), @"error: epoch-20.safetensors: array train.views.stem: shape [60, 8], expected [q views, n images, d] (exit 1)");
    assert_snapshot!(said_of(&["train.views.stem: 1 60 8", "unseen.views.stem: 1 60 8"]), @"error: epoch-20.safetensors: array train.views.stem: 1 view an image, expected at least 2 (exit 1)");
    assert_snapshot!(said_of(&["train.views.stem: 4 60 8", "unseen.views.stem: 4 60 8!"]), @"error: epoch-20.safetensors: array unseen.views.stem: NaN at view 3, image 59, column 7 (exit 1)");
    assert_snapshot!(said_of(&["train.views.stem: 4 60 8", "unseen.views.stem: 4 60 8", "train.views.head: 4 60 8"]), @"error: epoch-20.safetensors: array unseen.views.head: is missing (exit 1)");
    assert_snapshot!(said_of(&["train.views.stem: 4 60 8"]), @"error: epoch-20.safetensors: array unseen.views.stem: is missing (exit 1)");
    assert_snapshot!(said_of(&["train.views.stem: 4 60 8", "unseen.views.stem: 4 60 8", "train.plain.stem: 60 8"]), @"error: epoch-20.safetensors: array unseen.plain.stem: is missing (exit 1)");
    assert_snapshot!(said_of(&["train.views.stem: 4 10 8", "unseen.views.stem: 4 10 8!"]), @"error: epoch-20.safetensors: 10 images a side are too few to diagnose, expected 20 (exit 2)");
    assert_snapshot!(said_of(&["train.views.stem: 4 10 8", "unseen.views.stem: 4 10 8"]), @"error: epoch-20.safetensors: 10 images a side are too few to diagnose, expected 20 (exit 2)");
    assert_snapshot!(said_of(&["canaries.views.stem: 4 60 8"]), @"error: epoch-20.safetensors: holds the canaries of an audit, expected train.views.STAGE and unseen.views.STAGE (exit 2)");
    assert_snapshot!(said_of(&["features: 60 8"]), @"error: epoch-20.safetensors: no array train.views.STAGE, but features [60, 8] (exit 1)");
}

#[test]
fn what_is_wrong_with_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str, encoder: Encoder| {
        let encoder = Encoder { name: name.into(), ..encoder };
        encoder.write(folder.path(), "npz", &Given::default())
    };
    let unknown = Encoder { epoch: None, ..Encoder::new(0) };
    let (first, second) = (named("epoch-20", Encoder::new(20)), named("last", unknown));
    assert_snapshot!(failure(&[first.clone(), second], folder.path()), @"error: last.npz: tells no epoch, which several files need (exit 2)");
    let again = named("again", Encoder::new(20));
    assert_snapshot!(failure(&[first.clone(), again], folder.path()), @"error: again.npz: tells epoch 20, and so does epoch-20.npz (exit 2)");
    let other = named("other", Encoder { views: 5, ..Encoder::new(40) });
    assert_snapshot!(failure(&[first.clone(), other], folder.path()), @"error: other.npz: holds 5 views of 200 images, but 4 views of 200 images in epoch-20.npz (exit 1)");
    let text_file = folder.path().join("notes.npz");
    std::fs::write(&text_file, "0.1,0.2\n").unwrap();
    assert_snapshot!(failure(&[first.clone(), text_file], folder.path()), @"error: notes.npz: is neither .npy, .npz nor safetensors (exit 1)");
    assert_snapshot!(failure(&[first, folder.path().join("nowhere.npz")], folder.path()), @"error: nowhere.npz: no such file or folder (exit 1)");
    let said = refused(&["diagnose", "--out", text(&folder.path().join("out"))], 2);
    assert!(said.contains("--features"), "{said}");
}
