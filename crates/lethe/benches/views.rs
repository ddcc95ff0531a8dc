//! Each operation, a whole view and decoding, on one thread: `cargo bench --bench views`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use image::RgbImage;
use lethe::data::{self, Dataset};
use lethe::rng::{self, Purpose};
use lethe::views::*;

fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 7 % 256) as u8, (y * 5 % 256) as u8, ((x * y) % 256) as u8])
    })
}

fn operations(criterion: &mut Criterion) {
    for (side, source) in [(32usize, picture(32, 32)), (224, picture(500, 375))] {
        let mut group = criterion.benchmark_group(format!("view {side}"));
        group.throughput(Throughput::Elements(1));
        let (mut resizer, mut spare) = (Resizer::default(), Vec::new());
        let mut pixels: Vec<f32> = (0..3 * side * side).map(|i| (i * 37 % 256) as f32 / 255.0).collect();
        let crop = CropBox { left: 3, top: 2, width: source.width() * 2 / 3, height: source.height() * 3 / 4 };
        group.bench_function("resized_crop", |b| {
            b.iter(|| resized_crop(&source, crop, side, side, &mut resizer, black_box(&mut pixels)));
        });
        group.bench_function("brightness", |b| b.iter(|| adjust_brightness(black_box(&mut pixels), 1.1)));
        group.bench_function("contrast", |b| b.iter(|| adjust_contrast(black_box(&mut pixels), 1.1)));
        group.bench_function("saturation", |b| b.iter(|| adjust_saturation(black_box(&mut pixels), 1.1)));
        group.bench_function("hue", |b| b.iter(|| adjust_hue(black_box(&mut pixels), 0.1)));
        group.bench_function("grayscale", |b| b.iter(|| grayscale(black_box(&mut pixels))));
        group.bench_function("solarize", |b| b.iter(|| solarize(black_box(&mut pixels), 0.5)));
        group.bench_function("flip", |b| b.iter(|| flip(black_box(&mut pixels), side)));
        group.bench_function("blur", |b| b.iter(|| gaussian_blur(black_box(&mut pixels), side, 1.0, &mut spare)));
        let normalize = Normalize::named("imagenet").expect("a known name");
        let mut out = vec![0.0; pixels.len()];
        group.bench_function("normalize", |b| b.iter(|| normalize.write(black_box(&pixels), black_box(&mut out))));
        for recipe in RECIPES {
            let augmentation = augmentation(recipe.name, side as u32, normalize).expect("a known recipe");
            let (mut scratch, mut index) = (Scratch::default(), 0);
            group.bench_function(recipe.name, |b| {
                b.iter(|| {
                    index += 1;
                    let mut rng = rng::keyed(0, Purpose::View, 0, index, 0);
                    augmentation.apply(&source, 0, &mut rng, &mut scratch, black_box(&mut out));
                });
            });
        }
        group.finish();
    }
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    let folder = tempfile::tempdir().expect("a temporary folder");
    picture(32, 32).save(folder.path().join("32.jpg")).expect("a temporary file");
    picture(500, 375).save(folder.path().join("500.jpg")).expect("a temporary file");
    let files = data::open(folder.path().to_str().expect("a UTF-8 path")).expect("a folder of images");
    let shapes: Arc<dyn Dataset> = data::open("shapes:n=1").expect("shapes");
    group.bench_function("jpeg 32", |b| b.iter(|| files.image(0)));
    group.bench_function("jpeg 500x375", |b| b.iter(|| files.image(1)));
    group.bench_function("shapes 32", |b| b.iter(|| shapes.image(0)));
    group.finish();
}

criterion_group!(benches, operations, decoding);
criterion_main!(benches);
