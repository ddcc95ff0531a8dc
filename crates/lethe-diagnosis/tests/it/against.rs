//! `measure TRAIN --against UNSEEN`: the memorisation numbers of two arrays of views.

use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use lethe_measures::{Cell, Memorisation, StageViews, memorisation};
use ndarray::{Array3, ArrayD, Axis, s};
use serde_json::Value;

use crate::support::{Encoder, Given, refused, shown, text};

/// The views of both sides at the last stage of an encoder that memorises.
fn views(images: usize) -> [Array3<f32>; 2] {
    let encoder = Encoder { memory: 0.4, images, ..Encoder::new(100) };
    encoder.sides(1).map(|side| side.views.mapv(|value| value as f32))
}

/// A NumPy file of float32.
fn npy(path: &Path, values: &ArrayD<f32>) {
    let shape: Vec<String> = values.shape().iter().map(ToString::to_string).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", shape.join(", "));
    let padded = format!("{header:<width$}\n", width = (header.len() + 11).next_multiple_of(64) - 11);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((padded.len() as u16).to_le_bytes());
    bytes.extend(padded.bytes());
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

fn saved(folder: &Path, name: &str, views: &Array3<f32>) -> PathBuf {
    let path = folder.join(name);
    npy(&path, &views.clone().into_dyn());
    path
}

fn measured(arguments: &[&str]) -> Value {
    serde_json::from_str(&shown(&[&["measure", "--json"], arguments].concat())).expect("one JSON object")
}

/// The numbers without the names of the files.
fn numbers(mut json: Value) -> Value {
    let fields = json.as_object_mut().unwrap();
    fields.remove("train");
    fields.remove("unseen");
    json
}

fn in_memory([train, unseen]: &[Array3<f32>; 2]) -> Memorisation {
    let views = StageViews::new(train.view(), unseen.view()).unwrap();
    let (distances, retrieval) = (views.distances(), views.retrieval(0));
    let paired = train.dim() == unseen.dim();
    memorisation(&[Cell { distances: &distances, retrieval: Some(&retrieval) }], paired, 0).unwrap()[0]
}

#[test]
fn every_kind_of_file_gives_the_numbers_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    let both = views(200);
    let files = [saved(folder.path(), "train.npy", &both[0]), saved(folder.path(), "unseen.npy", &both[1])];
    let of_npy = measured(&[text(&files[0]), "--against", text(&files[1])]);
    let found = in_memory(&both);
    let expected: Value = serde_json::from_str(&serde_json::to_string(&found).unwrap()).unwrap();
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&of_npy[key], value, "{key}");
    }
    assert!(found.membership.low > 0.5, "{found:?}");
    assert_eq!((&of_npy["views"], &of_npy["train_images"], &of_npy["d"]), (&4.into(), &200.into(), &12.into()));
    assert!(of_npy.get("doubt").is_none(), "200 images are enough");

    // The images of a file, its views one after another.
    let rows = both.each_ref().map(|views| {
        let (q, n, d) = views.dim();
        views
            .view()
            .permuted_axes([1, 0, 2])
            .as_standard_layout()
            .into_owned()
            .into_shape_with_order((n * q, d))
            .unwrap()
    });
    let names = ["train-rows.npy", "unseen-rows.npy"].map(|name| folder.path().join(name));
    names.iter().zip(rows).for_each(|(path, rows)| npy(path, &rows.into_dyn()));
    let of_rows = measured(&[text(&names[0]), "--against", text(&names[1]), "--views", "4"]);
    assert_eq!(numbers(of_rows), numbers(of_npy.clone()));

    // Two .npz, the second with the sides the other way round.
    let encoder = Encoder { name: "both".into(), memory: 0.4, ..Encoder::new(100) };
    let first = encoder.write(folder.path(), "npz", &Given::default());
    let turned = Encoder { name: "turned".into(), turned: true, ..encoder };
    let second = turned.write(folder.path(), "npz", &Given::default());
    let of_npz = measured(&[text(&first), "--against", text(&second), "--key", "train.views.head"]);
    assert_eq!(numbers(of_npz), numbers(of_npy));
}

