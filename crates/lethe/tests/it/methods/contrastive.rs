//! MoCo v2+ and v3, NNCLR, ReSSL, DCL, ReLIC, SupCon, BYOL, VICReg and supervised training against `golden/contrastive`.

use lethe::encoders::{EncoderSpec, Part, Stem};
use lethe::methods::{self, Views, find};
use lethe::nn::{Mode, Weights};
use lethe::optim;
use lethe::rng::{Purpose, once};
use tch::{Device, Kind, Tensor};

use crate::golden;
use crate::support::{lethe, lethe_err, lethe_ok, small_head, small_settings, temp_dir, text};
use crate::undo::{flat, parameters};

const ROUNDING: f64 = 1e-9;

#[test]
fn losses_and_gradients() {
    let golden = golden::load("contrastive");
    for case in ["8x5", "12x24"] {
        let input = |name: &str| golden.get(&format!("{case}/{name}")).copy();
        let (q1, q2) = (input("q1").set_requires_grad(true), input("q2").set_requires_grad(true));
        let (k1, k2, queue, labels) = (input("k1"), input("k2"), input("queue"), input("labels"));
        let [contrast, invariance] = methods::relic([&q1, &q2], [&k1, &k2], 0.2);
        let found = [
            ("info_nce", methods::info_nce(&q1, &k2, &queue, 0.2)),
            ("moco_v3", methods::moco_v3_contrast(&q1, &k2, 0.2)),
            ("nnclr", methods::nnclr(&methods::nearest_in_support(&k1, &queue), &q1, 0.2)),
            ("relation", methods::relation(&q1, &k2, &queue, [0.1, 0.04])),
            ("contrast", contrast),
            ("invariance", invariance),
            ("dcl", methods::dcl(&q1, &q2, 0.2, None)),
            ("dclw", methods::dcl(&q1, &q2, 0.2, Some(0.5))),
            ("supcon", methods::supcon(&q1, &q2, &labels, 0.2)),
            ("supervised", methods::classification(&[q1.shallow_clone(), q2.shallow_clone()], &labels).unwrap()),
        ];
        for (name, value) in found {
            let what = format!("{case}/{name}");
            golden::assert_close(&what, &value, golden.get(&format!("{what}/value")), 1e-12);
            let gradients = Tensor::run_backward(&[&value], &[&q1, &q2], true, false);
            for (i, gradient) in gradients.iter().enumerate() {
                match golden.find(&format!("{what}/gradient{i}")) {
                    Some(expected) => golden::assert_close(&what, gradient, expected, 1e-10),
                    None => assert!(!gradient.defined(), "{what}: {i}"),
                }
            }
        }
    }
}

/// As `sampled` of make.py.
fn sampled(values: &[Tensor], stride: i64) -> Tensor {
    let values = flat(values);
    Tensor::cat(&[values.slice(0, None, None, stride), values.norm().view([1])], 0)
}

fn statistics(w: &Weights) -> Vec<Tensor> {
    w.iter().filter(|(name, _)| name.contains("running")).map(|(_, t)| t.shallow_clone()).collect()
}

/// Encoder, head and memory of the case in double precision, in the order in which a run has them.
fn weights(golden: &Weights, name: &str, net: &Part, method: &dyn methods::Method) -> Weights {
    let mut rng = once(0, Purpose::Init);
    let mut fresh = net.init(&mut rng);
    fresh.extend(method.init(net.dim(), &mut rng));
    let of = |part: &str, shape: &Tensor| {
        let of_encoder = golden.find(&format!("encoder.{part}"));
        match of_encoder.or_else(|| golden.find(&format!("{name}/head.{part}"))) {
            Some(given) => given.shallow_clone(),
            None if part.ends_with(".next") => shape.zeros_like(),
            None => panic!("the case has no {part}"),
        }
    };
    let w: Weights = fresh.iter().map(|(part, shape)| (part.to_owned(), of(part, shape))).collect();
    w.to_kind(Kind::Double).copy().trainable()
}

