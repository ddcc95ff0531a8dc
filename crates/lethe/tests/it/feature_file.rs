//! Files of features: those of NumPy and PyTorch are read, what is written reads back, and no broken byte panics.

use lethe::feature_file::{parse, parse_labels, read, read_labels, write};
use ndarray::{Array2, array};
use rand::RngExt;

use crate::golden;
use crate::support::temp_dir;

/// The content of a file that a case keeps as bytes.
fn content(tensor: &tch::Tensor) -> Vec<u8> {
    Vec::try_from(tensor).expect("bytes")
}

fn matrix(tensor: &tch::Tensor) -> Array2<f64> {
    let size: Vec<usize> = tensor.size().iter().map(|&size| size as usize).collect();
    let values = Vec::<f64>::try_from(tensor.flatten(0, -1)).expect("float64");
    Array2::from_shape_vec((size[0], size[1]), values).expect("a matrix")
}

#[test]
fn every_format_of_numpy_and_torch_is_read() {
    let case = golden::load("feature_file");
    let expected = matrix(case.get("matrix"));
    let labels: Vec<u32> =
        Vec::<i64>::try_from(case.get("labels")).expect("int64").iter().map(|&label| label as u32).collect();
    let (mut matrices, mut label_files) = (0, 0);
    for (name, tensor) in case.iter() {
        if name.starts_with("matrix_") {
            let file = parse(&content(tensor), None).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(file.matrices, [(String::new(), expected.clone())], "{name}");
            matrices += 1;
        } else if name.starts_with("features_") {
            let file = parse(&content(tensor), None).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(file.matrices, [("features".to_owned(), expected.clone())], "{name}");
            assert_eq!(file.labels.as_ref(), Some(&labels), "{name}");
            matrices += 1;
        } else if name.starts_with("labels_") {
            assert_eq!(parse_labels(&content(tensor)).expect(name), labels, "{name}");
            label_files += 1;
        }
    }
    assert_eq!((matrices, label_files), (13, 11));
}

#[test]
fn other_arrays_are_refused_by_name() {
    let case = golden::load("feature_file");
    let bytes = |name: &str| content(case.get(name));
    let refused = |name: &str| parse(&bytes(name), None).unwrap_err().to_string();
    insta::assert_snapshot!(refused("broken_complex.npy"), @"holds <c8 of shape [6, 4], expected float16, float32 or float64");
    insta::assert_snapshot!(refused("broken_one_dimension.npy"), @"holds <f8 of shape [24], expected a 2-D array, a row an image");
    insta::assert_snapshot!(refused("broken_records.npy"), @"holds records, expected plain numbers");
    insta::assert_snapshot!(refused("labels_<i8.npy"), @"holds <i8 of shape [6], expected a 2-D array, a row an image");
    let refused = |name: &str| parse_labels(&bytes(name)).unwrap_err().to_string();
    insta::assert_snapshot!(refused("broken_negative.npy"), @"the label of row 0 is not within 0 to 4294967295");
    insta::assert_snapshot!(refused("broken_float_labels.npy"), @"holds <f4 of shape [6], expected a 1-D array of integers");
    insta::assert_snapshot!(refused("matrix_<f8.npy"), @"holds <f8 of shape [6, 4], expected a 1-D array of integers");

    let whole = bytes("matrix_<f4.npy");
    insta::assert_snapshot!(parse(&whole[..whole.len() - 1], None).unwrap_err(), @"is not a whole .npy: shape [6, 4] of <f4 does not fit the 95 bytes it holds");
    insta::assert_snapshot!(parse(&whole[..40], None).unwrap_err(), @"is not a whole .npy: its header is broken");
    let whole = bytes("features_torch.float32.safetensors");
    insta::assert_snapshot!(parse(&whole[..whole.len() - 1], None).unwrap_err(), @"is not a whole safetensors file: incomplete metadata, file not fully covered");
    insta::assert_snapshot!(parse(&whole, Some("labels")).unwrap_err(), @"--key labels: no 2-D float tensor of that name, but labels I64 [6], step I64 [], features F32 [6, 4]");
}

