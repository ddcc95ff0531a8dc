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

/// Name, views of both sides, and plain rows of both.
type OwnStage = (String, [Array3<f32>; 2], Option<[Array2<f32>; 2]>);

/// Arrays of one file, to be changed by a test.
#[derive(Clone)]
struct Own {
    stages: Vec<OwnStage>,
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
    insta::assert_snapshot!(fails("f.npy", &|_| ()), @"f.npy: expected a name that ends in .safetensors or .npz");
    insta::assert_snapshot!(fails("f.npz", &|own| own.stages[1].1[1][[1, 3, 4]] = f32::NAN), @"f.npz: array unseen.views.block2: NaN at view 1, image 3, column 4 (views, images and columns count from 0)");
    insta::assert_snapshot!(fails("f.npz", &|own| own.stages[0].2.as_mut().unwrap()[0][[2, 1]] = f32::INFINITY), @"f.npz: array train.plain.patch: infinity at image 2, column 1 (views, images and columns count from 0)");
    insta::assert_snapshot!(fails("f.npz", &|own| drop(own.names[1].pop())), @"f.npz: array train.digests: 3 of them, expected one for each of the 4 images of train.views.patch");
    insta::assert_snapshot!(fails("f.npz", &|own| own.stages.clear()), @"f.npz: no array train.views.STAGE, but stages [0], train.labels [4], train.names [4], train.digests [4], ... (a file of features holds train.views.STAGE and unseen.views.STAGE, [q, n, d] each)");
    insta::assert_snapshot!(fails("f.npz", &|own| own.stages[2].0 = "block2".into()), @"f.npz: array train.views.block2: is there twice");
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
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3]), (b, &[2, 4])]), @"f.safetensors: array unseen.views.stem: shape [2, 4], expected [q views, n images, d]");
    insta::assert_snapshot!(fails(&[(a, &[4, 3]), (b, &[2, 4, 3])]), @"f.safetensors: array train.views.stem: shape [4, 3], expected [q views, n images, d]");
    insta::assert_snapshot!(fails(&[(a, &[1, 4, 3]), (b, &[1, 4, 3])]), @"f.safetensors: array train.views.stem: 1 view an image, expected at least 2 (memorisation is told from several random views of every image)");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3]), (b, &[3, 4, 3])]), @"f.safetensors: array unseen.views.stem: 3 views an image, but train.views.stem has 2 (take the same number of views of every image of both sides)");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3]), (b, &[2, 5, 3])]), @"f.safetensors: array unseen.views.stem: 5 images, but train.views.stem has 4 (take the same number of images on both sides, in the same order in every array)");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3]), (b, &[2, 4, 5])]), @"f.safetensors: array unseen.views.stem: rows of 5 numbers, but train.views.stem has 3 (one encoder gives all features of a stage the same length)");
    insta::assert_snapshot!(fails(&[(a, &[2, 0, 3]), (b, &[2, 0, 3])]), @"f.safetensors: array train.views.stem: shape [2, 0, 3]: there is nothing in it");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3])]), @"f.safetensors: array unseen.views.stem: is missing (it belongs beside train.views.stem: both sides hold the same stages)");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3]), (b, &[2, 4, 3]), ("train.views.block1", &[2, 4, 3])]), @"f.safetensors: array unseen.views.block1: is missing (it belongs beside train.views.block1: both sides hold the same stages)");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3]), (b, &[2, 4, 3]), ("train.plain.stem", &[4, 3])]), @"f.safetensors: array unseen.plain.stem: is missing (it belongs beside train.plain.stem: both sides hold the same stages)");
    insta::assert_snapshot!(fails(&[(a, &[2, 4, 3]), (b, &[2, 4, 3]), ("train.plain.stem", &[4, 2])]), @"f.safetensors: array train.plain.stem: rows of 2 numbers, but train.views.stem has 3 (one encoder gives all features of a stage the same length)");
    let both: &[(&str, &[usize])] = &[(a, &[2, 4, 3]), (b, &[2, 4, 3])];
    let plain: &[(&str, &[usize])] = &[("train.plain.stage1", &[4, 3]), ("unseen.plain.stage1", &[4, 3])];
    insta::assert_snapshot!(fails(&[both, plain].concat()), @"f.safetensors: array train.plain.stage1: has no views beside it: stage1 is no stage of this file");
    insta::assert_snapshot!(fails(&[both, &[("unseen.labels", &[3][..])]].concat()), @"f.safetensors: array unseen.labels: 3 of them, expected one for each of the 4 images of train.views.stem");
    insta::assert_snapshot!(fails(&[both, &[("unseen.labels", &[4, 1][..])]].concat()), @"f.safetensors: array unseen.labels: holds I32 of shape [4, 1], expected a 1-D array of integers");
    insta::assert_snapshot!(fails(&[both, &[("unseen.names", &[4][..])]].concat()), @"f.safetensors: array unseen.names: holds F32 of shape [4], expected a 1-D array of text (safetensors has no arrays of text: put json.dumps(texts) into the metadata under this key)");
    insta::assert_snapshot!(fails(&[both, &[("unseen.vews.stem", &[2, 4, 3][..])]].concat()), @"f.safetensors: array unseen.vews.stem: expected views.STAGE, plain.STAGE, labels, names or digests after the side");
    insta::assert_snapshot!(fails(&[both, &[("canaries.views.stem", &[2, 4, 3][..])]].concat()), @"f.safetensors: array canaries.views.stem: stands beside arrays of train (a file holds train and unseen, or canaries alone)");
    insta::assert_snapshot!(fails(&[("stem", &[4, 3]), ("labels", &[4])]), @"f.safetensors: no array train.views.STAGE, but stem [4, 3], labels [4] (a file of features holds train.views.STAGE and unseen.views.STAGE, [q, n, d] each)");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "train.names": "[\"a\", \"b\"]" })), @"f.safetensors: array train.names: 2 of them, expected one for each of the 4 images of train.views.stem");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "train.names": "a, b, c, d" })), @"f.safetensors: metadata train.names: expected a JSON list of texts (json.dumps(list_of_texts) makes one)");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "train.digests": "[\"a\"]" })), @"f.safetensors: array train.digests: 1 of them, expected one for each of the 4 images of train.views.stem");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "stages": "[\"stem\", \"block1\"]" })), @"f.safetensors: stages names block1, of which there is no array views.block1");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "stages": "[\"block1\"]" })), @"f.safetensors: stages names block1, of which there is no array views.block1");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "stages": "[]" })), @"f.safetensors: stages does not name stem, of which there is an array views.stem");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "stages": "[1, 2]" })), @"f.safetensors: stages: expected a JSON list of the names of the stages");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "epoch": "last" })), @r#"f.safetensors: metadata epoch: expected a whole number, not "last""#);
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "epoch": "-1" })), @"f.safetensors: epoch -1: expected a whole number from 0 to 4294967295");
    insta::assert_snapshot!(fails_with(both, serde_json::json!({ "random_split": "perhaps" })), @r#"f.safetensors: metadata random_split: expected true or false, not "perhaps""#);
}