fn five_steps(name: &str, settings: toml::Table) {
    let golden = golden::load("contrastive");
    let of = |key: &str| golden.get(&format!("{name}/{key}"));
    let encoder = EncoderSpec::new("resnet18-w2", Stem::Cifar).build().unwrap();
    let net = Part::whole(encoder.as_ref());
    let method = (find(name).unwrap().build)(&settings).unwrap();
    let mut w = weights(&golden, name, &net, method.as_ref());
    method.teach(&mut w);
    let mut optimizer = optim::build("sgd", 0.0).unwrap();
    let images = golden.get("images").to_kind(Kind::Double).unbind(0);
    for (step, views) in images.iter().enumerate() {
        let views = Views { labels: Some(golden.get("labels").shallow_clone()), ..views.unbind(0).into() };
        let loss = method.loss(&net, &w, &views, Mode::Train).unwrap();
        let expected = of("losses").get(step as i64);
        golden::assert_close(&format!("{name}: loss {step}"), &loss.total, &expected, ROUNDING);
        let gradients = w.gradients(&loss.total, false).unwrap();
        if step == 0 {
            golden::assert_close(name, &sampled(&gradients, 16), of("gradient"), ROUNDING);
        }
        optimizer.step(&w, &gradients, 0.05);
        methods::remember(&w, &loss.memory);
        method.after_step(&w, (step + 1) as f64 / images.len() as f64);
        for change in w.names().filter(|part| part.starts_with("memory.") && !part.ends_with(".next")) {
            let what = format!("step{step}.{change}");
            golden::assert_close(&format!("{name}: {what}"), w.get(change), of(&what), ROUNDING);
        }
        let student = w.filter(|part| !part.starts_with("teacher."));
        let teacher = w.under("teacher.");
        if !teacher.is_empty() {
            let of_teacher: Vec<Tensor> =
                student.parameters().filter_map(|(part, _)| Some(teacher.find(part)?.shallow_clone())).collect();
            let what = format!("step{step}.teacher");
            golden::assert_close(&format!("{name}: {what}"), &sampled(&of_teacher, 256), of(&what), ROUNDING);
        }
    }
    let student = w.filter(|part| !part.starts_with("teacher."));
    golden::assert_close(name, &sampled(&parameters(&student), 16), of("parameters"), ROUNDING);
    golden::assert_close(name, &sampled(&statistics(&student), 4), of("statistics"), ROUNDING);
    let teacher = statistics(&w.under("teacher."));
    if !teacher.is_empty() {
        golden::assert_close(name, &sampled(&teacher, 4), of("teacher_statistics"), ROUNDING);
    }
}

#[test]
fn five_steps_of_moco_v2() {
    five_steps(
        "moco-v2",
        toml::toml! { temperature = 0.2 proj_hidden_dim = 8 proj_output_dim = 6 queue_size = 16 base_tau = 0.9 },
    );
}

#[test]
fn five_steps_of_moco_v3() {
    five_steps(
        "moco-v3",
        toml::toml! { temperature = 0.2 proj_hidden_dim = 8 proj_output_dim = 6 pred_hidden_dim = 8 base_tau = 0.9 },
    );
}

#[test]
fn five_steps_of_nnclr() {
    five_steps(
        "nnclr",
        toml::toml! { temperature = 0.2 proj_hidden_dim = 8 proj_output_dim = 6 pred_hidden_dim = 8 queue_size = 16 },
    );
}

#[test]
fn five_steps_of_ressl() {
    five_steps("ressl", toml::toml! { proj_hidden_dim = 8 proj_output_dim = 6 queue_size = 16 base_tau = 0.9 });
}

#[test]
fn five_steps_of_relic() {
    five_steps(
        "relic",
        toml::toml! { temperature = 0.2 alpha = 0.7 proj_hidden_dim = 8 proj_output_dim = 6 base_tau = 0.9 },
    );
}

#[test]
fn five_steps_of_byol() {
    five_steps(
        "byol",
        toml::toml! { proj_hidden_dim = 8 proj_output_dim = 6 pred_hidden_dim = 8 base_tau = 0.9 final_tau = 1.0 },
    );
}

#[test]
fn five_steps_of_dcl() {
    five_steps("dcl", toml::toml! { temperature = 0.2 proj_hidden_dim = 8 proj_output_dim = 6 });
    five_steps("dclw", toml::toml! { temperature = 0.2 sigma = 0.5 proj_hidden_dim = 8 proj_output_dim = 6 });
}

#[test]
fn five_steps_of_vicreg() {
    five_steps("vicreg", toml::toml! { proj_hidden_dim = 8 proj_output_dim = 6 });
}

#[test]
fn five_steps_of_supervised() {
    five_steps("supervised", toml::toml! { classes = 3 });
}

