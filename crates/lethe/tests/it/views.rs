//! Operations against torchvision, their drawing against its distributions, the loader against its promises.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::RgbImage;
use lethe::data::{self, Dataset, Fault};
use lethe::loader::*;
use lethe::nn::Weights;
use lethe::rng::{self, Purpose, Rng};
use lethe::views::*;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::support;

fn drawing(index: u64) -> Rng {
    rng::keyed(3, Purpose::View, 0, index, 0)
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).contiguous().view(-1)).expect("numbers")
}

fn picture(case: &Weights, name: &str) -> RgbImage {
    let tensor = case.get(name);
    let bytes: Vec<u8> = Vec::try_from(tensor.contiguous().view(-1)).expect("bytes");
    RgbImage::from_raw(tensor.size()[1] as u32, tensor.size()[0] as u32, bytes).expect("h x w x 3 bytes")
}

fn floats(image: &RgbImage) -> Vec<f32> {
    image.as_raw().iter().map(|&byte| f32::from(byte) / 255.0).collect()
}

fn assert_near(what: &str, found: &[f32], expected: &Tensor, tolerance: f64) {
    let expected = values(expected);
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(expected).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
    assert!(worst <= tolerance, "{what}: largest difference {worst:e} > {tolerance:e}");
}

/// Values lie in [0, 1], so this is 10 roundings of f32.
const TOLERANCE: f64 = 1e-6;

#[test]
fn operations_equal_torchvision() {
    let case = crate::golden::load("views");
    let small = picture(&case, "small.image");
    let side = small.width() as usize;
    let mut spare = Vec::new();
    let each = |name: &str, tolerance: f64, op: &mut dyn FnMut(&mut [f32], f32)| {
        let expected = case.get(&format!("{name}.output"));
        for (i, parameter) in values(case.get(&format!("{name}.parameters"))).into_iter().enumerate() {
            let mut pixels = floats(&small);
            op(&mut pixels, parameter as f32);
            assert_near(&format!("{name} {parameter}"), &pixels, &expected.get(i as i64), tolerance);
        }
    };
    each("brightness", TOLERANCE, &mut adjust_brightness);
    each("contrast", TOLERANCE, &mut adjust_contrast);
    each("saturation", TOLERANCE, &mut adjust_saturation);
    each("hue", TOLERANCE, &mut adjust_hue);
    each("solarize", TOLERANCE, &mut solarize);
    each("blur", TOLERANCE, &mut |pixels, sigma| gaussian_blur(pixels, side, sigma, &mut spare));

    let check = |name: &str, tolerance: f64, op: &mut dyn FnMut(&mut [f32])| {
        let mut pixels = floats(&small);
        op(&mut pixels);
        assert_near(name, &pixels, case.get(&format!("{name}.output")), tolerance);
    };
    check("grayscale", TOLERANCE, &mut grayscale);
    check("flip", TOLERANCE, &mut |pixels| flip(pixels, side));
    // Jitter chains four operations; normalised values lie within +-2.
    let jitter = Jitter { order: [2, 3, 1, 0], brightness: 1.2, contrast: 0.6, saturation: 1.5, hue: 0.13 };
    check("jitter", 4.0 * TOLERANCE, &mut |pixels| jitter.apply(pixels));
    check("normalize", 2.0 * TOLERANCE, &mut |pixels| {
        let out = Normalize::named("cifar10").expect("a known name");
        let before = pixels.to_vec();
        out.write(&before, pixels);
    });
}

