//! The rivals of UMM: against PyTorch, and what each promises.

use std::ops::ControlFlow;

use lethe::encoders::{EncoderSpec, Part, Stem};
use lethe::methods::{self, Views};
use lethe::nn::Weights;
use lethe::rng::{Purpose, once};
use lethe::undo::{Batches, Event, REPAIRS, Settings, Snapshot, StepRow, Subject, Undone, undo};
use tch::{Kind, Tensor};

use crate::golden::{assert_close, load};
use crate::support::{methods_for_parts, small_settings};
use crate::undo::{Case, bits, flat, parameters};

/// Two other checkpoints of the same encoder.
fn others(case: &Case) -> Vec<Snapshot> {
    // Fresh batch-norms are all alike.
    let moved = |w: Weights| {
        w.iter()
            .map(|(name, t)| (name.to_owned(), if t.is_floating_point() { t.detach() + 0.3 } else { t.detach() + 1 }))
            .collect()
    };
    let other = |seed| {
        let mut rng = once(seed, Purpose::Init);
        let weights = moved(case.encoder.init(&mut rng));
        let head = case.method.init(Part::whole(case.encoder.as_ref()).dim(), &mut rng);
        Snapshot { weights, head }
    };
    vec![other(11), other(12)]
}

/// Repairs on `batches`, the same in every epoch.
fn repaired(subject: &Subject, settings: &Settings, batches: &[Views]) -> (Undone, Vec<StepRow>) {
    let mut rows = Vec::new();
    let mut epoch = |_| -> Box<dyn Iterator<Item = lethe::Result<Views>>> {
        Box::new(batches.iter().map(|views| Ok(views.map(Tensor::shallow_clone))))
    };
    let batches = Batches { per_epoch: batches.len() as u64, epoch: &mut epoch, held_out: None };
    let undone = undo(subject, settings, batches, None, &mut |event| {
        if let Event::Step(row) = event {
            rows.push(row.clone());
        }
        Ok(ControlFlow::Continue(()))
    });
    (undone.unwrap(), rows)
}

/// The repair of this name with every other setting at its default, on two batches an epoch.
fn by_name(case: &Case, others: &[Snapshot], repair: &str, epochs: u32) -> (Undone, Vec<StepRow>) {
    // Distillation and the earlier checkpoint look at one.
    let others = if repair == "average" { others } else { &others[..1] };
    let settings = Settings { repair: repair.into(), epochs, ..Settings::default() };
    let batches = [case.views.map(Tensor::shallow_clone), case.views.map(|x| x * 0.5)];
    repaired(&Subject { others, ..case.subject() }, &settings, &batches)
}

fn changed(before: &Weights, after: &Weights) -> Vec<String> {
    let differs = |(name, tensor): &(&str, &Tensor)| **tensor != *before.get(name);
    after.iter().filter(differs).map(|(name, _)| name.to_owned()).collect()
}

mod against_pytorch {
    use super::*;

    const ROUNDING: f64 = 1e-9;

    fn sampled(values: &[Tensor]) -> Tensor {
        let values = flat(values);
        Tensor::cat(&[values.slice(0, None, None, 16), values.norm().view([1])], 0)
    }

    /// Checkpoint `i` of the golden case, in double precision and torchvision's order.
    fn snapshot(tensors: &Weights, i: usize, names: &[String]) -> Snapshot {
        let all = tensors.under(&format!("weights{i}.")).to_kind(Kind::Double);
        let of = |names: &[String]| names.iter().map(|name| (name.clone(), all.get(name).shallow_clone())).collect();
        let head = ["0.weight", "0.bias", "2.weight", "2.bias"].map(|name| format!("projector.{name}"));
        Snapshot { weights: of(names), head: of(&head) }
    }

    fn golden() -> (Weights, Case, Vec<Snapshot>, Vec<Views>) {
        let tensors = load("repairs");
        let encoder = EncoderSpec::new("resnet18-w2", Stem::Cifar).build().unwrap();
        let table =
            toml::Table::from_iter([("temperature".to_owned(), tensors.get("temperature").double_value(&[]).into())]);
        let method = (methods::find("simclr").unwrap().build)(&table).unwrap();
        let names: Vec<String> = encoder.init(&mut once(0, Purpose::Init)).names().map(str::to_owned).collect();
        let mut all: Vec<Snapshot> = (0..3).map(|i| snapshot(&tensors, i, &names)).collect();
        let Snapshot { weights, head } = all.remove(0);
        let images = tensors.get("images").to_kind(Kind::Double);
        let batches: Vec<Views> = images.unbind(0).iter().map(|views| views.unbind(0).into()).collect();
        let views = batches[0].map(Tensor::shallow_clone);
        (tensors, Case { encoder, method, weights, head, views }, all, batches)
    }

