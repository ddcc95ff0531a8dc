//! Feature files of a diagnosis.

use std::path::{Path, PathBuf};

use lethe_data::feature_file::{Block, Blocks, FeatureBlocks, Side, Stage, in_order, write_blocks};
use ndarray::{Array2, Array3, ArrayD};
use rand::RngExt;
use tempfile::tempdir;

use crate::case::{Case, mutate, text};

const SIDES: [Side; 2] = [Side::Train, Side::Unseen];
const STAGES: [&str; 3] = ["stem", "block2", "block10"];

/// Compares all features with the arrays of a case.
fn assert_features(file: &FeatureBlocks, case: &Case, kind: &str) {
    assert_eq!(file.sides(), SIDES);
    assert_eq!((file.views_per_image(), file.images(Side::Train), file.images(Side::Unseen)), (3, 5, 5));
    assert_eq!(file.images(Side::Canaries), 0);
    for side in SIDES {
        for stage in file.stages() {
            let views = file.views(side, stage).expect("views");
            assert!(views.is_standard_layout());
            assert_eq!(views.into_dyn(), case.array(&format!("{kind} {side}.views.{stage}")));
            let plain = file.plain(side, stage).expect("plain").map(Array2::into_dyn);
            let expected: Option<ArrayD<f64>> =
                (stage == "stem").then(|| case.array(&format!("{kind} {side}.plain.stem")));
            assert_eq!(plain, expected);
        }
    }
}

#[test]
fn files_of_numpy_and_safetensors_are_read() {
    let (case, folder) = (Case::load("feature_files"), tempdir().expect("a folder"));
    let open = |name: &str| FeatureBlocks::open(&case.put(name, folder.path())).unwrap_or_else(|e| panic!("{e}"));
    for (name, kind, epoch) in [
        ("blocks stored.npz", "expected", 200),
        ("blocks deflated.npz", "expected", 200),
        ("blocks mixed.npz", "exact", 7),
        ("blocks.safetensors", "expected", 200),
    ] {
        let file = open(name);
        assert_eq!((file.epoch(), file.random_split()), (Some(epoch), true), "{name}");
        assert_eq!(file.stages(), STAGES, "{name}");
        assert_eq!(file.dimensions(), [4, 6, 6], "{name}");
        assert_features(&file, &case, kind);
        assert_eq!(file.labels(Side::Train), Some(&[0, 1, 1, 0, 2][..]), "{name}");
        assert_eq!(file.labels(Side::Unseen), Some(&[2, 0, 1, 1, 0][..]), "{name}");
        assert_eq!(file.names(Side::Unseen).expect("names")[4], "unseen/größe 4.jpg", "{name}");
        assert_eq!(file.digests(Side::Train).expect("digests")[3], "03train", "{name}");
    }
    for (name, kind) in [("nothing said.safetensors", "expected"), ("bf16.safetensors", "exact")] {
        let file = open(name);
        assert_eq!((file.random_split(), file.labels(Side::Train), file.names(Side::Train)), (false, None, None));
        assert_features(&file, &case, kind);
    }
    assert_eq!(open("nothing said.safetensors").epoch(), None);
    for name in ["canaries.npz", "canaries.safetensors"] {
        let file = open(name);
        assert_eq!((file.sides(), file.images(Side::Canaries)), (&[Side::Canaries][..], 5));
        let views = file.views(Side::Canaries, "stem").expect("views").into_dyn();
        assert_eq!(views, case.array("expected canaries.views.stem"));
    }
}

#[test]
fn the_name_tells_the_epoch_where_the_file_does_not() {
    let (case, folder) = (Case::load("feature_files"), tempdir().expect("a folder"));
    for (name, epoch) in [
        ("epoch-0200.safetensors", Some(200)),
        ("simclr-epoch=10-step=99.safetensors", Some(10)),
        ("resnet50_e100.safetensors", Some(100)),
        ("final.safetensors", None),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, case.file("nothing said.safetensors")).expect("written");
        assert_eq!(FeatureBlocks::open(&path).expect("opened").epoch(), epoch, "{name}");
    }
}

