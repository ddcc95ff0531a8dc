//! SwAV, DINO and SimDINO against `golden/multi_crop`, and multi-crop through the whole program.

use lethe::encoders::{EncoderSpec, Part, Stem};
use lethe::methods::{self, Views, find, simdino, sinkhorn, swapped_prediction};
use lethe::nn::{Mode, Weights};
use lethe::rng::{Purpose, once};
use tch::{Device, Kind, Tensor};

use crate::golden;
use crate::support::{lethe_err, lethe_ok, small_head, small_settings, temp_dir, text};
use crate::undo::{flat, parameters};

const ROUNDING: f64 = 1e-9;

fn assert_value_and_gradients(golden: &Weights, case: &str, inputs: &[Tensor], found: &Tensor) {
    golden::assert_close(case, found, golden.get(&format!("{case}/value")), 1e-12);
    let gradients = Tensor::run_backward(&[found], inputs, true, false);
    for (i, gradient) in gradients.iter().enumerate() {
        golden::assert_close(case, gradient, golden.get(&format!("{case}/gradient{i}")), 1e-10);
    }
}

#[test]
fn losses_and_gradients() {
    let golden = golden::load("multi_crop");
    for size in ["8x5", "6x24"] {
        let given = |name: String| golden.get(&name).copy();
        let leaves = |name: &str| -> Vec<Tensor> {
            (0..4).map(|i| given(format!("{name}{i}")).set_requires_grad(true)).collect()
        };

        let case = format!("swav-{size}");
        let scores = leaves(&format!("{case}/scores"));
        let code = |i: usize, queued: bool| {
            let queue = given(format!("{case}/queued{i}"));
            let all = if queued { Tensor::cat(&[&scores[i].detach(), &queue], 0) } else { scores[i].detach() };
            sinkhorn(&all, 0.05, 3).narrow(0, 0, scores[i].size()[0])
        };
        golden::assert_close(&case, &code(0, false), golden.get(&format!("{case}/codes")), 1e-12);
        let logits: Vec<Tensor> = scores.iter().map(|scores| scores / 0.1).collect();
        let loss = |queued| swapped_prediction(&[code(0, queued), code(1, queued)], &logits);
        assert_value_and_gradients(&golden, &case, &scores, &loss(false));
        assert_value_and_gradients(&golden, &format!("{case}/queue"), &scores, &loss(true));

        let case = format!("dino-{size}");
        let student = leaves(&format!("{case}/student"));
        let centre = given(format!("{case}/centre"));
        // The warm-up's last epoch has the final temperature.
        let target = |i: usize| ((given(format!("{case}/teacher{i}")) - &centre) / 0.07).softmax(1, None::<Kind>);
        let logits: Vec<Tensor> = student.iter().map(|z| z / 0.1).collect();
        let loss = swapped_prediction(&[target(0), target(1)], &logits);
        assert_value_and_gradients(&golden, &case, &student, &loss);

        let case = format!("simdino-{size}");
        let student = leaves(&format!("{case}/student"));
        let teacher = [0, 1].map(|i| given(format!("{case}/teacher{i}")));
        let [similarity, rate] = simdino(&student, &teacher, 0.5).unwrap();
        assert_value_and_gradients(&golden, &case, &student, &(-similarity - rate));
    }
}

/// As `sampled` of make.py.
fn sampled(values: &[Tensor]) -> Tensor {
    let values = flat(values);
    Tensor::cat(&[values.slice(0, None, None, 64), values.norm().view([1])], 0)
}