#[test]
fn arrays_of_an_npz_that_do_not_fit_are_named() {
    let (case, folder) = (Case::load("feature_files"), tempdir().expect("a folder"));
    let fails = |name: &str| text(folder.path(), &FeatureBlocks::open(&case.put(name, folder.path())).unwrap_err());
    insta::assert_snapshot!(fails("objects.npz"), @"objects.npz: array train.names: holds |O of shape [5], expected a 1-D array of text (numpy.array(texts, dtype=str) makes one)");
    insta::assert_snapshot!(fails("two dimensions.npz"), @"two dimensions.npz: array unseen.views.stem: shape [5, 4], expected [q views, n images, d]");
    insta::assert_snapshot!(fails("integers.npz"), @"integers.npz: array unseen.views.stem: holds <i8 of shape [3, 5, 4], expected float16, float32 or float64");
    insta::assert_snapshot!(fails("views.npz"), @"views.npz: no array train.views.STAGE, but views [3, 5, 4], labels [5] (a file of features holds train.views.STAGE and unseen.views.STAGE, [q, n, d] each)");
    insta::assert_snapshot!(fails("views.npy"), @r#"views.npy: is an .npy, which has one array, expected .safetensors or .npz (numpy.savez("F.npz", **arrays) writes several)"#);
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
    insta::assert_snapshot!(fails(&whole[..whole.len() / 2]), @"f: is not a whole .npz: its list of arrays is broken or missing (copy or write the file again)");
    let whole = case.file("blocks.safetensors");
    insta::assert_snapshot!(fails(&whole[..whole.len() / 2]), @"f: is not a whole safetensors file: incomplete metadata, file not fully covered");
    insta::assert_snapshot!(fails(b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), @r#"f: is a zip file without an .npy in it, expected an .npz (numpy.savez("F.npz", features=features) writes one)"#);
    insta::assert_snapshot!(text(folder.path(), &FeatureBlocks::open(&folder.path().join("none")).unwrap_err()), @"none: no such file or folder");
    assert!(FeatureBlocks::open(folder.path()).is_err());

    // A value that changed: the checksum of the entry tells.
    let mut bytes = case.file("blocks stored.npz");
    let at = bytes.windows(5).position(|found| found == b"NUMPY").expect("an array") + 200;
    bytes[at] ^= 1;
    let error = open(&bytes).expect("names and shapes are whole").views(Side::Train, "stem").unwrap_err();
    insta::assert_snapshot!(text(folder.path(), &error), @"f: array train.views.stem: its values cannot be read: Invalid checksum (write or copy the file again)");
    // A value that is none: float32 NaN in the last column of the last image of the last view.
    let mut bytes = case.file("bf16.safetensors");
    let header = u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize + 8;
    bytes[header + 2 * (3 * 5 * 4 - 1)..][..2].copy_from_slice(&[0xc0, 0x7f]);
    let error = open(&bytes).expect("names and shapes are whole").views(Side::Train, "stem").unwrap_err();
    insta::assert_snapshot!(text(folder.path(), &error), @"f: array train.views.stem: NaN at view 2, image 4, column 3 (views, images and columns count from 0)");
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
    insta::assert_snapshot!(fails(vec![epoch(1), nameless()]), @"final.npz: tells no epoch, which several files need (say it in the metadata key epoch, or in the name: epoch-0200.safetensors)");
    insta::assert_snapshot!(fails(vec![epoch(30), file("a.npz", &|_| ())]), @"a.npz: tells epoch 30, and so does 30.npz (say it in the metadata key epoch, or in the name: epoch-0200.safetensors)");
    insta::assert_snapshot!(fails(vec![epoch(1), file("a.npz", &|own| drop(own.stages.pop()))]), @"a.npz: stages patch, block2, but patch, block2, block10 in 1.npz (the files of one diagnosis show the same images at the same stages)");
    insta::assert_snapshot!(fails(vec![epoch(1), file("a.npz", &|own| own.names[1][2] = "other".into())]), @r#"a.npz: train.digests: image 2 has other, but unseen/ö "2", 日本.png in 1.npz (the files of one diagnosis show the same images at the same stages)"#);
    insta::assert_snapshot!(fails(vec![epoch(1), file("a.npz", &|own| own.labels[0][3] = 5)]), @"a.npz: train.labels: image 3 has 5, but 4294967295 in 1.npz (the files of one diagnosis show the same images at the same stages)");
    let more_views = |own: &mut Own| {
        for (_, views, _) in &mut own.stages {
            *views = [0, 1].map(|i| ndarray::concatenate![ndarray::Axis(0), views[i], views[i]]);
        }
    };
    insta::assert_snapshot!(fails(vec![epoch(1), file("a.npz", &more_views)]), @"a.npz: holds 4 views of 4 images, but 2 views of 4 images in 1.npz (the files of one diagnosis show the same images at the same stages)");
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