/// Arrays of one file, to be changed by a test.
#[derive(Clone)]
struct Own {
    stages: Vec<(String, [Array3<f32>; 2], Option<[Array2<f32>; 2]>)>,
    labels: [Vec<u32>; 2],
    names: [Vec<String>; 2],
    epoch: Option<u32>,
}

impl Own {
    fn new() -> Self {
        let mut rng = lethe_data::rng::once(0, lethe_data::rng::Purpose::Sample);
        let mut draw = |_| rng.random_range(-1.0f32..1.0);
        let mut views = |d| Array3::from_shape_fn((2, 4, d), |(q, n, d)| draw((q, n, d)));
        let stages = [("patch", 3), ("block2", 5), ("block10", 5)];
        let mut rng = lethe_data::rng::once(1, lethe_data::rng::Purpose::Sample);
        let plain = [3, 3].map(|d| Array2::from_shape_fn((4, d), |_| rng.random_range(-1.0f32..1.0)));
        let stages = stages.map(|(name, d)| (name.to_owned(), [views(d), views(d)], None));
        let mut own = Self {
            stages: stages.into(),
            labels: [vec![0, 3, 1, u32::MAX], vec![1, 1, 0, 0]],
            names: ["train", "unseen"].map(|side| (0..4).map(|i| format!("{side}/ö \"{i}\", 日本.png")).collect()),
            epoch: Some(30),
        };
        own.stages[0].2 = Some(plain);
        own
    }

    fn write(&self, path: &Path) -> lethe_data::Result<()> {
        let block = |i: usize| Block {
            side: SIDES[i],
            stages: self
                .stages
                .iter()
                .map(|(name, views, plain)| Stage {
                    name,
                    views: views[i].view(),
                    plain: plain.as_ref().map(|plain| plain[i].view()),
                })
                .collect(),
            labels: Some(&self.labels[i]),
            names: Some(&self.names[i]),
            digests: Some(&self.names[1 - i]),
        };
        write_blocks(path, &Blocks { epoch: self.epoch, random_split: true, sides: vec![block(0), block(1)] })
    }
}

#[test]
fn what_is_written_reads_back() {
    let (own, folder) = (Own::new(), tempdir().expect("a folder"));
    for name in ["f.safetensors", "f.npz"] {
        let path = folder.path().join(name);
        own.write(&path).expect("written");
        let first = std::fs::read(&path).expect("a file");
        own.write(&path).expect("written");
        assert_eq!(std::fs::read(&path).expect("a file"), first, "{name}: the same bytes every time");
        let file = FeatureBlocks::open(&path).expect("opened");
        assert_eq!((file.epoch(), file.random_split()), (Some(30), true));
        assert_eq!(file.stages(), ["patch", "block2", "block10"]);
        for (i, side) in SIDES.into_iter().enumerate() {
            for (stage, views, plain) in &own.stages {
                assert_eq!(file.views(side, stage).expect("views"), views[i].mapv(f64::from), "{name}");
                let plain = plain.as_ref().map(|plain| plain[i].mapv(f64::from));
                assert_eq!(file.plain(side, stage).expect("plain"), plain, "{name}");
            }
            assert_eq!(file.labels(side), Some(&own.labels[i][..]));
            assert_eq!(file.names(side), Some(&own.names[i][..]));
            assert_eq!(file.digests(side), Some(&own.names[1 - i][..]));
        }
    }
    let (npz, safetensors) = (folder.path().join("c.npz"), folder.path().join("c.safetensors"));
    for path in [&npz, &safetensors] {
        let views = own.stages[0].1[0].view();
        let stages = vec![Stage { name: "layer.1.conv", views, plain: None }];
        let block = Block { side: Side::Canaries, stages, labels: None, names: None, digests: None };
        write_blocks(path, &Blocks { epoch: None, random_split: false, sides: vec![block] }).expect("written");
        let file = FeatureBlocks::open(path).expect("opened");
        assert_eq!((file.epoch(), file.random_split(), file.stages().len()), (None, false, 1));
        assert_eq!(file.views(Side::Canaries, "layer.1.conv").expect("views"), views.mapv(f64::from));
        assert!(file.views(Side::Train, "layer.1.conv").is_err());
    }
}