/// Along a direction the product of Hessian and direction is the difference of the gradients at both ends. Not so for DCLW,
/// through whose weights no gradient goes, nor for SwAV, whose codes move with the weights but are taken as constants.
#[test]
fn they_can_be_differentiated_twice() {
    let encoder = EncoderSpec::new("resnet18-w2", Stem::Cifar).build().unwrap();
    let (early, late) = Part::cut(encoder.as_ref(), "stage3").unwrap();
    let images = Tensor::arange(8 * 3 * 16 * 16, (Kind::Double, Device::Cpu)).view([8, 3, 16, 16]);
    let labels = Tensor::arange(8, (Kind::Int64, Device::Cpu)).remainder(3);
    let images = Views { labels: Some(labels), ..vec![(&images * 0.7).sin(), (&images * 0.7 + 0.3).sin()].into() };
    for name in "moco-v2 moco-v3 nnclr ressl dcl relic supcon supervised byol vicreg dino simdino".split(' ') {
        let method = (find(name).unwrap().build)(&small_settings(name)).unwrap();
        let mut rng = once(0, Purpose::Init);
        let frozen = encoder.init(&mut rng).to_kind(Kind::Double).frozen();
        let mut w = late.weights(&frozen);
        w.extend(method.init(late.dim(), &mut rng).to_kind(Kind::Double));
        let mut w = w.copy().trainable();
        method.teach(&mut w);
        let features = images.map(|x| early.forward(&frozen, x, Mode::Eval));
        let gradient = |w: &Weights, create_graph| {
            let loss = method.loss(&late, w, &features, Mode::TrainKeepStats).unwrap();
            w.gradients(&loss.total, create_graph).unwrap()
        };
        let direction: Vec<Tensor> = w
            .parameters()
            .enumerate()
            .map(|(i, (_, t))| {
                let along = Tensor::arange(t.numel() as i64, (Kind::Double, Device::Cpu)) * 0.7 + i as f64;
                along.sin().view_as(t)
            })
            .collect();
        let slope: Tensor = gradient(&w, true).iter().zip(&direction).map(|(g, d)| (g * d).sum(Kind::Double)).sum();
        let product = w.gradients(&slope, false).unwrap();
        let h = 1e-7;
        let (ahead, behind) = (gradient(&w.plus(h, &direction), false), gradient(&w.plus(-h, &direction), false));
        let difference: Vec<Tensor> = ahead.iter().zip(&behind).map(|(a, b)| (a - b) / (2.0 * h)).collect();
        golden::assert_close(name, &flat(&product), &flat(&difference), 1e-5);
        assert!(flat(&product).norm().double_value(&[]) > 1e-3, "{}: it has a curvature", name);
    }
}

#[test]
fn a_vit_gets_the_heads_of_moco_v3_that_its_authors_gave_it() {
    let settings = toml::toml! { proj_layers = 3 proj_hidden_dim = 8 proj_output_dim = 6 pred_batch_norm = true };
    let head = (find("moco-v3").unwrap().build)(&settings).unwrap().init(5, &mut once(0, Purpose::Init));
    let matrices: Vec<&str> =
        head.iter().filter(|(_, t)| t.dim() == 2).map(|(name, _)| name.trim_end_matches(".weight")).collect();
    assert_eq!(matrices, ["projector.0", "projector.3", "projector.6", "predictor.0", "predictor.3"]);
    for last in ["projector.7", "predictor.4"] {
        assert!(head.find(&format!("{last}.running_var")).is_some() && head.find(&format!("{last}.weight")).is_none());
    }
    assert!(head.names().all(|name| name != "projector.0.bias"));
}

/// In `folder`, `n` drawn images of 16 pixels without classes.
fn unlabelled(folder: &std::path::Path, n: usize) -> std::path::PathBuf {
    let shapes = lethe::data::open(&format!("shapes:n={n},size=16")).unwrap();
    let flat = folder.join("flat");
    std::fs::create_dir(&flat).unwrap();
    for i in 0..n {
        shapes.image(i).unwrap().save(flat.join(format!("{i:02}.png"))).unwrap();
    }
    flat
}

