//! SimSiam, Barlow Twins, W-MSE, MEC, CorInfoMax, MMCR, EMP-SSL and TiCo against their references.

use lethe::encoders::{EncoderSpec, Part, Stem};
use lethe::methods::{
    Views, barlow_twins, code_length, corinfomax, emp_ssl, find, mmcr, negative_cosine, remember, tico, w_mse,
};
use lethe::nn::{Mode, Weights, unit_rows};
use lethe::rng::{Purpose, once};
use tch::{Kind, Tensor};

use crate::golden::{self, assert_close};
use crate::support::{lethe_err, temp_dir, text};

/// Value, gradients and the gradients of the sum of their squares, with respect to the projections of the case.
fn assert_twice_differentiable(golden: &Weights, case: &str, loss: impl Fn(&[Tensor]) -> Tensor) {
    let input = |i| golden.find(&format!("{case}/z{i}")).map(|z| z.copy().set_requires_grad(true));
    let inputs: Vec<Tensor> = (0..).map_while(input).collect();
    let value = loss(&inputs);
    assert_close(case, &value, golden.get(&format!("{case}/value")), 1e-12);
    let first = Tensor::run_backward(&[&value], &inputs, true, true);
    let squares: Vec<Tensor> = first.iter().map(|gradient| gradient.square().sum(Kind::Double)).collect();
    let second = Tensor::run_backward(&[Tensor::stack(&squares, 0).sum(Kind::Double)], &inputs, false, false);
    for (i, (first, second)) in first.iter().zip(&second).enumerate() {
        assert_close(&format!("{case}, gradient {i}"), first, golden.get(&format!("{case}/gradient{i}")), 1e-10);
        assert_close(&format!("{case}, second {i}"), second, golden.get(&format!("{case}/second{i}")), 1e-8);
    }
}

#[test]
fn losses_with_both_derivatives_are_those_of_the_references() {
    let golden = golden::load("without_negatives");
    for shape in ["12x5", "6x9"] {
        let constant = |name: &str| golden.get(&format!("{shape}/{name}")).shallow_clone();
        let (t1, t2) = (constant("t0"), constant("t1"));
        let check = |name: &str, loss: &dyn Fn(&[Tensor]) -> Tensor| {
            assert_twice_differentiable(&golden, &format!("{shape}/{name}"), loss);
        };
        check("simsiam", &|p| (negative_cosine(&p[0], &t2) + negative_cosine(&p[1], &t1)) / 2.0);
        check("barlow-twins", &|z| {
            let [invariance, redundancy] = barlow_twins(&z[0], &z[1]);
            0.1 * (invariance + 0.0051 * redundancy)
        });
        check("mec", &|p| -(code_length(&p[0], &t2, 3.0) + code_length(&p[1], &t1, 3.0)) / 2.0);
        check("corinfomax", &|z| {
            let z = [unit_rows(&z[0]), unit_rows(&z[1])];
            let spread = |i: usize| {
                let past = [&constant(&format!("mean{i}")), &constant(&format!("covariance{i}"))];
                let [_, covariance] = corinfomax::remembered(&z[i], past, 0.01);
                corinfomax::spread(&covariance, 1e-8).unwrap()
            };
            250.0 * (&z[0] - &z[1]).square().mean(Kind::Double) - spread(0) - spread(1)
        });
        check("tico", &|z| {
            let (z, target) = (Tensor::cat(z, 0), Tensor::cat(&[&t2, &t1], 0));
            let covariance = tico::remembered(&z, &constant("covariance0"), 0.9);
            let [invariance, contrast] = tico(&z, &target, &covariance);
            invariance + 8.0 * contrast
        });
        check("mmcr-0", &|z| mmcr(z, 0.0));
        check("mmcr-0.3", &|z| mmcr(z, 0.3));
        check("emp-ssl", &|z| {
            let [similarity, rate] = emp_ssl(z, 0.2).unwrap();
            -200.0 * similarity - rate
        });
    }
    let sub_batches = [golden.get("14x4/rows0").shallow_clone(), golden.get("14x4/rows1").shallow_clone()];
    assert_twice_differentiable(&golden, "14x4/w-mse", |z| w_mse(z, &sub_batches).unwrap());
}

