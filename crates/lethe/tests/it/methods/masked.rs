//! MAE and I-JEPA against lightly's modules around timm's vision transformer.

use lethe::encoders::{Part, Pool, Stem, Vit, VitShape};
use lethe::methods::{Blocks, IJepa, Loss, Mae, Method, Prediction, Reconstruction, Views};
use lethe::nn::{DropPath, Mode, Weights, transformer};
use lethe::rng::{Purpose, once};
use tch::{Device, Kind, Tensor};

use crate::encoders::{formula, formulas};
use crate::golden;
use crate::support::{lethe_err, lethe_ok, small_head, temp_dir, text};

const GAINS: [&str; 4] = [".gamma", "norm.weight", "norm1.weight", "norm2.weight"];

fn is_gain(name: &str) -> bool {
    GAINS.iter().any(|gain| name.ends_with(gain))
}

fn small_vit() -> Vit {
    let pool = Pool::Mean;
    Vit::new(VitShape { width: 24, depth: 2, heads: 3, patch: 4, image_size: 16, pool, layer_scale: false })
}

/// The encoder's tensors by the formulas of the seeds from 0 on, the method's from 100 on, and its places.
fn weights(vit: &Vit, method: &dyn Method) -> Weights {
    let mut w = formulas(vit, is_gain);
    let head = method.init_for(&Part::whole(vit), &mut once(0, Purpose::Init));
    let shapes = head.iter().map(|(name, t)| (name.to_owned(), t.size()));
    for (seed, (name, shape)) in shapes.enumerate() {
        if name == "memory.places" {
            w.insert(name, transformer::sine_cosine(4, 4, shape[1]));
            continue;
        }
        let x = formula(&shape, 100.0 + seed as f64);
        let x = match shape.len() {
            _ if is_gain(&name) => 1.0 + 0.3 * x,
            2 => x / (shape[1] as f64).sqrt(),
            _ => 0.3 * x,
        };
        w.insert(name, x.set_requires_grad(true));
    }
    method.teach(&mut w);
    w
}

fn assert_gradients(case: &str, golden: &Weights, w: &Weights, loss: &Tensor) {
    let gradients = w.gradients(loss, false).unwrap();
    let mut compared = 0;
    for ((name, _), gradient) in w.parameters().zip(&gradients) {
        let at = format!("{case}/gradient/{name}");
        match golden.find(&at) {
            Some(expected) => golden::assert_close(&at, gradient, expected, 1e-10),
            None => assert!(gradient.abs().max().double_value(&[]) == 0.0, "{at} is missing"),
        }
        compared += 1;
    }
    assert!(compared > 40);
}

fn mae(norm_pix: bool) -> Mae {
    Mae { norm_pix, decoder_embed_dim: 16, decoder_depth: 2, decoder_num_heads: 4, ..Mae::default() }
}

#[test]
fn mae_is_that_of_lightly() {
    let golden = golden::load("masked");
    let (vit, images) = (small_vit(), formula(&[3, 3, 16, 16], 0.5));
    for (case, norm_pix) in [("mae", true), ("mae-raw", false)] {
        let method = mae(norm_pix);
        let w = weights(&vit, &method);
        let of = |name: &str| golden.get(&format!("{case}/{name}"));
        let Reconstruction { error, latent, pixels } =
            method.reconstruct(&vit, &w, &images, of("kept"), of("hidden"), None);
        golden::assert_close("latent", &latent, of("latent"), 1e-12);
        golden::assert_close("pixels", &pixels, of("pixels"), 1e-11);
        golden::assert_close("loss", &error, of("loss"), 1e-12);
        if norm_pix {
            assert_gradients(case, &golden, &w, &error);
        }
    }
}

#[test]
fn five_steps_of_i_jepa_are_those_of_lightly() {
    let golden = golden::load("masked");
    let (vit, images) = (small_vit(), formula(&[3, 3, 16, 16], 0.5));
    let method = IJepa { targets: 2, pred_embed_dim: 12, pred_depth: 2, base_tau: 0.9, ..IJepa::default() };
    let mut w = weights(&vit, &method);
    golden::assert_close("places", w.get("memory.places"), golden.get("places"), 1e-14);
    for step in 0..5 {
        let of = |name: &str| golden.get(&format!("i-jepa/{step}/{name}"));
        let targets = ["target0", "target1"].map(|name| of(name).shallow_clone());
        let blocks = Blocks { context: of("context").shallow_clone(), targets: targets.into() };
        let Prediction { distance, features, .. } = method.predict(&vit, &w, &images, &blocks, None);
        golden::assert_close(&format!("step {step}"), &distance, of("loss"), 1e-11);
        if step == 0 {
            golden::assert_close("features", &features, golden.get("i-jepa/features"), 1e-11);
            assert_gradients("i-jepa", &golden, &w, &distance);
        }
        let Prediction { distance, .. } = method.predict(&vit, &w, &images, &blocks, None);
        let gradients = w.gradients(&distance, false).unwrap();
        w = tch::no_grad(|| w.plus(-0.2, &gradients)).trainable();
        method.after_step(&w, (step + 1) as f64 / 5.0);
        for name in ["cls_token", "blocks.1.mlp.fc2.bias", "norm.weight"] {
            let name = format!("teacher.{name}");
            golden::assert_close(&format!("step {step} {name}"), w.get(&name), of(&name), 1e-11);
        }
    }
}

