//! Fingerprints against NumPy, by `golden/fingerprint/make.py`.

use image::RgbImage;
use lethe_data::fingerprint::{Fingerprint, digest};
use safetensors::SafeTensors;

fn case() -> SafeTensors<'static> {
    SafeTensors::deserialize(include_bytes!("golden/fingerprint/case.safetensors")).expect("a safetensors file")
}

fn picture(case: &SafeTensors, name: &str) -> RgbImage {
    let tensor = case.tensor(name).expect("an image");
    let &[height, width, 3] = tensor.shape() else { panic!("{name}: {:?}", tensor.shape()) };
    RgbImage::from_raw(width as u32, height as u32, tensor.data().to_vec()).expect("whole rows")
}

const PICTURES: [&str; 7] = ["a", "noisy", "enlarged", "other", "wide", "small", "flat"];

#[test]
fn fingerprints_are_those_of_numpy() {
    let case = case();
    for name in PICTURES {
        let print = Fingerprint::of(&picture(&case, name));
        let bytes = |what: &str| case.tensor(&format!("{name}.{what}")).expect("a tensor").data();
        assert_eq!(print.digest, bytes("digest"), "{name}");
        assert_eq!(print.digest, digest(&picture(&case, name)));
        assert_eq!(print.thumbnail, bytes("thumbnail"), "{name}");
        let (signs, _) = bytes("hash").as_chunks::<8>();
        let hash = signs.iter().enumerate().fold(0, |hash, (i, &sign)| hash | u64::from_le_bytes(sign) << (i + 1));
        if name != "flat" {
            assert_eq!(print.hash, hash, "{name}");
        }
    }
}

#[test]
fn likeness_is_that_of_numpy() {
    let case = case();
    let print = |name: &str| Fingerprint::of(&picture(&case, name));
    let names = &PICTURES[..6];
    for (first, second) in names.iter().flat_map(|first| names.iter().map(move |second| (first, second))) {
        let found = print(first).likeness(&print(second));
        let tensor = case.tensor(&format!("{first} {second}")).expect("a tensor");
        let (expected, _) = tensor.data().as_chunks::<8>();
        let expected: Vec<f64> = expected.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
        assert_eq!(f64::from(found.bits), expected[0], "{first} {second}");
        assert!((found.difference - expected[1]).abs() < 1e-9, "{first} {second}: {found:?} {expected:?}");
        assert!((found.correlation - expected[2]).abs() < 1e-9, "{first} {second}: {found:?} {expected:?}");
        let one_picture = ["a", "noisy", "enlarged"];
        let same = first == second || one_picture.contains(first) && one_picture.contains(second);
        assert_eq!(print(first).is_near(&print(second)), same, "{first} {second}: {found:?}");
    }
    // What is flat is like nothing.
    assert!(names.iter().chain(&["flat"]).all(|name| !print(name).is_near(&print("flat"))));
}