#[test]
fn crops_equal_torchvision() {
    let case = crate::golden::load("views");
    let (small, wide) = (picture(&case, "small.image"), picture(&case, "wide.image"));
    let mut resizer = Resizer::default();
    for i in 0..7 {
        let p: Vec<i64> = Vec::try_from(case.get(&format!("crop.{i}.parameters"))).expect("whole numbers");
        let image = if p[0] == 0 { &small } else { &wide };
        let crop = CropBox { top: p[1] as u32, left: p[2] as u32, height: p[3] as u32, width: p[4] as u32 };
        let (height, width) = (p[5] as usize, p[6] as usize);
        let mut out = vec![0.0; 3 * height * width];
        resized_crop(image, crop, width, height, &mut resizer, &mut out);
        assert_near(&format!("crop {p:?}"), &out, case.get(&format!("crop.{i}.output")), TOLERANCE);
    }
    for (name, image) in [("small", &small), ("wide", &wide), ("wide_up", &wide)] {
        let expected = case.get(&format!("centre.{name}.output"));
        let side = expected.size()[0] as usize;
        let mut out = vec![0.0; 3 * side * side];
        resize_and_centre_crop(image, side, &mut resizer, &mut out);
        assert_near(&format!("centre {name}"), &out, expected, TOLERANCE);
    }
}

/// Resized as a whole, such an image would take 18 GB.
#[test]
fn the_middle_of_a_very_long_image_costs_no_more_than_it_is() {
    let side = 224;
    let long = |width, height| RgbImage::from_fn(width, height, |x, y| image::Rgb([((x + y) / 118) as u8; 3]));
    let mut resizer = Resizer::default();
    for image in [long(30_000, 1), long(1, 30_000)] {
        let mut out = vec![0.0; 3 * side * side];
        resize_and_centre_crop(&image, side, &mut resizer, &mut out);
        assert!(out.iter().all(|value| (value - 127.0 / 255.0).abs() < 1e-6), "one pixel, many times its size");
    }
}

/// Decoders round the inverse cosine transform and the colour transform differently, and interpolate halved colour
/// planes differently; Pillow's is libjpeg-turbo.
#[test]
fn jpeg_decodes_as_pillow_does() {
    let case = crate::golden::load("views");
    let folder = support::temp_dir();
    for (name, most, mean) in [("420", 3.0, 0.4), ("444", 2.0, 0.05), ("grey", 1.0, 0.02)] {
        let bytes: Vec<u8> = Vec::try_from(case.get(&format!("jpeg.{name}.file"))).expect("bytes");
        std::fs::write(folder.path().join(format!("{name}.jpg")), bytes).expect("a temporary file");
        let dataset = data::open(support::text(folder.path())).expect("a folder of images");
        let i = (0..dataset.len()).find(|&i| dataset.name(i).ends_with(&format!("{name}.jpg"))).expect("it is there");
        let found = dataset.image(i).expect("it decodes");
        let expected = values(case.get(&format!("jpeg.{name}.output")));
        let differences: Vec<f64> =
            found.as_raw().iter().zip(expected).map(|(&f, e)| (f64::from(f) - e).abs()).collect();
        let worst = differences.iter().copied().fold(0.0, f64::max);
        let average = differences.iter().sum::<f64>() / differences.len() as f64;
        assert!(worst <= most && average <= mean, "{name}: largest difference {worst} of 255, mean {average}");
    }
}

