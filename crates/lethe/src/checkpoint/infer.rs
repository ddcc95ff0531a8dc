//! Which encoder the tensors of a file are, from their names and shapes.

use super::names::{Family, Found, Renamed, Theirs};
use crate::encoders::{ConvNext, Depth, Encoder, Pool, ResNet, Stem, Vit, VitShape};
use crate::error::{Error, Result};

const DEPTHS: [Depth; 3] = [Depth::R18, Depth::R34, Depth::R50];

/// The encoder whose tensors were found. What leaves no trace in them is as the file says: the stem `small` of a ResNet whose
/// first convolution is 3x3, and the pooling of a vision transformer.
///
/// # Errors
/// Names the first tensor that is missing, has another shape, or belongs to no such encoder.
pub(super) fn encoder(found: &Found, small: Stem, pool: Pool) -> Result<Box<dyn Encoder>> {
    let tensors = &found.encoder;
    let encoder: Box<dyn Encoder> = match found.family {
        Family::ResNet => Box::new(resnet(tensors, small)?),
        Family::Vit => Box::new(vit(tensors, pool)?),
        Family::ConvNext => Box::new(convnext(tensors)?),
    };
    let expected = encoder.shapes();
    let spec = encoder.spec();
    for (name, shape) in &expected {
        match tensors.get(name) {
            Some(found) if found.shape == *shape => {}
            Some(found) => return Err(misfit(name, found, &format!("{shape:?} for {spec}"))),
            None if name.ends_with("num_batches_tracked") => {}
            None => return Err(missing(name, &spec.to_string())),
        }
    }
    if let Some((_, theirs)) = tensors.iter().find(|(name, _)| !expected.iter().any(|(known, _)| known == *name)) {
        return Err(Error::failed(format!("tensor {} is no part of {spec}", theirs.name)));
    }
    if found.moco_v3 && spec.name == "vit-small" {
        return Err(Error::failed("holds MoCo v3's vit_small, whose 12 heads are of 32 dimensions")
            .hint("Lethe reads vision transformers of 64 dimensions a head"));
    }
    Ok(encoder)
}

/// The numbers of the blocks `PREFIX.N.REST` that follow one another from 0.
fn count(tensors: &Renamed, prefix: &str, rest: &str) -> usize {
    (0..).take_while(|block| tensors.contains_key(&format!("{prefix}.{block}.{rest}"))).count()
}

fn resnet(tensors: &Renamed, small: Stem) -> Result<ResNet> {
    let conv1 = tensors.get("conv1.weight").ok_or_else(|| missing("conv1.weight", "a ResNet"))?;
    let (width, stem) = match conv1.shape[..] {
        [width @ 1..=1024, 3, 3, 3] => (width, small),
        [width @ 1..=1024, 3, 7, 7] => (width, Stem::Imagenet),
        _ => return Err(misfit("conv1.weight", conv1, "[w, 3, 3, 3] or [w, 3, 7, 7]")),
    };
    let blocks: [usize; 4] = std::array::from_fn(|i| count(tensors, &format!("layer{}", i + 1), "conv1.weight"));
    let bottleneck = tensors.contains_key("layer1.0.conv3.weight");
    let fits = |depth: &Depth| depth.blocks() == blocks && depth.bottleneck() == bottleneck;
    let depth = DEPTHS.into_iter().find(fits).ok_or_else(|| {
        let kind = if bottleneck { "bottleneck" } else { "basic" };
        Error::failed(format!("holds a ResNet of {blocks:?} {kind} blocks, not resnet18, resnet34 or resnet50"))
    })?;
    Ok(ResNet::new(depth, width, stem))
}

/// The size of the images follows from the positional embedding, of a square of patches.
fn vit(tensors: &Renamed, pool: Pool) -> Result<Vit> {
    let a_vit = "a vision transformer";
    let of = |name: &str| tensors.get(name).ok_or_else(|| missing(name, a_vit));
    let (proj, places) = (of("patch_embed.proj.weight")?, of("pos_embed")?);
    let (width, patch) = match proj.shape[..] {
        [width @ 1..=1024, 3, p @ 1..=256, q] if p == q => (width, p),
        _ => return Err(misfit("patch_embed.proj.weight", proj, "[w, 3, p, p]")),
    };
    let heads = Vit::heads_of(width).ok_or_else(|| {
        Error::failed(format!("holds a vision transformer of width {width}"))
            .hint("Lethe reads such whose width is a multiple of 64")
    })?;
    let grid = match places.shape[..] {
        [1, tokens @ 2..=1_000_000, w] if w == width => (tokens - 1).isqrt(),
        _ => return Err(misfit("pos_embed", places, &format!("[1, 1 + patches, {width}]"))),
    };
    Ok(Vit::new(VitShape {
        width,
        depth: count(tensors, "blocks", "norm1.weight").clamp(1, 1024),
        heads,
        patch,
        image_size: grid * patch,
        pool,
        layer_scale: tensors.contains_key("blocks.0.ls1.gamma"),
    }))
}

fn convnext(tensors: &Renamed) -> Result<ConvNext> {
    let first = "features.0.0.weight";
    let stem = tensors.get(first).ok_or_else(|| missing(first, "a ConvNeXt"))?;
    match stem.shape[..] {
        [width @ 1..=1024, 3, p @ 1..=256, q] if p == q => Ok(ConvNext::new(width, p)),
        _ => Err(misfit(first, stem, "[w, 3, p, p]")),
    }
}

fn misfit(name: &str, found: &Theirs, expected: &str) -> Error {
    let renamed = if found.name == name { String::new() } else { format!(" ({name})") };
    Error::failed(format!("tensor {}{renamed} has the shape {:?}, expected {expected}", found.name, found.shape))
}

fn missing(name: &str, encoder: &str) -> Error {
    let error = Error::failed(format!("tensor {name} of {encoder} is missing"));
    match name.contains("running_") {
        true => error.hint("batch-norm's statistics are needed: save state_dict(), not the parameters alone"),
        false => error,
    }
}
