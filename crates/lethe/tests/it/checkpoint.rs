//! Checkpoints of all tools, read bit by bit; Lethe's own, written and read; files that are refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use lethe::checkpoint::{self, Checkpoint, Meta, State};
use lethe::encoders::{EncoderSpec, Part, Stem};
use lethe::nn::{Mode, Weights};
use lethe::rng::{Purpose, once};
use rand::RngExt;
use tch::{Device, Kind, Tensor};

use crate::fuzz::memory_folder;
use crate::golden;
use crate::support;

fn file(name: &str) -> PathBuf {
    golden::folder("checkpoints").join(name)
}

fn open(name: &str) -> Checkpoint {
    checkpoint::open(&file(name)).unwrap_or_else(|error| panic!("{error}"))
}

/// What the files hold, under torchvision's names.
fn tensors(name: &str) -> Weights {
    golden::load("checkpoints").under(&format!("{name}."))
}

fn narrow(stem: Stem) -> (EncoderSpec, Weights) {
    let spec = EncoderSpec::new("resnet18-w1", stem);
    let w = spec.build().unwrap().init(&mut once(0, Purpose::Init));
    (spec, w)
}

/// Uniform numbers from -1 to 1.
pub(crate) fn random(shape: &[i64]) -> Tensor {
    let mut rng = once(1, Purpose::Sample);
    let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_slice(&numbers).view(shape)
}

/// The same names, in the same order when asked, the same types and the same bits.
#[track_caller]
fn assert_same(what: &str, found: &Weights, expected: &Weights, ordered: bool) {
    let names = |w: &Weights| {
        let mut names: Vec<String> = w.names().map(str::to_owned).collect();
        if !ordered {
            names.sort();
        }
        names
    };
    assert_eq!(names(found), names(expected), "{what}");
    for (name, tensor) in expected.iter() {
        let other = found.get(name);
        assert_eq!((other.kind(), other.size()), (tensor.kind(), tensor.size()), "{what}: {name}");
        assert!(other.equal(tensor), "{what}: {name}");
    }
}

#[test]
fn every_tool_and_format_gives_the_bits_it_holds() {
    let halved = |kind: Kind| tensors("resnet18-w1").to_kind(kind).to_kind(Kind::Float);
    let without_counters = || {
        let zero = |name: &str, t: &Tensor| if name.ends_with("batches_tracked") { t.zeros_like() } else { t.copy() };
        tensors("resnet18-w1").iter().map(|(name, t)| (name.to_owned(), zero(name, t))).collect()
    };
    let cases: &[(&str, &str, Stem, Option<u32>, Weights)] = &[
        ("plain.pth", "resnet18-w2", Stem::Imagenet, None, tensors("resnet18-w2")),
        ("legacy.pth", "resnet18-w2", Stem::Imagenet, None, tensors("resnet18-w2")),
        ("f16.pth", "resnet18-w1", Stem::Imagenet, None, halved(Kind::Half)),
        ("simclr_r18_epoch_0199.pth", "resnet18-w1", Stem::Imagenet, None, halved(Kind::Half)),
        ("bf16.pth", "resnet18-w1", Stem::Imagenet, None, halved(Kind::BFloat16)),
        ("f64.pth", "resnet18-w1", Stem::Imagenet, None, tensors("resnet18-w1")),
        ("channels-last.pth", "resnet18-w1", Stem::Imagenet, None, tensors("resnet18-w1")),
        ("whole-module.pt", "resnet18-w1", Stem::Imagenet, None, tensors("resnet18-w1")),
        ("before-0.4.1.pth", "resnet18-w1", Stem::Imagenet, None, without_counters()),
        ("resnet18-w1.safetensors", "resnet18-w1", Stem::Imagenet, None, tensors("resnet18-w1")),
        ("lightly.ckpt", "resnet18-w1", Stem::Imagenet, Some(1), tensors("resnet18-w1")),
        ("lightly-cifar.ckpt", "resnet18-w1", Stem::Cifar, Some(1), tensors("cifar")),
        ("lightly-resnet.ckpt", "resnet18-w1", Stem::Cifar, Some(1), tensors("lightly-resnet")),
        ("solo-learn.ckpt", "resnet18-w1", Stem::CifarPad2, Some(999), tensors("cifar")),
        ("moco.pth.tar", "resnet18-w1", Stem::Imagenet, Some(200), tensors("resnet18-w1")),
        ("simsiam.pth.tar", "resnet18-w1", Stem::Imagenet, Some(100), tensors("resnet18-w1")),
        ("vicreg.pth", "resnet18-w1", Stem::Imagenet, Some(1000), tensors("resnet18-w1")),
        ("dino.pth", "resnet18-w1", Stem::Imagenet, Some(300), tensors("resnet18-w1")),
    ];
    for (name, encoder, stem, epoch, expected) in cases {
        let read = open(name);
        assert_eq!(read.meta, Meta { epoch: *epoch, ..Meta::new(EncoderSpec::new(encoder, *stem)) }, "{name}");
        assert_same(name, &read.encoder, expected, false);
        let order: Vec<String> =
            read.meta.encoder.build().unwrap().shapes().into_iter().map(|(name, _)| name).collect();
        assert!(read.encoder.names().eq(order.iter().map(String::as_str)), "{name}: torchvision's order");
    }
}

