//! `lethe undo` over several sittings and on held-out images: killed and resumed, watched, stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lethe::checkpoint;
use lethe::undo::{BothSides, EpochRow, Judge, Look, Repaired, Row, Seen, Verdict, changes, lost};
use lethe_measures::{Estimate, RetrievalHits, ViewDistances};
use serde_json::Value;

use crate::pretrain::signal;
use crate::support::{lethe, lethe_err, lethe_ok, temp_dir, text};
use crate::undo::bits;

const DATA: &str = "shapes:n=96,size=16";
const UNSEEN: &str = "shapes:n=90,size=16,seed=7";

fn pretrained(folder: &Path, method: &str) -> PathBuf {
    let run = folder.join("run");
    let settings = "--encoder resnet18-w4 --epochs 2 --save-every 1 --batch-size 32 --threads 1 --method";
    let config = folder.join("head.toml");
    let narrower = if method == "byol" { "pred_hidden_dim = 16\n" } else { "" };
    fs::write(&config, format!("[method_settings]\nproj_hidden_dim = 16\nproj_output_dim = 8\n{narrower}")).unwrap();
    let mut args = vec!["pretrain", "--data", DATA, "--out", text(&run), "--config", text(&config)];
    args.extend(settings.split(' '));
    args.push(method);
    lethe_ok(&args);
    run.join("checkpoints/epoch-0002.safetensors")
}

fn command(checkpoint: &Path, out: &Path, more: &str) -> Vec<String> {
    let (checkpoint, out) = (text(checkpoint), text(out));
    let command = format!("undo {checkpoint} --data {DATA} --out {out} --batch-size 32 --threads 1 {more}");
    command.split_whitespace().map(str::to_owned).collect()
}

fn run(arguments: &[String]) -> String {
    lethe_ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn refused(arguments: &[String], code: i32) -> String {
    lethe_err(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), code)
}

fn rows(out: &Path) -> Vec<Row> {
    let lines = fs::read_to_string(out.join("undo.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn epochs(out: &Path) -> Vec<EpochRow> {
    let epoch = |row| if let Row::Epoch(row) = row { Some(row) } else { None };
    rows(out).into_iter().filter_map(epoch).collect()
}

/// A JSON text without the times.
fn timeless(text: &str) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|key, _| key != "seconds" && key != "checkpoint");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(text).unwrap();
    strip(&mut value);
    value
}

#[track_caller]
fn assert_same(one: &Path, other: &Path) {
    let open = |out: &Path| {
        let path = out.join("undone.safetensors");
        let state = checkpoint::open_state(&checkpoint::state_path(&path)).unwrap();
        (bits(&checkpoint::open(&path).unwrap().encoder), bits(&state.head))
    };
    assert!(open(one) == open(other), "the same bits");
    for file in ["undo.jsonl", "undo.json"] {
        let read = |out: &Path| fs::read_to_string(out.join(file)).unwrap();
        let (one, other) = (read(one), read(other));
        if file == "undo.json" {
            assert_eq!(timeless(&one), timeless(&other));
        } else {
            assert_eq!(one.lines().map(timeless).collect::<Vec<_>>(), other.lines().map(timeless).collect::<Vec<_>>());
        }
    }
}