/// Five steps with two global views and two smaller ones, over which a warm-up ends: prototypes are trained and the queue is
/// used from the second epoch on.
fn five_steps(name: &str, lr: f64, settings: toml::Table) {
    let golden = golden::load("multi_crop");
    let encoder = EncoderSpec::new("resnet18-w2", Stem::Cifar).build().unwrap();
    let net = Part::whole(encoder.as_ref());
    let method = (find(name).unwrap().build)(&settings).unwrap();
    let mut rng = once(0, Purpose::Init);
    let mut w = net.init(&mut rng);
    w.extend(method.init(net.dim(), &mut rng));
    let given = |part: &str| {
        let of = |place: &str| golden.find(&format!("{place}/weights/{part}")).map(Tensor::shallow_clone);
        of("encoder").or_else(|| of(name))
    };
    // What the case does not give is 0 at the beginning: the centre, and the places in the queues.
    let w: Weights = w.iter().map(|(n, t)| (n.to_owned(), given(n).unwrap_or_else(|| t.zeros_like()))).collect();
    let mut w = w.to_kind(Kind::Double).copy().trainable();
    method.teach(&mut w);
    let inputs = || (0..4).map(|i| golden.get(&format!("views/{i}")).to_kind(Kind::Double)).collect::<Vec<_>>();
    for step in 0..5 {
        let of = |key: &str| golden.get(&format!("{name}/{step}/{key}"));
        let what = format!("{name}, step {step}");
        let views = Views { epoch: f64::from(step) / 2.0, ..inputs().into() };
        let loss = method.loss(&net, &w, &views, Mode::Train).unwrap();
        assert_eq!((loss.representations.len(), loss.projections.len()), (4, 4));
        golden::assert_close(&what, &loss.total, of("loss"), ROUNDING);
        let gradients = w.gradients(&loss.total, false).unwrap();
        golden::assert_close(&what, &sampled(&gradients), of("gradients"), ROUNDING);
        tch::no_grad(|| {
            for ((_, parameter), gradient) in w.parameters().zip(&gradients) {
                let _ = parameter.shallow_clone().g_add_(&(gradient * -lr));
            }
        });
        methods::remember(&w, &loss.memory);
        method.after_step(&w, f64::from(step + 1) / 5.0);
        for part in w.names().filter(|part| part.starts_with("memory.") && !part.ends_with(".next")) {
            golden::assert_close(&format!("{what}: {part}"), w.get(part), of(part), ROUNDING);
        }
        let teacher = w.under("teacher.");
        if teacher.is_empty() {
            golden::assert_close(&what, w.get("prototypes.weight"), of("prototypes.weight"), ROUNDING);
        } else {
            let followers: Vec<Tensor> = w.parameters().map(|(part, _)| teacher.get(part).shallow_clone()).collect();
            golden::assert_close(&what, &sampled(&followers), of("teacher"), ROUNDING);
            golden::assert_close(&what, teacher.get("bn1.running_mean"), of("teacher.bn1.running_mean"), ROUNDING);
        }
    }
    golden::assert_close(name, &sampled(&parameters(&w)), golden.get(&format!("{name}/parameters")), ROUNDING);
}

#[test]
fn five_steps_of_swav() {
    let settings = toml::toml! {
        proj_hidden_dim = 12
        proj_output_dim = 6
        num_prototypes = 7
        queue_size = 10
        epoch_queue_starts = 1
        freeze_prototypes_epochs = 1
    };
    five_steps("swav", 0.05, settings);
}

#[test]
fn swav_may_have_no_queue() {
    let mut method = (find("swav").unwrap().build)(&toml::toml! { queue_size = 0 }).unwrap();
    let shapes = lethe::data::open("shapes:n=4,size=16").unwrap();
    method.prepare(shapes.as_ref(), 4).unwrap();
    assert!(method.init(8, &mut once(0, Purpose::Init)).names().all(|name| !name.starts_with("memory.")));
}

#[test]
fn five_steps_of_dino() {
    let settings = toml::toml! {
        proj_hidden_dim = 12
        proj_output_dim = 6
        num_prototypes = 7
        warmup_teacher_temperature_epochs = 3
        base_tau = 0.9
    };
    five_steps("dino", 0.05, settings);
}

#[test]
fn five_steps_of_simdino() {
    five_steps("simdino", 0.2, toml::toml! { proj_hidden_dim = 12 proj_output_dim = 6 base_tau = 0.9 });
}

/// Every code is an assignment, and together they use every prototype nearly equally.
#[test]
fn sinkhorn_uses_all_prototypes() {
    let scores = (Tensor::arange(60 * 7, (Kind::Float, Device::Cpu)).view([60, 7]) * 0.37).sin() + 0.5;
    let sums = |q: &Tensor, dim: i64| q.sum_dim_intlist([dim].as_slice(), false, None::<Kind>);
    let few = sinkhorn(&scores, 0.05, 3);
    let many = sinkhorn(&scores, 0.05, 100);
    golden::assert_close("rows", &sums(&few, 1), &Tensor::ones([60], (Kind::Float, Device::Cpu)), 1e-5);
    golden::assert_close("columns", &sums(&many, 0), &Tensor::full([7], 60.0 / 7.0, (Kind::Float, Device::Cpu)), 1e-3);
}