#[test]
fn heads_come_along_where_they_are_chains_of_known_layers() {
    let projector = tensors("head");
    for name in ["solo-learn.ckpt", "vicreg.pth"] {
        assert_same(name, &open(name).head.expect("a head"), &projector, false);
    }
    for name in ["lightly.ckpt", "lightly-cifar.ckpt", "lightly-resnet.ckpt"] {
        assert_same(name, &open(name).head.expect("a head"), &tensors("lightly-head"), false);
    }
    let moco = open("moco.pth.tar").head.expect("a head");
    assert_eq!(
        moco.names().collect::<Vec<_>>(),
        ["0.bias", "0.weight", "2.bias", "2.weight"].map(|n| format!("projector.{n}"))
    );
    // SimSiam's last batch-norm has no weight; a head read from it runs.
    let simsiam = open("simsiam.pth.tar").head.expect("a head");
    assert_eq!((simsiam.under("projector.").len(), simsiam.under("predictor.").len()), (11, 9));
    let x = random(&[3, 8]);
    let z = lethe::methods::heads::forward(&simsiam, "projector", &x, Mode::Train);
    assert!(z.mean_dim([0i64].as_slice(), false, None).abs().max().double_value(&[]) < 1e-5, "normalised, no ReLU");
    for name in ["plain.pth", "dino.pth", "whole-module.pt"] {
        assert!(open(name).head.is_none(), "{name}: a classifier and DINO's head are none of ours");
    }
}

#[test]
fn features_are_those_of_torchvision() {
    let expected = tensors("features");
    for (name, features) in
        [("moco.pth.tar", "imagenet"), ("solo-learn.ckpt", "cifar-pad2"), ("lightly-cifar.ckpt", "cifar")]
    {
        let read = open(name);
        let encoder = read.meta.encoder.build().unwrap();
        let found = Part::whole(encoder.as_ref()).represent(&read.encoder, expected.get("images"), Mode::Eval);
        golden::assert_close(name, &found, expected.get(features), 1e-5);
    }
}

#[test]
fn a_saved_checkpoint_reads_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epoch-0010.safetensors");
    let (spec, w) = narrow(Stem::Cifar);
    let settings: toml::Table = "temperature = 0.1\nname = \"a \\\"b\\\"\"".parse().unwrap();
    let meta = Meta {
        image_size: Some(32),
        normalize: Some("cifar10".into()),
        method: Some("simclr".into()),
        method_settings: Some(settings),
        epoch: Some(10),
        ..Meta::new(spec)
    };
    checkpoint::save(&path, &meta, &w.to_kind(Kind::Float)).unwrap();
    let read = checkpoint::open(&path).unwrap();
    assert_eq!(read.meta, Meta { lethe: Some(env!("CARGO_PKG_VERSION").into()), ..meta.clone() });
    assert_same("encoder", &read.encoder, &w, true);
    assert!(read.encoder.parameters().next().is_none() && read.head.is_none());

    let bytes = std::fs::read(&path).unwrap();
    checkpoint::save(&path, &meta, &w).unwrap();
    assert_eq!(bytes, std::fs::read(&path).unwrap(), "the same weights, the same bytes");

    // Neither strides nor the order of the map leave a trace, nor a tensor that shares storage.
    let turned = w.iter().map(|(n, t)| (n.to_owned(), if t.dim() == 4 { channels_last(t) } else { t.copy() }));
    let mut turned: Vec<(String, Tensor)> = turned.collect();
    turned.reverse();
    checkpoint::save(&path, &meta, &turned.into_iter().collect()).unwrap();
    assert_eq!(bytes, std::fs::read(&path).unwrap());
}