/// kill -9 after every epoch's save but one, and the same once more between the saves.
#[test]
fn a_repair_that_is_killed_again_and_again_ends_with_the_bits_of_an_uncut_one() {
    for (method, repair) in [
        ("simclr", "--repair umm"),
        ("byol", "--repair distill-early --unseen shapes:n=90,size=16,seed=7"),
        ("vicreg", "--repair reinit --optimizer lars --unseen shapes:n=90,size=16,seed=7"),
    ] {
        let folder = temp_dir();
        let checkpoint = pretrained(folder.path(), method);
        let before = fs::read(&checkpoint).unwrap();
        let [uncut, cut] = ["uncut", "cut"].map(|name| folder.path().join(name));
        let flags = format!("{repair} --epochs 6 --lr 1e-4");
        run(&command(&checkpoint, &uncut, &flags));
        assert!(!uncut.join("resume.safetensors").exists());

        let saved = cut.join("resume.safetensors");
        let written = || fs::metadata(&saved).and_then(|found| found.modified()).ok();
        let mut kills = 0;
        let mut more = "";
        loop {
            let last = written();
            let mut child = Command::new(env!("CARGO_BIN_EXE_lethe"))
                .args(command(&checkpoint, &cut, &format!("{flags} {more}")))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let start = Instant::now();
            while child.try_wait().unwrap().is_none() && written() == last {
                assert!(start.elapsed() < Duration::from_secs(60), "no progress");
                sleep(Duration::from_millis(1));
            }
            sleep(Duration::from_millis(7 * kills % 40));
            child.kill().unwrap();
            let ended = child.wait().unwrap();
            if ended.success() {
                break;
            }
            assert_eq!(ended.code(), None, "killed");
            kills += 1;
            more = "--resume";
        }
        assert!(kills >= 2, "{repair}: only {kills} kills");
        assert_same(&uncut, &cut);
        assert_eq!(fs::read(&checkpoint).unwrap(), before, "the given checkpoint is not touched");
        let left: Vec<_> = fs::read_dir(&cut).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().contains("tmp")), "{left:?}");
    }
}

#[test]
fn a_repair_that_is_asked_to_stop_says_how_to_go_on() {
    let folder = temp_dir();
    let checkpoint = pretrained(folder.path(), "simclr");
    let [uncut, cut] = ["uncut", "cut"].map(|name| folder.path().join(name));
    let flags = "--repair continue --epochs 200";
    run(&command(&checkpoint, &uncut, flags));
    let child = Command::new(env!("CARGO_BIN_EXE_lethe"))
        .args(command(&checkpoint, &cut, flags))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !cut.join("resume.safetensors").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "no progress");
        sleep(Duration::from_millis(1));
    }
    let said = refused(&command(&checkpoint, &cut, &format!("{flags} --resume")), 1);
    assert!(said.contains("another process works in this folder"), "{said}");
    signal(&child, libc::SIGTERM);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(143), "{said}");
    assert!(said.contains("last-good.safetensors; --resume continues from the last whole epoch"), "{said}");
    checkpoint::open(&cut.join("last-good.safetensors")).unwrap();
    run(&command(&checkpoint, &cut, &format!("{flags} --resume")));
    assert_same(&uncut, &cut);
    assert!(!cut.join("last-good.safetensors").exists());
}

#[test]
fn a_repair_that_collapses_stops_with_the_last_good_weights() {
    let folder = temp_dir();
    let checkpoint = pretrained(folder.path(), "simclr");
    for repair in ["umm", "joint", "continue", "distill-late"] {
        let out = folder.path().join(repair);
        let arguments = command(&checkpoint, &out, &format!("--repair {repair} --optimizer sgd --lr 1e10 --epochs 1"));
        let said = refused(&arguments, 1);
        assert!(said.contains("error: step 2: the representation has collapsed"), "{repair}: {said}");
        assert!(said.contains("last-good.safetensors; lower --lr or --alpha"), "{repair}: {said}");
        assert!(!said.contains("--resume"), "{repair}: no whole epoch was good: {said}");
        assert!(!out.join("undone.safetensors").exists(), "{repair}");
        let kept = checkpoint::open(&out.join("last-good.safetensors")).unwrap();
        assert!(bits(&kept.encoder) == bits(&checkpoint::open(&checkpoint).unwrap().encoder), "{repair}");
    }
}