/// Views along other axes than memory has them.
#[test]
fn what_is_not_contiguous_is_written_in_order() {
    let folder = tempdir().expect("a folder");
    let by_image = Array3::from_shape_fn((4, 2, 3), |(n, q, d)| (100 * n + 10 * q + d) as f32);
    let views = by_image.view().permuted_axes([1, 0, 2]);
    for name in ["f.safetensors", "f.npz"] {
        let path = folder.path().join(name);
        let sides = SIDES.map(|side| Block {
            side,
            stages: vec![Stage { name: "stem", views, plain: None }],
            labels: None,
            names: None,
            digests: None,
        });
        write_blocks(&path, &Blocks { epoch: None, random_split: false, sides: sides.into() }).expect("written");
        let file = FeatureBlocks::open(&path).expect("opened");
        assert_eq!(file.views(Side::Unseen, "stem").expect("views"), views.mapv(f64::from));
    }
}

#[test]
fn what_a_diagnosis_would_refuse_is_not_written() {
    let folder = tempdir().expect("a folder");
    let fails = |name: &str, change: &dyn Fn(&mut Own)| {
        let mut own = Own::new();
        change(&mut own);
        let path = folder.path().join(name);
        let error = own.write(&path).unwrap_err();
        assert!(!path.exists());
        text(folder.path(), &error)
    };
    insta::assert_snapshot!(fails("f.npy", &|_| ()), @"");
    insta::assert_snapshot!(fails("f.npz", &|own| own.stages[1].1[1][[1, 3, 4]] = f32::NAN), @"");
    insta::assert_snapshot!(fails("f.npz", &|own| own.stages[0].2.as_mut().unwrap()[0][[2, 1]] = f32::INFINITY), @"");
    insta::assert_snapshot!(fails("f.npz", &|own| drop(own.names[1].pop())), @"");
    insta::assert_snapshot!(fails("f.npz", &|own| own.stages.clear()), @"");
    insta::assert_snapshot!(fails("f.npz", &|own| own.stages[2].0 = "block2".into()), @"");
}

/// A safetensors file of float32 zeros, from names and shapes, and metadata.
fn zeros(folder: &Path, arrays: &[(&str, &[usize])], metadata: serde_json::Value) -> PathBuf {
    let mut header = serde_json::Map::from_iter([("__metadata__".to_owned(), metadata)]);
    let mut end = 0;
    for (name, shape) in arrays {
        let (begin, bytes) = (end, 4 * shape.iter().product::<usize>());
        end += bytes;
        let dtype = if name.ends_with("labels") { "I32" } else { "F32" };
        let info = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] });
        header.insert((*name).to_owned(), info);
    }
    let header = serde_json::Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; end]].concat();
    let path = folder.join("f.safetensors");
    std::fs::write(&path, bytes).expect("written");
    path
}

