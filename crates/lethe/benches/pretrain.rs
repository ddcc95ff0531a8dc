//! One step of pre-training with SimCLR, by precision: `cargo bench --bench pretrain`. `bench/peers/pretrain.py` sets the
//! whole program beside lightly's loop.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lethe::encoders::{EncoderSpec, Part, Stem};
use lethe::methods::{self, Views};
use lethe::nn::Mode;
use lethe::optim;
use lethe::rng::{Purpose, once};
use tch::{Device, Kind, Tensor};

fn steps(criterion: &mut Criterion) {
    for (width, batch) in [(16, 256), (64, 64)] {
        let encoder = EncoderSpec::new(&format!("resnet18-w{width}"), Stem::Cifar).build().expect("an encoder");
        let method = (methods::find("simclr").expect("a method").build)(&toml::Table::new()).expect("its defaults");
        let net = Part::whole(encoder.as_ref());
        let mut group = criterion.benchmark_group(format!("simclr resnet18-w{width} batch {batch}"));
        group.sample_size(10).throughput(Throughput::Elements(batch as u64));
        for (precision, kind) in [("f32", Kind::Float), ("bf16", Kind::BFloat16)] {
            let mut rng = once(0, Purpose::Init);
            let mut weights = net.init(&mut rng);
            weights.extend(method.init(net.dim(), &mut rng));
            let mut optimizer = optim::build("lars", 1e-4).expect("an optimiser");
            let views = Vec::from([1.0, 2.0].map(|phase| {
                let numbers = Tensor::arange(batch * 32 * 32 * 3, (Kind::Float, Device::Cpu));
                (numbers * 0.7 + phase).sin().view([batch, 32, 32, 3]).permute([0, 3, 1, 2]).to_kind(kind)
            }));
            let views = Views::from(views);
            group.bench_function(precision, |b| {
                b.iter(|| {
                    let loss = method.loss(&net, &weights, &views, Mode::Train).expect("a loss");
                    let gradients = weights.gradients(&loss.total, false).expect("gradients");
                    optimizer.step(&weights, &gradients, 0.1);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