    #[test]
    fn averaging_and_its_running_statistics() {
        let (tensors, case, others, batches) = golden();
        let settings = Settings { repair: "average".into(), ..Settings::default() };
        let (undone, rows) = repaired(&Subject { others: &others, ..case.subject() }, &settings, &batches);
        assert!(rows.is_empty(), "it makes no step");
        let (_, late) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
        let mut w = late.weights(&undone.weights);
        let statistics: Vec<Tensor> =
            w.iter().filter(|(name, _)| name.contains("running")).map(|(_, t)| t.shallow_clone()).collect();
        assert_close("statistics", &flat(&statistics), tensors.get("average.statistics"), ROUNDING);
        w.extend(undone.head);
        let found = sampled(&parameters(&w.trainable()));
        assert_close("parameters", &found, tensors.get("average.parameters"), ROUNDING);
    }

    /// One step of SGD from rest moves the weights by lr times the gradient.
    #[test]
    fn distillation_of_late_and_of_early_stages() {
        let (tensors, case, others, batches) = golden();
        for (repair, name) in [("distill-late", "late"), ("distill-early", "early")] {
            let lr = 0.125;
            let settings = Settings {
                repair: repair.into(),
                distill_weight: tensors.get("weight").double_value(&[]),
                optimizer: "sgd".into(),
                lr,
                epochs: 1,
                ..Settings::default()
            };
            let subject = Subject { others: &others[..1], ..case.subject() };
            let (undone, rows) = repaired(&subject, &settings, &batches[..1]);
            for term in ["ssl", "distance"] {
                let expected = tensors.get(&format!("{name}.{term}"));
                assert_close(&format!("{name} {term}"), &Tensor::from(rows[0].terms[term]), expected, ROUNDING);
            }
            let (_, late) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
            let trained = |weights: &Weights, head: &Weights| {
                let mut w = if name == "late" { late.weights(weights) } else { weights.under("") };
                w.extend(head.under(""));
                parameters(&w.trainable())
            };
            let before = trained(&case.weights, &case.head);
            let after = trained(&undone.weights, &undone.head);
            let gradient: Vec<Tensor> = before.iter().zip(&after).map(|(b, a)| (b - a) / lr).collect();
            let expected = tensors.get(&format!("{name}.gradient"));
            assert_close(&format!("{name} gradient"), &sampled(&gradient), expected, 1e-8);
        }
    }
}

#[test]
fn the_subject_keeps_its_bits_and_only_what_a_repair_may_change_changes() {
    let case = Case::simclr(Kind::Float, 8);
    let others = others(&case);
    let late = |name: &str| name.starts_with("layer3") || name.starts_with("layer4");
    let (before, head_before) = (bits(&case.weights), bits(&case.head));
    for repair in REPAIRS {
        let (undone, rows) = by_name(&case, &others, repair.name, 3);
        assert_eq!(bits(&case.weights), before, "{}: the subject is left as it is", repair.name);
        assert_eq!(bits(&case.head), head_before, "{}", repair.name);
        assert!(undone.weights.names().eq(case.weights.names()), "{}: names and their order stay", repair.name);
        assert_eq!(rows.len(), if repair.training.is_some() { 6 } else { 0 }, "{}", repair.name);
        let changed = changed(&case.weights, &undone.weights);
        let expected: Vec<&str> = match repair.name {
            "distill-early" | "earlier" => case.weights.names().collect(),
            _ => case.weights.names().filter(|name| late(name)).collect(),
        };
        assert_eq!(changed, expected, "{}", repair.name);
    }
}

