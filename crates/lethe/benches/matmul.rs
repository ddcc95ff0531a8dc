//! Products of matrices, `nn::matmul` beside libtorch's own: `cargo bench -p lethe --bench matmul`, on one thread.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lethe::nn;
use tch::{Device, Kind, Tensor};

/// Rows, inner dimension and columns: a layer of VICReg's head, its covariance, SimCLR's similarities.
const SHAPES: [[i64; 3]; 3] = [[512, 2048, 2048], [2048, 256, 2048], [512, 256, 512]];

fn products(criterion: &mut Criterion) {
    tch::set_num_threads(1);
    for [n, k, m] in SHAPES {
        let mut group = criterion.benchmark_group(format!("{n} x {k} by {k} x {m}"));
        group.sample_size(20).throughput(Throughput::Elements((2 * n * k * m) as u64));
        let numbers = |rows| Tensor::arange(rows * k, (Kind::Float, Device::Cpu)).sin().view([rows, k]);
        let (a, b) = (numbers(n), numbers(m).tr());
        group.bench_function("lethe", |bench| bench.iter(|| nn::matmul(&a, &b)));
        group.bench_function("libtorch", |bench| bench.iter(|| a.matmul(&b)));
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
