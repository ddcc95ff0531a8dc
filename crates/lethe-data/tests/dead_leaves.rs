//! Textured dead leaves: what is drawn, how it repeats, and how it is asked for.

use std::collections::HashSet;

use image::RgbImage;
use lethe_data::dead_leaves::{DeadLeaves, DeadLeavesSettings, Outline, Split};
use lethe_data::views::Normalize;
use lethe_data::{Dataset, SOURCES, absolute, is_random_split, open};
use rayon::prelude::*;

fn leaves(settings: DeadLeavesSettings) -> DeadLeaves {
    DeadLeaves::new(settings).expect("dead leaves")
}

fn refused(spec: &str) -> String {
    open(spec).err().unwrap_or_else(|| panic!("{spec} was opened")).to_string()
}

/// Thread count, order and the number of images change no pixel; seed and split change every image.
#[test]
fn images_repeat_and_differ() {
    let settings = DeadLeavesSettings { n: 64, ..DeadLeavesSettings::default() };
    let set = leaves(settings);
    let one_by_one: Vec<RgbImage> = (0..64).map(|i| set.draw(i)).collect();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let longer = leaves(DeadLeavesSettings { n: 1000, ..settings });
        let at_once: Vec<RgbImage> = pool.install(|| (0..64).into_par_iter().rev().map(|i| longer.draw(i)).collect());
        assert!(at_once.iter().rev().eq(&one_by_one), "{threads} threads");
    }
    let others = [DeadLeavesSettings { seed: 2, ..settings }, DeadLeavesSettings { split: Split::Test, ..settings }];
    let mut seen: HashSet<Vec<u8>> = one_by_one.into_iter().map(RgbImage::into_raw).collect();
    for other in others.map(leaves) {
        seen.extend((0..64).map(|i| other.draw(i).into_raw()));
    }
    assert_eq!(seen.len(), 3 * 64);
}

/// The pixels of image 0, so that a run can be made again by a later version. Sines of another machine may round otherwise.
#[test]
fn the_first_image_stays_as_it_is() {
    let image = leaves(DeadLeavesSettings { size: 8, ..DeadLeavesSettings::default() }).draw(0);
    let diagonal: Vec<u8> = (0..8).flat_map(|i| image.get_pixel(i, i).0).collect();
    let known = [
        [174, 182, 198],
        [137, 125, 159],
        [125, 138, 84],
        [129, 200, 128],
        [161, 167, 125],
        [160, 146, 116],
        [115, 99, 136],
        [143, 131, 151],
    ];
    assert!(diagonal.iter().zip(known.as_flattened()).all(|(a, b)| a.abs_diff(*b) <= 1), "{diagonal:?}");
}

#[test]
fn classes_are_about_equal_and_do_not_depend_on_the_size() {
    let small = leaves(DeadLeavesSettings { size: 8, ..DeadLeavesSettings::default() });
    let large = leaves(DeadLeavesSettings { size: 64, ..DeadLeavesSettings::default() });
    assert_eq!(small.labels(), large.labels());
    assert_eq!(small.classes(), ["ellipse", "triangle", "rectangle", "star", "ring"]);
    for outline in Outline::ALL {
        let count = small.labels().expect("labels").iter().filter(|&&label| label == outline as u32).count();
        assert!(count.abs_diff(400) < 90, "{}: {count} of 2000", outline.name());
    }
}