#[test]
fn crop_boxes_have_torchvisions_distribution() {
    let crop = RandomResizedCrop::with_scale(0.08, 1.0);
    let n = 20_000;
    let boxes: Vec<CropBox> = (0..n).map(|i| crop.draw(500, 400, &mut drawing(i))).collect();
    let areas: Vec<f64> = boxes.iter().map(|b| f64::from(b.width * b.height) / 200_000.0).collect();
    let ratios: Vec<f64> = boxes.iter().map(|b| f64::from(b.width) / f64::from(b.height)).collect();
    for (b, (area, ratio)) in boxes.iter().zip(areas.iter().zip(&ratios)) {
        assert!(b.left + b.width <= 500 && b.top + b.height <= 400, "{b:?}");
        assert!((0.079..=1.0).contains(area) && (0.74..=1.35).contains(ratio), "{b:?}");
    }
    // Where nearly every try fits the area is uniform and the ratio log-uniform: compare quantiles. Standard errors are
    // below 0.004.
    let quantile = |values: &mut Vec<f64>, q: f64| {
        values.sort_by(f64::total_cmp);
        values[(q * values.len() as f64) as usize]
    };
    let fitting: Vec<usize> = (0..n as usize).filter(|&i| areas[i] < 0.58).collect();
    let mut small_areas: Vec<f64> = fitting.iter().map(|&i| areas[i]).collect();
    let mut small_ratios: Vec<f64> = fitting.iter().map(|&i| ratios[i].ln()).collect();
    let log = (4.0f64 / 3.0).ln();
    for q in [0.1, 0.25, 0.5, 0.75, 0.9] {
        let (area, ratio) = (quantile(&mut small_areas, q), quantile(&mut small_ratios, q));
        assert!((area - (0.08 + q * 0.5)).abs() < 0.015, "area at {q}: {area}");
        assert!((ratio - (2.0 * q - 1.0) * log).abs() < 0.015, "log ratio at {q}: {ratio}");
    }
    // Position is uniform over what is left: the mean of left / room is one half.
    let rooms = boxes.iter().filter(|b| b.width < 450);
    let places: Vec<f64> = rooms.map(|b| f64::from(b.left) / f64::from(500 - b.width)).collect();
    let mean = places.iter().sum::<f64>() / places.len() as f64;
    assert!((mean - 0.5).abs() < 0.02, "{mean}");
}

#[test]
fn a_crop_that_never_fits_is_the_middle() {
    let crop = RandomResizedCrop::with_scale(0.9, 1.0);
    let wide = crop.draw(1000, 10, &mut drawing(0));
    assert_eq!(wide, CropBox { left: 493, top: 0, width: 13, height: 10 });
    let tall = crop.draw(10, 1000, &mut drawing(0));
    assert_eq!(tall, CropBox { left: 0, top: 493, width: 10, height: 13 });
    assert_eq!(crop.draw(1, 1, &mut drawing(0)), CropBox { left: 0, top: 0, width: 1, height: 1 });
}

#[test]
fn jitter_draws_torchvisions_ranges_in_every_order() {
    let jitter = ColorJitter { brightness: 0.8, contrast: 1.2, saturation: 0.4, hue: 0.2 };
    let drawn: Vec<Jitter> = (0..4800).map(|i| jitter.draw(&mut drawing(i))).collect();
    let range = |of: fn(&Jitter) -> f32| {
        let values: Vec<f32> = drawn.iter().map(of).collect();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        (values.iter().copied().fold(f32::MAX, f32::min), mean, values.iter().copied().fold(f32::MIN, f32::max))
    };
    for (name, (low, mean, high), expected) in [
        ("brightness", range(|j| j.brightness), (0.2, 1.8)),
        ("contrast", range(|j| j.contrast), (0.0, 2.2)),
        ("saturation", range(|j| j.saturation), (0.6, 1.4)),
        ("hue", range(|j| j.hue), (-0.2, 0.2)),
    ] {
        let width = expected.1 - expected.0;
        assert!(low >= expected.0 && low < expected.0 + 0.01 * width, "{name}: {low}");
        assert!(high <= expected.1 && high > expected.1 - 0.01 * width, "{name}: {high}");
        assert!((mean - (expected.0 + expected.1) / 2.0).abs() < 0.02 * width, "{name}: {mean}");
    }
    let mut orders: BTreeMap<[u8; 4], u32> = BTreeMap::new();
    for j in &drawn {
        *orders.entry(j.order).or_default() += 1;
    }
    assert_eq!(orders.len(), 24);
    assert!(orders.values().all(|&count| (130..280).contains(&count)), "{orders:?}"); // 200 +- 14
}

