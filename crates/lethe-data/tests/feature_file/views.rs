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
    insta::assert_snapshot!(fails("views.npy", None, Some(5)), @"views.npy: shape [3, 5, 4] holds 3 views an image, --views says 5");
    insta::assert_snapshot!(fails("views.npy", Some("views"), None), @"views.npy: an .npy has one array without a name, so --key does not apply");
    insta::assert_snapshot!(fails("rows.npy", None, None), @"rows.npy: shape [15, 4], expected [q views, n images, d] (--views Q takes every Q rows for the views of one image)");
    insta::assert_snapshot!(fails("rows.npy", None, Some(4)), @"rows.npy: 15 rows do not fall into images of 4 rows each (--views Q: rows i Q to i Q + Q - 1 are the views of image i)");
    insta::assert_snapshot!(fails("rows.npy", None, Some(1)), @"rows.npy: --views: expected at least 2 views an image");
    insta::assert_snapshot!(fails("views.npz", Some("labels"), None), @"views.npz: array labels: holds <i8 of shape [5], expected float16, float32 or float64");
    insta::assert_snapshot!(fails("views.npz", Some("rows"), None), @"views.npz: --key rows: no array of that name, but views <f4 [3, 5, 4], labels <i8 [5]");
    insta::assert_snapshot!(fails("blocks stored.npz", None, None), @"blocks stored.npz: several arrays: train.views.stem <f4 [3, 5, 4], train.views.block2 <f4 [3, 5, 6], train.views.block10 <f4 [3, 5, 6], train.plain.stem <f4 [5, 4], ... (--key NAME chooses one)");

    let npy = |name: &str, shape: [usize; 3], values: &[f64]| {
        let shape = shape.map(|size| size.to_string()).join(", ");
        let header = format!("{:117}\n", format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}"));
        let length = (header.len() as u16).to_le_bytes();
        let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let bytes = [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), &values].concat();
        std::fs::write(folder.path().join(name), bytes).expect("written");
    };
    npy("one.npy", [1, 2, 2], &[0.0; 4]);
    insta::assert_snapshot!(fails("one.npy", None, None), @"one.npy: 1 view an image, expected at least 2 (memorisation is told from several random views of every image)");
    npy("empty.npy", [2, 0, 2], &[]);
    insta::assert_snapshot!(fails("empty.npy", None, None), @"empty.npy: shape [2, 0, 2]: there is nothing in it");
    npy("nan.npy", [2, 2, 2], &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, f64::NAN]);
    insta::assert_snapshot!(fails("nan.npy", None, None), @"nan.npy: NaN at view 1, image 1, column 1 (views, images and columns count from 0)");
    npy("infinity.npy", [2, 2, 2], &[0.0, 0.0, f64::NEG_INFINITY, 0.0, 0.0, 0.0, 0.0, f64::NAN]);
    insta::assert_snapshot!(fails("infinity.npy", None, None), @"infinity.npy: infinity at view 0, image 1, column 0 (views, images and columns count from 0)");
    std::fs::write(folder.path().join("text.npy"), "0.5 0.25").expect("written");
    insta::assert_snapshot!(fails("text.npy", None, None), @r#"text.npy: is neither .npy, .npz nor safetensors (numpy.save("F.npy", features) writes one)"#);
}