fn channels_last(t: &Tensor) -> Tensor {
    t.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

#[test]
fn a_state_reads_back_whole_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint::state_path(&folder.path().join("epoch-0010.safetensors"));
    assert_eq!(path, folder.path().join("epoch-0010.state.safetensors"));
    let head: Weights =
        [("projector.2.weight", random(&[3, 2])), ("projector.10.bias", random(&[3])), ("a", random(&[]))]
            .into_iter()
            .map(|(name, t)| (name.to_owned(), t))
            .collect();
    let optimizer: Weights = [("projector.2.weight.momentum".to_owned(), random(&[0, 4]))].into_iter().collect();
    let progress = BTreeMap::from([("step".into(), "123".into()), ("note".into(), "\"ü\"\n".into())]);
    let state = State { head, optimizer, progress };
    checkpoint::save_state(&path, &state).unwrap();
    let read = checkpoint::open_state(&path).unwrap();
    assert_same("head", &read.head, &state.head, true);
    assert_same("optimizer", &read.optimizer, &state.optimizer, true);
    assert_eq!(read.progress, state.progress);
    let error = checkpoint::open_state(&file("resnet18-w1.safetensors")).unwrap_err();
    assert!(error.what.ends_with("is not the state of a run"), "{error}");
}

#[test]
fn every_type_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    let kinds = "Double Float Half BFloat16 Int64 Int Int16 Int8 Uint8 Bool";
    let all = [
        Kind::Double,
        Kind::Float,
        Kind::Half,
        Kind::BFloat16,
        Kind::Int64,
        Kind::Int,
        Kind::Int16,
        Kind::Int8,
        Kind::Uint8,
        Kind::Bool,
    ];
    assert_eq!(all.map(|kind| format!("{kind:?}")).join(" "), kinds);
    let values = Tensor::from_slice(&[0f64, 1.0, 2.5, 100.0, 3.0]);
    let w: Weights = all.iter().map(|&kind| (format!("{kind:?}"), values.to_kind(kind))).collect();
    checkpoint::write_tensors(&path, &w, &BTreeMap::new()).unwrap();
    assert_same("types", &checkpoint::read_tensors(&path).unwrap(), &w, false);
    let complex: Weights = [("c".to_owned(), values.to_kind(Kind::ComplexFloat))].into_iter().collect();
    let error = checkpoint::write_tensors(&path, &complex, &BTreeMap::new()).unwrap_err();
    assert!(error.what.contains("tensor c has the type ComplexFloat"), "{error}");
}

/// What `load_state_dict(strict=True)` demands of torchvision's ResNets whose `fc` is an identity.
#[test]
fn a_full_width_save_has_exactly_torchvisions_keys_and_shapes() {
    let text = std::fs::read_to_string(file("torchvision-keys.json")).unwrap();
    let expected: BTreeMap<String, Vec<(String, Vec<i64>)>> = serde_json::from_str(&text).unwrap();
    assert_eq!(expected.len(), 3);
    let folder = tempfile::tempdir().unwrap();
    for (name, shapes) in expected {
        let spec = EncoderSpec::new(&name, Stem::Imagenet);
        let kind = |name: &str| if name.ends_with("tracked") { Kind::Int64 } else { Kind::Float };
        let zeros = |name: &str, shape: &[i64]| Tensor::zeros(shape, (kind(name), Device::Cpu));
        let encoder = spec.build().unwrap();
        let w: Weights = encoder.shapes().iter().map(|(name, shape)| (name.clone(), zeros(name, shape))).collect();
        let path = folder.path().join(&name);
        checkpoint::save(&path, &Meta::new(spec.clone()), &w).unwrap();
        let mut saved: Vec<_> =
            checkpoint::read_tensors(&path).unwrap().iter().map(|(n, t)| (n.to_owned(), t.size())).collect();
        let mut wanted = shapes.clone();
        saved.sort();
        wanted.sort();
        assert_eq!(saved, wanted, "{name}");
        assert_eq!(encoder.shapes(), shapes, "{name}: the order too");
        assert_eq!(checkpoint::open(&path).unwrap().meta.encoder, spec, "inferred");
    }
}

