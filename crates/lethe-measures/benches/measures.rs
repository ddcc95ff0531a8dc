//! Every measure of 5,000 x 512 features, k-means, alignment of two encoders and membership rates, the compressed rate
//! of 2,500 pairs in closed form and by d x d determinants, k-NN, and the numbers of memorisation of 2,000 images a side:
//! `cargo bench -p lethe-measures`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use lethe_measures::{
    Cell, Groups, MEASURES, Rows, StageViews, adjusted_mutual_information, class_rate_gap, debiased_linear_cka, kmeans,
    knn, linear_cka, membership, memorisation, shift_test, tree_length, unitmem, view_rates,
};
use nalgebra::{Cholesky, DMatrix};
use ndarray::{Array2, Array3, s};

const ROWS: usize = 5000;
const COLUMNS: usize = 512;

/// Features whose spectrum decays, as those of a trained encoder do.
fn features() -> Array2<f64> {
    let mut state = 1u64;
    Array2::from_shape_fn((ROWS, COLUMNS), |(_, j)| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as f64 / (1u64 << 31) as f64 - 0.5) / (j + 1) as f64
    })
}

/// What the closed form replaces; `pairs` of them.
fn compressed_by_determinants(z: &Array2<f64>, pairs: usize) -> f64 {
    let k = COLUMNS as f64 / (2.0 * 0.5);
    let log_det = |i: usize| {
        let pair = [z.row(i), z.row(i + ROWS / 2)].map(|row| {
            let length = row.dot(&row).sqrt();
            row.mapv(|x| x / length)
        });
        let matrix = DMatrix::from_fn(COLUMNS, COLUMNS, |a, b| {
            f64::from(u8::from(a == b)) + k * (pair[0][a] * pair[0][b] + pair[1][a] * pair[1][b])
        });
        Cholesky::new(matrix).expect("positive definite").ln_determinant()
    };
    (0..pairs).map(log_det).sum::<f64>() / (2 * pairs) as f64
}

fn measures(c: &mut Criterion) {
    let z = features();
    let labels: Vec<u32> = (0..ROWS as u32).map(|i| i % 10).collect();
    let mut group = c.benchmark_group("5000x512");
    group.sample_size(10);
    // These features have signs; UnitMem is timed with the parts.
    let measures = || MEASURES.iter().filter(|measure| measure.name != "unitmem");
    for measure in measures() {
        group.bench_function(measure.name, |b| {
            b.iter(|| (measure.of)(&Rows::new(z.view(), Groups::Views(2), 0.5).expect("fine rows")));
        });
    }
    group.bench_function("all, by pair", |b| {
        b.iter(|| {
            let rows = Rows::new(z.view(), Groups::Views(2), 0.5).expect("fine rows");
            measures().map(|measure| (measure.of)(&rows).expect("a number")).sum::<f64>()
        });
    });
    let dead = Array2::from_shape_fn(z.dim(), |(i, j)| if j % 2 == 0 { 0.0 } else { z[(i, j)] });
    group.bench_function("rankme with dead columns, by QR", |b| b.iter(|| lethe_measures::rankme(dead.view())));
    group.bench_function("compressed_rate, 10 classes", |b| {
        b.iter(|| lethe_measures::class_rates(z.view(), &labels, 0.5));
    });
    let single = z.mapv(|x| x as f32);
    group.bench_function("knn leave-one-out, k 200", |b| {
        b.iter(|| knn::leave_one_out(single.view(), &labels, 200, 0.1));
    });
    group.finish();
}

/// The determinants take minutes for all pairs: 25 of the 2,500 are timed.
fn pairs(c: &mut Criterion) {
    let z = features();
    let few: Vec<usize> = (0..25).chain(ROWS / 2..ROWS / 2 + 25).collect();
    let few = z.select(ndarray::Axis(0), &few);
    let expected = view_rates(few.slice(s![.., ..]), 2, 0.5).expect("rates").compressed_rate;
    assert!((compressed_by_determinants(&z, 25) / expected - 1.0).abs() < 1e-9);
    let mut group = c.benchmark_group("pairs");
    group.sample_size(10);
    group.bench_function("2500 in closed form, with R", |b| b.iter(|| view_rates(black_box(z.view()), 2, 0.5)));
    let many = Array2::from_shape_fn((10 * ROWS, COLUMNS), |(i, j)| z[(i % ROWS, j)] + (i / ROWS) as f64 * 1e-3);
    group.bench_function("25000 in closed form", |b| {
        let compressed = MEASURES.iter().find(|measure| measure.name == "compressed_rate").expect("a measure");
        b.iter(|| {
            (compressed.of)(&Rows::new(black_box(many.view()), Groups::Views(2), 0.5).expect("fine rows"))
                .expect("rates")
        });
    });
    group.bench_function("25 by 512 x 512 determinants", |b| b.iter(|| compressed_by_determinants(black_box(&z), 25)));
    group.finish();
}