#[test]
fn reinit_draws_the_last_stage_and_the_head_anew_and_leaves_the_stage_before() {
    let case = Case::simclr(Kind::Float, 8);
    // So small a rate that the start shows.
    let settings = Settings { repair: "reinit".into(), lr: 1e-12, epochs: 1, ..Settings::default() };
    let views = case.views.map(Tensor::shallow_clone);
    let (undone, _) = repaired(&case.subject(), &settings, &[views]);
    let far = |before: &Weights, after: &Weights, name: &str| {
        ((after.get(name) - before.get(name)).norm() / before.get(name).norm()).double_value(&[])
    };
    assert!(far(&case.weights, &undone.weights, "layer3.1.conv2.weight") < 1e-6);
    for seed in 0..8 {
        let drawn_by_pretraining = case.encoder.init(&mut once(seed, Purpose::Init));
        assert!(far(&drawn_by_pretraining, &undone.weights, "layer4.1.conv2.weight") > 1.0, "seed {seed}");
    }
    assert!(far(&case.weights, &undone.weights, "layer4.1.conv2.weight") > 1.0);
    assert!(far(&case.head, &undone.head, "projector.0.weight") > 1.0);
    let settings = Settings { seed: 1, ..settings };
    let (other, _) = repaired(&case.subject(), &settings, &[case.views.map(Tensor::shallow_clone)]);
    assert!(far(&other.weights, &undone.weights, "layer4.1.conv2.weight") > 1.0, "it follows the seed");
}

#[test]
fn distillation_holds_the_stages_to_the_teacher() {
    let case = Case::simclr(Kind::Float, 8);
    let others = others(&case);
    for repair in ["distill-late", "distill-early"] {
        let distance = |weight| {
            let settings =
                Settings { repair: repair.into(), distill_weight: weight, lr: 3e-3, epochs: 12, ..Settings::default() };
            let views = case.views.map(Tensor::shallow_clone);
            let (_, rows) = repaired(&Subject { others: &others[..1], ..case.subject() }, &settings, &[views]);
            rows.last().unwrap().terms["distance"]
        };
        let (without, with) = (distance(0.0), distance(100.0));
        assert!(with < 0.95 * without, "{repair}: distance {without} without the anchor, {with} with it");
    }
}

#[test]
fn every_method_can_be_repaired_in_every_way() {
    for entry in methods_for_parts() {
        let case = Case::random(entry.name, small_settings(entry.name), Kind::Float, 8);
        let others = others(&case);
        for repair in REPAIRS {
            let (undone, rows) = by_name(&case, &others, repair.name, 1);
            let what = format!("{} {}", entry.name, repair.name);
            assert!(undone.stopped.is_none(), "{what}: {:?}", undone.stopped);
            assert!(rows.iter().all(|row| row.grad_norm > 0.0), "{what}");
            for (name, tensor) in undone.weights.iter().chain(undone.head.iter()) {
                assert!(tensor.isfinite().all().int64_value(&[]) == 1, "{what}: {name}");
            }
        }
    }
}

mod compute {
    use lethe::undo::hypergradient::{Bilevel, HYPERGRADIENTS, InnerOptimizer, Product, Solver};
    use std::cell::Cell;

    use super::*;

    /// In units of the plain step, E + 3F: at the split after stage2 of a ResNet-18 with CIFAR stem E = 280256 and
    /// F = 262144 multiply-adds a pixel, times the width's square (the stem's first convolution apart).
    #[test]
    fn passes_are_those_of_the_convolutions_counted_by_hand() {
        let case = Case::simclr(Kind::Float, 8);
        let others = others(&case);
        let w = 4.0;
        let convolutions = |stage: i32| {
            // Four 3x3 convolutions of c channels, the first from half as many, and the 1x1 shortcut; 1/4 of the places.
            let c = w * 2f64.powi(stage - 1);
            let first = if stage == 1 { c * c } else { c * c / 2.0 };
            let shortcut = if stage == 1 { 0.0 } else { c * c / 2.0 };
            (9.0 * (first + 3.0 * c * c) + shortcut) / 4f64.powi(stage - 1)
        };
        let early = 27.0 * w + convolutions(1) + convolutions(2);
        let late = convolutions(3) + convolutions(4);
        let plain = early + 3.0 * late;
        let step = |repair: &str| match repair {
            "umm" => early + 15.0 * late,
            "joint" => early + 6.0 * late,
            "distill-late" => 2.0 * early + 4.0 * late,
            "distill-early" => 4.0 * early + 3.0 * late,
            _ => plain,
        };
        for repair in REPAIRS {
            let (undone, rows) = by_name(&case, &others, repair.name, 2);
            let expected = match repair.name {
                "average" => 2.0 * (early + late),
                "earlier" => 0.0,
                name => 4.0 * step(name),
            } / plain;
            assert!((undone.passes - expected).abs() < 1e-9, "{}: {} for {expected}", repair.name, undone.passes);
            for row in rows {
                let expected = row.step as f64 * step(repair.name) / plain;
                assert!((row.passes - expected).abs() < 1e-9, "{}: {} for {expected}", repair.name, row.passes);
            }
        }
    }

