use lethe::encoders::{ConvNext, ENCODERS, Encoder, EncoderSpec, Part, Pool, Stem, Vit, VitShape};
use lethe::nn::{DropPath, Mode, Weights};
use lethe::rng::{Purpose, once};
use tch::{Device, Kind, Tensor};

use crate::golden;
use crate::support::small_encoder;

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
        ("resnet50-cifar", "resnet50", Stem::Cifar),
    ] {
        let (encoder, weights) = torchvision_weights(name, stem);
        let images = golden.get(&format!("{case}/images"));
        for (mode_name, mode) in [("train", Mode::Train), ("eval", Mode::Eval)] {
            let mut x = images.shallow_clone();
            let part = Part::whole(encoder.as_ref());
            let kept = weights.copy();
            let pooled = tch::no_grad(|| part.represent_stages(&kept, images, mode));
            for (i, stage) in encoder.stages().iter().enumerate() {
                x = tch::no_grad(|| encoder.stage(i, &weights, &x, mode, None));
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
        let encoder = small_encoder(entry.name);
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
        let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
        let (last, others) = names.split_last().unwrap();
        for wrong in [last, "layer2", ""] {
            let error = Part::cut(encoder.as_ref(), wrong).err().expect("no such cut");
            assert_eq!(error.exit.code(), 2);
            assert!(error.hint.unwrap().contains(&others.join(", ")));
        }
    }
}

#[test]
fn unknown_encoders_and_widths_are_refused_with_the_choices() {
    for wrong in ["resnet19", "resnet18-16", "resnet18-w0", "resnet18-d2", "resnet18x", "vit", ""] {
        let error = EncoderSpec::new(wrong, Stem::Cifar).build().err().expect("refused");
        assert_eq!(error.exit.code(), 2, "{wrong}");
        assert!(error.hint.is_some_and(|hint| hint.contains("resnet18")), "{wrong}");
    }
}

#[test]
fn transformers_of_any_width_start_after_xavier() {
    for width in [32, 128] {
        let spec = EncoderSpec { name: format!("vit-tiny-w{width}-d1"), ..EncoderSpec::default() };
        let encoder = spec.resolved(32).unwrap().build().unwrap();
        let weights = encoder.init(&mut once(0, Purpose::Init));
        for (name, outputs) in [("attn.qkv", 3 * width), ("attn.proj", width), ("mlp.fc1", 4 * width)] {
            let weight = weights.get(&format!("blocks.0.{name}.weight"));
            let expected = (2.0 / (width + outputs) as f64).sqrt();
            let found = weight.std(false).double_value(&[]);
            assert!((found / expected - 1.0).abs() < 0.05, "{name} of width {width}: {found} for {expected}");
        }
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

/// Numbers between -1 and 1, as the golden cases have them.
pub(crate) fn formula(shape: &[i64], seed: f64) -> Tensor {
    let n: i64 = shape.iter().product();
    ((Tensor::arange(n, (Kind::Double, Device::Cpu)) + 1.0) * 0.7 + seed).sin().view(shape)
}

/// By the place of a tensor in the encoder's order; gains near 1, biases near 0, matrices scaled by their inputs.
pub(crate) fn formulas(encoder: &dyn Encoder, is_gain: impl Fn(&str) -> bool) -> Weights {
    let tensor = |(seed, (name, shape)): (usize, (String, Vec<i64>))| {
        let x = formula(&shape, seed as f64);
        let x = match shape.len() {
            _ if is_gain(&name) => 1.0 + 0.3 * x,
            2 | 4 => x / (shape[1..].iter().product::<i64>() as f64).sqrt(),
            _ => 0.3 * x,
        };
        (name, x.set_requires_grad(true))
    };
    encoder.shapes().into_iter().enumerate().map(tensor).collect()
}

fn small_vit(pool: Pool, layer_scale: bool) -> (Vit, Weights) {
    let vit = Vit::new(VitShape { width: 24, depth: 2, heads: 3, patch: 4, image_size: 16, pool, layer_scale });
    let gains = [".gamma", "norm.weight", "norm1.weight", "norm2.weight"];
    let w = formulas(&vit, |name| gains.iter().any(|gain| name.ends_with(gain)));
    (vit, w)
}

fn weighted(x: &Tensor, seed: f64) -> Tensor {
    (x * formula(&x.size(), seed)).sum(None::<Kind>)
}

#[test]
fn vision_transformers_reproduce_timm_stage_by_stage() {
    let golden = golden::load("vit");
    for (case, pool, layer_scale) in [("cls", Pool::Cls, false), ("mean-scaled", Pool::Mean, true)] {
        let (vit, w) = small_vit(pool, layer_scale);
        let images = formula(&[2, 3, 16, 16], 0.5).set_requires_grad(true);
        let mut maps = Vec::new();
        for (i, stage) in vit.stages().iter().enumerate() {
            let map = vit.stage(i, &w, maps.last().unwrap_or(&images), Mode::Eval, None);
            golden::assert_close(&stage.name, &map, golden.get(&format!("{case}/{}", stage.name)), 1e-12);
            maps.push(map);
        }
        let pooled = Part::whole(&vit).represent(&w, &images, Mode::Eval);
        golden::assert_close(case, &pooled, golden.get(&format!("{case}/pooled")), 1e-12);
        let loss = weighted(&vit.pool(2, &maps[2]), 3.0) + weighted(&maps[1], 4.0);
        let mut names = vec!["images"];
        let mut of = vec![&images];
        for (name, tensor) in w.parameters() {
            names.push(name);
            of.push(tensor);
        }
        for (name, gradient) in names.iter().zip(Tensor::run_backward(&[&loss], &of, false, false)) {
            let at = format!("{case}/gradient/{name}");
            golden::assert_close(&at, &gradient, golden.get(&at), 1e-11);
        }
    }
}

/// timm interpolates in f32, so no closer than that.
#[test]
fn positions_are_interpolated_for_other_sizes_as_by_timm() {
    let golden = golden::load("vit");
    let (vit, w) = small_vit(Pool::Cls, false);
    for (height, width) in [(24, 24), (8, 8), (12, 20)] {
        let at = |what: &str| format!("{height}x{width}/{what}");
        let pooled = Part::whole(&vit).represent(&w, &formula(&[1, 3, height, width], 0.5), Mode::Eval);
        golden::assert_close(&at("pooled"), &pooled, golden.get(&at("pooled")), 1e-6);
        let gradient = Tensor::run_backward(&[weighted(&pooled, 3.0)], &[w.get("pos_embed")], false, false);
        golden::assert_close(&at("gradient"), &gradient[0], golden.get(&at("gradient")), 1e-6);
    }
    // The places of no image: what the tokens of a black one are, without class token and the bias of the patches.
    let black = Tensor::zeros([1, 3, 24, 24], (Kind::Double, Device::Cpu));
    let tokens = vit.embed(&w, &black) - w.get("patch_embed.proj.bias");
    golden::assert_close("positions", &tokens, &golden.get("24x24/positions").narrow(1, 1, 36), 1e-6);
    // An image of no whole number of patches is cut, and one of another size trains what it was made for.
    assert_eq!(vit.embed(&w, &formula(&[2, 3, 19, 17], 0.1)).size(), [2, 16, 24]);
}

#[test]
fn convnext_reproduces_torchvision_stage_by_stage() {
    let golden = golden::load("convnext");
    let convnext = ConvNext::new(2, 4);
    let w = formulas(&convnext, |name| !name.ends_with(".bias") && (name.ends_with("scale") || w1(&convnext, name)));
    let images = formula(&[2, 3, 64, 64], 0.5).set_requires_grad(true);
    let mut maps = Vec::new();
    for (i, stage) in convnext.stages().iter().enumerate() {
        let map = convnext.stage(i, &w, maps.last().unwrap_or(&images), Mode::Eval, None);
        let at = |what: &str| format!("{}/{what}", stage.name);
        let channels = stage.channels.min(4);
        golden::assert_close(&at("map"), &map.narrow(0, 0, 1).narrow(1, 0, channels), golden.get(&at("map")), 1e-12);
        golden::assert_close(&at("pooled"), &convnext.pool(i, &map), golden.get(&at("pooled")), 1e-12);
        assert_eq!((map.size()[1], 64 / map.size()[3]), (stage.channels, stage.stride), "{}", stage.name);
        maps.push(map);
    }
    let loss = weighted(&convnext.pool(4, &maps[4]), 3.0) + weighted(&convnext.pool(1, &maps[1]), 4.0);
    let mut of = vec![&images];
    of.extend(w.parameters().map(|(_, tensor)| tensor));
    let gradients = Tensor::run_backward(&[&loss], &of, false, false);
    let corner = gradients[0].narrow(0, 0, 1).narrow(2, 0, 16).narrow(3, 0, 16);
    golden::assert_close("images", &corner, golden.get("gradient/images"), 1e-11);
    for ((name, _), gradient) in w.parameters().zip(&gradients[1..]) {
        golden::assert_close(name, gradient, golden.get(&format!("gradient/{name}")), 1e-10);
    }
    let keys = Vec::<u8>::try_from(golden.get("keys")).unwrap();
    let keys: Vec<(String, Vec<i64>)> = serde_json::from_slice(&keys).unwrap();
    assert_eq!(ConvNext::new(96, 4).shapes(), keys, "torchvision's convnext_tiny without classifier");
}

/// Whether a tensor has one dimension.
fn w1(encoder: &dyn Encoder, name: &str) -> bool {
    encoder.shapes().iter().any(|(known, shape)| known == name && shape.len() == 1)
}

#[test]
fn every_encoder_is_found_by_its_own_name_and_pools_its_maps() {
    for entry in ENCODERS {
        let encoder = small_encoder(entry.name);
        assert_eq!(encoder.spec().build().unwrap().spec(), encoder.spec());
        let w = encoder.init(&mut once(0, Purpose::Init));
        assert!(w.iter().map(|(name, t)| (name.to_owned(), t.size())).eq(encoder.shapes()), "{}", entry.name);
        let images = formula(&[3, 3, 16, 16], 0.1).to_kind(Kind::Float);
        let net = Part::whole(encoder.as_ref());
        let mut before = images.shallow_clone();
        for (i, pooled) in net.represent_stages(&w, &images, Mode::Eval).iter().enumerate() {
            let stage = &encoder.stages()[i];
            assert_eq!(pooled.size(), [3, stage.channels], "{}", stage.name);
            // No stage is blind: two images never give one vector.
            assert!(
                (pooled.get(0) - pooled.get(1)).abs().max().double_value(&[]) > 1e-6,
                "{} {}",
                entry.name,
                stage.name
            );
            if i > 0 {
                let (_, late) = Part::cut(encoder.as_ref(), &encoder.stages()[i - 1].name).unwrap();
                let vector = late.pool_input(&before);
                assert_eq!(vector.size(), [3, encoder.stages()[i - 1].channels]);
            }
            before = encoder.stage(i, &w, &before, Mode::Eval, None);
        }
        assert_eq!(net.pool_input(&images).size(), [3, 3]);
        assert!(net.work() > 0.0);
    }
}

#[test]
fn dropped_paths_hang_on_the_seed_and_the_student_alone_drops() {
    let ones = Tensor::ones([2000, 2, 3], (Kind::Float, Device::Cpu));
    let dropped = DropPath::new(0.4, 3).of(&ones, 0.5);
    let share = 1.0 - dropped.gt(0.0).to_kind(Kind::Double).mean(None::<Kind>).double_value(&[]);
    assert!((share - 0.2).abs() < 0.03, "{share}");
    assert!((dropped.max().double_value(&[]) - 1.25).abs() < 1e-6);
    assert_eq!(dropped.narrow(1, 0, 1).narrow(2, 0, 1), dropped.narrow(1, 1, 1).narrow(2, 2, 1), "an image as a whole");
    assert_eq!(DropPath::new(0.4, 3).of(&ones, 0.0), ones, "the first block keeps all");

    for family in ["vit-tiny", "convnext-tiny"] {
        let encoder = small_encoder(family);
        let mut w = encoder.init(&mut once(2, Purpose::Init));
        // Branches start too small to see in a ConvNeXt.
        tch::no_grad(|| {
            for (name, t) in w.iter().filter(|(name, _)| name.ends_with("layer_scale")) {
                assert_eq!(t.double_value(&[0, 0, 0]), f64::from(1e-6f32), "{name}");
                let _ = t.shallow_clone().fill_(0.5);
            }
        });
        let images = formula(&[4, 3, 16, 16], 0.1).to_kind(Kind::Float);
        let run = |w: &Weights, seed: u64, mode: Mode| {
            let drop = DropPath::new(0.9, seed);
            Part::whole(encoder.as_ref()).dropping(&drop).represent(w, &images, mode)
        };
        let plain = Part::whole(encoder.as_ref()).represent(&w, &images, Mode::Train);
        assert_eq!(run(&w, 1, Mode::Train), run(&w, 1, Mode::Train), "{family}");
        assert_ne!(run(&w, 1, Mode::Train), run(&w, 2, Mode::Train), "{family}");
        assert_ne!(run(&w, 1, Mode::Train), plain, "{family}");
        assert_eq!(run(&w, 1, Mode::Eval), plain, "{family}");
        w = w.frozen();
        assert_eq!(run(&w, 1, Mode::Train), plain, "{family}: a teacher");
    }
}

#[test]
fn what_an_encoder_does_not_have_is_refused_and_what_is_left_open_suits_the_images() {
    let spec = |name: &str| EncoderSpec { name: name.into(), ..EncoderSpec::default() };
    let said = |name: &str, size| spec(name).resolved(size).unwrap().build().unwrap().spec().to_string();
    assert_eq!(said("resnet18-w64", 32), "resnet18 (cifar stem)");
    assert_eq!(said("vit-tiny", 32), "vit-tiny (patch 4, 32 pixels, cls pooling)");
    assert_eq!(said("vit-base-d6", 224), "vit-base-d6 (patch 16, 224 pixels, cls pooling)");
    assert_eq!(said("vit-small-w192", 224), "vit-tiny (patch 16, 224 pixels, cls pooling)");
    assert_eq!(said("convnext-tiny", 32), "convnext-tiny (patch 2)");
    assert_eq!(said("convnext-tiny-w8", 224), "convnext-tiny-w8 (patch 4)");
    let wrong = [
        EncoderSpec { patch: Some(4), ..spec("resnet18") }.resolved(32).map(|_| ()),
        EncoderSpec { stem: Some(Stem::Cifar), ..spec("vit-tiny") }.resolved(32).map(|_| ()),
        EncoderSpec { pool: Some(Pool::Mean), ..spec("convnext-tiny") }.resolved(32).map(|_| ()),
        EncoderSpec { patch: Some(5), ..spec("vit-tiny") }.resolved(32).unwrap().build().map(|_| ()),
        spec("vit-tiny-w100").resolved(32).unwrap().build().map(|_| ()),
        spec("vit-tiny-d0").resolved(32).unwrap().build().map(|_| ()),
    ];
    let errors: Vec<String> = wrong.into_iter().map(|result| result.unwrap_err().to_string()).collect();
    insta::assert_snapshot!(errors.join("\n"), @r#"
    --patch: resnet18 has nothing of the kind
    --stem: vit-tiny has nothing of the kind
    --pool: convnext-tiny has nothing of the kind
    --patch 5: images of 32 pixels are no whole number of patches
    encoder "vit-tiny-w100": its width must be a multiple of 64, or 4, 8, .. 60
    encoder "vit-tiny-d0": "d0" is not one of w1 to w1024 or d1 to d1024
    "#);
}
