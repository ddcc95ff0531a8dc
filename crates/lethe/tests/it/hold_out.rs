//! `pretrain --hold-out`: images that are never trained on, and what takes them without being asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use lethe::data::held_out::HeldOut;
use lethe::data::{self, Dataset};
use lethe::run::RunFolder;

use crate::support::{lethe, lethe_err, lethe_ok, small_head, temp_dir, text};

/// 40 generated images of each of two classes, as files.
fn images(folder: &Path) -> PathBuf {
    let path = folder.join("images");
    let shapes = data::open("shapes:n=80,size=16,seed=3").unwrap();
    for i in 0..shapes.len() {
        let file = path.join(["a", "b"][i % 2]).join(format!("{i:02}.png"));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        shapes.image(i).unwrap().save(file).unwrap();
    }
    path
}

fn args<'a>(data: &'a str, hold_out: &'a str, out: &'a str) -> Vec<&'a str> {
    let given = ["pretrain", "--data", data, "--hold-out", hold_out, "--out", out, "--method", "simclr", "--config"];
    let small = ["--encoder", "resnet18-w4", "--batch-size", "16", "--epochs", "3", "--save-every", "1"];
    [&given[..], &[small_head("simclr"), "--threads", "1"], &small].concat()
}

fn checkpoints(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (text(&path).rsplit('/').next().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

fn names(data: &dyn Dataset) -> BTreeSet<String> {
    (0..data.len()).map(|i| data.name(i)).collect()
}

#[test]
fn images_held_out_are_not_trained_on() {
    let folder = temp_dir();
    let images = images(folder.path());
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    lethe_ok(&args(text(&images), "32", text(&first)));
    let run = RunFolder::open(&first).unwrap();
    assert_eq!(run.read_config().unwrap().hold_out, 32);
    assert!(std::fs::read_to_string(run.config_path()).unwrap().contains("hold_out = 32"));
    let (held_out, training) = (run.held_out().unwrap().unwrap(), run.training_images().unwrap());
    assert_eq!((held_out.len(), training.len()), (32, 48));
    assert_eq!(held_out.labels().unwrap().iter().filter(|&&label| label == 0).count(), 16);
    let whole = data::open(text(&images)).unwrap();
    assert_eq!(&names(held_out.as_ref()) | &names(training.as_ref()), names(whole.as_ref()));
    assert_eq!(data::open(&run.held_out_spec().unwrap().unwrap()).unwrap().len(), 32);

    // Where the images held out cannot even be read, the same weights come out; an epoch has three batches of 16.
    for name in names(held_out.as_ref()) {
        std::fs::write(name, "no image").unwrap();
    }
    lethe_ok(&args(text(&images), "32", text(&second)));
    assert!(!second.join("bad_samples.jsonl").exists());
    assert!(checkpoints(&first) == checkpoints(&second));
    let metrics = std::fs::read_to_string(second.join("metrics.jsonl")).unwrap();
    assert!(metrics.lines().last().unwrap().contains("\"step\":9"), "{metrics}");
    // Another seed holds out others.
    let third = folder.path().join("third");
    let told = lethe(&[&args(text(&images), "32", text(&third))[..], &["--seed", "1", "--bad-budget", "1"]].concat());
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert!(third.join("bad_samples.jsonl").exists());
    let anew = [&args(text(&images), "32", text(&third))[..], &["--overwrite"]].concat();
    lethe_ok(&anew);
    assert!(checkpoints(&first) == checkpoints(&third));
    lethe_ok(
        &[&["pretrain", "--overwrite", "--data", "shapes:n=16,size=16"], &args("", "", text(&third))[5..]].concat(),
    );
    let run = RunFolder::open(&third).unwrap();
    assert!(run.held_out().unwrap().is_none() && !run.held_out_path().exists());
    assert_eq!(run.training_images().unwrap().len(), 16);
    assert!(!std::fs::read_to_string(run.config_path()).unwrap().contains("hold_out"));
}

/// From wherever it was cut off, and in another place.
#[test]
fn a_run_that_was_cut_off_holds_out_the_same_images() {
    let folder = temp_dir();
    let images = images(folder.path());
    let uncut = folder.path().join("uncut");
    lethe_ok(&args(text(&images), "30", text(&uncut)));
    let list = std::fs::read(uncut.join("held_out.json")).unwrap();
    for save in ["2", "3", "5", "8"] {
        let (cut, moved) = (folder.path().join(format!("cut-{save}")), folder.path().join(format!("moved-{save}")));
        let args = args(text(&images), "30", text(&cut));
        let died = Command::new(env!("CARGO_BIN_EXE_lethe"))
            .args(&args)
            .env("LETHE_ABORT_AT", format!("write:{save}"))
            .output()
            .unwrap();
        assert!(!died.status.success(), "save {save}");
        if save == "2" {
            // Nothing was trained: the list was there before the settings.
            assert!(cut.join("held_out.json").exists() && !cut.join("config.toml").exists());
            lethe_ok(&args);
        } else {
            std::fs::rename(&cut, &moved).unwrap();
            lethe_ok(&["pretrain", "--resume", "--out", text(&moved)]);
            std::fs::rename(&moved, &cut).unwrap();
        }
        assert!(std::fs::read(cut.join("held_out.json")).unwrap() == list);
        assert!(checkpoints(&cut) == checkpoints(&uncut), "save {save}");
    }
    // What the list says is held out, whatever would be drawn.
    let run = RunFolder::open(&uncut).unwrap();
    let other = HeldOut::draw(text(&images), data::open(text(&images)).unwrap().as_ref(), 30, 9);
    other.write(&run.held_out_path()).unwrap();
    lethe_ok(&["pretrain", "--resume", "--out", text(&uncut)]);
    assert_eq!(HeldOut::read(&run.held_out_path()).unwrap(), other);
    let said = lethe_err(&["pretrain", "--resume", "--hold-out", "8", "--out", text(&uncut)], 2);
    assert!(said.contains("--hold-out 8: the run that --resume continues has 30"), "{said}");
    std::fs::remove_file(images.join("a/00.png")).unwrap();
    let said = lethe_err(&["pretrain", "--resume", "--out", text(&uncut)], 1);
    assert!(said.contains("were held out") || said.contains("when some were held out"), "{said}");
}

#[test]
fn too_many_to_hold_out_are_refused() {
    let folder = temp_dir();
    let out = folder.path().join("run");
    let refused = |hold_out: &str| {
        let said = lethe_err(&args("shapes:n=40,size=16", hold_out, text(&out)), 2);
        assert!(!out.exists());
        said
    };
    insta::assert_snapshot!(refused("25"), @r"
    error: hold_out 25: of 40 images 15 are left, fewer than a batch of 16
      hint: --hold-out 24 or less
    ");
    insta::assert_snapshot!(refused("40"), @r"
    error: hold_out 40: of 40 images 0 are left, fewer than a batch of 16
      hint: --hold-out 24 or less
    ");
    insta::assert_snapshot!(refused("9223372036854775807"), @r"
    error: hold_out 9223372036854775807: of 40 images 0 are left, fewer than a batch of 16
      hint: --hold-out 24 or less
    ");
    lethe_ok(&args("shapes:n=40,size=16", "24", text(&out)));
    // A queue has room for the images that are trained on, not for all.
    let config = folder.path().join("queue.toml");
    std::fs::write(&config, "[method_settings]\nqueue_size = 160\nproj_hidden_dim = 8\n").unwrap();
    let moco = folder.path().join("moco");
    let given =
        ["pretrain", "--method", "moco-v2", "--data", "shapes:n=80,size=16", "--hold-out", "16", "--epochs", "1"];
    let more = ["--config", text(&config), "--encoder", "resnet18-w4", "--batch-size", "16", "--out", text(&moco)];
    let told = lethe(&[&given[..], &more].concat());
    let said = String::from_utf8(told.stderr).unwrap();
    assert!(told.status.success() && said.contains("a queue of 160 rows holds each of 64 images"), "{said}");
}

#[test]
fn a_repair_is_watched_on_the_images_held_out() {
    let folder = temp_dir();
    let images = images(folder.path());
    let run = folder.path().join("run");
    lethe_ok(&args(text(&images), "40", text(&run)));
    let checkpoint = run.join("checkpoints/epoch-0003.safetensors");
    let repair = |data: &str, more: &[&str], out: &str| {
        let out = folder.path().join(out);
        let given =
            ["undo", text(&checkpoint), "--data", data, "--epochs", "1", "--batch-size", "16", "--threads", "1"];
        let told = lethe(&[&given[..], &["--repair", "continue", "--out", text(&out)], more].concat());
        let said = String::from_utf8(told.stderr).unwrap();
        assert!(told.status.success(), "{said}");
        let json: serde_json::Value = lethe::files::read_json(&out.join("undo.json")).unwrap();
        let settings = std::fs::read_to_string(out.join("undo.toml")).unwrap();
        (json, settings.parse::<toml::Table>().unwrap(), said)
    };
    let list = run.join("held_out.json");
    let training = format!("{}@part=training", text(&list));
    let (own, settings, said) = repair(text(&images), &[], "own");
    assert!(said.contains("40 images of --data are left out: the run held them out"), "{said}");
    assert_eq!(settings["unseen"].as_str(), Some(text(&list)));
    let (named, ..) = repair(&training, &["--unseen", text(&list)], "named");
    let numbers = ["steps", "before", "after", "changes", "kept_epoch"];
    assert_eq!(own["before"]["images"], 20); // the other 20 choose the epoch
    for key in numbers {
        assert_eq!(own[key], named[key], "{key}");
    }
    // --unseen goes before.
    let (other, settings, _) = repair(text(&images), &["--unseen", "shapes:n=60,size=16,seed=8"], "other");
    assert_eq!(settings["unseen"].as_str(), Some("shapes:n=60,size=16,seed=8"));
    assert_ne!(other["before"], own["before"]);
    // The folder of the images may be another one by now.
    let moved = folder.path().join("elsewhere");
    std::fs::rename(&images, &moved).unwrap();
    let (again, ..) = repair(text(&moved), &[], "moved");
    for key in numbers {
        assert_eq!(own[key], again[key], "{key}");
    }

    let few = folder.path().join("few");
    lethe_ok(&args(text(&moved), "10", text(&few)));
    let checkpoint = few.join("checkpoints/epoch-0003.safetensors");
    let out = folder.path().join("few-undone");
    let given = ["undo", text(&checkpoint), "--data", text(&moved), "--epochs", "1", "--batch-size", "16", "--out"];
    let told = lethe(&[&given[..], &[text(&out)]].concat());
    let said = String::from_utf8(told.stderr).unwrap();
    assert!(told.status.success() && said.contains("too few images to watch the repair"), "{said}");
}

#[test]
fn copies_among_the_unseen_images_are_left_out_of_a_repair() {
    let folder = temp_dir();
    let run = folder.path().join("run");
    let train = "shapes:n=120,size=16,seed=3";
    lethe_ok(&args(train, "0", text(&run)));
    let checkpoint = run.join("checkpoints/epoch-0003.safetensors");
    let out = folder.path().join("undone");
    // Of 120 images that are looked at one may be a copy.
    let repair = |copies: usize| {
        let unseen = folder.path().join(format!("unseen-{copies}"));
        std::fs::create_dir(&unseen).unwrap();
        let [train, others] = [train, "shapes:n=120,size=16,seed=9"].map(|spec| data::open(spec).unwrap());
        for i in 0..120 {
            let from = if i < copies { &train } else { &others };
            from.image(i).unwrap().save(unseen.join(format!("{i:03}.bmp"))).unwrap();
        }
        let given = ["undo", text(&checkpoint), "--data", "shapes:n=120,size=16,seed=3", "--unseen", text(&unseen)];
        let more = ["--repair", "continue", "--epochs", "1", "--batch-size", "16", "--out", text(&out)];
        lethe(&[&given[..], &more].concat())
    };
    let two = repair(2);
    let said = String::from_utf8(two.stderr).unwrap();
    assert_eq!(two.status.code(), Some(2), "{said}");
    assert!(said.contains("2 of 120 images are copies of training images") && !out.exists(), "{said}");
    let one = repair(1);
    let said = String::from_utf8(one.stderr).unwrap();
    assert!(one.status.success(), "{said}");
    assert!(said.contains("unseen-1/000.bmp is left out: it is the training image shapes/0"), "{said}");
    let json: serde_json::Value = lethe::files::read_json(&out.join("undo.json")).unwrap();
    assert_eq!(json["before"]["images"], 60); // of 119 a side the first 59 choose, the others tell
}