    #[test]
    fn a_budget_gives_every_repair_the_steps_it_pays_for() {
        let case = Case::simclr(Kind::Float, 8);
        let others = others(&case);
        let steps = |repair: &str, passes| {
            let settings = Settings { repair: repair.into(), passes: Some(passes), ..Settings::default() };
            let views = || case.views.map(Tensor::shallow_clone);
            let subject = Subject { others: &others[..1], ..case.subject() };
            let (undone, rows) = repaired(&subject, &settings, &[views(), views(), views()]);
            assert!(undone.passes <= f64::from(passes) && rows.len() as u64 == undone.steps, "{repair}");
            let last = rows.last().unwrap();
            assert!(last.lr < rows[0].lr, "the rate falls over the steps of the budget");
            undone.steps
        };
        assert_eq!(steps("continue", 8), 8, "more than two epochs of three steps");
        assert_eq!(steps("reinit", 8), 8);
        assert_eq!(steps("umm", 8), 2, "3.88 passes a step");
        assert_eq!(steps("distill-late", 8), 5, "1.59 passes a step");
        let settings = Settings { passes: Some(3), ..Settings::default() };
        let batches = Batches { per_epoch: 1, epoch: &mut |_| Box::new(std::iter::empty()), held_out: None };
        let error =
            undo(&case.subject(), &settings, batches, None, &mut |_| Ok(ControlFlow::Continue(()))).unwrap_err();
        assert_eq!(error.exit.code(), 2);
        insta::assert_snapshot!(error.what, @"--passes 3: one step of umm takes 3.88 passes");
    }

    /// The counts that costs are made of, on a problem that counts.
    #[test]
    fn hypergradients_take_as_many_inner_gradients_as_they_say() {
        // In more directions than products, so that no solver ends early.
        let curvatures = Tensor::arange_start(1, 9, (Kind::Double, tch::Device::Cpu));
        for entry in HYPERGRADIENTS.iter().filter(|entry| entry.name != "exact") {
            for (steps, product) in
                [(1, Product::ForwardDifference), (2, Product::FiniteDifference), (3, Product::ForwardDifference)]
            {
                let solver = Solver { product, steps: 5 };
                let calls = Cell::new(0);
                let inner = |w: &Weights| {
                    calls.set(calls.get() + 1);
                    Ok((&curvatures * w.get("x").square()).sum(Kind::Double))
                };
                let outer = |w: &Weights| Ok(w.get("x").sum(Kind::Double));
                let mut w = Weights::new();
                w.insert("x", curvatures.copy().set_requires_grad(true));
                let optimizer = InnerOptimizer::Sgd;
                let bilevel = Bilevel { inner: &inner, outer: &outer, alpha: 0.1, steps, optimizer, solver };
                (entry.of)(&bilevel, &w).unwrap();
                assert_eq!(calls.get(), (entry.inner_gradients)(steps, solver), "{}, K = {steps}", entry.name);
            }
        }
    }
}

mod the_program {
    use std::path::{Path, PathBuf};

    use lethe::checkpoint;
    use serde_json::Value;

    use super::*;
    use crate::support::{lethe_err, lethe_ok, temp_dir, text};

    const DATA: &str = "shapes:n=64,size=16";

    /// A run of four kept epochs; its last checkpoint.
    fn pretrained(folder: &Path) -> PathBuf {
        let run = folder.join("run");
        let settings = "--method simclr --encoder resnet18-w4 --epochs 4 --save-every 1 --batch-size 32 --threads 1";
        let mut args = vec!["pretrain", "--data", DATA, "--out", text(&run)];
        args.extend(settings.split(' '));
        lethe_ok(&args);
        run.join("checkpoints/epoch-0004.safetensors")
    }

