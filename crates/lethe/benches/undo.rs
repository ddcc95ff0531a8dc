//! One outer step of UMM beside one plain step of the same late part: `cargo bench --bench undo`.
//!
//! The plain step is what any training of the late part costs: the early forward pass, the late forward and backward
//! pass. Both end with the gradients; the optimiser is left out. `docs/decisions/0003` holds what was measured.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lethe::encoders::{EncoderSpec, Part, Stem};
use lethe::methods;
use lethe::nn::Mode;
use lethe::rng::{Purpose, once};
use lethe::undo::{self, Batch, Problem, Settings, hypergradient::HYPERGRADIENTS};
use tch::{Device, Kind, Tensor};

fn steps(criterion: &mut Criterion) {
    for (width, batch) in [(16, 64), (16, 256), (64, 64)] {
        let mut group = criterion.benchmark_group(format!("resnet18-w{width} batch {batch}"));
        group.sample_size(10).throughput(Throughput::Elements(batch as u64));
        let encoder = EncoderSpec::new(&format!("resnet18-w{width}"), Stem::Cifar).build().expect("an encoder");
        let method = (methods::find("simclr").expect("a method").build)(&toml::Table::new()).expect("its defaults");
        let mut rng = once(0, Purpose::Init);
        let weights = encoder.init(&mut rng);
        let (early, late) = Part::cut(encoder.as_ref(), "stage2").expect("a cut");
        let frozen = early.weights(&weights).frozen();
        let mut w = late.weights(&weights);
        w.extend(method.init(late.dim(), &mut rng));
        let views = [1.0, 2.0].map(|phase| {
            let numbers = Tensor::arange(batch * 32 * 32 * 3, (Kind::Float, Device::Cpu));
            (numbers * 0.7 + phase).sin().view([batch, 32, 32, 3]).permute([0, 3, 1, 2])
        });
        let features = || tch::no_grad(|| views.each_ref().map(|x| early.forward(&frozen, x, Mode::Eval)));
        group.bench_function("early", |b| b.iter(features));
        group.bench_function("plain", |b| {
            b.iter(|| {
                let loss = method.loss(&late, &w, &features(), Mode::Train).expect("a loss");
                w.gradients(&loss.total, false).expect("gradients")
            });
        });
        let step = undo::find("umm").expect("a repair").training.as_ref().expect("one that trains").step;
        for entry in HYPERGRADIENTS {
            let settings = Settings { hypergradient: entry.name.into(), ..Settings::default() };
            let problem = Problem { method: method.as_ref(), late: &late, settings: &settings, teacher: None };
            group.bench_function(entry.name, |b| {
                b.iter(|| {
                    let early = features();
                    step(&problem, &w, &Batch { images: &early, early: &early }).expect("a step").gradients
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
