use lethe::encoders::{ENCODERS, Encoder, EncoderSpec, Part, Stem};
use lethe::nn::{Mode, Weights};
use lethe::rng::{Purpose, once};
use tch::{Device, Kind, Tensor};

use crate::golden;

/// Draws the weights that torchvision's constructor draws after `torch.manual_seed(0)`: every module first takes its
/// default initialisation, then the convolutions are drawn anew in the order of the modules.
#[allow(clippy::disallowed_methods, reason = "reproduces torchvision's draws from libtorch's global generator")]
fn torchvision_weights(name: &str, stem: Stem) -> (Box<dyn Encoder>, Weights) {
    let as_built = EncoderSpec::new(name, Stem::Imagenet).build().unwrap();
    let names = as_built.init(&mut once(0, Purpose::Init));
    let dim = as_built.stages().last().unwrap().channels;
    let convolutions: Vec<_> =
        names.iter().filter(|(_, t)| t.dim() == 4).map(|(n, t)| (n.to_owned(), t.size())).collect();
    let default_convolution = |shape: &[i64]| {
        let bound = 1.0 / ((shape[1] * shape[2] * shape[3]) as f64).sqrt();
        Tensor::empty(shape, (Kind::Float, Device::Cpu)).uniform_(-bound, bound)
    };
    tch::manual_seed(0);
    for (_, shape) in order_of_construction(&convolutions) {
        let _ = default_convolution(shape);
    }
    let _ = Tensor::empty([1000, dim], (Kind::Float, Device::Cpu)).uniform_(-1.0, 1.0);
    let _ = Tensor::empty([1000], (Kind::Float, Device::Cpu)).uniform_(-1.0, 1.0);
    let mut drawn = Weights::new();
    for (name, shape) in &convolutions {
        let deviation = (2.0 / (shape[0] * shape[2] * shape[3]) as f64).sqrt();
        drawn.insert(name.clone(), Tensor::empty(shape.as_slice(), (Kind::Float, Device::Cpu)).normal_(0.0, deviation));
    }
    if stem != Stem::Imagenet {
        drawn.insert("conv1.weight", default_convolution(&[64, 3, 3, 3]));
    }
    let encoder = EncoderSpec::new(name, stem).build().unwrap();
    let mut weights = encoder.init(&mut once(0, Purpose::Init));
    weights.extend(drawn);
    (encoder, weights)
}

/// A shortcut's convolution is built before its block's, though it is listed last.
fn order_of_construction(convolutions: &[(String, Vec<i64>)]) -> Vec<&(String, Vec<i64>)> {
    let block = |name: &str| name.split(".conv").next().unwrap().split(".downsample").next().unwrap().to_owned();
    let mut ordered: Vec<&(String, Vec<i64>)> = Vec::new();
    for convolution in convolutions {
        match ordered.iter().position(|(name, _)| block(name) == block(&convolution.0)) {
            Some(first) if convolution.0.contains("downsample") => ordered.insert(first, convolution),
            _ => ordered.push(convolution),
        }
    }
    ordered
}

#[test]
fn resnets_reproduce_torchvision_stage_by_stage() {
    let golden = golden::load("resnet");
    for (case, name, stem) in [
        ("resnet18", "resnet18", Stem::Imagenet),
        ("resnet18-cifar", "resnet18", Stem::Cifar),
        ("resnet34", "resnet34", Stem::Imagenet),
        ("resnet50", "resnet50", Stem::Imagenet),
        ("resnet18-cifar-pad2", "resnet18", Stem::CifarPad2),
    ] {
        let (encoder, weights) = torchvision_weights(name, stem);
        let images = golden.get(&format!("{case}/images"));
        for (mode_name, mode) in [("train", Mode::Train), ("eval", Mode::Eval)] {
            let mut x = images.shallow_clone();
            let part = Part::whole(encoder.as_ref());
            let kept = weights.copy();
            let pooled = tch::no_grad(|| part.represent_stages(&kept, images, mode));
            for (i, stage) in encoder.stages().iter().enumerate() {
                x = tch::no_grad(|| encoder.stage(i, &weights, &x, mode));
                let at = |what: &str| format!("{case}/{mode_name}/{}/{what}", stage.name);
                golden::assert_close(&at("map"), &x.narrow(0, 0, 1).narrow(1, 0, 4), golden.get(&at("map")), 1e-4);
                golden::assert_close(&at("pooled"), &pooled[i], golden.get(&at("pooled")), 1e-4);
                let step = (images.size()[3] as u64).div_ceil(x.size()[3] as u64).next_power_of_two() as i64;
                assert_eq!((x.size()[1], step), (stage.channels, stage.stride), "{}", at("shape"));
            }
            for bn in ["bn1", "layer4.1.bn2"] {
                for buffer in ["running_mean", "running_var"] {
                    let expected = golden.get(&format!("{case}/{bn}.{buffer}"));
                    golden::assert_close(
                        &format!("{case}/{bn}.{buffer}"),
                        weights.get(&format!("{bn}.{buffer}")),
                        expected,
                        1e-4,
                    );
                }
            }
        }
    }
}