/// A step shows itself by what it does to a known image: only grayscale takes all colour from a colourful one.
#[test]
fn recipes_happen_as_often_as_published() {
    let grey = |pixels: &[f32]| pixels.chunks(3).all(|p| (p[0] - p[1]).abs() + (p[1] - p[2]).abs() < 1e-5);
    let colours = RgbImage::from_fn(32, 32, |x, _| image::Rgb(if x < 16 { [200, 40, 60] } else { [30, 90, 220] }));
    let none = Normalize::named("none").expect("a known name");
    for (name, view, part) in [("simclr", 0, 0.2), ("simclr", 1, 0.2), ("byol", 0, 0.2), ("vicreg", 1, 0.2)] {
        let recipe = augmentation(name, 32, none).expect("a known recipe");
        assert_eq!(recipe.views().len(), 2);
        let mut scratch = Scratch::default();
        let mut out = vec![0.0; recipe.views()[view].floats()];
        let n = 2000;
        let count = (0..n)
            .filter(|&i| {
                recipe.apply(&colours, view, &mut drawing(i), &mut scratch, &mut out);
                assert!(out.iter().all(|v| (-1e-6..=1.0 + 1e-6).contains(v)));
                grey(&out)
            })
            .count();
        let found = count as f64 / n as f64;
        assert!((found - part).abs() < 0.04, "{name} view {view}: grey {found}, expected {part}");
    }
    // Only BYOL's second view and VICReg's are solarised. Of a white image brightness of at least 0.6 leaves 0.6..=1, so
    // only inversion makes it dark.
    let white = RgbImage::from_pixel(32, 32, image::Rgb([255; 3]));
    for (name, view, part) in [("byol", 0, 0.0), ("byol", 1, 0.2), ("vicreg", 0, 0.1)] {
        let recipe = augmentation(name, 32, none).expect("a known recipe");
        let (mut scratch, mut out) = (Scratch::default(), vec![0.0; recipe.views()[view].floats()]);
        let dark = |pixels: &[f32]| pixels.iter().all(|&v| v < 0.45);
        let n = 2000;
        let count = (0..n)
            .filter(|&i| {
                recipe.apply(&white, view, &mut drawing(i), &mut scratch, &mut out);
                dark(&out)
            })
            .count();
        let found = count as f64 / n as f64;
        assert!((found - part).abs() < 0.03, "{name} view {view}: solarised {found}, expected {part}");
    }
    let error = augmentation("simclr2", 32, none).expect_err("an unknown recipe").to_string();
    assert!(error.starts_with("simclr2: unknown augmentation, expected one of simclr, simclr-weak, byol, "), "{error}");
}

