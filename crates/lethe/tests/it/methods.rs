mod contrastive;
mod without_negatives;
mod multi_crop;
mod masked;

use lethe::encoders::{EncoderSpec, Part, Stem};
use lethe::methods::{METHODS, Views, byol_distance, find, nt_xent, vicreg};
use lethe::nn::{Mode, Weights};
use lethe::rng::{Purpose, once};
use tch::{Device, Kind, Tensor};

use crate::golden;
use crate::support::{methods_for_parts, small_settings};

fn assert_value_and_gradients(
    case: &str,
    golden: &Weights,
    inputs: &[&Tensor],
    found: Tensor,
    factor: f64,
    offset: f64,
) {
    golden::assert_close(case, &found, &(golden.get(&format!("{case}/value")) * factor + offset), 1e-12);
    let gradients = Tensor::run_backward(&[&found], inputs, false, false);
    for (i, gradient) in gradients.iter().enumerate() {
        golden::assert_close(case, gradient, &(golden.get(&format!("{case}/gradient{i}")) * factor), 1e-10);
    }
}

#[test]
fn losses_and_gradients_are_those_of_lightly() {
    let golden = golden::load("methods");
    for case in ["8x5", "16x32"] {
        let input = |name: &str| golden.get(&format!("{case}/{name}")).copy();
        let (z1, z2) = (input("z1").set_requires_grad(true), input("z2").set_requires_grad(true));
        let (t1, t2) = (input("t1"), input("t2"));
        for temperature in [0.2, 0.5] {
            let found = nt_xent(&z1, &z2, temperature);
            assert_value_and_gradients(&format!("{case}/nt_xent-{temperature}"), &golden, &[&z1, &z2], found, 1.0, 0.0);
        }
        let [invariance, variance, covariance] = vicreg(&z1, &z2);
        let found = 25.0 * invariance + 25.0 * variance + covariance;
        assert_value_and_gradients(&format!("{case}/vicreg"), &golden, &[&z1, &z2], found, 1.0, 0.0);
        let found = byol_distance(&z1, &t2) + byol_distance(&z2, &t1);
        assert_value_and_gradients(&format!("{case}/byol"), &golden, &[&z1, &z2], found, 4.0, 4.0);
    }
}

fn views(seed: f64) -> Views {
    let base = Tensor::arange(8 * 3 * 16 * 16, (Kind::Float, Device::Cpu)).view([8, 3, 16, 16]);
    let labels = Tensor::arange(8, (Kind::Int64, Device::Cpu)).remainder(3);
    Views { labels: Some(labels), ..vec![(&base * seed).sin(), (&base * seed + 0.3).sin()].into() }
}

#[test]
fn every_method_trains_its_parameters_and_only_those() {
    let encoder = EncoderSpec::new("resnet18-w4", Stem::Cifar).build().unwrap();
    let net = Part::whole(encoder.as_ref());
    for entry in methods_for_parts() {
        let method = (entry.build)(&small_settings(entry.name)).unwrap();
        let mut rng = once(0, Purpose::Init);
        let mut w = net.init(&mut rng);
        w.extend(method.init(net.dim(), &mut rng));
        method.teach(&mut w);
        let loss = method.loss(&net, &w, &views(0.7), Mode::Train).unwrap();
        assert_eq!(loss.projections.len(), 2, "{}", entry.name);
        assert_eq!(loss.projections[0].size()[0], 8, "{}", entry.name);
        assert_eq!(loss.projections[0].size(), loss.projections[1].size(), "{}", entry.name);
        let gradients = w.gradients(&loss.total, false).unwrap();
        let touched = w.parameters().zip(&gradients).filter(|(_, g)| g.abs().max().double_value(&[]) > 0.0).count();
        // A bias before a batch-norm has no effect: the only parameters that a gradient may miss.
        assert!(touched * 10 >= gradients.len() * 8, "{}: {touched} of {} parameters", entry.name, gradients.len());
        assert!(w.parameters().all(|(name, _)| !name.starts_with("teacher.")));
    }
}

#[test]
fn every_method_takes_early_features_as_it_takes_images() {
    let encoder = EncoderSpec::new("resnet18-w4", Stem::Cifar).build().unwrap();
    let (early, late) = Part::cut(encoder.as_ref(), "stage2").unwrap();
    let whole = Part::whole(encoder.as_ref());
    for entry in methods_for_parts() {
        let method = (entry.build)(&small_settings(entry.name)).unwrap();
        let mut rng = once(0, Purpose::Init);
        let mut w = whole.init(&mut rng);
        w.extend(method.init(whole.dim(), &mut rng));
        method.teach(&mut w);
        let images = views(0.9);
        let features = images.map(|x| early.forward(&w, x, Mode::Eval));
        let cut = method.loss(&late, &w, &features, Mode::Eval).unwrap().total;
        let uncut = method.loss(&whole, &w, &images, Mode::Eval).unwrap().total;
        golden::assert_close(entry.name, &cut, &uncut, 1e-6);
    }
}

#[test]
fn byol_moves_its_teacher_towards_the_student_along_a_cosine() {
    let method = (find("byol").unwrap().build)(&small_settings("byol")).unwrap();
    let mut w = method.init(6, &mut once(0, Purpose::Init));
    method.teach(&mut w);
    let name = "projector.0.weight";
    let start = w.get(name).detach().copy();
    tch::no_grad(|| {
        let _ = w.get(name).shallow_clone().g_add_scalar_(1.0);
    });
    for (progress, tau) in [(0.0, 0.99), (0.5, 0.995), (1.0, 1.0)] {
        let before = w.get("teacher.projector.0.weight").copy();
        method.after_step(&w, progress);
        let expected = &before * tau + (&start + 1.0) * (1.0 - tau);
        golden::assert_close("teacher", w.get("teacher.projector.0.weight"), &expected, 1e-6);
    }
    assert!(w.find("teacher.predictor.0.weight").is_none());
}

#[test]
fn wrong_methods_and_settings_are_refused() {
    let hint = find("simklr").err().unwrap().hint.unwrap();
    assert!(METHODS.iter().all(|entry| hint.contains(entry.name)), "{hint}");
    for entry in METHODS {
        let error = (entry.build)(&toml::toml! { tempreature = 1.0 }).err().unwrap();
        assert!(error.what.contains("[method_settings]") && error.what.contains("tempreature"), "{error}");
    }
}