#[test]
fn masks_hang_on_the_draw_alone() {
    let vit = small_vit();
    let net = Part::whole(&vit);
    let images = || vec![formula(&[3, 3, 16, 16], 0.5), formula(&[3, 3, 16, 16], 0.9)];
    let jepa = IJepa { pred_embed_dim: 12, pred_depth: 1, min_keep: 3, ..IJepa::default() };
    let methods: [&dyn Method; 2] = [&mae(true), &jepa];
    for method in methods {
        method.check(&net).unwrap();
        let w = weights(&vit, method);
        let loss = |draw: u64| method.loss(&net, &w, &Views { draw, ..images().into() }, Mode::Train).unwrap();
        assert_eq!(loss(1).total, loss(1).total);
        assert_ne!(loss(1).total, loss(2).total);
        let Loss { representations, projections, terms, .. } = loss(1);
        assert_eq!((representations.len(), projections.len(), terms.len()), (2, 2, 1));
        assert_eq!((representations[0].size(), projections[1].size()[0]), (vec![3, 24], 3));
        // All is trained but MAE's and I-JEPA's buffers, and the class token where nothing looks at it last.
        let gradients = w.gradients(&loss(1).total, false).unwrap();
        for ((name, _), gradient) in w.parameters().zip(&gradients) {
            assert!(gradient.abs().max().double_value(&[]) > 0.0, "{name}");
        }
        // Views of another size have other places.
        let other: Views = vec![formula(&[3, 3, 24, 24], 0.5)].into();
        let error = method.loss(&net, &w, &other, Mode::Train).err().expect("refused");
        assert!(error.what.ends_with("needs views of 16 x 16 pixels, not 24 x 24"), "{error}");
    }
}

#[test]
fn paths_are_dropped_in_training_and_none_of_a_teacher() {
    let (vit, images) = (small_vit(), formula(&[8, 3, 16, 16], 0.5));
    let net = Part::whole(&vit);
    let jepa = IJepa { pred_embed_dim: 12, pred_depth: 1, min_keep: 3, ..IJepa::default() };
    let drop = |seed: u64| DropPath::new(0.5, seed);
    let methods: [&dyn Method; 2] = [&mae(true), &jepa];
    for method in methods {
        let w = weights(&vit, method);
        let loss = |net: &Part, mode: Mode| method.loss(net, &w, &vec![images.copy()].into(), mode).unwrap().total;
        let plain = loss(&net, Mode::Train);
        assert_ne!(loss(&net.dropping(&drop(1)), Mode::Train), plain);
        assert_ne!(loss(&net.dropping(&drop(1)), Mode::Train), loss(&net.dropping(&drop(2)), Mode::Train));
        assert_eq!(loss(&net.dropping(&drop(1)), Mode::Train), loss(&net.dropping(&drop(1)), Mode::Train));
        assert_eq!(loss(&net.dropping(&drop(1)), Mode::Eval), plain);
    }
    // Of a student that sees all patches. A teacher that dropped paths too would draw before it.
    let w = weights(&vit, &jepa);
    let all = Tensor::arange(16, (Kind::Int64, Device::Cpu)).repeat([8, 1]);
    let blocks = Blocks { targets: vec![all.narrow(1, 0, 4)], context: all };
    let Prediction { latent, .. } = jepa.predict(&vit, &w, &images, &blocks, Some(&drop(1)));
    let tokens = vit.with_class_token(&w, &vit.embed(&w, &images));
    golden::assert_close("latent", &latent, &vit.encode(&w, &tokens, Some(&drop(1))), 1e-12);
}