#[test]
fn resuming_wants_the_same_flags_and_tells_an_ended_repair_again() {
    let folder = temp_dir();
    let checkpoint = pretrained(folder.path(), "simclr");
    let out = folder.path().join("out");
    let with = |more: &str| command(&checkpoint, &out, &format!("--repair continue {more}"));
    let said = |arguments: &[String], code| refused(arguments, code).replace(text(folder.path()), "..");
    insta::assert_snapshot!(said(&with("--epochs 2 --resume"), 1), @r"
    error: ../out: no repair to resume in this folder
      hint: leave --resume out to start one
    ");
    let first = run(&with("--epochs 2 --json"));
    insta::assert_snapshot!(said(&with("--epochs 3 --resume"), 2), @r"
    error: ../out: was begun with epochs = 2, not 3
      hint: resume with the same flags, or --overwrite starts anew
    ");
    insta::assert_snapshot!(said(&with("--epochs 2"), 2), @r"
    error: ../out: this folder is not empty
      hint: --resume continues a repair that was cut off, --overwrite replaces an earlier one, or choose another --out
    ");
    assert_eq!(run(&with("--epochs 2 --json --resume")), first);
}

#[test]
fn the_list_of_unreadable_images_of_a_failed_repair_does_not_ask_for_overwrite() {
    let folder = temp_dir();
    let checkpoint = pretrained(folder.path(), "simclr");
    let images = folder.path().join("images");
    fs::create_dir(&images).unwrap();
    let shapes = lethe::data::open("shapes:n=40,size=16").unwrap();
    for i in 0..40 {
        shapes.image(i).unwrap().save(images.join(format!("{i:02}.png"))).unwrap();
    }
    let broken = ["00.png", "01.png", "02.png"].map(|name| images.join(name));
    broken.iter().for_each(|path| fs::write(path, "no image").unwrap());
    let out = folder.path().join("out");
    let (data, out_text) = (text(&images), text(&out));
    let arguments =
        ["undo", text(&checkpoint), "--data", data, "--out", out_text, "--epochs", "1", "--batch-size", "8"];
    lethe_err(&arguments, 1);
    assert!(out.join("bad_samples.jsonl").exists());
    broken.iter().for_each(|path| fs::remove_file(path).unwrap());
    lethe_ok(&arguments);
    assert!(!out.join("bad_samples.jsonl").exists(), "all images could be read");
}

#[test]
fn unreadable_images_of_every_side_are_told() {
    let folder = temp_dir();
    let checkpoint = pretrained(folder.path(), "simclr");
    // Of so many images all are looked at.
    let side = |name: &str, seed: u64, n: usize| {
        let images = folder.path().join(name);
        fs::create_dir(&images).unwrap();
        let shapes = lethe::data::open(&format!("shapes:n={n},size=16,seed={seed}")).unwrap();
        for i in 1..n {
            shapes.image(i).unwrap().save(images.join(format!("{i:02}.png"))).unwrap();
        }
        fs::write(images.join(format!("{name}.png")), "no image").unwrap();
        images
    };
    let (others, unseen) = (side("others", 8, 48), side("unseen", 9, 90));
    let out = folder.path().join("out");
    let words = format!(
        "undo {} --data {DATA} --outer-data {} --unseen {} --out {} --epochs 1 --batch-size 16 --json",
        text(&checkpoint),
        text(&others),
        text(&unseen),
        text(&out)
    );
    let output = lethe(&words.split(' ').collect::<Vec<_>>());
    let said = String::from_utf8(output.stderr).unwrap();
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    for name in ["others.png", "unseen.png"] {
        assert_eq!(said.matches(&format!("/{name}: ")).count(), 1, "{name}: {said}");
    }
    assert_eq!(outcome["bad_samples"], 2, "{said}");
}

/// The first row of a watched repair is a small diagnosis of the given checkpoint.
#[test]
fn what_is_seen_is_what_the_diagnosis_measures() {
    let folder = temp_dir();
    let checkpoint = pretrained(folder.path(), "simclr");
    let out = folder.path().join("out");
    run(&command(&checkpoint, &out, &format!("--repair continue --epochs 1 --seed 3 --unseen {UNSEEN}")));
    let seen = epochs(&out).remove(0).seen;
    assert_eq!(seen.images, 45, "half of the 90 unseen images");
    let diagnosis = folder.path().join("diagnosis");
    let command = [
        "diagnose",
        text(&checkpoint),
        "--data",
        DATA,
        "--unseen",
        UNSEEN,
        "--images",
        "45",
        "--seed",
        "3",
        "--views",
        "2",
    ];
    let json = lethe_ok(&[&command[..], &["--threads", "1", "--json", "--out", text(&diagnosis)]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    let cell = json["cells"].as_array().unwrap().last().unwrap();
    let number = |pointer: &str| cell.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}"));
    for (found, pointer) in [
        (seen.memorisation_gap, "/memorisation/memorisation_gap/value"),
        (seen.relative_gap, "/memorisation/relative_gap/value"),
        (seen.d_train, "/memorisation/d_train/value"),
        (seen.d_unseen, "/memorisation/d_unseen/value"),
        (seen.membership, "/memorisation/membership/value"),
        (seen.coding_rate_reduction.train, "/train/by_pair/coding_rate_reduction"),
        (seen.coding_rate_reduction.unseen, "/unseen/by_pair/coding_rate_reduction"),
    ] {
        let expected = number(pointer);
        assert!((found - expected).abs() < 1e-5 * expected.abs().max(0.1), "{pointer}: {found} for {expected}");
    }
}

#[test]
fn a_watched_repair_tells_before_and_after_in_the_table_and_on_the_page() {
    let folder = temp_dir();
    let checkpoint = pretrained(folder.path(), "simclr");
    for repair in ["continue", "average"] {
        let out = folder.path().join(repair);
        let flags = format!("--repair {repair} --epochs 3 --unseen {UNSEEN}");
        let table = run(&command(&checkpoint, &out, &flags));
        let rows = [
            "membership AUC, last stage",
            "relative gap, last stage",
            "memorisation gap, last stage",
            "distance of views, training images, last stage",
            "distance of views, unseen images, last stage",
            "view retrieval on unseen images, last stage",
            "dR by pair, unseen images, last stage",
        ];
        assert!(rows.iter().all(|row| table.contains(row)), "{table}");
        let json: Value = serde_json::from_str(&fs::read_to_string(out.join("undo.json")).unwrap()).unwrap();
        let gap = |side: &str| json[side]["memorisation_gap"].as_f64().unwrap();
        assert!(table.contains(&format!("{:.4}", gap("before"))) && table.contains(&format!("{:.4}", gap("after"))));
        assert_ne!(gap("before"), gap("after"));
        let change: Estimate = serde_json::from_value(json["changes"]["memorisation_gap"].clone()).unwrap();
        assert!((change.value - (gap("after") - gap("before"))).abs() < 1e-12, "{change:?}");
        assert!(change.low < change.value && change.value < change.high, "{change:?}");
        assert!(table.contains(&format!("({:+.4} to {:+.4})", change.low, change.high)), "{table}");
        let repaired: Repaired = serde_json::from_value(json.clone()).unwrap();
        let verdict = lethe_diagnosis::words::repaired(&repaired);
        assert!(verdict.contains("memorisation in the last stage: AUC "), "{verdict}");
        assert!(table.contains(&verdict), "{verdict}\n{table}");
        let page = fs::read_to_string(out.join("report.html")).unwrap();
        assert!(rows.iter().all(|row| page.contains(row)));
        assert!(page.contains(&verdict), "{verdict}");
        assert!(page.contains("95\u{a0}% intervals of the change"));
        let trains = repair == "continue";
        assert_eq!(page.contains("On held-out images, epoch by epoch"), trains);
        assert_eq!(json["kept_epoch"].is_u64(), trains, "an average is not chosen");
        assert_eq!(epochs(&out).len(), if trains { 4 } else { 0 });
    }
}

#[test]
fn where_nothing_can_be_measured_the_last_epoch_is_kept_and_that_is_said() {
    let folder = temp_dir();
    // Two epochs on 96 images find no views.
    let checkpoint = pretrained(folder.path(), "simclr");
    let [watched, plain] = ["watched", "plain"].map(|name| folder.path().join(name));
    let flags = "--repair continue --epochs 2";
    let arguments = command(&checkpoint, &watched, &format!("{flags} --unseen {UNSEEN}"));
    let output = lethe(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("warning: the given weights find too few views of unseen images"), "{said}");
    run(&command(&checkpoint, &plain, flags));
    let open = |out: &Path| bits(&checkpoint::open(&out.join("undone.safetensors")).unwrap().encoder);
    assert!(open(&watched) == open(&plain), "watching changes nothing");
}

#[test]
fn wrong_use_of_held_out_images_is_named() {
    let folder = temp_dir();
    let checkpoint = pretrained(folder.path(), "simclr");
    let out = folder.path().join("out");
    let said = |unseen: &str| refused(&command(&checkpoint, &out, &format!("--unseen {unseen}")), 2);
    insta::assert_snapshot!(said(DATA), @r"
    error: --unseen shapes:n=96,size=16: 96 of 96 images are copies of training images: shapes/0 is shapes/0
      hint: name images of the same kind that the encoder has not seen
    ");
    insta::assert_snapshot!(said("shapes:n=30,size=16,seed=7"), @r"error: 30 images a side are too few to watch a repair, expected 40");
    assert!(!out.exists());
    let output = lethe(&["undo", text(&checkpoint), "--data", DATA, "--out", text(&out), "--overwrite", "--resume"]);
    assert_eq!(output.status.code(), Some(2));
}

mod judging {
    use super::*;

    fn look(gap: f64, retrieved: &[f64]) -> Look {
        let n = retrieved.len();
        Look {
            seen: Seen {
                images: n,
                membership: 0.5,
                memorisation_gap: gap,
                relative_gap: gap,
                d_train: 1.0 - gap,
                d_unseen: 1.0,
                coding_rate_reduction: BothSides { train: 1.0, unseen: 1.0 },
                view_retrieval: retrieved.iter().sum::<f64>() / n as f64,
            },
            distances: ViewDistances {
                train: vec![1.0 - gap; n],
                unseen: vec![1.0; n],
                between: 1.0,
                between_of: vec![1.0; n],
                zero_rows: [0, 0],
            },
            retrieval: RetrievalHits { train: retrieved.to_vec(), unseen: retrieved.to_vec() },
        }
    }

    /// `found` of 100 images.
    fn images(found: usize) -> Vec<f64> {
        (0..100).map(|i| f64::from(u8::from(i < found))).collect()
    }

    #[test]
    fn what_is_lost_is_a_paired_difference_with_three_standard_errors() {
        let Estimate { value, low, high } = lost(&look(0.0, &[1.0, 1.0, 0.5, 0.0]), &look(0.0, &[0.0, 1.0, 1.0, 0.0]));
        // Differences 1, 0, -0.5, 0: mean 0.125, variance (0.765625 + 2 * 0.015625 + 0.390625) / 3 = 0.3958333.
        let width = 3.0 * (0.395_833_333_333_333_3f64 / 4.0).sqrt();
        assert!((value - 0.125).abs() < 1e-15);
        assert!((low - (0.125 - width)).abs() < 1e-12 && (high - (0.125 + width)).abs() < 1e-12);
    }

    /// Memorisation falls by half of what every training image was nearer than the unseen ones; both sides move alike.
    #[test]
    fn changes_are_paired_by_image() {
        let n = 200;
        let side = |nearer: f64, moved: f64| Look {
            distances: ViewDistances {
                train: (0..n).map(|i| 1.0 - nearer + moved * f64::from(i)).collect(),
                unseen: (0..n).map(|i| 1.0 + moved * f64::from(i)).collect(),
                between: 2.0,
                between_of: vec![2.0; n as usize],
                zero_rows: [0, 0],
            },
            ..look(nearer, &images(60))
        };
        let changes = changes(&side(0.5, 0.001), &side(0.25, 0.002)).unwrap();
        let (gap, membership) = (changes.memorisation_gap, changes.membership);
        let ends = |change: Estimate| [change.low, change.value, change.high];
        assert!(ends(gap).iter().all(|end| (end + 0.25).abs() < 1e-9), "{gap:?}");
        assert_eq!(ends(changes.view_retrieval), [0.0; 3]);
        let relative = changes.relative_gap;
        assert!((relative.value + 0.125).abs() < 1e-9 && relative.high < 0.0, "{relative:?}");
        // Unseen images move by 0.001 i, training images by 0.25 more.
        let moved = 0.001 * 199.0 / 2.0;
        assert!((changes.d_unseen.value - moved).abs() < 1e-9, "{:?}", changes.d_unseen);
        assert!((changes.d_train.value - moved - 0.25).abs() < 1e-9, "{:?}", changes.d_train);
        // All training images are nearer before (the largest distance is 0.699); of the 200 x 200 pairs after, those
        // with 0.75 + 0.002 i < 1 + 0.002 j: i - j < 125.
        let auc = 1.0 - f64::from((125..200).map(|i| i - 125).sum::<i32>() + 75) / 40_000.0;
        assert!((membership.value - (auc - 1.0)).abs() < 1e-3, "{membership:?} for {}", auc - 1.0);
        assert!(membership.high < 0.0);
    }

    /// Verdicts on (gap, images found) from a base of gap 0.10 and 60 of 100 images.
    fn verdicts(epochs: &[(f64, usize)]) -> (Vec<Verdict>, Judge) {
        let base = look(0.10, &images(60));
        let mut judge = Judge::new(&base);
        let hear = |(i, &(gap, found)): (usize, &(f64, usize))| {
            let now = look(gap, &images(found));
            judge.hear(i as u32 + 1, &now, &lost(&base, &now))
        };
        let verdicts = epochs.iter().enumerate().map(hear).collect();
        (verdicts, judge)
    }

    #[test]
    fn the_smallest_gap_is_kept_among_those_that_are_not_measurably_less_of_use() {
        let (verdicts, judge) = verdicts(&[(0.08, 58), (0.02, 30), (0.07, 59), (0.075, 70)]);
        assert_eq!(verdicts.iter().map(|verdict| verdict.keep).collect::<Vec<_>>(), [true, false, true, false]);
        assert!(verdicts.iter().all(|verdict| !verdict.stop));
        assert_eq!(judge.kept, 3);
    }

    #[test]
    fn a_start_that_finds_nothing_has_no_say() {
        let base = look(0.10, &images(9));
        let mut judge = Judge::new(&base);
        for epoch in 1..4 {
            let now = look(0.2, &images(0));
            let verdict = judge.hear(epoch, &now, &lost(&base, &now));
            assert_eq!((verdict, judge.kept), (Verdict { keep: true, stop: false }, epoch));
        }
    }

    #[test]
    fn nothing_is_kept_where_doing_nothing_is_best() {
        let (verdicts, judge) = verdicts(&[(0.11, 60), (0.10, 60)]);
        assert!(verdicts.iter().all(|verdict| !verdict.keep));
        assert_eq!(judge.kept, 0);
    }

    #[test]
    fn two_falling_epochs_stop_it_and_a_recovery_does_not() {
        let stops = |epochs: &[(f64, usize)]| verdicts(epochs).0.iter().map(|verdict| verdict.stop).collect::<Vec<_>>();
        assert_eq!(stops(&[(0.1, 40), (0.1, 35)]), [false, true]);
        assert_eq!(stops(&[(0.1, 10), (0.1, 20), (0.1, 18), (0.1, 30)]), [false; 4], "after a new head");
        assert_eq!(stops(&[(0.1, 58), (0.1, 57), (0.1, 56)]), [false; 3], "not measurably");
    }
}
