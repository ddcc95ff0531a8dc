//! What a diagnosis spends its time on: features, a linear probe, k-NN, intervals.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lethe::data;
use lethe::encoders::{EncoderSpec, Stem};
use lethe::evaluate::{Labelled, LinearProbe, LinearSettings, PROTOCOLS, extract};
use lethe::loader::{Loader, LoaderSettings, Order};
use lethe::progress::Progress;
use lethe::rng::{self, Purpose};
use lethe::views::{Augmentation, Normalize};
use lethe_measures::{Cell, ViewDistances, memorisation};
use ndarray::Array2;
use rand_distr::{Distribution, StandardNormal};
use tch::Device;

/// Ten overlapping classes: means of deviation 0.3 under noise of deviation 1.
fn mixture(n: usize, d: usize) -> (Array2<f32>, Vec<u32>) {
    let mut rng = rng::once(0, Purpose::Sample);
    let mut normal = || -> f32 { StandardNormal.sample(&mut rng) };
    let means = Array2::from_shape_fn((10, d), |_| 0.3 * normal());
    let labels: Vec<u32> = (0..n as u32).map(|i| i % 10).collect();
    (Array2::from_shape_fn((n, d), |(i, j)| means[(i % 10, j)] + normal()), labels)
}

fn classifiers(c: &mut Criterion) {
    let (features, labels) = mixture(5000, 128);
    let train = Labelled { features: features.view(), labels: &labels };
    let mut group = c.benchmark_group("5000x128x10");
    group.sample_size(10);
    group.bench_function("linear", |b| {
        b.iter(|| LinearProbe::fit(train.features, train.labels, LinearSettings::default(), Device::Cpu))
    });
    for protocol in PROTOCOLS.iter().filter(|protocol| protocol.name.starts_with("knn")) {
        let classifier = (protocol.fit)(train, Device::Cpu).expect("finite features");
        group.bench_function(format!("{} leave-one-out", protocol.name), |b| b.iter(|| classifier.on_training()));
    }
}

fn extraction(c: &mut Criterion) {
    const IMAGES: usize = 512;
    let encoder = EncoderSpec::new("resnet18-w16", Stem::Cifar).build().expect("a known encoder");
    let w = encoder.init(&mut rng::once(0, Purpose::Init)).frozen();
    let augmentation = Augmentation::plain(32, Normalize::named("shapes").expect("a known name"));
    let settings = LoaderSettings { order: Order::Sequential, ..LoaderSettings::default() };
    let dataset = data::open(&format!("shapes:n={IMAGES}")).expect("shapes");
    let loader = Loader::new(dataset, augmentation, settings).expect("images");
    let mut group = c.benchmark_group("resnet18-w16");
    group.sample_size(10).throughput(Throughput::Elements(IMAGES as u64));
    group.bench_function("features of all stages", |b| {
        let progress = Progress::new("features", "images", IMAGES as u64);
        b.iter(|| extract(encoder.as_ref(), &w, &loader, 0, &[0, 1, 2, 3, 4], &progress))
    });
}

fn intervals(c: &mut Criterion) {
    // Distances between 0 and 4, one column a side.
    let numbers = mixture(2000, 110).0.mapv(|x| 2.0 + (f64::from(x) / 2.0).tanh());
    let distances = |cell: usize| ViewDistances {
        train: numbers.column(2 * cell).to_vec(),
        unseen: numbers.column(2 * cell + 1).to_vec(),
        between: 2.0,
        between_of: vec![2.0; numbers.nrows()],
        zero_rows: [0, 0],
    };
    let distances: Vec<ViewDistances> = (0..55).map(distances).collect();
    let cells: Vec<Cell> = distances.iter().map(|distances| Cell { distances, retrieval: None }).collect();
    let mut group = c.benchmark_group("memorisation");
    group.sample_size(10);
    group.bench_function("55 cells of 2000 images", |b| b.iter(|| memorisation(black_box(&cells), true, 0)));
}

criterion_group!(benches, classifiers, extraction, intervals);
criterion_main!(benches);