    fn command<'a>(checkpoint: &'a Path, out: &'a Path, more: &'a [&str]) -> Vec<&'a str> {
        let mut args = vec!["undo", text(checkpoint), "--data", DATA, "--out", text(out), "--batch-size", "32"];
        args.extend(["--threads", "1"]);
        args.extend(more);
        args
    }

    /// Plain steps on images held out are those that they would be if it were the training images.
    #[test]
    fn plain_repairs_train_on_outer_data() {
        let folder = temp_dir();
        let checkpoint = pretrained(folder.path());
        let others = format!("{DATA},seed=9");
        for repair in ["continue", "reinit"] {
            let undone = |name: &str, data: &[&str]| {
                let out = folder.path().join(format!("{repair}-{name}"));
                let mut args =
                    vec!["undo", text(&checkpoint), "--repair", repair, "--epochs", "2", "--batch-size", "32"];
                args.extend(["--threads", "1", "--out", text(&out)]);
                args.extend(data);
                lethe_ok(&args);
                bits(&checkpoint::open(&out.join("undone.safetensors")).unwrap().encoder)
            };
            let held_out = undone("held-out", &["--data", DATA, "--outer-data", &others]);
            assert!(held_out == undone("others", &["--data", &others]), "{repair}");
            assert!(held_out != undone("training", &["--data", DATA]), "{repair}");
        }
    }

    #[test]
    fn what_nothing_looks_at_is_refused() {
        let folder = temp_dir();
        let checkpoint = pretrained(folder.path());
        let out = folder.path().join("out");
        let others = ["--outer-data", "shapes:n=64,size=16,seed=9"];
        for repair in REPAIRS {
            for (takes, flags, named) in
                [(repair.outer_data, &others[..], "--outer-data"), (repair.matching, &["--match", "1"], "--match")]
            {
                if !takes {
                    let flags = [&["--repair", repair.name], flags].concat();
                    let said = lethe_err(&command(&checkpoint, &out, &flags), 2);
                    assert!(said.contains(&format!("{named}: nothing in {} looks at it", repair.name)), "{said}");
                }
            }
        }
        assert!(!out.exists());
    }

    #[test]
    fn the_views_are_those_of_the_run_or_as_told() {
        let folder = temp_dir();
        let run = folder.path().join("run");
        let settings = "--method simclr --augmentation simclr-weak --encoder resnet18-w4 --epochs 1 --batch-size 32";
        let pretrain = ["pretrain", "--data", DATA, "--threads", "1", "--out", text(&run)];
        lethe_ok(&[&pretrain[..], &settings.split(' ').collect::<Vec<_>>()].concat());
        let own = run.join("checkpoints/epoch-0001.safetensors");
        let lone = folder.path().join("lone.safetensors");
        std::fs::copy(&own, &lone).unwrap();
        let views = |checkpoint: &Path, name: &str, more: &[&str]| {
            let out = folder.path().join(name);
            lethe_ok(&command(checkpoint, &out, &[&["--passes", "8"], more].concat()));
            let table: toml::Table = std::fs::read_to_string(out.join("undo.toml")).unwrap().parse().unwrap();
            let log = std::fs::read_to_string(out.join("undo.jsonl")).unwrap();
            let step: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
            (table["augmentation"].as_str().unwrap().to_owned(), step["ssl"].as_f64().unwrap())
        };
        let (weak, of_weak) = views(&own, "own", &[]);
        let (strong, of_strong) = views(&own, "told", &["--augmentation", "simclr"]);
        assert_eq!((weak.as_str(), strong.as_str()), ("simclr-weak", "simclr"));
        assert_ne!(of_weak, of_strong);
        assert_eq!(views(&lone, "lone", &[]).0, "simclr");
        let (again, of_again) = views(&own, "other-method", &["--method", "byol"]);
        assert!(again == "byol" && of_again != of_weak);
    }

    #[test]
    fn every_repair_works_in_a_run_folder_without_more_flags() {
        let folder = temp_dir();
        let checkpoint = pretrained(folder.path());
        let run = folder.path().join("run");
        let name = |n: u32| format!("epoch-{n:04}.safetensors");
        let earlier = |out: &Path, more: &[&str]| lethe_err(&command(&checkpoint, out, more), 2);
        let said = earlier(&folder.path().join("none"), &["--repair", "earlier"]);
        assert!(said.contains("epoch-0004.safetensors: its run has no diagnosis to choose by"));
        let diagnosis = run.join("diagnosis");
        let unseen = "shapes:n=40,size=16,seed=9";
        lethe_ok(&["diagnose", text(&run), "--unseen", unseen, "--out", text(&diagnosis), "--threads", "1"]);
        let mut json: Value = lethe::files::read_json(&diagnosis.join("diagnosis.json")).unwrap();
        json["cells"][0]["checkpoint"] = 9.into();
        let beyond = folder.path().join("beyond.json");
        lethe::files::write_json(&beyond, &json).unwrap();
        for by in [["--repair", "earlier"], ["--split", "auto"]] {
            let more = [&by[..], &["--diagnosis", text(&beyond)]].concat();
            let said = lethe_err(&command(&checkpoint, &folder.path().join("none"), &more), 1);
            assert!(said.contains("beyond.json: speaks of checkpoint 9, counted from 0, but has 5"), "{said}");
        }
        for repair in REPAIRS {
            let out = folder.path().join(repair.name);
            let more = ["--repair", repair.name, "--passes", "4", "--json"];
            let json: Value = serde_json::from_str(&lethe_ok(&command(&checkpoint, &out, &more))).unwrap();
            assert!(json["passes"].as_f64().unwrap() <= 4.0, "{}", repair.name);
            let table: toml::Table = std::fs::read_to_string(out.join("undo.toml")).unwrap().parse().unwrap();
            if let Some(training) = &repair.training {
                assert_eq!(table["lr"].as_float(), Some(training.lr), "{}", repair.name);
            }
            let others: Vec<String> = table["others"]
                .as_array()
                .unwrap()
                .iter()
                .map(|path| Path::new(path.as_str().unwrap()).file_name().unwrap().to_string_lossy().into_owned())
                .collect();
            match repair.name {
                "average" => assert_eq!(others, [name(1), name(2), name(3)]),
                "distill-late" | "distill-early" => assert_eq!(others, [name(2)]),
                "earlier" => {
                    let kept = run.join("checkpoints").join(&others[0]);
                    let (kept, undone) = (checkpoint::open(&kept), checkpoint::open(&out.join("undone.safetensors")));
                    assert_eq!(bits(&kept.unwrap().encoder), bits(&undone.unwrap().encoder));
                }
                _ => assert!(others.is_empty()),
            }
        }
    }

    #[test]
    fn other_checkpoints_can_be_named_and_must_fit() {
        let folder = temp_dir();
        let checkpoint = pretrained(folder.path());
        let lone = folder.path().join("lone.safetensors");
        std::fs::copy(&checkpoint, &lone).unwrap();
        let out = folder.path().join("out");
        let said = |more: &[&str]| lethe_err(&command(&lone, &out, more), 2).replace(text(folder.path()), "..");
        insta::assert_snapshot!(said(&["--repair", "average"]), @r"
        error: ../lone.safetensors: lies in no run folder
          hint: name an earlier checkpoint with --with CKPT
        ");
        insta::assert_snapshot!(said(&["--repair", "distill-late"]), @r"
        error: ../lone.safetensors: lies in no run folder
          hint: name an earlier checkpoint with --teacher CKPT
        ");
        let first = checkpoint.with_file_name("epoch-0001.safetensors");
        assert!(lethe_err(&command(&first, &out, &["--repair", "average"]), 2).contains("its run kept no earlier"));
        let other = folder.path().join("other.safetensors");
        let wider = EncoderSpec::new("resnet18-w5", Stem::Cifar).build().unwrap();
        let weights = wider.init(&mut once(0, Purpose::Init));
        let all: Vec<(&str, Tensor)> = weights.iter().map(|(name, t)| (name, t.detach())).collect();
        Tensor::write_safetensors(&all, &other).unwrap();
        insta::assert_snapshot!(said(&["--repair", "distill-late", "--teacher", text(&other)]), @r"
        warning: ../lone.safetensors has no simclr head: a new one is trained along
        error: ../other.safetensors: holds resnet18-w5 (cifar stem), expected resnet18-w4 (cifar stem), as the given one
        ");
        assert!(!out.exists());
        lethe_ok(&command(&lone, &out, &["--repair", "average", "--with", text(&first)]));
    }
}