fn vit_file(name: &str) -> PathBuf {
    golden::folder("vit").join(name)
}

/// The same of timm's vision transformers.
#[test]
fn a_full_width_vit_has_exactly_timms_keys_and_shapes() {
    let text = std::fs::read_to_string(vit_file("timm-keys.json")).unwrap();
    let expected: BTreeMap<String, Vec<(String, Vec<i64>)>> = serde_json::from_str(&text).unwrap();
    assert_eq!(expected.len(), 4);
    for (timm, shapes) in expected {
        let (name, patch) = timm.strip_suffix("_224").unwrap().rsplit_once("_patch").unwrap();
        let spec = EncoderSpec { name: name.replace('_', "-"), patch: patch.parse().ok(), ..EncoderSpec::default() };
        let spec = spec.resolved(224).unwrap();
        let encoder = spec.build().unwrap();
        assert_eq!(encoder.shapes(), shapes, "{timm}");
        assert_eq!(encoder.spec(), spec);
    }
}

#[test]
fn vision_transformers_of_all_tools_are_recognised() {
    let spec = EncoderSpec { name: "vit-tiny-w8-d2".into(), patch: Some(4), ..EncoderSpec::default() };
    let spec = spec.resolved(8).unwrap();
    let expected = checkpoint::open(&vit_file("timm.pth")).unwrap().encoder;
    assert_eq!(expected.len(), spec.build().unwrap().shapes().len());
    for (name, epoch) in [("timm.pth", None), ("dino.pth", Some(300)), ("mae.pth", Some(799)), ("lightly.pth", Some(1))]
    {
        let read = checkpoint::open(&vit_file(name)).unwrap_or_else(|error| panic!("{error}"));
        let meta = Meta { epoch, image_size: Some(8), ..Meta::new(spec.clone()) };
        assert_eq!(read.meta, meta, "{name}");
        assert_same(name, &read.encoder, &expected, true);
        assert!(read.head.is_none(), "{name}");
    }
    let scaled = checkpoint::open(&vit_file("timm-scaled.safetensors")).unwrap();
    assert_eq!(scaled.meta.encoder, EncoderSpec { layer_scale: Some(true), ..spec });
    let errors = ["fc-norm.pth", "registers.pth"].map(|name| refused(&vit_file(name)));
    insta::assert_snapshot!(errors.concat(), @r"
    error: fc-norm.pth: tensor fc_norm.bias is no part of a vision transformer
      hint: Lethe reads torchvision's resnet18, resnet34, resnet50 and convnext_tiny, timm's vit_tiny, vit_small and vit_base
    error: registers.pth: tensor reg_token is no part of a vision transformer
      hint: Lethe reads torchvision's resnet18, resnet34, resnet50 and convnext_tiny, timm's vit_tiny, vit_small and vit_base
    ");
}

#[test]
fn what_a_vit_does_not_tell_is_noted_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let (given, out) = (vit_file("mae.pth"), folder.path().join("mae.safetensors"));
    support::lethe_err(&["convert", support::text(&given), support::text(&out), "--stem", "cifar"], 2);
    support::lethe_ok(&["convert", support::text(&given), support::text(&out), "--pool", "mean"]);
    let read = checkpoint::open(&out).unwrap();
    assert_eq!(read.meta.encoder.to_string(), "vit-tiny-w8-d2 (patch 4, 8 pixels, mean pooling)");
    assert_eq!(read.meta.image_size, Some(8));
    assert_same("converted", &read.encoder, &checkpoint::open(&given).unwrap().encoder, true);
    // A class token and a mean are features of their own.
    let again = folder.path().join("again.safetensors");
    checkpoint::save(&again, &read.meta, &read.encoder).unwrap();
    assert_eq!(checkpoint::open(&again).unwrap().meta, read.meta);
}

