//! One array of random views.

use lethe_data::feature_file::read_views;
use ndarray::{Array3, Ix3};
use tempfile::tempdir;

use crate::case::{Case, text};

#[test]
fn views_are_read_from_every_format() {
    let (case, folder) = (Case::load("feature_files"), tempdir().expect("a folder"));
    let expected: Array3<f64> = case.array("expected train.views.stem").into_dimensionality::<Ix3>().expect("3-D");
    let put = |name: &str| case.put(name, folder.path());
    for (file, key, views) in [
        ("views.npy", None, None),
        ("views.npy", None, Some(3)),
        ("rows.npy", None, Some(3)),
        ("views.npz", None, None),
        ("views.npz", Some("views"), None),
        ("blocks deflated.npz", Some("train.views.stem"), None),
        ("blocks.safetensors", Some("train.views.stem"), None),
    ] {
        let found = read_views(&put(file), key, views).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(found, expected, "{file}");
        assert!(found.is_standard_layout(), "{file}");
    }
    let fortran = read_views(&put("blocks mixed.npz"), Some("train.views.block2"), None).expect("read");
    assert_eq!(fortran.into_dyn(), case.array("exact train.views.block2"));
}

#[test]
fn what_holds_no_views_is_refused() {
    let (case, folder) = (Case::load("feature_files"), tempdir().expect("a folder"));
    let fails = |file: &str, key: Option<&str>, views: Option<usize>| {
        let path =
            if folder.path().join(file).exists() { folder.path().join(file) } else { case.put(file, folder.path()) };
        text(folder.path(), &read_views(&path, key, views).unwrap_err())
    };
    insta::assert_snapshot!(fails("views.npy", None, Some(5)), @"");
    insta::assert_snapshot!(fails("views.npy", Some("views"), None), @"");
    insta::assert_snapshot!(fails("rows.npy", None, None), @"");
    insta::assert_snapshot!(fails("rows.npy", None, Some(4)), @"");
    insta::assert_snapshot!(fails("rows.npy", None, Some(1)), @"");
    insta::assert_snapshot!(fails("views.npz", Some("labels"), None), @"");
    insta::assert_snapshot!(fails("views.npz", Some("rows"), None), @"");
    insta::assert_snapshot!(fails("blocks stored.npz", None, None), @"");

    let npy = |name: &str, shape: [usize; 3], values: &[f64]| {
        let shape = shape.map(|size| size.to_string()).join(", ");
        let header = format!("{:117}\n", format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}"));
        let length = (header.len() as u16).to_le_bytes();
        let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let bytes = [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), &values].concat();
        std::fs::write(folder.path().join(name), bytes).expect("written");
    };
    npy("one.npy", [1, 2, 2], &[0.0; 4]);
    insta::assert_snapshot!(fails("one.npy", None, None), @"");
    npy("empty.npy", [2, 0, 2], &[]);
    insta::assert_snapshot!(fails("empty.npy", None, None), @"");
    npy("nan.npy", [2, 2, 2], &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, f64::NAN]);
    insta::assert_snapshot!(fails("nan.npy", None, None), @"");
    npy("infinity.npy", [2, 2, 2], &[0.0, 0.0, f64::NEG_INFINITY, 0.0, 0.0, 0.0, 0.0, f64::NAN]);
    insta::assert_snapshot!(fails("infinity.npy", None, None), @"");
    std::fs::write(folder.path().join("text.npy"), "0.5 0.25").expect("written");
    insta::assert_snapshot!(fails("text.npy", None, None), @"");
}