#[test]
fn arrays_that_do_not_fit_are_named() {
    let folder = tempdir().expect("a folder");
    let fails_with = |arrays: &[(&str, &[usize])], metadata: serde_json::Value| {
        text(folder.path(), &FeatureBlocks::open(&zeros(folder.path(), arrays, metadata)).unwrap_err())
    };
    let fails = |arrays: &[(&str, &[usize])]| fails_with(arrays, serde_json::json!({}));
    let (a, b): (&str, &str) = ("train.views.stem", "unseen.views.stem");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3]), (b, &[2, 4])]), @"");
    insta::assert_snapshot!(fails(&[(a, &[4, 3]), (b, &[2, 4, 3])]), @"");
    insta::assert_snapshot!(fails(&[(a, &[1, 4, 3]), (b, &[1, 4, 3])]), @"");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3]), (b, &[3, 4, 3])]), @"");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3]), (b, &[2, 5, 3])]), @"");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3]), (b, &[2, 4, 5])]), @"");
    insta::assert_snapshot!(fails(&[(a, &[2, 0, 3]), (b, &[2, 0, 3])]), @"");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3])]), @"");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3]), (b, &[2, 4, 3]), ("train.views.block1", &[2, 4, 3])]), @"");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3]), (b, &[2, 4, 3]), ("train.plain.stem", &[4, 3])]), @"");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3]), (b, &[2, 4, 3]), ("train.plain.stem", &[4, 2])]), @"");
    let both: &[(&str, &[usize])] = &[(a, &[2, 4, 3]), (b, &[2, 4, 3])];
    let plain: &[(&str, &[usize])] = &[("train.plain.stage1", &[4, 3]), ("unseen.plain.stage1", &[4, 3])];
    insta::assert_snapshot!(fails(&[both, plain].concat()), @"");
    insta::assert_snapshot!(fails(&[both, &[("unseen.labels", &[3][..])]].concat()), @"");
    insta::assert_snapshot!(fails(&[both, &[("unseen.labels", &[4, 1][..])]].concat()), @"");
    insta::assert_snapshot!(fails(&[both, &[("unseen.names", &[4][..])]].concat()), @"");
    insta::assert_snapshot!(fails(&[both, &[("unseen.vews.stem", &[2, 4, 3][..])]].concat()), @"");
    insta::assert_snapshot!(fails(&[both, &[("canaries.views.stem", &[2, 4, 3][..])]].concat()), @"");
    insta::assert_snapshot!(fails(&[("stem", &[4, 3]), ("labels", &[4])]), @"");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "train.names": "[\"a\", \"b\"]" })), @"");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "train.names": "a, b, c, d" })), @"");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "train.digests": "[\"a\"]" })), @"");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "stages": "[\"stem\", \"block1\"]" })), @"");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "stages": "[\"block1\"]" })), @"");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "stages": "[]" })), @"");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "stages": "[1, 2]" })), @"");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "epoch": "last" })), @"");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "epoch": "-1" })), @"");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "random_split": "perhaps" })), @"");
}

#[test]
fn arrays_of_an_npz_that_do_not_fit_are_named() {
    let (case, folder) = (Case::load("feature_files"), tempdir().expect("a folder"));
    let fails = |name: &str| text(folder.path(), &FeatureBlocks::open(&case.put(name, folder.path())).unwrap_err());
    insta::assert_snapshot!(fails("objects.npz"), @"");
    insta::assert_snapshot!(fails("two dimensions.npz"), @"");
    insta::assert_snapshot!(fails("integers.npz"), @"");
    insta::assert_snapshot!(fails("views.npz"), @"");
    insta::assert_snapshot!(fails("views.npy"), @"");
}

#[test]
fn broken_files_are_refused() {
    let (case, folder) = (Case::load("feature_files"), tempdir().expect("a folder"));
    let path = folder.path().join("f");
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("written");
        FeatureBlocks::open(&path)
    };
    let fails = |bytes: &[u8]| text(folder.path(), &open(bytes).unwrap_err());
    for name in ["blocks stored.npz", "blocks.safetensors"] {
        let whole = case.file(name);
        for length in [0, 3, 9, 100, whole.len() / 2, whole.len() - 1] {
            assert!(open(&whole[..length]).is_err(), "{name}: {length} bytes");
        }
    }
    let whole = case.file("blocks stored.npz");
    insta::assert_snapshot!(fails(&whole[..whole.len() / 2]), @"");
    let whole = case.file("blocks.safetensors");
    insta::assert_snapshot!(fails(&whole[..whole.len() / 2]), @"");
    insta::assert_snapshot!(fails(b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), @"");
    insta::assert_snapshot!(text(folder.path(), &FeatureBlocks::open(&folder.path().join("none")).unwrap_err()), @"");
    assert!(FeatureBlocks::open(folder.path()).is_err());

    // A value that changed: the checksum of the entry tells.
    let mut bytes = case.file("blocks stored.npz");
    let at = bytes.windows(5).position(|found| found == b"NUMPY").expect("an array") + 200;
    bytes[at] ^= 1;
    let error = open(&bytes).expect("names and shapes are whole").views(Side::Train, "stem").unwrap_err();
    insta::assert_snapshot!(text(folder.path(), &error), @"");
    // A value that is none: float32 NaN in the last column of the last image of the last view.
    let mut bytes = case.file("bf16.safetensors");
    let header = u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize + 8;
    bytes[header + 2 * (3 * 5 * 4 - 1)..][..2].copy_from_slice(&[0xc0, 0x7f]);
    let error = open(&bytes).expect("names and shapes are whole").views(Side::Train, "stem").unwrap_err();
    insta::assert_snapshot!(text(folder.path(), &error), @"");
}