#[test]
fn no_flipped_bit_of_our_own_files_goes_unnoticed() {
    let folder = memory_folder();
    let path = folder.path().join("t.safetensors");
    let w: Weights =
        [("a".to_owned(), Tensor::from_slice(&[1f32, -2.0])), ("n".to_owned(), Tensor::from_slice(&[7i64]))]
            .into_iter()
            .collect();
    checkpoint::write_tensors(&path, &w, &BTreeMap::from([("epoch".into(), "10".into())])).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, flipped).unwrap();
        // A space may turn into another space of JSON: it says the same.
        if let Ok(read) = checkpoint::read_tensors(&path) {
            assert_eq!(bytes[bit / 8], b' ', "bit {bit} of byte {:?}", bytes[bit / 8] as char);
            assert_same("flipped space", &read, &w, true);
        }
    }
}

#[test]
fn truncated_files_are_refused() {
    let folder = memory_folder();
    let path = folder.path().join("cut");
    for (name, step) in
        [("plain.pth", 997), ("legacy.pth", 997), ("lightly.ckpt", 1501), ("resnet18-w1.safetensors", 499)]
    {
        let bytes = std::fs::read(file(name)).unwrap();
        for length in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = checkpoint::open(&path).err().unwrap_or_else(|| panic!("{name} cut to {length} bytes opens"));
            assert!(error.what.starts_with(&path.display().to_string()) && !error.what.contains('\n'), "{error}");
        }
    }
}

/// Runs `lethe convert INPUT` and gives its error with the folder taken out.
#[track_caller]
fn refused(input: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.safetensors");
    let run = Command::new(env!("CARGO_BIN_EXE_lethe")).arg("convert").arg(input).arg(&output).output().unwrap();
    assert_eq!((run.status.code(), run.stdout.len()), (Some(1), 0), "{input:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing half-written");
    let error = String::from_utf8(run.stderr).unwrap();
    error.replace(&format!("{}/", input.parent().unwrap().display()), "")
}

