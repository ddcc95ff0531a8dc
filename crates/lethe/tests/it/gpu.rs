//! The same numbers on a GPU as on the CPU. Where there is one: `cargo test -p lethe --test it gpu -- --ignored`.

use lethe::encoders::{ENCODERS, Encoder, Part, Pool, Vit, VitShape};
use lethe::loader::{Loader, LoaderSettings, Order};
use lethe::methods::{self, METHODS, Views};
use lethe::nn::{Mode, Weights};
use lethe::optim::OPTIMIZERS;
use lethe::rng::{Purpose, once};
use lethe::undo::Settings;
use lethe::undo::hypergradient::HYPERGRADIENTS;
use lethe::views::{Normalize, augmentation};
use tch::{Device, Kind, Tensor};

use crate::golden::assert_close;
use crate::support::{methods_for_parts, small_encoder, small_settings};
use crate::undo::{Case, flat, noise};

fn gpu() -> Device {
    lethe::config::device("cuda:0").expect("a GPU")
}

pub(crate) fn on(views: &Views, device: Device) -> Views {
    let labels = views.labels.as_ref().map(|labels| labels.to_device(device));
    Views { labels, ..views.map(|x| x.to_device(device)) }
}

/// Of 32 pixels and patches of 4, so that I-JEPA's blocks find room.
fn small_vit() -> Box<dyn Encoder> {
    let pool = Pool::Mean;
    Box::new(Vit::new(VitShape { width: 24, depth: 2, heads: 3, patch: 4, image_size: 32, pool, layer_scale: false }))
}

/// Two steps of a method, at the begin of a training and late in it: losses, gradients, and all weights and buffers behind them.
fn two_steps(method: &str, encoder: &dyn Encoder, size: i64, device: Device) -> [Tensor; 3] {
    let method = (methods::find(method).unwrap().build)(&small_settings(method)).unwrap();
    let net = Part::whole(encoder);
    let mut rng = once(0, Purpose::Init);
    let mut w = net.init(&mut rng);
    w.extend(method.init_for(&net, &mut rng));
    method.teach(&mut w);
    let w = w.to_kind(Kind::Double).to_device(device);
    let mut optimizer = lethe::optim::build("sgd", 0.0).unwrap();
    let (mut losses, mut slopes) = (Vec::new(), Vec::new());
    for step in 0..2 {
        let inputs: Vec<Tensor> = (0..2).map(|view| noise(&[32, 3, size, size], 2 * step + view)).collect();
        let labels = Tensor::arange(32, (Kind::Int64, Device::Cpu)).remainder(3);
        let views =
            Views { labels: Some(labels), draw: 5 + u64::from(step), epoch: f64::from(100 * step), ..inputs.into() };
        let loss = method.loss(&net, &w, &on(&views, device), Mode::Train).unwrap();
        let gradients = w.gradients(&loss.total, false).unwrap();
        optimizer.step(&w, &gradients, 0.05);
        methods::remember(&w, &loss.memory);
        method.after_step(&w, 0.3);
        losses.push(loss.total);
        slopes.extend(gradients);
    }
    let all: Vec<Tensor> = w.iter().map(|(_, tensor)| tensor.to_kind(Kind::Double)).collect();
    [losses, slopes, all].map(|tensors| flat(&tensors).to_device(Device::Cpu))
}

