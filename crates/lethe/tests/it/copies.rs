//! Training images given as unseen ones, by whatever name and in whatever format.

use lethe::data;

use crate::support::{jpegs, lethe, lethe_err, lethe_ok, temp_dir, text};

#[test]
fn commands_refuse_training_images_as_unseen_ones() {
    let folder = temp_dir();
    let train = format!("{}@n=40", text(&jpegs().join("train")));
    let images = data::open(&train).unwrap();
    let copies = folder.path().join("copies");
    std::fs::create_dir(&copies).unwrap();
    for i in 0..40 {
        images.image(i).unwrap().save(copies.join(format!("{i:02}.bmp"))).unwrap();
    }
    let same = text(&copies);
    let few = format!("{}@n=41", text(&jpegs().join("train")));
    let run = folder.path().join("run");
    let small = ["--encoder", "resnet18-w4", "--image-size", "16", "--batch-size", "20", "--epochs", "1"];
    lethe_ok(&[&["pretrain", "--data", &train, "--out", text(&run)], &small[..]].concat());
    let checkpoint = run.join("checkpoints/epoch-0001.safetensors");
    let out = folder.path().join("out");
    let said = lethe_err(&["diagnose", text(&run), "--unseen", same, "--out", text(&out)], 2);
    let pair = format!("{} is {}", copies.join("00.bmp").display(), images.name(0));
    let told = format!("--unseen {same}: 40 of 40 images are copies of training images: {pair}");
    assert!(said.contains(&told) && !out.exists(), "{said}");
    let undo = ["undo", text(&checkpoint), "--data", &train, "--unseen", &few, "--out", text(&out)];
    let said = lethe_err(&undo, 2);
    assert!(said.contains("39 of 40 images are copies of training images") && !out.exists(), "{said}");
    let undo = ["undo", text(&checkpoint), "--data", &train, "--unseen", same, "--out", text(&out)];
    assert!(lethe_err(&undo, 2).contains("40 of 40 images are copies of training images"));
    let labelled = format!("{}/@n=40", text(&jpegs().join("train")));
    let told = lethe(&["evaluate", text(&checkpoint), "--data", &train, "--test", &labelled, "--protocol", "knn-20"]);
    let said = String::from_utf8(told.stderr).unwrap();
    let warning = "warning: 40 of 40 images of --test looked at are among 40 of --data";
    assert!(told.status.success() && said.contains(warning), "{said}");

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