fn stages() -> Vec<(String, Array2<f32>)> {
    ["stem", "block1", "block2", "block10"]
        .iter()
        .zip(2..)
        .map(|(name, d)| (name.to_string(), Array2::from_shape_fn((5, d), |(i, j)| i as f32 / 3.0 - j as f32)))
        .collect()
}

#[test]
fn what_is_written_reads_back() {
    let (folder, stages, labels) = (temp_dir(), stages(), [4u32, 0, 0, u32::MAX, 1]);
    let path = folder.path().join("all.safetensors");
    write(&path, &stages, Some(&labels)).expect("written");
    let file = read(&path, None).expect("read");
    let expected: Vec<_> = stages.iter().map(|(name, matrix)| (name.clone(), matrix.mapv(f64::from))).collect();
    assert_eq!(file.matrices, expected, "in the order of the encoder");
    assert_eq!(file.labels.as_deref(), Some(&labels[..]));
    assert_eq!(read(&path, Some("block2")).expect("read").matrices, expected[2..3]);

    let path = folder.path().join("one.npy");
    write(&path, &stages[..1], Some(&labels)).expect("written");
    assert_eq!(read(&path, None).expect("read").matrices[0].1, expected[0].1);
    assert_eq!(read_labels(&folder.path().join("one.labels.npy")).expect("read"), labels);

    let several = write(&path, &stages, None).unwrap_err();
    assert!(several.to_string().ends_with("one.npy: holds one stage, not 4"), "{several}");
    assert!(write(&folder.path().join("one.txt"), &stages, None).is_err());
}

#[test]
fn an_npy_is_written_as_numpy_writes_it() {
    let case = golden::load("feature_file");
    let stage = ("stem".to_owned(), matrix(case.get("matrix")).mapv(|value| value as f32));
    let labels: Vec<u32> =
        Vec::<i64>::try_from(case.get("labels")).expect("int64").iter().map(|&label| label as u32).collect();
    let folder = temp_dir();
    write(&folder.path().join("f.npy"), &[stage], Some(&labels)).expect("written");
    let written = |name| std::fs::read(folder.path().join(name)).expect("a file");
    assert_eq!(written("f.npy"), content(case.get("matrix_<f4.npy")));
    assert_eq!(written("f.labels.npy"), content(case.get("labels_<i8.npy")));
}

#[test]
fn a_csv_has_a_header_and_the_label_last() {
    let folder = temp_dir();
    let path = folder.path().join("f.csv");
    let stage = ("stem".to_owned(), array![[0.1f32, -2.0], [1e-9, 3.5]]);
    write(&path, &[stage], Some(&[7, 8])).expect("written");
    insta::assert_snapshot!(std::fs::read_to_string(&path).expect("a file"), @r"
    f0,f1,label
    0.1,-2,7
    0.000000001,3.5,8
    ");
}

/// Bytes changed, cut, doubled and inserted, mostly in the header: an error or a file, never a panic.
#[test]
fn mutated_files_never_panic() {
    let case = golden::load("feature_file");
    let seeds: Vec<Vec<u8>> = case
        .iter()
        .filter(|(name, _)| name.ends_with(".npy") || name.ends_with(".safetensors"))
        .map(|(_, tensor)| content(tensor))
        .collect();
    let mut rng = lethe::rng::once(0, lethe::rng::Purpose::Sample);
    let mut read = 0;
    for round in 0..100_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..rng.random_range(1..6) {
            let within = if rng.random_bool(0.8) { bytes.len().min(140) } else { bytes.len() };
            let at = rng.random_range(0..within.max(1));
            match rng.random_range(0..6) {
                0 if at < bytes.len() => bytes[at] = rng.random(),
                1 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
                2 => bytes.truncate(at),
                3 => bytes.insert(at.min(bytes.len()), rng.random()),
                4 if at < bytes.len() => bytes[at] = b"0123456789(){},'<>="[rng.random_range(0..19)],
                _ => bytes.extend_from_within(at.min(bytes.len())..),
            }
        }
        read += usize::from(parse(&bytes, None).is_ok()) + usize::from(parse_labels(&bytes).is_ok());
    }
    assert!((1_000..100_000).contains(&read), "{read} of the mutated files were still whole");
}
