//! Which encoder the tensors of a file are, from their names and shapes.

use super::names::{Renamed, Theirs};
use crate::encoders::{Depth, Encoder, ResNet, Stem};
use crate::error::{Error, Result};

const DEPTHS: [Depth; 3] = [Depth::R18, Depth::R34, Depth::R50];

/// The ResNet whose tensors these are. A 3x3 first convolution means the stem `small` and a 7x7 one the ImageNet stem:
/// its padding and what follows it leave no trace in the tensors.
///
/// # Errors
/// Names the first tensor that is missing, has another shape, or belongs to no such encoder.
pub(super) fn encoder(tensors: &Renamed, small: Stem) -> Result<Box<dyn Encoder>> {
    let conv1 = tensors.get("conv1.weight").ok_or_else(|| missing("conv1.weight", "a ResNet"))?;
    let (width, stem) = match conv1.shape[..] {
        [width @ 1..=1024, 3, 3, 3] => (width, small),
        [width @ 1..=1024, 3, 7, 7] => (width, Stem::Imagenet),
        _ => return Err(misfit("conv1.weight", conv1, "[w, 3, 3, 3] or [w, 3, 7, 7]")),
    };
    let has = |name: String| tensors.contains_key(&name);
    let blocks: [usize; 4] =
        std::array::from_fn(|i| (0..).take_while(|block| has(format!("layer{}.{block}.conv1.weight", i + 1))).count());
    let bottleneck = has("layer1.0.conv3.weight".into());
    let fits = |depth: &Depth| depth.blocks() == blocks && depth.bottleneck() == bottleneck;
    let depth = DEPTHS.into_iter().find(fits).ok_or_else(|| {
        let kind = if bottleneck { "bottleneck" } else { "basic" };
        Error::failed(format!("holds a ResNet of {blocks:?} {kind} blocks, not resnet18, resnet34 or resnet50"))
    })?;
    let encoder = ResNet::new(depth, width, stem);
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
    match tensors.iter().find(|(name, _)| !expected.iter().any(|(known, _)| known == *name)) {
        Some((_, theirs)) => Err(Error::failed(format!("tensor {} is no part of {spec}", theirs.name))),
        None => Ok(Box::new(encoder)),
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