/// Mean value, standard deviation of the luma, colourfulness, sharpness and share of bright values of `[side, side, 3]`.
fn statistics(pixels: &[f32], side: usize) -> [f64; 5] {
    let n = (side * side) as f64;
    let pixels: Vec<[f64; 3]> = pixels.chunks(3).map(|p| [0, 1, 2].map(|c| f64::from(p[c]))).collect();
    let luma: Vec<f64> = pixels.iter().map(|[r, g, b]| 0.2989 * r + 0.587 * g + 0.114 * b).collect();
    let mean = luma.iter().sum::<f64>() / n;
    let deviation = (luma.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    let colour = pixels.iter().map(|[r, g, b]| (r - g).abs() + (g - b).abs()).sum::<f64>() / n;
    let along: f64 = luma.chunks(side).flat_map(|row| row.windows(2)).map(|pair| (pair[1] - pair[0]).abs()).sum();
    let across: f64 = luma.iter().zip(&luma[side..]).map(|(above, below)| (below - above).abs()).sum();
    let values = || pixels.iter().flatten();
    let bright = values().filter(|value| **value > 0.7).count() as f64;
    [values().sum::<f64>() / (3.0 * n), deviation, colour, (along + across) / (n - side as f64), bright / (3.0 * n)]
}

/// Every view of every recipe changes a picture, on the mean of many draws, as the published pipeline of torchvision's
/// transforms does.
#[test]
fn recipes_have_the_distribution_of_the_published_pipelines() {
    let case = crate::golden::load("recipes");
    let none = Normalize::named("none").expect("a known name");
    for (size, draws) in [(32, 3000), (64, 1000), (80, 1000)] {
        let image = picture(&case, &format!("{size}.image"));
        for recipe in RECIPES {
            let views = (recipe.views)(size);
            let sizes: Vec<f64> = views.iter().map(|view| f64::from(view.size)).collect();
            assert_eq!(sizes, values(case.get(&format!("{}.{size}.sizes", recipe.name))), "{}", recipe.name);
            let augmentation = augmentation(recipe.name, size, none).expect("a known recipe");
            // Repeated views are the same recipe again: two of each kind are looked at.
            for (i, view) in views.iter().enumerate().filter(|(i, _)| *i < 3) {
                let rows: Vec<[f64; 5]> = (0..draws)
                    .into_par_iter()
                    .map_init(
                        || (Scratch::default(), vec![0.0; view.floats()]),
                        |(scratch, out), draw| {
                            augmentation.apply(&image, i, &mut drawing(draw), scratch, out);
                            statistics(out, view.size as usize)
                        },
                    )
                    .collect();
                let expected = |what: &str| values(case.get(&format!("{}.{size}.{i}.{what}", recipe.name)));
                for (j, (mean, error)) in expected("mean").into_iter().zip(expected("error")).enumerate() {
                    let found = rows.iter().map(|row| row[j]).sum::<f64>() / draws as f64;
                    // Both sides have this standard error; 310 comparisons make 4 of them happen once in 50 runs.
                    let errors = (found - mean) / (error * std::f64::consts::SQRT_2);
                    assert!(
                        errors.abs() < 4.0,
                        "{} {size} view {i}: {found} is {errors} errors from {mean}",
                        recipe.name
                    );
                }
            }
        }
    }
    let sizes = |name: &str| {
        augmentation(name, 224, none).expect("a known recipe").views().iter().map(|v| v.size).collect::<Vec<_>>()
    };
    assert_eq!(sizes("dino"), [224, 224, 96, 96, 96, 96, 96, 96, 96, 96]);
    assert_eq!(sizes("swav"), [224, 224, 96, 96, 96, 96, 96, 96]);
}

#[test]
fn a_pair_is_two_views_of_one_size() {
    let none = Normalize::named("none").expect("a known name");
    for recipe in RECIPES {
        for size in [32, 224] {
            let pair = augmentation(recipe.name, size, none).expect("a known recipe").pair();
            assert_eq!(pair.views().iter().map(|view| view.size).collect::<Vec<_>>(), [size, size], "{}", recipe.name);
        }
    }
    // Of the one view of MAE two draws.
    let dataset = broken(10, &[]);
    let augmentation = augmentation("mae", 16, none).expect("a known recipe");
    let loader = Loader::new(dataset, augmentation.pair(), settings(10)).expect("a loader");
    let batch = loader.epoch(0, 0).next().expect("a batch").expect("a whole one");
    assert_ne!(batch.view(0), batch.view(1));
}

#[test]
fn views_of_multi_crop_have_their_own_sizes() {
    let none = Normalize::named("none").expect("a known name");
    let augmentation = augmentation("swav", 70, none).expect("a known recipe");
    let loader = Loader::new(broken(10, &[]), augmentation.clone(), settings(5)).expect("a loader");
    let batch = loader.epoch(2, 1).next().expect("a batch").expect("a whole one");
    let shapes: Vec<Vec<i64>> = batch.tensors(Device::Cpu, Kind::Float).iter().map(Tensor::size).collect();
    assert_eq!(shapes[..2], [[5, 3, 70, 70], [5, 3, 70, 70]]);
    assert!(shapes.len() == 8 && shapes[2..].iter().all(|shape| shape == &[5, 3, 30, 30]), "{shapes:?}");
    // Every view is drawn by its own number.
    let image = loader.dataset().image(batch.indices[3]).expect("an image");
    let mut out = vec![0.0; 3 * 30 * 30];
    let mut rng = rng::keyed(7, Purpose::View, 2, batch.indices[3] as u64, 6);
    augmentation.apply(&image, 6, &mut rng, &mut Scratch::default(), &mut out);
    assert!(batch.view(6)[3 * out.len()..][..out.len()] == out);
}

/// The images of `shapes`, of which those in `broken` cannot be decoded.
struct Broken {
    shapes: Arc<dyn Dataset>,
    broken: BTreeSet<usize>,
}

impl Dataset for Broken {
    fn len(&self) -> usize {
        self.shapes.len()
    }
    fn image(&self, i: usize) -> Result<RgbImage, Fault> {
        if self.broken.contains(&i) {
            return Err(Fault { name: self.name(i), reason: "made so".into() });
        }
        self.shapes.image(i)
    }
    fn name(&self, i: usize) -> String {
        format!("shapes/{i:03}")
    }
    fn labels(&self) -> Option<&[u32]> {
        self.shapes.labels()
    }
    fn classes(&self) -> &[String] {
        self.shapes.classes()
    }
    fn normalization(&self) -> &'static str {
        "shapes"
    }
}

