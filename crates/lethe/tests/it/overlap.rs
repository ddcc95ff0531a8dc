//! Training images given as unseen ones, by whatever name.

use lethe::data::overlap::overlap;
use lethe::data::{self, Dataset};

use crate::support::{jpegs, lethe, lethe_err, lethe_ok, temp_dir, text};

#[test]
fn images_are_found_again_by_any_name() {
    let folder = temp_dir();
    let train = jpegs().join("train");
    let open = |range: &str| data::open(&format!("{}@{range}", text(&train))).unwrap();
    let [some, others, half] = ["n=40", "n=40,skip=40", "n=40,skip=20"].map(open);
    let count = |first: &dyn Dataset, second: &dyn Dataset| overlap(first, second).map_or(0, |overlap| overlap.found);
    assert_eq!(count(some.as_ref(), some.as_ref()), 40);
    assert_eq!(count(some.as_ref(), half.as_ref()), 20);
    assert_eq!(count(some.as_ref(), others.as_ref()), 0);

    // A copy under other names.
    for i in 0..some.len() {
        std::fs::copy(some.name(i), folder.path().join(format!("{i:02}.jpg"))).unwrap();
    }
    let copy = data::open(text(folder.path())).unwrap();
    let overlap = overlap(some.as_ref(), copy.as_ref()).unwrap();
    assert_eq!((overlap.found, overlap.asked), (40, 40));
    assert_eq!(overlap.example, (some.name(0), copy.name(0)));
    assert_eq!(count(others.as_ref(), copy.as_ref()), 0);
}

#[test]
fn commands_refuse_training_images_as_unseen_ones() {
    let folder = temp_dir();
    let train = format!("{}@n=40", text(&jpegs().join("train")));
    let same = format!("{}/@n=40", text(&jpegs().join("train")));
    let few = format!("{}@n=41", text(&jpegs().join("train")));
    let run = folder.path().join("run");
    let small = ["--encoder", "resnet18-w4", "--image-size", "16", "--batch-size", "20", "--epochs", "1"];
    lethe_ok(&[&["pretrain", "--data", &train, "--out", text(&run)], &small[..]].concat());
    let checkpoint = run.join("checkpoints/epoch-0001.safetensors");
    let out = folder.path().join("out");
    let said = lethe_err(&["diagnose", text(&run), "--unseen", &same, "--out", text(&out)], 2);
    assert!(said.contains("40 of 40 images looked at are training images") && !out.exists(), "{said}");
    let undo = ["undo", text(&checkpoint), "--data", &train, "--unseen", &few, "--out", text(&out)];
    let said = lethe_err(&undo, 2);
    assert!(said.contains("40 of 41 images looked at are training images") && !out.exists(), "{said}");
    let evaluate = ["evaluate", text(&checkpoint), "--data", &train, "--test", &same, "--protocol", "knn-20"];
    let told = lethe(&evaluate);
    let said = String::from_utf8(told.stderr).unwrap();
    assert!(told.status.success() && said.contains("warning: 40 of 40 images of --test"), "{said}");

    // A run that has lost its states is not begun anew over its checkpoints.
    let state = run.join("checkpoints/epoch-0001.state.safetensors");
    let before = std::fs::read(&checkpoint).unwrap();
    std::fs::write(&state, b"cut").unwrap();
    for _ in 0..2 {
        let said = lethe_err(&["pretrain", "--resume", "--out", text(&run)], 1);
        assert!(said.contains("its checkpoints lack their states"), "{said}");
        assert!(std::fs::read(&checkpoint).unwrap() == before);
        let _ = std::fs::remove_file(&state);
    }
}