#[test]
fn warm_ups_are_over_where_pre_training_is() {
    let encoder = EncoderSpec::new("resnet18-w2", Stem::Cifar).build().unwrap();
    let net = Part::whole(encoder.as_ref());
    for name in ["swav", "dino"] {
        let method = (find(name).unwrap().build)(&small_settings(name)).unwrap();
        let mut rng = once(0, Purpose::Init);
        let mut w = net.init(&mut rng);
        w.extend(method.init(net.dim(), &mut rng));
        method.teach(&mut w);
        let images = Tensor::arange(8 * 3 * 8 * 8, (Kind::Float, Device::Cpu)).view([8, 3, 8, 8]);
        let views = |epoch| Views { epoch, ..vec![(&images * 0.7).sin(), (&images * 0.7 + 0.3).sin()].into() };
        let moved = |epoch| {
            let loss = method.loss(&net, &w, &views(epoch), Mode::TrainKeepStats).unwrap();
            let gradients = w.gradients(&loss.total, false).unwrap();
            let place = w.parameters().position(|(part, _)| part == "prototypes.weight").unwrap();
            gradients[place].abs().max().double_value(&[]) > 0.0
        };
        assert_eq!([0.0, 0.9, 2.0, f64::INFINITY].map(moved), [false, false, true, true], "{name}");
    }
}

/// From pre-training to a repair and a diagnosis. At 70 pixels the recipe of DINO has eight local views of 30, and that of
/// SwAV six.
fn multi_crop_goes_all_the_way(method: &str) {
    let folder = temp_dir();
    let run = folder.path().join(method);
    let data = "shapes:n=48,size=70";
    let settings = ["--encoder", "resnet18-w2", "--stem", "imagenet", "--batch-size", "16", "--epochs", "1"];
    let pretrain =
        ["pretrain", "--method", method, "--config", small_head(method), "--data", data, "--out", text(&run)];
    lethe_ok(&[&pretrain, &settings[..]].concat());
    let checkpoint = run.join("checkpoints/epoch-0001.safetensors");
    let undone = folder.path().join(format!("{method}-undone"));
    let undo = ["undo", text(&checkpoint), "--data", data, "--out", text(&undone), "--epochs", "1"];
    lethe_ok(&[&undo[..], &["--batch-size", "16", "--groups", "kmeans:3"]].concat());
    let report = folder.path().join(format!("{method}-report"));
    let unseen = "shapes:n=48,size=70,seed=9";
    let diagnose = ["diagnose", text(&run), "--data", data, "--unseen", unseen, "--out", text(&report), "--gradients"];
    lethe_ok(&[&diagnose[..], &["--batch-size", "16"]].concat());
}

#[test]
fn multi_crop_goes_all_the_way_with_dino() {
    multi_crop_goes_all_the_way("dino");
}

#[test]
fn multi_crop_goes_all_the_way_with_swav() {
    multi_crop_goes_all_the_way("swav");
}

#[test]
fn a_head_with_batch_norm_has_it_before_every_gelu() {
    let settings = toml::toml! { proj_hidden_dim = 8 proj_output_dim = 6 use_bn_in_head = true };
    for name in ["dino", "simdino"] {
        let head = (find(name).unwrap().build)(&settings).unwrap().init(5, &mut once(0, Purpose::Init));
        let of = |suffix: &str| -> Vec<&str> { head.names().filter_map(|name| name.strip_suffix(suffix)).collect() };
        assert_eq!(of(".running_var"), ["projector.1", "projector.4"], "{name}");
        assert_eq!(of(".bias"), ["projector.0", "projector.1", "projector.3", "projector.4", "projector.6"], "{name}");
        let deviation = head.get("projector.3.weight").std(true).double_value(&[]);
        assert!((deviation - 0.02).abs() < 0.01, "{name}: {deviation}");
    }
}

#[test]
fn one_view_is_enough_to_diagnose_and_too_few_to_compare() {
    let folder = temp_dir();
    let run = folder.path().join("run");
    let small = ["--data", "shapes:n=48,size=16", "--encoder", "resnet18-w4", "--batch-size", "16", "--epochs", "1"];
    let pretrain = ["pretrain", "--config", small_head("simclr"), "--out", text(&run)];
    let stderr = lethe_err(&[&pretrain, &small[..], &["--augmentation", "mae"]].concat(), 2);
    insta::assert_snapshot!(stderr, @r"
    error: simclr compares two views of an image, this augmentation gives one
      hint: --augmentation simclr is its own
    ");
    assert!(!run.exists());
    lethe_ok(&[&pretrain, &small[..], &["--augmentation", "emp-ssl"]].concat());
    let diagnose = ["diagnose", text(&run), "--data", "shapes:n=48,size=16", "--augmentation", "mae"];
    let (report, gradients) = (folder.path().join("report"), folder.path().join("gradients"));
    lethe_ok(&[&diagnose[..], &["--out", text(&report)]].concat());
    let stderr = lethe_err(&[&diagnose[..], &["--gradients", "--out", text(&gradients)]].concat(), 2);
    assert!(stderr.contains("error: simclr compares two views of an image, this augmentation gives one"), "{stderr}");
}
