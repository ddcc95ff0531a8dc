//! Corruptions against their published formulas, and what `@corrupt=..` promises.

use std::collections::BTreeSet;

use image::RgbImage;
use lethe::data;
use lethe::data::corruption::{CORRUPTIONS, Law};
use tch::{Kind, Tensor};

use crate::golden;
use crate::support::{lethe_err, lethe_ok};

fn bytes(tensor: &Tensor) -> Vec<u8> {
    Vec::try_from(tensor.contiguous().view(-1)).expect("bytes")
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).contiguous().view(-1)).expect("numbers")
}

#[test]
fn corruptions_are_those_of_cifar_10_c() {
    let case = golden::load("corruption");
    let image = RgbImage::from_raw(32, 32, bytes(case.get("image"))).expect("an image");
    for kind in CORRUPTIONS {
        for severity in 1..=5 {
            let level = severity as i64 - 1;
            let (drawn, means) = match kind.name {
                "gaussian-noise" => (numbers(case.get("gaussian-noise.drawn")), Vec::new()),
                "shot-noise" => {
                    let of = |name| numbers(&case.get(name).get(level));
                    (of("shot-noise.drawn"), of("shot-noise.mean"))
                }
                _ => Default::default(),
            };
            let mut asked = 0;
            let found = kind.apply(&image, severity, &mut |law| {
                match law {
                    Law::Normal => assert!(means.is_empty()),
                    Law::Poisson { mean } => assert!((mean - means[asked]).abs() < 1e-9),
                }
                asked += 1;
                drawn[asked - 1]
            });
            assert_eq!(asked, drawn.len(), "{}", kind.name);
            let expected = bytes(&case.get(kind.name).get(level));
            let other = found.as_raw().iter().zip(&expected).filter(|(f, e)| f != e).count();
            assert_eq!(other, 0, "bytes of {} {severity}", kind.name);
            assert_ne!(&found, &image, "{} {severity}", kind.name);
        }
    }
}

/// The same image has the same noise in every part, another image and another seed have another; labels stay.
#[test]
fn noise_belongs_to_the_image_and_the_seed() {
    let open = |spec: &str| data::open(spec).expect("a data set");
    let whole = open("shapes:n=40,size=16");
    let (all, part) =
        (open("shapes:n=40,size=16@corrupt=shot-noise"), open("shapes:n=40,size=16@n=9,skip=20,corrupt=shot-noise"));
    let other = open("shapes:n=40,size=16@corrupt=shot-noise,seed=1");
    let place = |name: String| name["shapes/".len()..].parse::<usize>().expect("a place");
    for i in 0..part.len() {
        let at = place(part.name(i));
        let find = |dataset: &dyn data::Dataset| (0..40).find(|&j| place(dataset.name(j)) == at).expect("it is there");
        let in_all = find(all.as_ref());
        assert_eq!(part.image(i), all.image(in_all));
        assert_ne!(part.image(i), whole.image(at));
        assert_ne!(part.image(i), other.image(find(other.as_ref())));
        assert_eq!(part.labels().expect("labels")[i], whole.labels().expect("labels")[at]);
    }
    // Every kind in turn; the mean of noise is the image's.
    let mixed = open("shapes:n=12,size=16@corrupt=all,severity=5");
    let changes: BTreeSet<Vec<u8>> = (0..12).map(|i| mixed.image(i).expect("an image").into_raw()).collect();
    assert_eq!(changes.len(), 12);
    let grey = RgbImage::from_pixel(100, 100, image::Rgb([100; 3]));
    let folder = crate::support::temp_dir();
    grey.save(folder.path().join("a.png")).expect("a temporary file");
    // Standard deviations: 0.1 of 255, and the square root of 50 * 100 / 255 photons. Bytes are cut off: half a step less.
    for (name, deviation) in [("gaussian-noise", 25.5), ("shot-noise", 255.0 * (50.0f64 * 100.0 / 255.0).sqrt() / 50.0)]
    {
        let spec = format!("{}@corrupt={name},severity=5", crate::support::text(folder.path()));
        let noisy = open(&spec).image(0).expect("an image");
        let values: Vec<f64> = noisy.as_raw().iter().map(|&byte| f64::from(byte)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let spread = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
        assert!((mean - 99.5).abs() < 0.8 && (spread - deviation).abs() < 0.5, "{name}: {mean} +- {spread}");
    }
}

#[test]
fn corruptions_that_are_not_there_are_refused() {
    let refused = |spec: &str| data::open(spec).err().expect("it is refused").to_string();
    assert_eq!(refused("shapes@corrupt=fog"), "@corrupt=fog: unknown corruption \"fog\"");
    assert_eq!(refused("shapes@corrupt=all,severity=6"), "@corrupt=all,severity=6: severity is 6, expected 1 to 5");
    assert_eq!(refused("shapes@severity=3"), "@severity=3: severity of what?");
    insta::assert_snapshot!(lethe_err(&["evaluate", "--encoder", "resnet18-w4", "--data", "shapes@corrupt=fog", "--test", "shapes"], 2), @r#"
    error: @corrupt=fog: unknown corruption "fog"
      hint: gaussian-noise, shot-noise, defocus-blur, brightness, contrast, pixelate, or all: a kind an image in turn
    "#);
}

/// The same images with labels of another cause: an untrained encoder tells colour, which `shapes` shows plainly, and
/// the training's labels do not leak into those of a cause that is independent of them.
#[test]
fn any_cause_can_be_the_label() {
    let table = lethe_ok(&[
        "evaluate",
        "--encoder",
        "resnet18-w4",
        "--data",
        "shapes:n=600,size=16,spurious=0,label=colour",
        "--test",
        "shapes:n=200,size=16,spurious=0,seed=2,label=colour",
        "--protocol",
        "linear",
        "--stage",
        "stage1",
        "--json",
    ]);
    let found: serde_json::Value = serde_json::from_str(&table).expect("JSON");
    let accuracy = found["rows"][0]["accuracy"]["linear"].as_f64().expect("a number");
    assert!(accuracy > 0.2, "{accuracy}");
}
