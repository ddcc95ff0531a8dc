//! Steps of pre-training: `cargo bench --bench pretrain`. SimCLR by precision and width of the encoder, then every method with
//! its published head on one small encoder, so that the differences are the methods' own. `bench/peers/pretrain.py` sets
//! the whole program beside lightly's loop.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lethe::encoders::{Encoder, EncoderSpec, Part, Stem};
use lethe::methods::{self, Entry, METHODS, Views};
use lethe::nn::Mode;
use lethe::optim;
use lethe::rng::{Purpose, once};
use tch::{Device, Kind, Tensor};

const CLASSES: i64 = 10;

/// Two views of 32 pixels.
fn views(batch: i64, kind: Kind) -> Views {
    let view = |phase: f64| {
        let numbers = Tensor::arange(batch * 32 * 32 * 3, (Kind::Float, Device::Cpu));
        (numbers * 0.7 + phase).sin().view([batch, 32, 32, 3]).permute([0, 3, 1, 2]).to_kind(kind)
    };
    let labels = Tensor::arange(batch, (Kind::Int64, Device::Cpu)).remainder(CLASSES);
    Views { labels: Some(labels), ..Views::from(vec![view(1.0), view(2.0)]) }
}

/// Times a step of `entry` on `views`, with everything that a run does but logging, as `name` in `group`.
fn step(criterion: &mut Criterion, group: &str, name: &str, entry: &Entry, encoder: &dyn Encoder, views: &Views) {
    let method = (entry.build)(&toml::Table::new()).expect("its defaults");
    let net = Part::whole(encoder);
    let mut rng = once(0, Purpose::Init);
    let mut weights = net.init(&mut rng);
    weights.extend(method.init_for(&net, &mut rng));
    method.teach(&mut weights);
    let mut optimizer = optim::build(entry.recipe.optimizer, entry.recipe.weight_decay).expect("an optimiser");
    let mut group = criterion.benchmark_group(group);
    group.sample_size(10).throughput(Throughput::Elements(views.inputs[0].size()[0] as u64));
    group.bench_function(name, |b| {
        b.iter(|| {
            let loss = method.loss(&net, &weights, views, Mode::Train).expect("a loss");
            let gradients = weights.gradients(&loss.total, false).expect("gradients");
            optimizer.step(&weights, &gradients, 1e-3);
            methods::remember(&weights, &loss.memory);
            method.after_step(&weights, 0.5);
        });
    });
    group.finish();
}

fn precisions(criterion: &mut Criterion) {
    let entry = methods::find("simclr").expect("a method");
    for (width, batch) in [(16, 256), (64, 64)] {
        let encoder = EncoderSpec::new(&format!("resnet18-w{width}"), Stem::Cifar).build().expect("an encoder");
        for (precision, kind) in [("f32", Kind::Float), ("bf16", Kind::BFloat16)] {
            let group = format!("simclr resnet18-w{width} batch {batch}");
            step(criterion, &group, precision, entry, encoder.as_ref(), &views(batch, kind));
        }
    }
}

fn every_method(criterion: &mut Criterion) {
    let resnet = EncoderSpec::new("resnet18-w16", Stem::Cifar).build().expect("an encoder");
    let vit = EncoderSpec { name: "vit-tiny-w64-d4".into(), ..EncoderSpec::default() };
    let vit = vit.resolved(32).and_then(|vit| vit.build()).expect("an encoder");
    let views = views(128, Kind::Float);
    for entry in METHODS {
        let method = (entry.build)(&toml::Table::new()).expect("its defaults");
        let takes_resnets = method.check(&Part::whole(resnet.as_ref())).is_ok();
        let encoder = if takes_resnets { &resnet } else { &vit };
        step(criterion, "every method batch 128", entry.name, entry, encoder.as_ref(), &views);
    }
}

criterion_group!(benches, precisions, every_method);
criterion_main!(benches);