#[test]
fn blocks_lie_in_the_image_and_a_context_touches_no_target() {
    let method = IJepa::default();
    let lists = |places: &Tensor| Vec::<Vec<i64>>::try_from(places).unwrap();
    for (seed, grid) in [(0, 14), (1, 14), (2, 16), (3, 10)] {
        let blocks = method.blocks(20, grid, &mut once(seed, Purpose::Loss), Device::Cpu);
        assert_eq!(blocks.targets.len(), 4);
        let context = lists(&blocks.context);
        assert!(context[0].len() > method.min_keep);
        for target in blocks.targets.iter().map(&lists) {
            let share = target[0].len() as f64 / (grid * grid) as f64;
            assert!((0.1..0.25).contains(&share), "{share}");
            for (context, target) in context.iter().zip(&target) {
                assert!(context.iter().chain(target).all(|place| (0..grid * grid).contains(place)));
                assert!(target.iter().all(|place| !context.contains(place)), "{context:?} {target:?}");
                let rows = target.iter().map(|place| place / grid).collect::<std::collections::BTreeSet<_>>().len();
                let columns = target.iter().map(|place| place % grid).collect::<std::collections::BTreeSet<_>>().len();
                assert_eq!(rows * columns, target.len(), "a rectangle");
            }
        }
        assert_ne!(context[0], context[1], "an image's own");
    }
    // Where targets leave too little the context may touch some of them, and is never empty.
    for grid in [2, 3, 4] {
        let blocks = method.blocks(6, grid, &mut once(7, Purpose::Loss), Device::Cpu);
        assert!(blocks.context.size()[1] >= 1 && blocks.targets[3].size()[1] >= 1);
    }
}

#[test]
fn they_train_and_are_judged_and_what_they_cannot_do_is_said_in_a_line() {
    let folder = temp_dir();
    let data = "shapes:n=64,size=16,seed=1";
    let umm = folder.path().join("umm.toml");
    std::fs::write(&umm, "[umm]\nsplit = \"block1\"\n").unwrap();
    let mut errors = String::new();
    for name in ["mae", "i-jepa"] {
        let run = folder.path().join(name);
        let encoder = ["--encoder", "vit-tiny-w24-d2", "--patch", "4", "--pool", "mean"];
        let settings = ["--config", small_head(name), "--data", data, "--epochs", "4", "--batch-size", "16"];
        let pretrain =
            ["pretrain", "--method", name, "--warmup-epochs", "0", "--lr", "0.02", "--threads", "1", "--json"];
        lethe_ok(&[&pretrain[..], &encoder, &settings, &["--out", text(&run)]].concat());
        let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let losses: Vec<f64> = metrics
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|row| row["kind"] == "epoch")
            .map(|row| row["loss"].as_f64().unwrap())
            .collect();
        assert!(losses.len() == 4 && losses[3] < losses[0], "{name}: {losses:?}");
        let out = folder.path().join(format!("{name}-diagnosis"));
        lethe_ok(&["diagnose", text(&run), "--data", data, "--images", "32", "--out", text(&out)]);

        let checkpoint = run.join("checkpoints/epoch-0004.safetensors");
        let undone = folder.path().join("undone");
        errors +=
            &lethe_err(&["undo", text(&checkpoint), "--data", data, "--split", "block1", "--out", text(&undone)], 2);
        assert!(!undone.exists());
        for flags in [
            &["--encoder", "resnet18-w4"][..],
            &["--encoder", "vit-tiny-w24-d2", "--pool", "mean", "--umm-every", "2", "--config", text(&umm)],
            &["--encoder", "vit-tiny-w24-d2", "--pool", "mean", "--image-size", "4"],
        ] {
            let never = ["pretrain", "--method", name, "--data", data, "--batch-size", "16", "--out", text(&undone)];
            errors += &lethe_err(&[&never[..], flags].concat(), 2);
            assert!(!undone.exists(), "{flags:?}");
        }
    }
    let by_class = ["--encoder", "vit-tiny-w24-d2", "--batch-size", "16", "--out", "never"];
    errors += &lethe_err(&[&["pretrain", "--method", "i-jepa", "--data", data][..], &by_class].concat(), 2);
    insta::assert_snapshot!(errors, @r"
    error: mae hides patches from the whole encoder: it cannot train one that is cut
      hint: name another method to repair it with
    error: mae hides patches from a vision transformer, not from resnet18-w4
      hint: --encoder vit-tiny
    error: [umm]: mae hides patches from the whole encoder: it cannot train one that is cut
      hint: name another method to repair it with
    error: mae: mask_ratio 0.75 of 1 patches keeps 0
    error: i-jepa hides patches from the whole encoder: it cannot train one that is cut
      hint: name another method to repair it with
    error: i-jepa hides patches from a vision transformer, not from resnet18-w4
      hint: --encoder vit-tiny
    error: [umm]: i-jepa hides patches from the whole encoder: it cannot train one that is cut
      hint: name another method to repair it with
    error: i-jepa: no 4 blocks in 1 x 1 patches
    error: i-jepa trains no class token to stand for an image
      hint: --pool mean
    ");
    let resnet = lethe::encoders::EncoderSpec::new("resnet18-w4", Stem::Cifar).build().unwrap();
    for bad in [Mae { decoder_num_heads: 3, ..mae(true) }, Mae { mask_ratio: 0.99, ..mae(true) }] {
        assert_eq!(bad.check(&Part::whole(&small_vit())).unwrap_err().exit.code(), 2);
    }
    assert!(mae(true).check(&Part::whole(resnet.as_ref())).is_err() && resnet.vit().is_none());
}