fn broken(n: usize, which: &[usize]) -> Arc<dyn Dataset> {
    let shapes = data::open(&format!("shapes:n={n},size=16")).expect("shapes");
    Arc::new(Broken { shapes, broken: which.iter().copied().collect() })
}

fn loader(dataset: Arc<dyn Dataset>, settings: LoaderSettings) -> Loader {
    let recipe = augmentation("byol", 16, Normalize::named("shapes").expect("a known name")).expect("a known recipe");
    Loader::new(dataset, recipe, settings).expect("a loader")
}

fn settings(batch_size: usize) -> LoaderSettings {
    LoaderSettings { batch_size, seed: 7, threads: 2, bad_budget: 0.05, ..LoaderSettings::default() }
}

/// All that a batch holds.
fn content(batch: lethe::Result<Batch>) -> (Vec<usize>, Vec<u32>) {
    let batch = batch.expect("a batch");
    let bits = (0..2).flat_map(|view| batch.view(view).into_iter().map(f32::to_bits)).collect();
    (batch.indices, bits)
}

#[test]
fn batches_depend_on_nothing_but_seed_epoch_and_place() {
    let dataset = || broken(150, &[11, 80]);
    let reference: Vec<_> = loader(dataset(), settings(16)).epoch(3, 0).map(content).collect();
    assert_eq!(reference.len(), 9);
    for threads in 1..=8 {
        for prefetch in 1..=4 {
            let settings = LoaderSettings { threads, prefetch, ..settings(16) };
            let loader = loader(dataset(), settings);
            let first = (threads + prefetch) % 9;
            let resumed: Vec<_> = loader.epoch(3, first).map(content).collect();
            assert!(resumed == reference[first..], "{threads} threads, prefetch {prefetch}, from batch {first}");
        }
    }
    let again = loader(dataset(), settings(16));
    let other: Vec<_> = again.epoch(4, 0).map(content).collect();
    assert!(other.iter().zip(&reference).all(|(a, b)| a.1 != b.1), "epochs differ");
    // A second pass finds the images in memory.
    let cached: Vec<_> = again.epoch(3, 0).map(content).collect();
    assert!(cached == reference);
    let reseeded = loader(dataset(), LoaderSettings { seed: 8, ..settings(16) });
    assert!(reseeded.epoch(3, 0).map(content).next().expect("a batch").1 != reference[0].1, "seeds differ");
}

