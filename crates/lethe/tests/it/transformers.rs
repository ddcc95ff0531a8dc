//! The program on encoders that are no ResNets: everything that users do with one, on drawn images.

use crate::support::{lethe_err, lethe_ok, small_head, temp_dir, text};

#[test]
fn a_vit_is_pretrained_diagnosed_repaired_and_judged() {
    let folder = temp_dir();
    let [run, out, undone, features] =
        ["run", "diagnosis", "undone", "f.safetensors"].map(|name| folder.path().join(name));
    let data = "shapes:n=64,size=32,seed=1";
    let head = small_head("simclr");
    let encoder =
        ["--encoder", "vit-tiny-w64-d2", "--patch", "8", "--pool", "mean", "--drop-path", "0.1", "--layer-scale"];
    let training =
        ["--epochs", "2", "--batch-size", "16", "--warmup-epochs", "0", "--optimizer", "adamw", "--lr", "0.01"];
    let settings = ["--config", head, "--data", data, "--save-every", "1", "--threads", "1", "--out", text(&run)];
    lethe_ok(&[&["pretrain"], &encoder[..], &training, &settings].concat());
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    for line in
        ["encoder = \"vit-tiny-w64-d2\"", "patch = 8", "pool = \"mean\"", "layer_scale = true", "drop_path = 0.1"]
    {
        assert!(config.contains(line), "{config}");
    }
    assert!(!config.contains("stem"));

    let diagnosis = ["--data", data, "--unseen", "shapes:n=64,size=32,seed=2", "--images", "32"];
    let json = lethe_ok(&[&["diagnose", text(&run)], &diagnosis[..], &["--out", text(&out), "--json"]].concat());
    let diagnosis: serde_json::Value = serde_json::from_str(&json).unwrap();
    let found = std::fs::read_to_string(out.join("diagnosis.json")).unwrap();
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["stages"], serde_json::json!(["patch", "block1", "block2"]), "{diagnosis}");

    let checkpoint = run.join("checkpoints/epoch-0002.safetensors");
    for repair in ["umm", "joint", "continue", "reinit", "average", "distill-late", "distill-early"] {
        let target = undone.join(repair);
        let settings =
            ["--split", "block1", "--repair", repair, "--epochs", "1", "--batch-size", "16", "--groups", "kmeans:3"];
        let others = ["--outer-data", "shapes:n=64,size=32,seed=3", "--match", "0.1"];
        let others = match repair {
            "umm" | "joint" => &others[..],
            "continue" | "reinit" => &others[..2],
            _ => &[],
        };
        let sides = ["--data", data, "--unseen", "shapes:n=64,size=32,seed=2", "--out", text(&target)];
        let settings = [&settings[..], &sides, others].concat();
        lethe_ok(&[&["undo", text(&checkpoint)], &settings[..]].concat());
        let scores = lethe_ok(&[
            "evaluate",
            text(&target.join("undone.safetensors")),
            "--data",
            data,
            "--test",
            "shapes:n=40,size=32,seed=4",
            "--protocol",
            "knn-20",
            "--stage",
            "all",
        ]);
        assert!(scores.contains("patch") && scores.contains("block2"), "{scores}");
    }
    for hypergradient in ["exact", "neumann", "cg"] {
        let target = undone.join(hypergradient);
        let settings = ["--split", "block1", "--hypergradient", hypergradient, "--epochs", "1", "--batch-size", "32"];
        let json = ["--data", data, "--out", text(&target), "--json"];
        let outcome = lethe_ok(&[&["undo", text(&checkpoint)], &settings[..], &json].concat());
        let outcome: serde_json::Value = serde_json::from_str(&outcome).unwrap();
        assert!(outcome["last"]["grad_norm"].as_f64().unwrap() > 0.0, "{outcome}");
    }
    // Another size than the one it was trained with: positions are interpolated.
    let other = ["--data", "shapes:n=20,size=48", "--image-size", "48", "--out", text(&features), "--json"];
    let shapes: serde_json::Value =
        serde_json::from_str(&lethe_ok(&[&["features", text(&checkpoint)], &other[..]].concat())).unwrap();
    assert_eq!(shapes["stages"]["block1"], serde_json::json!([20, 64]));
    let cropped = ["--data", data, "--image-size", "30", "--out", "never.safetensors"];
    let said = lethe_err(&[&["features", text(&checkpoint)], &cropped[..]].concat(), 2);
    assert!(
        said.contains("images of 30 pixels") && said.contains("has patches of") && said.contains("--image-size 32"),
        "{said}"
    );

    let refused = |flags: &[&str]| {
        lethe_err(&[&["pretrain", "--data", data, "--batch-size", "16", "--out", "never"], flags].concat(), 2)
    };
    let errors = [
        refused(&["--encoder", "vit-tiny", "--patch", "5"]),
        refused(&["--encoder", "vit-tiny", "--stem", "cifar"]),
        refused(&["--encoder", "resnet18", "--patch", "4"]),
        refused(&["--encoder", "resnet18", "--drop-path", "0.1"]),
        refused(&["--encoder", "convnext-tiny", "--drop-path", "1"]),
    ];
    insta::assert_snapshot!(errors.concat(), @r"
    error: --patch 5: images of 32 pixels are no whole number of patches
      hint: choose a divisor of the image's side, or another --image-size
    error: --stem: vit-tiny has nothing of the kind
      hint: leave --stem out, or choose another encoder
    error: --patch: resnet18 has nothing of the kind
      hint: leave --patch out, or choose another encoder
    error: drop_path 0.1: resnet18 has no paths to drop
    error: drop_path 1: convnext-tiny needs a share below 1
    ");
}

#[test]
fn a_run_that_drops_paths_goes_on_with_the_same_bits() {
    let folder = temp_dir();
    let [whole, cut] = ["whole", "cut"].map(|name| folder.path().join(name));
    let head = small_head("byol");
    let train = |out: &std::path::Path, epochs: &str| {
        lethe_ok(&[
            "pretrain",
            "--method",
            "byol",
            "--config",
            head,
            "--encoder",
            "convnext-tiny-w4",
            "--drop-path",
            "0.3",
            "--data",
            "shapes:n=32,size=16",
            "--epochs",
            epochs,
            "--batch-size",
            "16",
            "--warmup-epochs",
            "0",
            "--optimizer",
            "adamw",
            "--save-every",
            "1",
            "--threads",
            "1",
            "--out",
            text(out),
        ])
    };
    train(&whole, "2");
    train(&cut, "2");
    for name in ["epoch-0002.safetensors", "epoch-0002.state.safetensors"] {
        std::fs::remove_file(cut.join("checkpoints").join(name)).unwrap();
    }
    lethe_ok(&["pretrain", "--resume", "--out", text(&cut)]);
    let bytes = |run: &std::path::Path| std::fs::read(run.join("checkpoints/epoch-0002.safetensors")).unwrap();
    assert!(bytes(&whole) == bytes(&cut));
}