#[test]
fn files_that_are_no_checkpoint_are_refused_in_a_line() {
    let errors =
        ["torchscript.pt", "tensor.pt", "list.pt", "vit.pth", "clash.pth", "meta.pth", "seed.safetensors", "make.py"]
            .map(|name| refused(&file(name)));
    insta::assert_snapshot!(errors.concat(), @r"
    error: torchscript.pt: is TorchScript, a program; Lethe reads state dicts
      hint: in Python: torch.save(torch.jit.load(FILE).state_dict(), OUT)
    error: tensor.pt: holds a torch.Tensor, not a state dict
      hint: in Python: torch.save(model.state_dict(), FILE)
    error: list.pt: holds a list, not a state dict
      hint: in Python: torch.save(model.state_dict(), FILE)
    error: vit.pth: tensor pos_embed of a vision transformer is missing
    error: clash.pth: has two tensors named a.b
    error: meta.pth: tensor layer4.0.conv1.weight has no data: it was saved from PyTorch's meta device
    error: seed.safetensors: holds no encoder; its 3 tensors begin with n, conv1.weight, bn1.weight
      hint: Lethe reads torchvision's resnet18, resnet34, resnet50 and convnext_tiny, timm's vit_tiny, vit_small and vit_base
    error: make.py: is not a checkpoint
      hint: expected safetensors or a PyTorch state dict (.pt, .pth, .ckpt)
    ");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        refused(&path)
    };
    let zip_of_nothing = b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let errors = [
        write("empty.pth", b""),
        write("page.pth", b"<!DOCTYPE html><html>Not Found"),
        write("lfs.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
        write("zip.pt", zip_of_nothing),
        write("text.ckpt", b"no checkpoint at all"),
        write("renamed.safetensors", &std::fs::read(file("plain.pth")).unwrap()[..1000]),
        refused(&folder.path().join("absent.pth")),
        refused(folder.path()).replace(folder.path().file_name().unwrap().to_str().unwrap(), "FOLDER"),
    ];
    insta::assert_snapshot!(errors.concat(), @r"
    error: empty.pth: is empty, not a checkpoint
    error: page.pth: is a web page, not a checkpoint
    error: lfs.safetensors: is a Git LFS pointer (run `git lfs pull`), not a checkpoint
    error: zip.pt: is a zip archive, not a checkpoint
    error: text.ckpt: is not a checkpoint
      hint: expected safetensors or a PyTorch state dict (.pt, .pth, .ckpt)
    error: renamed.safetensors: is damaged, or not a state dict: zip archive error: invalid Zip archive: Could not find EOCD
      hint: copy or download it again, or in Python: torch.save(model.state_dict(), FILE)
    error: absent.pth: no such file or folder
    error: FOLDER: is a folder, not a checkpoint
      hint: name one of the checkpoints in it
    ");
    // Content decides, not the name.
    let renamed = folder.path().join("really-safetensors.pt");
    std::fs::copy(file("resnet18-w1.safetensors"), &renamed).unwrap();
    assert!(checkpoint::open(&renamed).is_ok());
}

#[test]
fn the_first_tensor_that_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let changed = |change: &dyn Fn(&mut Weights)| {
        let mut w = tensors("resnet18-w1");
        change(&mut w);
        checkpoint::write_tensors(&path, &w, &BTreeMap::new()).unwrap();
        refused(&path)
    };
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    let errors = [
        changed(&|w| w.insert("layer3.1.conv2.weight", zeros(&[4, 4, 1, 1]))),
        changed(&|w| *w = w.filter(|name| name != "layer2.0.downsample.1.bias")),
        changed(&|w| *w = w.filter(|name| name != "conv1.weight")),
        changed(&|w| w.insert("conv1.weight", zeros(&[1, 1, 7, 7]))),
        changed(&|w| w.insert("layer1.2.conv1.weight", zeros(&[1, 1, 3, 3]))),
        changed(&|w| w.insert("layer1.0.se.fc1.weight", zeros(&[1, 1]))),
        changed(&|w| w.insert("attnpool.k_proj.weight", zeros(&[1, 1]))),
        changed(&|w| w.insert("bn1.weight", zeros(&[1]).to_kind(Kind::Int))),
        changed(&|w| w.extend(tensors("resnet18-w1").prefixed("module."))),
        changed(&|w| {
            *w = w
                .prefixed("one.")
                .filter(|_| true)
                .iter()
                .chain(w.prefixed("two.").iter())
                .map(|(n, t)| (n.to_owned(), t.copy()))
                .collect()
        }),
    ];
    insta::assert_snapshot!(errors.concat(), @r"
    error: w.safetensors: tensor layer3.1.conv2.weight has the shape [4, 4, 1, 1], expected [4, 4, 3, 3] for resnet18-w1 (imagenet stem)
    error: w.safetensors: tensor layer2.0.downsample.1.bias of resnet18-w1 (imagenet stem) is missing
    error: w.safetensors: tensor conv1.weight of a ResNet is missing
    error: w.safetensors: tensor conv1.weight has the shape [1, 1, 7, 7], expected [w, 3, 3, 3] or [w, 3, 7, 7]
    error: w.safetensors: holds a ResNet of [3, 2, 2, 2] basic blocks, not resnet18, resnet34 or resnet50
    error: w.safetensors: tensor layer1.0.se.fc1.weight is no part of resnet18-w1 (imagenet stem)
    error: w.safetensors: tensor attnpool.k_proj.weight is no part of a ResNet
      hint: Lethe reads torchvision's resnet18, resnet34, resnet50 and convnext_tiny, timm's vit_tiny, vit_small and vit_base
    error: w.safetensors: tensor bn1.weight holds Int, expected Float
    error: w.safetensors: holds several encoders, which begin at conv1, module.conv1
      hint: save the state dict of the one you mean alone
    error: w.safetensors: holds several encoders, which begin at one.conv1, two.conv1
      hint: save the state dict of the one you mean alone
    ");
}

#[test]
fn convert_notes_the_stem_that_left_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let (bare, converted) = (folder.path().join("bare.safetensors"), folder.path().join("converted.safetensors"));
    let read = open("solo-learn.ckpt");
    checkpoint::save(&bare, &Meta::new(EncoderSpec { stem: Some(Stem::Cifar), ..read.meta.encoder }), &read.encoder)
        .unwrap();
    let [from, to] = [&bare, &converted].map(|path| support::text(path));
    support::lethe_err(&["convert", from, to, "--stem", "imagenet"], 2);
    assert!(!converted.exists());
    support::lethe_ok(&["convert", from, to, "--stem", "cifar-pad2"]);
    assert_eq!(checkpoint::open(&converted).unwrap().meta.encoder.stem, Some(Stem::CifarPad2));
}

#[test]
fn a_converted_encoder_is_still_shown_what_a_foreign_one_is() {
    let folder = tempfile::tempdir().unwrap();
    let converted = folder.path().join("converted.safetensors");
    support::lethe_ok(&["convert", support::text(&file("plain.pth")), support::text(&converted)]);
    let meta = checkpoint::open(&converted).unwrap().meta;
    assert!(meta.lethe.is_some());
    assert_eq!((meta.normalization(), open("plain.pth").meta.normalization()), (Some("imagenet"), Some("imagenet")));
    assert_eq!(Meta { normalize: None, ..meta }.normalization(), None);
}

#[test]
fn a_state_is_that_of_its_checkpoint_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, w) = narrow(Stem::Cifar);
    let path = folder.path().join("epoch-0001.safetensors");
    let meta = Meta { step: Some(5), ..Meta::new(spec) };
    checkpoint::save(&path, &meta, &w).unwrap();
    let save = |progress: &[(&str, &str)]| {
        let progress = progress.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let head = Weights::from_iter([("projector.0.bias".to_owned(), random(&[3]))]);
        checkpoint::save_state(&checkpoint::state_path(&path), &State { head, progress, ..State::default() }).unwrap();
        checkpoint::open(&path).unwrap().state().unwrap().is_some()
    };
    assert!(checkpoint::open(&path).unwrap().state().unwrap().is_none());
    assert!(save(&[("step", "5")]) && save(&[("repair", "umm")]) && !save(&[("step", "6")]));
    // What is converted over a checkpoint has no state; what only has the name of one stays.
    let (given, out) = (file("plain.pth"), support::text(&path));
    let convert = ["convert", support::text(&given), out, "--overwrite"];
    support::lethe_ok(&convert);
    assert!(!checkpoint::state_path(&path).exists());
    std::fs::write(checkpoint::state_path(&path), "mine").unwrap();
    support::lethe_ok(&convert);
    assert!(checkpoint::state_path(&path).exists());
}