#[test]
fn what_needs_labels_or_room_says_so_before_it_trains() {
    let folder = temp_dir();
    let flat = unlabelled(folder.path(), 8);
    let out = folder.path().join("run");
    let small = ["--encoder", "resnet18-w4", "--batch-size", "8", "--epochs", "1", "--out", text(&out)];
    let refused = |more: &[&str]| {
        let stderr = lethe_err(&[&["pretrain"], &small[..], more].concat(), 2);
        assert!(!out.exists(), "{more:?} left something behind");
        stderr
    };
    insta::assert_snapshot!(refused(&["--method", "supcon", "--data", text(&flat)]), @r"
    error: supcon: the images have no labels
      hint: name images with labels, such as a folder of folders of images, or choose a method without them
    ");
    assert!(refused(&["--method", "supervised", "--data", text(&flat)]).starts_with("error: supervised: the images"));
    let config = folder.path().join("small.toml");
    std::fs::write(&config, "[method_settings]\nqueue_size = 4\n").unwrap();
    for method in ["moco-v2", "nnclr", "ressl"] {
        let stderr = refused(&["--method", method, "--data", "shapes:n=16,size=16", "--config", text(&config)]);
        assert_eq!(
            stderr,
            "error: queue_size 4: it cannot hold a batch of 8 images\n  \
             hint: [method_settings]: queue_size = 8 or more\n"
        );
    }

    std::fs::write(&config, "[method_settings]\nqueue_size = 64\n").unwrap();
    let long = ["--method", "nnclr", "--data", "shapes:n=16,size=16", "--config", text(&config), "--overwrite"];
    let told = lethe(&[&["pretrain"], &small[..], &long].concat());
    let stderr = String::from_utf8(told.stderr).unwrap();
    assert!(
        told.status.success() && stderr.contains("warning: a queue of 64 rows holds each of 16 images"),
        "{stderr}"
    );
    std::fs::remove_dir_all(&out).unwrap();

    lethe_ok(&[&["pretrain"], &small[..], &["--method", "supervised", "--data", "shapes:n=16,size=16"]].concat());
    let config = lethe::config::RunConfig::read(&out.join("config.toml")).unwrap();
    let classes = lethe::data::open("shapes:n=16,size=16").unwrap().classes().len() as i64;
    assert_eq!(config.method_settings["classes"], classes.into(), "as many as the images have");
    let checkpoint = out.join("checkpoints/epoch-0001.safetensors");
    let undone = folder.path().join("undone");
    let small = ["--batch-size", "8", "--epochs", "1", "--out", text(&undone)];
    let undo = |data| [&["undo", text(&checkpoint), "--data", data], &small[..]].concat();
    let stderr = lethe_err(&undo(text(&flat)), 2);
    assert!(stderr.starts_with("error: supervised: the images have no labels") && !undone.exists(), "{stderr}");
    lethe_ok(&undo("shapes:n=16,size=16"));
}

#[test]
fn a_repair_goes_on_with_the_queue_of_the_run() {
    let folder = temp_dir();
    let run = folder.path().join("run");
    let data = ["--data", "shapes:n=24,size=16", "--batch-size", "8", "--epochs", "2"];
    let trained = ["pretrain", "--method", "moco-v2", "--encoder", "resnet18-w4", "--save-every", "1", "--lr", "0.01"];
    lethe_ok(&[&trained, &data[..], &["--config", small_head("moco-v2"), "--out", text(&run)]].concat());
    let head = |checkpoint: &std::path::Path| {
        let state = lethe::checkpoint::state_path(checkpoint);
        lethe::checkpoint::open_state(&state).unwrap().head
    };
    let checkpoint = run.join("checkpoints/epoch-0002.safetensors");
    let before = head(&checkpoint);
    for repair in ["continue", "average"] {
        let out = folder.path().join(repair);
        let undo = ["undo", text(&checkpoint), "--repair", repair, "--out", text(&out)];
        let output = lethe(&[&undo, &data[..]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && !said.contains("a new one is trained"), "{said}");
        let after = head(&out.join("undone.safetensors"));
        for queue in ["memory.queue1", "memory.queue2"] {
            let kept =
                (before.get(queue) - after.get(queue)).abs().sum_dim_intlist([1i64].as_slice(), false, None::<Kind>);
            let kept = kept.eq(0.0).sum(Kind::Int64).int64_value(&[]);
            // 2 epochs of 24 keys each go into the 64 places; averaging makes no step.
            assert_eq!(kept, if repair == "continue" { 64 - 48 } else { 64 }, "{repair}: {queue}");
        }
        let next = after.get("memory.queue1.next").int64_value(&[0]);
        assert_eq!(next, if repair == "continue" { 96 % 64 } else { 48 }, "{repair}");
    }
    let out = folder.path().join("other");
    let undo = ["undo", text(&checkpoint), "--method", "nnclr", "--out", text(&out)];
    let output = lethe(&[&undo, &data[..]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("no nnclr head: a new one is trained along"), "{said}");
}