/// Else a diagnosis with the seed of a training would ask after the very views that its first epoch has trained on.
#[test]
fn what_is_looked_at_was_not_trained_on() {
    let views = |purpose| -> Vec<Vec<u32>> {
        let settings = LoaderSettings { order: Order::Sequential, purpose, ..settings(1) };
        let loader = loader(broken(24, &[]), settings);
        (0..3).flat_map(|epoch| loader.epoch(epoch, 0).map(|batch| content(batch).1).collect::<Vec<_>>()).collect()
    };
    let (trained, looked) = (views(Purpose::View), views(Purpose::Look));
    assert_eq!(trained.len(), 3 * 24);
    assert!(looked.iter().all(|views| !trained.contains(views)));
}

#[test]
fn shuffled_drops_the_rest_and_sequential_keeps_it() {
    let shuffled = loader(broken(50, &[]), settings(16));
    let indices: Vec<usize> = shuffled.epoch(0, 0).flat_map(|batch| batch.expect("a batch").indices).collect();
    assert_eq!(indices.len(), 48);
    assert_eq!(indices.iter().collect::<BTreeSet<_>>().len(), 48);
    assert!(!indices.is_sorted());

    let plain = Augmentation::plain(16, Normalize::named("none").expect("a known name"));
    let sequential = LoaderSettings { order: Order::Sequential, ..settings(16) };
    let sequential = Loader::new(broken(50, &[]), plain, sequential).expect("a loader");
    assert_eq!(sequential.batches_per_epoch(), 4);
    let batches: Vec<Batch> = sequential.epoch(0, 0).map(|batch| batch.expect("a batch")).collect();
    let indices: Vec<usize> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
    assert_eq!(indices, (0..50).collect::<Vec<_>>());
    // Plain views of images that have the size already are the images.
    let expected = floats(&broken(50, &[]).image(49).expect("an image"));
    let found = &batches[3].view(0)[16 * 16 * 3..];
    assert!(found.iter().zip(&expected).all(|(f, e)| (f - e).abs() < 1e-6));

    let tensors = batches[3].tensors(Device::Cpu, Kind::Float);
    assert_eq!(tensors.len(), 1);
    assert_eq!(tensors[0].size(), [2, 3, 16, 16]);
    assert_eq!(tensors[0].stride(), [768, 1, 48, 3]);
    assert_eq!(tensors[0].double_value(&[1, 2, 3, 4]) as f32, found[3 * (3 * 16 + 4) + 2]);
    assert_eq!(batches[3].tensors(Device::Cpu, Kind::BFloat16)[0].stride(), [768, 1, 48, 3]);
}