#[test]
fn the_files_of_a_diagnosis_fit_together() {
    let folder = tempdir().expect("a folder");
    let file = |name: &str, change: &dyn Fn(&mut Own)| {
        let mut own = Own::new();
        change(&mut own);
        let path = folder.path().join(name);
        own.write(&path).expect("written");
        FeatureBlocks::open(&path).expect("opened")
    };
    let epoch = |epoch: u32| file(&format!("{epoch}.npz"), &move |own| own.epoch = Some(epoch));
    let sorted = in_order(vec![epoch(100), epoch(0), epoch(20)]).expect("they fit");
    assert_eq!(sorted.iter().map(FeatureBlocks::epoch).collect::<Vec<_>>(), [Some(0), Some(20), Some(100)]);
    let fails = |files: Vec<FeatureBlocks>| text(folder.path(), &in_order(files).unwrap_err());
    let nameless = || file("final.npz", &|own| own.epoch = None);
    assert_eq!(in_order(vec![nameless()]).expect("one file needs no epoch").len(), 1);
    insta::assert_snapshot!(fails(vec![epoch(1), nameless()]), @"");
    insta::assert_snapshot!(fails(vec![epoch(30), file("a.npz", &|_| ())]), @"");
    insta::assert_snapshot!(fails(vec![epoch(1), file("a.npz", &|own| drop(own.stages.pop()))]), @"");
    insta::assert_snapshot!(fails(vec![epoch(1), file("a.npz", &|own| own.names[1][2] = "other".into())]), @"");
    insta::assert_snapshot!(fails(vec![epoch(1), file("a.npz", &|own| own.labels[0][3] = 5)]), @"");
    let more_views = |own: &mut Own| {
        for (_, views, _) in &mut own.stages {
            *views = [0, 1].map(|i| ndarray::concatenate![ndarray::Axis(0), views[i], views[i]]);
        }
    };
    insta::assert_snapshot!(fails(vec![epoch(1), file("a.npz", &more_views)]), @"");
}

/// An answer or an error, whatever the bytes.
#[test]
fn mutated_files_never_panic() {
    let (case, folder) = (Case::load("feature_files"), tempdir().expect("a folder"));
    let seeds = ["blocks stored.npz", "blocks deflated.npz", "blocks mixed.npz", "blocks.safetensors"];
    let seeds = seeds.map(|name| case.file(name));
    let mut rng = lethe_data::rng::once(2, lethe_data::rng::Purpose::Sample);
    let (mut opened, mut read) = (0, 0);
    let path = folder.path().join("f");
    for round in 0..4_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        mutate(&mut bytes, 1_200, &mut rng);
        std::fs::write(&path, &bytes).expect("written");
        let Ok(file) = FeatureBlocks::open(&path) else { continue };
        opened += 1;
        for stage in file.stages() {
            read += usize::from(file.sides().iter().all(|&side| file.views(side, stage).is_ok()));
        }
    }
    assert!((100..3_900).contains(&opened) && read > 100, "{opened} were opened, {read} stages read");
}