/// What has no row in the table, or is a part of one.
fn parts(c: &mut Criterion) {
    let z = features();
    let other = z.dot(&features().slice(s![..COLUMNS, ..]));
    let mut group = c.benchmark_group("parts");
    group.sample_size(10);
    group.bench_function("kmeans, 10 clusters", |b| b.iter(|| kmeans(black_box(z.view()), 10, 0)));
    let labels = |k: usize| (0..ROWS).map(|i| (i * i % k) as u32).collect::<Vec<u32>>();
    let (a, b_labels) = (labels(24), labels(23));
    group.bench_function("adjusted mutual information, 5000 in 24", |b| {
        b.iter(|| adjusted_mutual_information(black_box(&a), &b_labels));
    });
    group.bench_function("minimum spanning tree of 2500 x 512", |b| {
        b.iter(|| tree_length(black_box(z.slice(s![..ROWS / 2, ..]))));
    });
    group.bench_function("linear_cka", |b| b.iter(|| linear_cka(black_box(z.view()), other.view())));
    group.bench_function("debiased_linear_cka of 500 rows", |b| {
        b.iter(|| debiased_linear_cka(black_box(z.slice(s![..500, ..])), other.slice(s![..500, ..])));
    });
    let activations = z.mapv(f64::abs).into_shape_with_order((ROWS / 10, 10, COLUMNS)).expect("10 views");
    group.bench_function("unitmem, 10 views", |b| b.iter(|| unitmem(black_box(activations.view()))));
    let scores: Vec<f64> = z.column(0).to_vec();
    let others: Vec<f64> = z.column(1).to_vec();
    group.bench_function("membership of 5000 and 5000", |b| b.iter(|| membership(black_box(&scores), &others, false)));
    group.finish();
}

/// One stage of 2,000 images a side in 10 views, and the intervals of 55 cells.
fn memorisation_of_a_stage(c: &mut Criterion) {
    let (views, images) = (10, 2000);
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f32 / (1u64 << 31) as f32 - 0.5
    };
    let [train, unseen] = [0, 1].map(|_| {
        let places = Array2::from_shape_simple_fn((images, COLUMNS), &mut uniform);
        Array3::from_shape_fn((views, images, COLUMNS), |(_, i, j)| places[(i, j)] + uniform())
    });
    let mut group = c.benchmark_group("memorisation");
    group.sample_size(10);
    let stage = StageViews::new(train.view(), unseen.view()).expect("fine views");
    group.bench_function("centre and distances, 2 x 10 x 2000 x 512", |b| {
        b.iter(|| StageViews::new(black_box(train.view()), unseen.view()).expect("fine views").distances());
    });
    group.bench_function("retrieval, 2 x 10 x 2000 x 512", |b| b.iter(|| black_box(&stage).retrieval(0)));
    let (distances, retrieval) = (stage.distances(), stage.retrieval(0));
    let cells = vec![Cell { distances: &distances, retrieval: Some(&retrieval) }; 55];
    group.bench_function("intervals of 55 cells of 2 x 2000", |b| b.iter(|| memorisation(black_box(&cells), true, 0)));
    let plain = [0, 1].map(|_| Array2::from_shape_simple_fn((images, 2048), || f64::from(uniform())));
    group.bench_function("shift test, 2 x 2000 x 2048", |b| {
        b.iter(|| shift_test(black_box(plain[0].view()), plain[1].view(), 0));
    });
    let labels: Vec<u32> = (0..images as u32).map(|i| i % 10).collect();
    let narrow = plain.each_ref().map(|side| side.slice(s![.., ..COLUMNS]));
    group.bench_function("class rate gap, 2 x 2000 x 512 of 10 classes", |b| {
        b.iter(|| class_rate_gap(black_box(narrow), [&labels; 2], 0.5, 1, 0));
    });
    group.finish();
}

criterion_group!(benches, measures, pairs, parts, memorisation_of_a_stage);
criterion_main!(benches);