#[test]
fn an_epoch_that_is_dropped_early_ends() {
    let start = Instant::now();
    let loader = loader(broken(4000, &[]), LoaderSettings { prefetch: 1, ..settings(16) });
    for taken in [0, 1, 3] {
        let mut epoch = loader.epoch(0, 0);
        for _ in 0..taken {
            epoch.next().expect("a batch").expect("a whole one");
        }
    }
    let mut both = (loader.epoch(0, 0), loader.epoch(1, 0)); // two at once
    both.0.next().expect("a batch").expect("a whole one");
    both.1.next().expect("a batch").expect("a whole one");
    drop(both);
    drop(loader.epoch(0, 10_000)); // beyond the end
    assert!(loader.epoch(0, 10_000).next().is_none());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// The trainer does not wait for what was computed meanwhile.
#[test]
fn batches_are_computed_beside_the_training() {
    let loader = loader(broken(400, &[]), LoaderSettings { prefetch: 3, ..settings(100) });
    let mut epoch = loader.epoch(0, 0);
    epoch.next().expect("a batch").expect("a whole one");
    let started = Instant::now();
    loader.epoch(0, 1).next().expect("a batch").expect("a whole one");
    let alone = started.elapsed();
    std::thread::sleep(4 * alone + Duration::from_millis(200));
    let started = Instant::now();
    let rest = epoch.map(|batch| batch.expect("a whole one").indices.len()).sum::<usize>();
    assert_eq!(rest, 300);
    assert!(started.elapsed() < alone, "three batches took {:?}, one alone {alone:?}", started.elapsed());
}

#[test]
fn too_many_broken_images_are_an_error_that_names_the_first() {
    let run = |n: usize, which: &[usize], budget: f64| {
        let loader = loader(broken(n, which), LoaderSettings { bad_budget: budget, ..settings(10) });
        let outcome = loader.epoch(0, 0).find_map(Result::err).map(|error| error.to_string());
        (outcome, loader.bad_samples().len())
    };
    assert_eq!(run(100, &[5], 0.001), (None, 1)); // one is always allowed ...
    let (error, _) = run(100, &[5], 0.0); // ... unless none is
    assert_eq!(
        error.as_deref(),
        Some("1 of 100 images is broken, more than the 0 allowed (bad_budget 0); the first: shapes/005: made so")
    );
    assert_eq!(run(100, &[5, 9], 0.02), (None, 2));
    let all: Vec<usize> = (0..100).collect();
    let (error, _) = run(100, &all, 0.5);
    let error = error.expect("an error");
    assert!(
        error.contains("of 100 images are broken, more than the 50 allowed (bad_budget 0.5); the first: shapes/0"),
        "{error}"
    );
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let recipe = augmentation("byol", 16, Normalize::named("none").expect("a known name")).expect("a known recipe");
    let refused =
        |settings| Loader::new(broken(10, &[]), recipe.clone(), settings).err().expect("an error").to_string();
    assert_eq!(refused(settings(0)), "batch size is 0, expected at least 1");
    assert_eq!(refused(settings(11)), "batch size 11 is more than the 10 images of the data set");
    let error = Normalize::named("cifar").expect_err("an unknown name").to_string();
    assert!(error.starts_with("cifar: unknown normalization, expected one of cifar10, "), "{error}");
}

fn thousand(folder: &Path) -> Vec<PathBuf> {
    let class = support::jpegs().join("train/frog");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(class).expect("an image").map(|entry| entry.expect("an image").path()).collect();
    paths.sort();
    paths
        .into_iter()
        .take(1000)
        .map(|path| {
            let copy = folder.join(path.file_name().expect("a name"));
            std::fs::copy(path, &copy).expect("a copy");
            copy
        })
        .collect()
}

#[test]
fn one_broken_image_in_a_thousand_changes_no_other_view() {
    let folder = support::temp_dir();
    let paths = thousand(folder.path());
    let run = || {
        let dataset = data::open(support::text(folder.path())).expect("a folder of images");
        let loader = loader(dataset, LoaderSettings { bad_budget: 0.001, ..settings(100) });
        let epoch: Vec<_> = loader.epoch(0, 0).map(content).collect();
        let second = loader.epoch(1, 0).map(content).count(); // listed once, though met twice
        (epoch, second, loader.bad_samples())
    };
    let (whole, _, none) = run();
    assert!(none.is_empty());
    let victim = 417;
    let bytes = std::fs::read(&paths[victim]).expect("a copy");
    std::fs::write(&paths[victim], &bytes[..bytes.len() / 2]).expect("a copy");
    let (cut, second, bad) = run();
    assert_eq!((whole.len(), cut.len(), second), (10, 10, 10));
    let names: Vec<&str> = bad.iter().map(|sample| sample.name.as_str()).collect();
    assert_eq!(names, [support::text(&paths[victim])]);
    assert!(!bad[0].reason.is_empty());
    let view = 16 * 16 * 3;
    let mut changed = Vec::new();
    for ((before, pixels_before), (after, pixels_after)) in whole.iter().zip(&cut) {
        for (i, index) in before.iter().enumerate() {
            let place = |view_number: usize| (view_number * before.len() + i) * view..;
            let same = (0..2).all(|v| pixels_before[place(v)][..view] == pixels_after[place(v)][..view]);
            if !same || *index != after[i] {
                changed.push(*index);
                assert_ne!(after[i], victim, "the substitute is another image");
            }
        }
    }
    assert_eq!(changed, [victim]);
}
