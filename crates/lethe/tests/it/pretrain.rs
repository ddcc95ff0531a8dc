use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lethe::config::presets::PRESETS;
use lethe::config::{Precision, RunConfig};
use lethe::run::{Kind, MetricRow, RunFolder};

use crate::support::{encoder_flags, lethe_err, lethe_ok, small_head, temp_dir, text};

/// A small run that takes a second or two.
fn small_run<'a>(method: &'a str, out: &'a str, epochs: &'a str) -> Vec<&'a str> {
    let settings = ["--data", "shapes:n=96,size=16", "--batch-size", "32", "--save-every", "2"];
    let mut args = vec![
        "pretrain",
        "--method",
        method,
        "--config",
        small_head(method),
        "--out",
        out,
        "--epochs",
        epochs,
        "--threads",
        "1",
        "--lr",
        "0.5",
    ];
    args.extend(settings);
    args.extend(encoder_flags(method));
    args
}

/// Gives a flag another value.
fn replace<'a>(args: &mut [&'a str], flag: &str, value: &'a str) {
    let position = args.iter().position(|arg| *arg == flag).expect("the flag is there");
    args[position + 1] = value;
}

/// The content of every checkpoint of a run, by name.
fn checkpoints(run: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(run.join("checkpoints"))
        .expect("a run folder")
        .map(|entry| entry.expect("readable").path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect()
}

/// What a run logged of its epochs.
fn epoch_rows(run: &Path) -> Vec<MetricRow> {
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let rows = metrics.lines().map(|line| serde_json::from_str::<MetricRow>(line).unwrap());
    rows.filter(|row| row.kind == Kind::Epoch).collect()
}

fn start(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lethe"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(40), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(unix)]
pub(crate) fn signal(child: &Child, signal: i32) {
    // SAFETY: sends a signal to a child of this test.
    unsafe { libc::kill(child.id() as i32, signal) };
}

mod a_killed_run_resumes_to_the_same_bits {
    use super::*;

    /// Every fourth method, from `first` on: all in one test would take too long.
    fn with_methods_from(first: usize) {
        for entry in lethe::methods::METHODS.iter().skip(first).step_by(4) {
            let folder = temp_dir();
            let (uncut, cut) = (folder.path().join("uncut"), folder.path().join("cut"));
            lethe_ok(&small_run(entry.name, text(&uncut), "6"));
            let mut child = start(&small_run(entry.name, text(&cut), "6"));
            wait_for("the first checkpoint", || cut.join("checkpoints/epoch-0002.safetensors").exists());
            child.kill().unwrap();
            child.wait().unwrap();
            lethe_ok(&["pretrain", "--resume", "--out", text(&cut)]);
            let (uncut, cut) = (checkpoints(&uncut), checkpoints(&cut));
            assert_eq!(uncut.keys().collect::<Vec<_>>(), cut.keys().collect::<Vec<_>>());
            for (name, bytes) in &uncut {
                assert!(bytes == &cut[name], "{}: {name} differs", entry.name);
            }
        }
    }

    #[test]
    fn with_the_first_method_and_every_fourth_after_it() {
        with_methods_from(0);
    }

    #[test]
    fn with_the_second_and_every_fourth_after_it() {
        with_methods_from(1);
    }

    #[test]
    fn with_the_third_and_every_fourth_after_it() {
        with_methods_from(2);
    }

    #[test]
    fn with_the_fourth_and_every_fourth_after_it() {
        with_methods_from(3);
    }
}

#[test]
fn sigterm_saves_the_step_and_the_run_resumes_to_the_same_bits() {
    let folder = temp_dir();
    let (uncut, cut) = (folder.path().join("uncut"), folder.path().join("cut"));
    let (mut whole, mut begun) = (small_run("byol", text(&uncut), "8"), small_run("byol", text(&cut), "8"));
    // Where no epoch but the last is kept, whatever is saved before is a step.
    [&mut whole, &mut begun].into_iter().for_each(|args| replace(args, "--save-every", "8"));
    lethe_ok(&whole);
    let mut child = start(&begun);
    wait_for("the metrics", || std::fs::metadata(cut.join("metrics.jsonl")).is_ok_and(|file| file.len() > 0));
    signal(&child, libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let saved = checkpoints(&cut);
    assert!(saved.keys().any(|name| name.starts_with("step-")), "{:?}", saved.keys());
    lethe_ok(&["pretrain", "--resume", "--out", text(&cut)]);
    assert_eq!(checkpoints(&uncut), checkpoints(&cut));
    let steps: Vec<u64> = epoch_rows(&cut).iter().map(|row| row.step).collect();
    assert_eq!(steps, [3, 6, 9, 12, 15, 18, 21, 24]);
}

#[test]
fn checkpoints_are_in_order_beyond_four_digits() {
    let folder = temp_dir();
    let names = ["epoch-0900.safetensors", "epoch-9999.safetensors", "epoch-10000.safetensors"];
    std::fs::create_dir(folder.path().join("checkpoints")).unwrap();
    std::fs::write(folder.path().join("config.toml"), "").unwrap();
    for name in names {
        std::fs::write(folder.path().join("checkpoints").join(name), "").unwrap();
    }
    let kept = RunFolder::open(folder.path()).unwrap().epoch_checkpoints().unwrap();
    assert_eq!(kept.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect::<Vec<_>>(), names);
}

/// With one step an epoch, whatever comes during a step comes at the end of an epoch.
#[test]
fn a_signal_in_the_last_step_of_an_epoch_loses_nothing_of_it() {
    let folder = temp_dir();
    let (uncut, cut) = (folder.path().join("uncut"), folder.path().join("cut"));
    let (mut whole, mut begun) = (small_run("simclr", text(&uncut), "40"), small_run("simclr", text(&cut), "40"));
    for args in [&mut whole, &mut begun] {
        replace(args, "--batch-size", "96");
        replace(args, "--save-every", "1");
    }
    lethe_ok(&whole);
    let mut child = start(&begun);
    wait_for("the metrics", || std::fs::metadata(cut.join("metrics.jsonl")).is_ok_and(|file| file.len() > 0));
    signal(&child, libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(checkpoints(&cut).keys().all(|name| name.starts_with("epoch-")), "{:?}", checkpoints(&cut).keys());
    lethe_ok(&["pretrain", "--resume", "--out", text(&cut)]);
    assert_eq!(checkpoints(&uncut), checkpoints(&cut));
    assert_eq!(epoch_rows(&cut).len(), 40);
}

#[test]
fn a_run_is_trained_by_one_process_at_a_time() {
    let folder = temp_dir();
    let run = folder.path().join("run");
    let mut child = start(&small_run("simclr", text(&run), "100000"));
    wait_for("the settings", || run.join("config.toml").exists());
    let anew = [small_run("simclr", text(&run), "1"), vec!["--overwrite"]].concat();
    for args in [&anew, &vec!["pretrain", "--resume", "--out", text(&run)]] {
        let told =
            "run: another process works in this folder\n  hint: wait until it has ended, or choose another --out\n";
        assert!(lethe_err(args, 1).ends_with(told));
    }
    signal(&child, libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    lethe_ok(&anew);
}

#[test]
fn steps_of_umm_take_the_place_of_plain_ones_and_leave_the_early_stages() {
    let folder = temp_dir();
    for method in ["simclr", "byol", "vicreg", "ressl"] {
        let config = folder.path().join(format!("{method}.toml"));
        let umm = "[umm]\nsplit = \"stage3\"\nalpha = 0.02\n";
        std::fs::write(&config, std::fs::read_to_string(small_head(method)).unwrap() + umm).unwrap();
        let run = |name: &str, more: &[&str]| {
            let out = folder.path().join(format!("{method}-{name}"));
            let mut args = small_run(method, text(&out), "2");
            replace(&mut args, "--save-every", "1");
            replace(&mut args, "--lr", "0.05");
            if !more.is_empty() {
                replace(&mut args, "--config", text(&config));
            }
            args.extend(more);
            lethe_ok(&args);
            out
        };
        let (plain, late) = (run("plain", &[]), run("late", &["--umm-every", "2", "--umm-from", "1"]));
        let read =
            |run: &Path, epoch| std::fs::read(run.join(format!("checkpoints/epoch-000{epoch}.safetensors"))).unwrap();
        assert_eq!(read(&late, 1), read(&plain, 1), "{method}: the first epoch is plain");
        assert_ne!(read(&late, 2), read(&plain, 2), "{method}");
        assert_eq!(epoch_rows(&late).len(), 2);
        assert!(
            epoch_rows(&late)
                .iter()
                .all(|row| row.loss.is_finite() && row.terms.len() == epoch_rows(&plain)[0].terms.len())
        );

        let all = run("all", &["--umm-every", "1"]);
        let open =
            |epoch| lethe::checkpoint::open(&all.join(format!("checkpoints/epoch-000{epoch}.safetensors"))).unwrap();
        let (first, second) = (open(1).encoder, open(2).encoder);
        for (name, tensor) in first.iter() {
            assert_eq!(tensor != second.get(name), name.starts_with("layer4"), "{method}: {name}");
        }

        // Cut off after its first epoch, it goes on with the same bits.
        let whole = checkpoints(&all);
        for name in whole.keys().filter(|name| name.starts_with("epoch-0002")) {
            std::fs::remove_file(all.join("checkpoints").join(name)).unwrap();
        }
        lethe_ok(&["pretrain", "--resume", "--out", text(&all)]);
        assert_eq!(checkpoints(&all), whole, "{method}");
    }
    let out = folder.path().join("wrong");
    std::fs::write(folder.path().join("wrong.toml"), "[umm]\nepochs = 3\n").unwrap();
    let wrong = folder.path().join("wrong.toml");
    let said = lethe_err(&["pretrain", "--config", text(&wrong), "--umm-every", "2", "--out", text(&out)], 2);
    assert!(said.starts_with("error: [umm]: unknown key \"epochs\"") && !out.exists(), "{said}");
    let said = lethe_err(&["pretrain", "--config", text(&wrong), "--out", text(&out)], 2);
    assert!(said.starts_with("error: [umm]: no step of training") && !out.exists(), "{said}");
}

#[test]
fn learning_lowers_the_loss_below_chance() {
    let folder = temp_dir();
    let run = folder.path().join("run");
    let mut args = small_run("simclr", text(&run), "20");
    args.extend(["--optimizer", "adamw", "--warmup-epochs", "0"]);
    replace(&mut args, "--lr", "0.02");
    replace(&mut args, "--data", "shapes:n=128,size=32");
    replace(&mut args, "--encoder", "resnet18-w8");
    lethe_ok(&args);
    let losses: Vec<f64> = epoch_rows(&run).iter().map(|row| row.loss).collect();
    assert_eq!(losses.len(), 20);
    let chance = 63f64.ln(); // of finding the twin among the other views of 32 images
    assert!(losses[0] > chance && losses[19] < chance - 0.08, "{} to {}", losses[0], losses[19]);
}

#[test]
fn the_seed_decides_the_run_and_bf16_trains_too() {
    let folder = temp_dir();
    let run = |name: &str, more: &[&str]| {
        let path = folder.path().join(name);
        let mut args = small_run("vicreg", text(&path), "2");
        args.extend(more);
        lethe_ok(&args);
        checkpoints(&path)
    };
    let first = run("a", &[]);
    assert!(first == run("b", &[]));
    assert!(first != run("c", &["--seed", "1"]));
    assert!(first != run("d", &["--precision", "bf16"]));
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint() {
    let folder = temp_dir();
    let run = folder.path().join("run");
    let mut args = small_run("vicreg", text(&run), "60");
    args.extend(["--optimizer", "sgd", "--warmup-epochs", "0"]);
    replace(&mut args, "--lr", "1e18");
    replace(&mut args, "--save-every", "1");
    let stderr = lethe_err(&args, 1);
    assert!(stderr.contains("the loss is") || stderr.contains("holds NaN or infinite numbers"), "{stderr}");
    assert!(stderr.contains("hint: the last good checkpoint is kept"), "{stderr}");
    for (name, bytes) in checkpoints(&run) {
        assert!(!bytes.is_empty(), "{name}");
        if !name.contains(".state.") {
            let opened = lethe::checkpoint::open(&run.join("checkpoints").join(&name)).unwrap();
            assert!(opened.encoder.iter().all(|(_, t)| bool::try_from(t.isfinite().all()).unwrap()), "{name}");
        }
    }
}

#[test]
fn a_run_whose_running_statistics_are_not_finite_leaves_no_checkpoint_of_them() {
    let folder = temp_dir();
    let run = folder.path().join("run");
    let images = ["--data", "shapes:n=64,size=32,seed=1", "--encoder", "resnet18-w4", "--batch-size", "32"];
    let how = ["--optimizer", "sgd", "--lr", "1e10", "--epochs", "1", "--threads", "1", "--out", text(&run)];
    let stderr = lethe_err(&[&["pretrain"], &images[..], &how].concat(), 1);
    assert!(stderr.contains("running_var holds NaN or infinite numbers"), "{stderr}");
    assert!(stderr.contains("hint: the last good checkpoint is kept"), "{stderr}");
    assert!(checkpoints(&run).is_empty(), "{:?}", checkpoints(&run).keys());
}

#[test]
fn a_collapsed_representation_stops_the_run() {
    let folder = temp_dir();
    let run = folder.path().join("run");
    let config = folder.path().join("collapse.toml");
    let settings = "variance_weight = 0.0\ncovariance_weight = 0.0\nproj_hidden_dim = 32\nproj_output_dim = 16\n";
    std::fs::write(&config, format!("[method_settings]\n{settings}")).unwrap();
    let mut args = small_run("vicreg", text(&run), "400");
    args.extend(["--optimizer", "adamw", "--warmup-epochs", "0"]);
    replace(&mut args, "--config", text(&config));
    let stderr = lethe_err(&args, 1);
    assert!(stderr.contains("the representation has collapsed"), "{stderr}");
}

#[test]
fn bad_input_gets_one_clear_line() {
    let folder = temp_dir();
    let out = folder.path().join("run");
    let error = |args: &[&str], code: i32| {
        let mut all = vec!["pretrain", "--out", text(&out)];
        all.extend(args);
        let stderr = lethe_err(&all, code);
        assert!(!out.exists(), "{args:?} left something behind");
        stderr.replace(text(folder.path()), "[TMP]")
    };
    let write = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), content).unwrap();
        folder.path().join(name)
    };
    insta::assert_snapshot!(error(&["--data", "shapes:n=64", "--batch-size", "8", "--encoder", "resnet19"], 2), @r#"
    error: unknown encoder "resnet19"
      hint: one of resnet18, resnet34, resnet50, vit-tiny, vit-small, vit-base, convnext-tiny, with -wW for another width (resnet18-w16)
    "#);
    insta::assert_snapshot!(error(&["--data", "shapes:n=64", "--batch-size", "65"], 2), @r"
    error: batch_size 65 is larger than the data set (64 images)
      hint: --batch-size 64
    ");
    insta::assert_snapshot!(error(&["--data", "shapes:n=64", "--device", "tpu", "--batch-size", "8"], 2), @"error: --device tpu: expected cpu or cuda:N");
    insta::assert_snapshot!(error(&["--data", "shapes:n=64", "--lr=-1", "--batch-size", "8"], 2), @"error: lr must be a number of at least 0, not -1");
    let unknown_key = write("key.toml", "epochs = 3\nlearning_rate = 0.1\n");
    insta::assert_snapshot!(error(&["--config", text(&unknown_key)], 2), @r"
    error: [TMP]/key.toml: settings: unknown field `learning_rate`, expected one of `method`, `data`, `encoder`, `stem`, `patch`, `pool`, `layer_scale`, `drop_path`, `image_size`, `normalize`, `augmentation`, `epochs`, `batch_size`, `optimizer`, `lr`, `weight_decay`, `warmup_epochs`, `clip_norm`, `precision`, `device`, `threads`, `seed`, `save_every`, `bad_budget`, `hold_out`, `umm_every`, `umm_from`, `method_settings`, `umm`
      hint: `lethe pretrain --help` lists the keys
    ");
    let not_toml = write("broken.toml", "epochs = 3\nlr = = 1\n");
    insta::assert_snapshot!(error(&["--config", text(&not_toml)], 2), @"error: [TMP]/broken.toml: line 2: extra `=`, expected nothing");
    let wrong_setting = write("setting.toml", "[method_settings]\ntemprature = 0.1\n");
    insta::assert_snapshot!(error(&["--config", text(&wrong_setting), "--data", "shapes:n=64", "--batch-size", "8"], 2), @"error: [TMP]/setting.toml: [method_settings]: unknown field `temprature`, expected one of `temperature`, `proj_hidden_dim`, `proj_output_dim`");
    insta::assert_snapshot!(error(&["--resume"], 1), @"error: [TMP]/run: no such file or folder");
}

#[test]
fn an_existing_run_needs_resume_or_overwrite() {
    let folder = temp_dir();
    let run = folder.path().join("run");
    lethe_ok(&small_run("simclr", text(&run), "1"));
    let before = checkpoints(&run);
    let stderr = lethe_err(&small_run("simclr", text(&run), "1"), 2);
    insta::assert_snapshot!(stderr.replace(text(folder.path()), "[TMP]"), @r"
    error: [TMP]/run: there is a run in this folder already
      hint: --resume continues it, --overwrite starts anew, or choose another --out
    ");
    assert!(before == checkpoints(&run));
    std::fs::write(run.join("notes.txt"), "mine").unwrap();
    let mut again = small_run("simclr", text(&run), "1");
    again.push("--overwrite");
    lethe_ok(&again);
    assert!(before == checkpoints(&run));
    assert!(run.join("notes.txt").exists());
}

#[test]
fn presets_are_whole_and_can_be_changed() {
    let folder = temp_dir();
    let listed = lethe_ok(&["pretrain", "--list"]);
    let json: serde_json::Value = serde_json::from_str(&lethe_ok(&["pretrain", "--list", "--json"])).unwrap();
    assert_eq!(json["methods"].as_array().unwrap().len(), lethe::methods::METHODS.len());
    assert!(json["methods"][0]["presets"]["cifar10/simclr"]["accuracy"].is_f64(), "{}", json["methods"][0]);
    for preset in PRESETS {
        let (mut table, published) = preset.read();
        assert!(published.source.starts_with("https://"), "{}", preset.name);
        assert_eq!(preset.name.split_once('/').unwrap().1, table["method"].as_str().unwrap());
        let images = lethe::data::open(&format!("shapes:n={},size=32", table["batch_size"])).unwrap();
        let resolved = RunConfig::resolve(table.clone(), None, |_| Ok(images.clone())).unwrap();
        // A classifier has the classes of the images at hand.
        if let Some(classes) = table["method_settings"].get_mut("classes") {
            *classes = (images.classes().len() as i64).into();
        }
        // Nothing is left to defaults that may change but what a machine or a user decides.
        let resolved = toml::Table::try_from(&resolved).unwrap();
        let open = [
            "data",
            "device",
            "threads",
            "seed",
            "save_every",
            "bad_budget",
            "clip_norm",
            "umm_every",
            "umm_from",
            "drop_path",
        ];
        for (key, value) in resolved.iter().filter(|(key, _)| !open.contains(&key.as_str())) {
            assert_eq!(table.get(key), Some(value), "{}: {key}", preset.name);
        }
        assert!(listed.contains(preset.name), "{}", preset.name);
    }
    let changes = folder.path().join("changes.toml");
    std::fs::write(&changes, "precision = \"f32\"\n[method_settings]\nproj_hidden_dim = 16\n").unwrap();
    let run = folder.path().join("run");
    lethe_ok(&[
        "pretrain",
        "--preset",
        "cifar10/simclr",
        "--config",
        text(&changes),
        "--data",
        "shapes:n=8,size=8",
        "--encoder",
        "resnet18-w2",
        "--image-size",
        "8",
        "--batch-size",
        "8",
        "--epochs",
        "1",
        "--out",
        text(&run),
    ]);
    let config = RunConfig::read(&run.join("config.toml")).unwrap();
    let found = (config.weight_decay, config.stem.unwrap().to_string(), config.epochs, config.precision);
    assert_eq!(found, (1e-4, "cifar-pad2".to_owned(), 1, Precision::F32));
    assert_eq!(config.method_settings["proj_hidden_dim"], 16.into());
    assert_eq!(config.method_settings["proj_output_dim"], 256.into());
    // Another encoder keeps of a preset what it has too.
    let settings =
        |preset: &str, encoder: &str| lethe::config::presets::find(preset).unwrap().settings(Some(encoder)).unwrap();
    assert_eq!(settings("cifar10/simclr", "resnet34")["stem"], "cifar-pad2".into());
    assert!(!settings("cifar10/simclr", "vit-tiny-w24-d2").contains_key("stem"));
    let table = settings("cifar10/mae", "resnet18-w4");
    assert!(["patch", "pool", "layer_scale"].iter().all(|key| !table.contains_key(*key)) && table.contains_key("lr"));
    let refused = |more: &[&str]| lethe_err(&[&["pretrain", "--out", text(&run)], more].concat(), 2);
    assert!(refused(&["--preset", "cifar10/simklr", "--data", "shapes"]).contains("unknown preset \"cifar10/simklr\""));
    assert!(refused(&["--preset", "cifar10/simclr"]).contains("--data <D>"));
}