/// An image is many leaves: no colour fills it, the quarters differ, and neighbouring pixels are alike all the same. The
/// same leaves are drawn at every size.
#[test]
fn images_are_piles_of_leaves() {
    let (small, large) =
        (leaves(DeadLeavesSettings::default()), leaves(DeadLeavesSettings { size: 128, ..Default::default() }));
    let (mut near, mut far) = (0.0, 0.0);
    for i in 0..100 {
        let image = small.draw(i);
        let pixel = |x: u32, y: u32| image.get_pixel(x, y).0.map(f64::from);
        let distance = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>();
        let colours: HashSet<[u8; 3]> = image.pixels().map(|pixel| pixel.0.map(|value| value / 16)).collect();
        assert!(colours.len() > 20, "{i}: {} colours", colours.len());
        for (x, y) in (0..31).flat_map(|x| (0..16).map(move |y| (x, y))) {
            near += distance(pixel(x, y), pixel(x + 1, y));
            far += distance(pixel(x, y), pixel(31 - x, y + 16));
        }
        let shrunk = image::imageops::resize(&large.draw(i), 32, 32, image::imageops::FilterType::Triangle);
        let apart: f64 = shrunk.as_raw().iter().zip(image.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        assert!(apart / (32.0 * 32.0 * 3.0) < 10.0, "{i}: {}", apart / (32.0 * 32.0 * 3.0));
    }
    assert!(near < 0.6 * far, "neighbours differ by {near}, others by {far}");
}

/// The statistics that `--normalize dead-leaves` uses.
#[test]
fn images_have_the_mean_and_deviation_they_are_normalised_by() {
    let set = leaves(DeadLeavesSettings::default());
    let (mut sum, mut squares, mut count) = ([0.0f64; 3], [0.0f64; 3], 0.0);
    for i in 0..set.len() {
        for pixel in set.draw(i).pixels() {
            for (channel, &byte) in pixel.0.iter().enumerate() {
                let value = f64::from(byte) / 255.0;
                sum[channel] += value;
                squares[channel] += value * value;
            }
            count += 1.0;
        }
    }
    let mean = sum.map(|sum| sum / count);
    let std: [f64; 3] = std::array::from_fn(|c| (squares[c] / count - mean[c] * mean[c]).sqrt());
    let known = Normalize::named(set.normalization()).expect("a known name");
    let near = |a: f64, b: f32| (a - f64::from(b)).abs() < 0.005;
    let all = (0..3).all(|c| near(mean[c], known.mean[c]) && near(std[c], known.std[c]));
    assert!(all, "mean {mean:?}, std {std:?}");
}

#[test]
fn specifications_are_read_or_refused() {
    let settings = DeadLeavesSettings::parse("dead-leaves:n=7, size=16,seed=3,split=test").expect("a specification");
    assert_eq!(settings, DeadLeavesSettings { n: 7, size: 16, seed: 3, split: Split::Test });
    for spec in ["dead-leaves", "dead-leaves:"] {
        assert_eq!(DeadLeavesSettings::parse(spec).expect("a specification"), DeadLeavesSettings::default());
        assert_eq!(open(spec).expect("dead leaves").name(17), "dead-leaves/17");
    }
    let part = open("dead-leaves:n=20@n=5,skip=2").expect("a part");
    assert_eq!((part.len(), part.image(0).expect("an image").dimensions()), (5, (32, 32)));
    assert_eq!(refused("dead-leaves:n=0"), "dead-leaves:n=0: n is 0, expected 1 to 100000000");
    assert_eq!(refused("dead-leaves:size=4"), "dead-leaves:size=4: size is 4, expected 8 to 1024 pixels");
    assert_eq!(refused("dead-leaves:size=2000"), "dead-leaves:size=2000: size is 2000, expected 8 to 1024 pixels");
    assert_eq!(refused("dead-leaves:seed=x"), "dead-leaves:seed=x: seed is \"x\", expected a whole number");
    assert_eq!(refused("dead-leaves:split=all"), "dead-leaves:split=all: split is \"all\", expected train or test");
    assert_eq!(refused("dead-leaves:leaves=3"), "dead-leaves:leaves=3: unknown key \"leaves\"");
    assert_eq!(absolute("dead-leaves"), "dead-leaves:");
    assert_eq!(absolute("dead-leaves@n=5"), "dead-leaves:@n=5");
    for source in SOURCES.iter().filter(|source| source.kind == "dead-leaves") {
        let specs = source.example.split_whitespace().filter(|word| !word.starts_with("--"));
        assert_eq!(specs.map(|spec| open(spec).expect("an example that opens").len()).collect::<Vec<_>>(), [250, 250]);
    }
}

#[test]
fn other_draws_of_one_law_are_a_random_split() {
    let split = "dead-leaves:n=50,split=test";
    for (first, second, expected) in [
        ("dead-leaves:n=50", split, true),
        ("dead-leaves:n=50,seed=1", "dead-leaves:n=70,seed=2", true),
        ("dead-leaves:n=50", "dead-leaves:n=70", false),
        ("dead-leaves:n=50,size=16", split, false),
        ("shapes:n=50", split, false),
    ] {
        assert_eq!(is_random_split(first, second), expected, "{first} {second}");
        assert_eq!(is_random_split(second, first), expected, "{second} {first}");
    }
}