#[test]
#[ignore = "needs a GPU"]
fn every_method_takes_the_same_steps() {
    let gpu = gpu();
    for entry in METHODS {
        let (encoder, size) = match methods_for_parts().any(|other| other.name == entry.name) {
            true => (small_encoder("resnet18"), 16),
            false => (small_vit(), 32),
        };
        let [here, there] = [Device::Cpu, gpu].map(|device| two_steps(entry.name, encoder.as_ref(), size, device));
        for (what, (here, there)) in ["losses", "gradients", "weights"].iter().zip(here.iter().zip(&there)) {
            assert_close(&format!("{} {what}", entry.name), there, here, 1e-11);
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn every_hypergradient_repairs_the_same_through_every_method() {
    let gpu = gpu();
    for entry in methods_for_parts() {
        for hypergradient in HYPERGRADIENTS {
            let settings = Settings {
                hypergradient: hypergradient.name.into(),
                split: "stage3".into(),
                inner_steps: 2,
                epochs: 2,
                ..Settings::default()
            };
            let [here, there] = [Device::Cpu, gpu].map(|device| {
                let case = Case::random(entry.name, small_settings(entry.name), Kind::Double, 8).on(device);
                let (undone, rows) = case.undo(&settings);
                assert!(undone.stopped.is_none(), "{} {}", entry.name, hypergradient.name);
                let values: Vec<f64> = rows.iter().flat_map(|row| row.terms.values().copied()).collect();
                let weights = undone.weights.to_device(Device::Cpu);
                let weights: Vec<Tensor> = weights.iter().map(|(_, w)| w.to_kind(Kind::Double)).collect();
                [Tensor::from_slice(&values), flat(&weights)]
            });
            for (what, (here, there)) in ["terms", "weights"].iter().zip(here.iter().zip(&there)) {
                let what = format!("{} {} {what}", entry.name, hypergradient.name);
                assert_close(&what, there, here, 1e-7);
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn every_encoder_and_optimizer_computes_the_same() {
    let gpu = gpu();
    let images = noise(&[4, 3, 16, 16], 0);
    for entry in ENCODERS {
        let encoder = small_encoder(entry.name);
        let net = Part::whole(encoder.as_ref());
        let w = net.init(&mut once(0, Purpose::Init)).to_kind(Kind::Double);
        for mode in [Mode::Train, Mode::Eval] {
            let of = |device| net.represent_stages(&w.copy().to_device(device), &images.to_device(device), mode);
            for (stage, (here, there)) in net.stages().iter().zip(of(Device::Cpu).iter().zip(of(gpu))) {
                assert_close(&format!("{} {}", entry.name, stage.name), &there.to_device(Device::Cpu), here, 1e-9);
            }
        }
    }
    for entry in OPTIMIZERS {
        let [here, there] = [Device::Cpu, gpu].map(|device| {
            let mut w = Weights::new();
            w.insert("a.weight", noise(&[6, 5, 3, 3], 1).to_device(device).set_requires_grad(true));
            let mut optimizer = (entry.build)(1e-2);
            for step in 0..3 {
                // What a resumed run does: the moments come from the CPU.
                let state = optimizer.state().to_device(Device::Cpu).to_device(device);
                optimizer = (entry.build)(1e-2);
                optimizer.resume(state);
                optimizer.step(&w, &vec![noise(&[6, 5, 3, 3], 2 + step).to_device(device)], 0.1);
            }
            w.get("a.weight").detach().to_device(Device::Cpu)
        });
        assert_close(entry.name, &there, &here, 1e-6);
    }
}

#[test]
#[ignore = "needs a GPU"]
fn batches_arrive_as_they_were_computed() {
    let gpu = gpu();
    let dataset = lethe::data::open("shapes:n=96,size=32,seed=1").unwrap();
    let augmentation = augmentation("dino", 64, Normalize::named("cifar10").unwrap()).unwrap();
    let settings = LoaderSettings { batch_size: 32, order: Order::Shuffled, ..LoaderSettings::default() };
    let loader = Loader::new(dataset, augmentation, settings).unwrap();
    for (epoch, batch) in (0..4).flat_map(|epoch| loader.epoch(epoch, 0).map(move |batch| (epoch, batch.unwrap()))) {
        let here: Vec<Tensor> = batch.tensors(Device::Cpu, Kind::Float).iter().map(Tensor::copy).collect();
        // The copies wait behind this, while the batch is dropped and its memory may be used for a later one.
        let busy = Tensor::ones([4096, 4096], (Kind::Float, gpu));
        let busy = (0..50).fold(busy, |x, _| x.matmul(&x) * 1e-4);
        let there = batch.tensors(gpu, Kind::Float);
        drop((batch, busy));
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(there.stride(), here.stride());
            assert_eq!(there.to_device(Device::Cpu), *here, "epoch {epoch}");
        }
    }
}