#[test]
fn a_table_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let both = views(200);
    let files = [saved(folder.path(), "train.npy", &both[0]), saved(folder.path(), "unseen.npy", &both[1])];
    let out = shown(&["measure", text(&files[0]), "--against", text(&files[1])]);
    assert_snapshot!(out, @r#"
    4 views of 200 training and 200 unseen images, 12 columns
    ┌──────────────────────────────┬────────┬──────────────────┐
    │                              ┆ value  ┆ 95 % interval    │
    ╞══════════════════════════════╪════════╪══════════════════╡
    │ membership                   ┆ 0.8750 ┆ 0.8440 to 0.8996 │
    │ true_positives_at_10_percent ┆ 0.6300 ┆ 0.5167 to 0.7248 │
    │ memorisation_gap             ┆ 0.2283 ┆ 0.2039 to 0.2527 │
    │ relative_gap                 ┆ 0.1139 ┆ 0.1017 to 0.1261 │
    │ d_train                      ┆ 0.1488 ┆ 0.1348 to 0.1628 │
    │ d_unseen                     ┆ 0.3771 ┆ 0.3485 to 0.4057 │
    │ d_between                    ┆ 2.0037 ┆ 1.9963 to 2.0111 │
    │ retrieval_gap                ┆ 0.1775 ┆ 0.1427 to 0.2123 │
    └──────────────────────────────┴────────┴──────────────────┘
    There is no control: an AUC above 0.5 says that the encoder memorises, or that the two sides differ.
    "#);
}

#[test]
fn sides_of_different_numbers_of_images() {
    let folder = tempfile::tempdir().unwrap();
    let [train, unseen] = views(200);
    let fewer = unseen.slice(s![.., ..120, ..]).to_owned();
    let files = [saved(folder.path(), "train.npy", &train), saved(folder.path(), "unseen.npy", &fewer)];
    let found = measured(&[text(&files[0]), "--against", text(&files[1])]);
    assert_eq!((&found["train_images"], &found["unseen_images"]), (&200.into(), &120.into()));
    let expected = in_memory(&[train, fewer]);
    assert_eq!(found["membership"]["value"].as_f64(), Some(expected.membership.value));
    assert_eq!(found["membership"]["low"].as_f64(), Some(expected.membership.low));
    assert!(found["true_positives_at_10_percent"]["value"].as_f64().is_some(), "120 unseen images allow 10 %");
}

#[test]
fn too_few_images_for_a_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let both = views(200);
    let unseen = saved(folder.path(), "unseen.npy", &both[1]);
    let few = saved(folder.path(), "few.npy", &both[0].select(Axis(1), &(0..49).collect::<Vec<_>>()));
    let found = measured(&[text(&few), "--against", text(&unseen)]);
    assert_eq!(found["doubt"], "49 images of a side are too few for a verdict, which needs 50");
    assert!(found["membership"]["value"].as_f64().is_some(), "the numbers stand");
    let enough = saved(folder.path(), "enough.npy", &both[0].select(Axis(1), &(0..50).collect::<Vec<_>>()));
    assert!(measured(&[text(&enough), "--against", text(&unseen)]).get("doubt").is_none());
}

#[test]
fn what_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [train, unseen] = views(60);
    let own = saved(folder.path(), "train.npy", &train);
    let other = saved(folder.path(), "unseen.npy", &unseen);
    let against = |unseen: &Path, more: &[&str], code: i32| {
        let said = refused(&[&["measure", text(&own), "--against", text(unseen)], more].concat(), code);
        said.replace(&format!("{}/", text(folder.path())), "")
    };
    assert_snapshot!(against(&own, &[], 2), @r#"
    error: train.npy: both files hold the same views
      hint: give views of unseen images
    "#);
    let copied = saved(folder.path(), "copy.npy", &train);
    assert_snapshot!(against(&copied, &[], 2), @r#"
    error: copy.npy: both files hold the same views
      hint: give views of unseen images
    "#);
    let fewer_views = saved(folder.path(), "three.npy", &unseen.slice(s![..3, .., ..]).to_owned());
    assert_snapshot!(against(&fewer_views, &[], 1), @"error: train.npy against three.npy: 3 views of unseen images, expected 4");
    let narrow = saved(folder.path(), "narrow.npy", &unseen.slice(s![.., .., ..5]).to_owned());
    assert_snapshot!(against(&narrow, &[], 1), @"error: train.npy against narrow.npy: the matrices have 12 and 5 columns");
    let mut broken = unseen.clone();
    broken[(1, 7, 3)] = f32::NAN;
    let broken = saved(folder.path(), "nan.npy", &broken);
    assert_snapshot!(against(&broken, &[], 1), @r#"
    error: nan.npy: NaN at view 1, image 7, column 3
      hint: views, images and columns count from 0
    "#);
    let rows = folder.path().join("rows.npy");
    npy(&rows, &unseen.slice(s![0, .., ..]).to_owned().into_dyn());
    assert_snapshot!(against(&rows, &[], 2), @r#"
    error: rows.npy: shape [60, 12], expected [q views, n images, d]
      hint: --views Q takes every Q rows for the views of one image
    "#);
    assert_snapshot!(against(&other, &["--views", "3"], 2), @"error: train.npy: shape [4, 60, 12] holds 4 views an image, --views says 3");
    let said = against(&other, &["--pairs"], 2);
    assert!(said.contains("--pairs") && said.contains("--against"), "{said}");
    assert_snapshot!(against(&folder.path().join("nowhere.npy"), &[], 1), @"error: nowhere.npy: no such file or folder");
}
