//! Matrices and labels.

use lethe_data::feature_file::{parse, parse_labels, read, read_labels, write};
use ndarray::{Array2, Ix2, array};
use tempfile::tempdir;

use crate::case::{Case, mutate};

fn matrix(case: &Case, name: &str) -> Array2<f64> {
    case.array(name).into_dimensionality::<Ix2>().expect("a matrix")
}

#[test]
fn every_format_of_numpy_and_torch_is_read() {
    let case = Case::load("matrices");
    let expected = matrix(&case, "matrix");
    let labels = case.labels("labels");
    let (mut matrices, mut label_files) = (0, 0);
    for name in case.names() {
        if name.starts_with("matrix_") {
            let file = parse(&case.file(&name), None).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(file.matrices, [(String::new(), expected.clone())], "{name}");
            matrices += 1;
        } else if name.starts_with("features_") {
            let file = parse(&case.file(&name), None).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(file.matrices, [("features".to_owned(), expected.clone())], "{name}");
            assert_eq!(file.labels.as_ref(), Some(&labels), "{name}");
            matrices += 1;
        } else if name.starts_with("labels_") {
            assert_eq!(parse_labels(&case.file(&name)).expect(&name), labels, "{name}");
            label_files += 1;
        }
    }
    assert_eq!((matrices, label_files), (13, 11));
}

#[test]
fn other_arrays_are_refused_by_name() {
    let case = Case::load("matrices");
    let bytes = |name: &str| case.file(name);
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
    let (folder, stages, labels) = (tempdir().expect("a folder"), stages(), [4u32, 0, 0, u32::MAX, 1]);
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

/// NumPy's own bytes, but for a comma more in the sizes; the script of the case has NumPy read just these.
#[test]
fn an_npy_is_written_as_numpy_reads_it() {
    let (numpy, case) = (Case::load("matrices"), Case::load("feature_files"));
    let stage = ("stem".to_owned(), matrix(&numpy, "matrix").mapv(|value| value as f32));
    let folder = tempdir().expect("a folder");
    write(&folder.path().join("written.npy"), &[stage], Some(&[0, 1, 2, 3, 4, 5])).expect("written");
    for name in ["written.npy", "written.labels.npy"] {
        assert_eq!(std::fs::read(folder.path().join(name)).expect("a file"), case.file(name), "{name}");
    }
    let (ours, theirs) = (case.file("written.npy"), numpy.file("matrix_<f4.npy"));
    let header = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..128]).replace("4, )", "4)").trim_end().to_owned();
    assert_eq!(header(&ours), header(&theirs));
    assert_eq!(ours[128..], theirs[128..]);
}

#[test]
fn an_npz_has_names_and_labels() {
    let case = Case::load("feature_files");
    let file = parse(&case.file("matrix.npz"), None).expect("read");
    assert_eq!(file.matrices, [("features".to_owned(), matrix(&case, "expected train.plain.stem"))]);
    assert_eq!(file.labels.as_deref(), Some(&[0, 1, 1, 0, 2][..]));
    assert_eq!(parse_labels(&case.file("matrix.npz")).expect("labels"), [0, 1, 1, 0, 2]);

    let (folder, stages, labels) = (tempdir().expect("a folder"), stages(), [4u32, 0, 0, u32::MAX, 1]);
    let path = folder.path().join("all.npz");
    write(&path, &stages, Some(&labels)).expect("written");
    let file = read(&path, None).expect("read");
    let expected: Vec<_> = stages.iter().map(|(name, matrix)| (name.clone(), matrix.mapv(f64::from))).collect();
    assert_eq!(file.matrices, expected, "in the order of the encoder");
    assert_eq!(file.labels.as_deref(), Some(&labels[..]));
    assert_eq!(read(&path, Some("block2")).expect("read").matrices, expected[2..3]);
    insta::assert_snapshot!(read(&path, Some("labels")).unwrap_err().to_string().replace(&path.display().to_string(), "all.npz"), @"all.npz: --key labels: no 2-D float array of that name, but stem <f4 [5, 2], block1 <f4 [5, 3], block2 <f4 [5, 4], block10 <f4 [5, 5], ...");
}

/// Sizes whose product overflows, brackets in brackets, sizes in other bases, values that take no bytes.
#[test]
fn hostile_headers_are_refused() {
    let npy = |header: &str| {
        let header = format!("{header:117}\n");
        [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat()
    };
    let deep = format!("{}{}", "(".repeat(4_000), ")".repeat(4_000));
    for header in [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9223372036854775807, 9223372036854775807), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0xffffffffffffffff, 0xffffffffffffffff), }",
        "{'descr': '<U0', 'fortran_order': False, 'shape': (999999999999999999,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 4, }",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (1, 1), }",
        "{'descr': '<f4', 'shape': (1, 1), }",
        &deep,
    ] {
        for bytes in [npy(header), [npy(header), vec![0; 4]].concat()] {
            assert_eq!(parse(&bytes, None).unwrap_err().to_string(), "is not a whole .npy: its header is broken");
            assert!(parse_labels(&bytes).is_err());
        }
    }
    let nested = npy(&format!("{}1{}", "[".repeat(4_000), "]".repeat(4_000)));
    assert!(parse(&nested, None).is_err());
}

#[test]
fn a_csv_has_a_header_and_the_label_last() {
    let folder = tempdir().expect("a folder");
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
    let case = Case::load("matrices");
    let names = case.names();
    let files = names.iter().filter(|name| name.ends_with(".npy") || name.ends_with(".safetensors"));
    let seeds: Vec<Vec<u8>> = files.map(|name| case.file(name)).collect();
    let mut rng = lethe_data::rng::once(0, lethe_data::rng::Purpose::Sample);
    let mut read = 0;
    for round in 0..100_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        mutate(&mut bytes, 140, &mut rng);
        read += usize::from(parse(&bytes, None).is_ok()) + usize::from(parse_labels(&bytes).is_ok());
    }
    assert!((1_000..100_000).contains(&read), "{read} of the mutated files were still whole");
}