#[test]
fn keeping_statistics_gives_the_training_output_and_leaves_the_buffers() {
    let encoder = EncoderSpec::new("resnet18-w4", Stem::Cifar).build().unwrap();
    let weights = encoder.init(&mut once(3, Purpose::Init));
    let part = Part::whole(encoder.as_ref());
    let images = Tensor::arange(2 * 3 * 16 * 16, (Kind::Float, Device::Cpu)).view([2, 3, 16, 16]).sin();
    let before = weights.copy();
    let kept = part.represent(&weights, &images, Mode::TrainKeepStats);
    for (name, tensor) in weights.iter() {
        assert_eq!(tensor, before.get(name), "{name}");
    }
    let trained = part.represent(&weights, &images, Mode::Train);
    golden::assert_close("output", &kept, &trained, 0.0);
    assert_ne!(weights.get("bn1.running_mean"), before.get("bn1.running_mean"));
    assert_eq!(weights.get("layer4.1.bn2.num_batches_tracked").int64_value(&[]), 1);
}

#[test]
fn a_cut_encoder_computes_what_the_whole_one_does() {
    for entry in ENCODERS {
        let encoder = EncoderSpec::new(&format!("{}-w4", entry.name), Stem::Cifar).build().unwrap();
        let weights = encoder.init(&mut once(5, Purpose::Init));
        let images = Tensor::arange(2 * 3 * 16 * 16, (Kind::Float, Device::Cpu)).view([2, 3, 16, 16]).cos();
        let whole = Part::whole(encoder.as_ref()).represent(&weights, &images, Mode::Eval);
        let stages = encoder.stages();
        for stage in &stages[..stages.len() - 1] {
            let (early, late) = Part::cut(encoder.as_ref(), &stage.name).unwrap();
            assert_eq!(early.weights(&weights).len() + late.weights(&weights).len(), weights.len());
            let cut = late.represent(
                &late.weights(&weights),
                &early.forward(&early.weights(&weights), &images, Mode::Eval),
                Mode::Eval,
            );
            golden::assert_close(&stage.name, &cut, &whole, 0.0);
        }
        for wrong in ["stage4", "layer2", ""] {
            let error = Part::cut(encoder.as_ref(), wrong).err().expect("no such cut");
            assert_eq!(error.exit.code(), 2);
            assert!(error.hint.unwrap().contains("stem, stage1, stage2, stage3"));
        }
    }
}

#[test]
fn unknown_encoders_and_widths_are_refused_with_the_choices() {
    for wrong in ["resnet19", "resnet18-16", "resnet18-w0", "vit", ""] {
        let error = EncoderSpec::new(wrong, Stem::Cifar).build().err().expect("refused");
        assert_eq!(error.exit.code(), 2, "{wrong}");
        assert!(error.hint.is_some_and(|hint| hint.contains("resnet18")), "{wrong}");
    }
}

#[test]
fn bf16_follows_the_input_and_stays_near_f32() {
    let encoder = EncoderSpec::new("resnet18-w8", Stem::Cifar).build().unwrap();
    let weights = encoder.init(&mut once(1, Purpose::Init));
    let images = Tensor::arange(8 * 3 * 32 * 32, (Kind::Float, Device::Cpu)).view([8, 3, 32, 32]).sin();
    let part = Part::whole(encoder.as_ref());
    let full = part.represent(&weights, &images, Mode::TrainKeepStats);
    let half = part.represent(&weights, &images.to_kind(Kind::BFloat16), Mode::TrainKeepStats);
    assert_eq!(half.kind(), Kind::BFloat16);
    golden::assert_close("representation", &half, &full, 0.1);
    let gradients = weights.gradients(&half.to_kind(Kind::Float).square().sum(None::<Kind>), false).unwrap();
    assert!(gradients.iter().all(|g| g.kind() == Kind::Float && bool::try_from(g.isfinite().all()).unwrap()));
}
