//! The page of a real run. The page itself is tested in `lethe-diagnosis`.

use std::process::Command;

use crate::browser::{chromium, measured};

/// A run of three epochs, diagnosed.
#[test]
fn a_real_diagnosis_shows_its_images() {
    let scratch = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let program = Command::new(env!("CARGO_BIN_EXE_lethe")).args(arguments).current_dir(scratch.path()).output();
        let output = program.expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let short = ["--encoder", "resnet18-w4", "--epochs", "3", "--batch-size", "32", "--warmup-epochs", "1"];
    let kept = ["--save-every", "1", "--threads", "1", "--out", "run"];
    run(&[&["pretrain", "--method", "simclr", "--data", "shapes:n=64,size=16"], &short[..], &kept[..]].concat());
    let beside = ["--reference", "run/checkpoints/epoch-0001.safetensors", "--gradients"];
    let seen = ["--unseen", "shapes:n=64,size=16,seed=9", "--threads", "1", "--out", "found"];
    run(&[&["diagnose", "run"], &beside[..], &seen[..]].concat());

    let page = std::fs::read_to_string(scratch.path().join("found/report.html")).expect("the page");
    assert_eq!(page.matches("<img src=\"data:image/png;base64,").count(), 32);
    assert_eq!(page.matches(" src=").count(), 32, "nothing else is loaded");
    assert!(page.contains("Does it memorise?") && !page.contains("Pictures are missing"));
    assert!(page.contains("Which checkpoint to keep") && page.contains("<a href=\"#def-idest\">IdEst</a>"));
    assert!(page.contains("Beside a reference") && page.contains("<a href=\"#def-layermem\">LayerMem</a>"));
    for (key, title) in [("sslmem", "SSLMem"), ("batch_gradient_norm_squared", "Squared length of the batch gradient")]
    {
        let linked = format!("<figcaption><b><a href=\"#def-{key}\">{title}</a></b>");
        assert!(page.contains(&linked), "no curve of {title}");
    }
    let drawn = page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().expect("a link"));
    assert!(drawn.clone().count() > 40, "links to definitions");
    for link in drawn {
        assert_eq!(page.matches(&format!(" id=\"{link}\"")).count(), 1, "{link} leads nowhere");
    }
    assert!(!page.contains("<th>batch_gradient_norm_squared"), "a criterion goes by its name");
    if let Some(chromium) = chromium() {
        let seen = measured(&chromium, scratch.path(), &page, 400, false);
        assert_eq!(seen["pictures"], 32, "{seen}: the browser can read every picture");
        assert!(
            seen["scroll"].as_f64().is_some_and(|width| width <= 400.0),
            "{seen}: nothing is wider than the window"
        );
    }
}
