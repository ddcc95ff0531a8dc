//! Peers beside Lethe. `cargo xtask test --peers` runs these tests, with the Python of xtask/peers-requirements.txt.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Command;

use lethe::checkpoint::{self, Meta};
use lethe::encoders::{EncoderSpec, Part, Pool};
use lethe::nn::{Mode, Weights};
use lethe::rng::{Purpose, once};

use crate::checkpoint::random;
use crate::support::lethe_ok;

/// A Python with torch, torchvision, timm, lightly and safetensors.
fn python() -> OsString {
    std::env::var_os("LETHE_PEERS_PYTHON").expect("LETHE_PEERS_PYTHON: see `cargo xtask setup --peers`")
}

/// They take our files, strictly, and compute the features we do.
#[test]
#[ignore = "needs Python packages"]
fn torchvision_and_timm_themselves_take_a_save() {
    let python = python();
    let spec = |name: &str| EncoderSpec { name: name.into(), ..EncoderSpec::default() }.resolved(224).unwrap();
    let mean = EncoderSpec { pool: Some(Pool::Mean), layer_scale: Some(true), ..spec("vit-tiny") };
    let timm = "timm.create_model('vit_tiny_patch16_224', num_classes=0";
    for (spec, model) in [
        (spec("resnet18"), "torchvision.models.resnet18(weights=None)".to_owned()),
        (spec("convnext-tiny"), "torchvision.models.convnext_tiny(weights=None)".to_owned()),
        (spec("vit-tiny"), format!("{timm})")),
        (mean, format!("{timm}, init_values=1e-5, global_pool='avg', fc_norm=False)")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let encoder = spec.build().unwrap();
        let w = encoder.init(&mut once(7, Purpose::Init));
        let images = random(&[2, 3, 224, 224]);
        // Running statistics that matter.
        let features = tch::no_grad(|| {
            let _ = Part::whole(encoder.as_ref()).represent(&w, &images, Mode::Train);
            Part::whole(encoder.as_ref()).represent(&w, &images, Mode::Eval)
        });
        checkpoint::save(&at("encoder.safetensors"), &Meta::new(spec), &w).unwrap();
        let case: Weights = [("images".to_owned(), images), ("features".to_owned(), features)].into_iter().collect();
        checkpoint::write_tensors(&at("case.safetensors"), &case, &BTreeMap::new()).unwrap();
        let script = format!(
            "
import sys, timm, torch, torchvision
from safetensors.torch import load_file
model = {model}
model.fc = model.classifier = torch.nn.Identity()
model.load_state_dict(load_file(sys.argv[1]), strict=True)
case = load_file(sys.argv[2])
with torch.no_grad():
    found = model.eval()(case['images']).flatten(1)
error = (found - case['features']).abs().max().item()
print('largest difference', error, 'of', found.abs().max().item())
assert error < 1e-4 * found.abs().max().item()
"
        );
        let paths = [at("encoder.safetensors"), at("case.safetensors")];
        let output =
            Command::new(&python).arg("-c").arg(script).args(paths).output().expect("LETHE_PEERS_PYTHON starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{model}: {said}{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The script of docs/guide/any-model.md, with a model that Lethe does not know.
#[test]
#[ignore = "needs Python packages"]
fn a_model_that_lethe_does_not_know_is_diagnosed_from_its_features() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let shapes = |side: &str, seed: u64| {
        lethe_ok(&["data", "make-shapes", &at(side), "--n", "60", "--seed", &seed.to_string()]);
    };
    shapes("train", 1);
    shapes("unseen", 2);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/views.py");
    let status = Command::new(python())
        .args([script, &at("train"), &at("unseen"), &at("epoch-0000.npz")])
        .status()
        .expect("the peers' Python");
    assert!(status.success());
    let out =
        lethe_ok(&["diagnose", "--features", &at("epoch-0000.npz"), "--random-split", "--out", &at("d"), "--json"]);
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["stages"], serde_json::json!(["last"]));
    // It was never trained on either side.
    assert_eq!(found["findings"]["memorises"]["answer"], "none_seen", "{}", found["summary"]);
}