#[test]
fn what_is_not_finite_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, mut w) = narrow(Stem::Cifar);
    let path = folder.path().join("e.safetensors");
    w.insert("layer4.1.bn2.running_var", w.get("layer4.1.bn2.running_var") * f64::INFINITY);
    let error = checkpoint::save(&path, &Meta::new(spec), &w).unwrap_err();
    assert!(error.what.ends_with("e.safetensors: tensor layer4.1.bn2.running_var holds NaN or infinite numbers"));
    assert!(!path.exists());
}

#[test]
fn weights_of_another_encoder_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (_, w) = narrow(Stem::Cifar);
    let path = folder.path().join("e.safetensors");
    let error = checkpoint::save(&path, &Meta::new(EncoderSpec::new("resnet18-w2", Stem::Cifar)), &w).unwrap_err();
    assert!(error.what.contains("no conv1.weight [2, 3, 3, 3] to save as resnet18-w2"), "{error}");
    assert!(!path.exists());
    // Metadata that contradicts the tensors.
    let lie = BTreeMap::from([("encoder".to_owned(), "resnet50".to_owned())]);
    checkpoint::write_tensors(&path, &w, &lie).unwrap();
    assert!(checkpoint::open(&path).unwrap_err().what.contains("names another encoder than its tensors"));
}

#[test]
fn bombs_are_refused_before_they_cost_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb");
    // One stored number, expanded to 1 GiB.
    let error = checkpoint::read_tensors(&file("expanded.pth")).unwrap_err();
    assert!(error.what.ends_with("tensor conv1.weight is larger than the file"), "{error}");
    // A header longer than any of ours, and one of very many tensors.
    let mut bytes = (9u64 << 20).to_le_bytes().to_vec();
    bytes.resize(8 + (9 << 20), b' ');
    bytes[8] = b'{';
    std::fs::write(&path, &bytes).unwrap();
    assert!(checkpoint::read_tensors(&path).unwrap_err().what.contains("has a header of 9437184 bytes"));
    let entries: Vec<String> =
        (0..20_001).map(|i| format!("\"{i}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}")).collect();
    let header = format!("{{{}}}", entries.join(","));
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()).unwrap();
    assert!(checkpoint::read_tensors(&path).unwrap_err().what.contains("lists 20001 tensors"));
}