/// The head alone, on vectors as images of one pixel, by plain gradient descent: weights, running statistics, teacher and
/// memory after every step.
#[test]
fn five_steps_are_those_of_the_references() {
    let golden = golden::load("without_negatives");
    let steps = golden.under("steps/");
    let encoder = EncoderSpec::new("resnet18-w4", Stem::Cifar).build().unwrap();
    let net = Part::none(encoder.as_ref());
    let inputs = steps.get("inputs");
    let dim = inputs.size()[3];
    for name in ["simsiam", "barlow-twins", "mec", "corinfomax", "tico", "mmcr", "w-mse", "emp-ssl"] {
        let case = steps.under(&format!("{name}/"));
        let mut settings = (find(name).unwrap().build)(&toml::Table::new()).unwrap().settings();
        for (key, size) in [("proj_hidden_dim", 9), ("proj_output_dim", 3), ("pred_hidden_dim", 4)] {
            if let Some(value) = settings.get_mut(key) {
                *value = toml::Value::Integer(size);
            }
        }
        let method = (find(name).unwrap().build)(&settings).unwrap();
        let fresh = method.init(dim, &mut once(0, Purpose::Init)).to_kind(Kind::Double);
        let mut w = fresh.filled_from(&case.under("before/")).unwrap();
        method.teach(&mut w);
        for step in 0..5 {
            let what = |of: &str| format!("{name}, step {step}: {of}");
            let views: Vec<Tensor> = inputs.get(step).unbind(0).iter().map(|x| x.unsqueeze(-1).unsqueeze(-1)).collect();
            let views = Views { epoch: 3.0 * step as f64, ..views.into() };
            let loss = method.loss(&net, &w, &views, Mode::Train).unwrap();
            assert_close(&what("loss"), &loss.total, &case.get("loss").get(step), 1e-11);
            let gradients = w.gradients(&loss.total, false).unwrap();
            tch::no_grad(|| {
                for ((_, parameter), gradient) in w.parameters().zip(&gradients) {
                    let _ = parameter.shallow_clone().g_sub_(&(0.1 * gradient));
                }
            });
            remember(&w, &loss.memory);
            method.after_step(&w, (step + 1) as f64 / 5.0);
            let mut tensors: Vec<(&str, &Tensor)> = w.iter().filter(|(_, tensor)| tensor.is_floating_point()).collect();
            tensors.sort_by_key(|(name, _)| *name);
            let flat: Vec<Tensor> = tensors.iter().map(|(_, tensor)| tensor.detach().flatten(0, -1)).collect();
            assert_close(&what("weights and memory"), &Tensor::cat(&flat, 0), &case.get("after").get(step), 1e-9);
        }
    }
}

mod w_mse_draws {
    use super::*;

    fn loss(whitening_size: i64, draw: u64) -> f64 {
        let settings = toml::toml! { whitening_size = whitening_size proj_hidden_dim = 16 proj_output_dim = 4 };
        let method = (find("w-mse").unwrap().build)(&settings).unwrap();
        let encoder = EncoderSpec::new("resnet18-w4", Stem::Cifar).build().unwrap();
        let w = method.init(6, &mut once(0, Purpose::Init)).to_kind(Kind::Double);
        let x = (Tensor::arange(20 * 6, (Kind::Double, tch::Device::Cpu)).square() * 0.37).sin().view([20, 6, 1, 1]);
        let views = Views { draw, ..vec![&x + 0.5 * (&x * 17.0).sin(), x].into() };
        method.loss(&Part::none(encoder.as_ref()), &w, &views, Mode::Train).unwrap().total.double_value(&[])
    }

    #[test]
    fn sub_batches_follow_the_draw_and_hold_at_least_their_size() {
        assert_eq!(loss(10, 1), loss(10, 1));
        assert!((loss(10, 1) - loss(10, 2)).abs() > 1e-3, "two sub-batches, drawn anew");
        for size in [11, 20, 128] {
            assert!((loss(size, 1) - loss(20, 2)).abs() < 1e-9, "{size}: one sub-batch, in any order");
        }
    }

    #[test]
    fn too_few_images_are_refused() {
        let folder = temp_dir();
        let out = folder.path().join("run");
        let small = ["pretrain", "--data", "shapes:n=64,size=16", "--method", "w-mse", "--encoder", "resnet18-w4"];
        let error = lethe_err(&[&small[..], &["--batch-size", "64", "--out", text(&out)]].concat(), 2);
        assert!(!out.exists());
        insta::assert_snapshot!(error, @r"
        error: w-mse cannot whiten 64 images in proj_output_dim 64
          hint: more images than dimensions: raise --batch-size and whitening_size, or lower proj_output_dim
        ");
    }
}

#[test]
fn mec_lowers_its_inverse_lambda_over_ten_epochs() {
    let settings = toml::toml! { proj_hidden_dim = 16 proj_output_dim = 4 pred_hidden_dim = 4 };
    let method = (find("mec").unwrap().build)(&settings).unwrap();
    let encoder = EncoderSpec::new("resnet18-w4", Stem::Cifar).build().unwrap();
    let mut w = method.init(6, &mut once(0, Purpose::Init)).to_kind(Kind::Double);
    method.teach(&mut w);
    let at = |epoch: f64| {
        let x = Tensor::arange(60, (Kind::Double, tch::Device::Cpu)).sin().view([10, 6, 1, 1]);
        let views = Views { epoch, ..vec![&x * 1.1, x].into() };
        method.loss(&Part::none(encoder.as_ref()), &w, &views, Mode::Eval).unwrap().total.double_value(&[])
    };
    assert!(at(0.0) != at(5.0) && at(5.0) != at(9.9));
    assert_eq!(at(10.0), at(f64::INFINITY));
}
