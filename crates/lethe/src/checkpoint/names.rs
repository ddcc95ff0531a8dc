//! Where the tools keep an encoder and its heads, and how their names become torchvision's, or timm's.

use indexmap::IndexMap;

use crate::error::{Error, Result};

/// A tensor of a file.
pub(super) struct Theirs {
    pub name: String,
    pub shape: Vec<i64>,
}

/// Tensors of a file under our names.
pub(super) type Renamed = IndexMap<String, Theirs>;

pub(super) struct Found {
    pub family: Family,
    /// Under torchvision's names, or timm's of a vision transformer.
    pub encoder: Renamed,
    /// Under `projector.N.*` and `predictor.N.*`.
    pub head: Renamed,
    /// Whether solo-learn wrote it: its classifier, trained along, stands beside the backbone.
    pub solo_learn: bool,
    /// Whether MoCo v3 wrote it, whose small vision transformer has other heads than all others.
    pub moco_v3: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    ResNet,
    Vit,
    ConvNext,
}

/// What is in every encoder of a family: the end of a tensor's name, and where the encoder begins in it.
const MARKS: &[(&str, Family)] =
    &[("patch_embed.proj.weight", Family::Vit), ("features.1.0.block.0.weight", Family::ConvNext)];

impl Family {
    fn text(self) -> &'static str {
        match self {
            Family::ResNet => "a ResNet",
            Family::Vit => "a vision transformer",
            Family::ConvNext => "a ConvNeXt",
        }
    }

    /// Whether what a name begins with is a part of the encoder.
    fn has(self, first: &str) -> bool {
        match self {
            Family::ResNet => matches!(first, "conv1" | "bn1") || first.starts_with("layer"),
            Family::Vit => matches!(first, "cls_token" | "pos_embed" | "patch_embed" | "blocks" | "norm"),
            Family::ConvNext => first == "features",
        }
    }
}

/// The hint that says what can be read.
const READS: &str =
    "Lethe reads torchvision's resnet18, resnet34, resnet50 and convnext_tiny, timm's vit_tiny, vit_small and vit_base";

/// Parts of a name that only wrap a network: keys of the saved dictionary, DataParallel, `torch.compile`, VISSL.
const WRAPPERS: &[&str] = &[
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "_orig_mod",
    "net",
    "classy_state_dict",
    "base_model",
    "trunk",
    "_feature_blocks",
    "vit", // lightly's MaskedVisionTransformerTIMM
];

/// Where the encoder stands within the wrappers. A file with several (a student and its teacher) gives the one that
/// comes first here, which is the one its tool evaluates.
const ROOTS: &[&str] = &[
    "",                 // torchvision, timm; Barlow Twins' and VICReg's resnet50.pth
    "backbone",         // lightly, solo-learn, mmselfsup, Barlow Twins, VICReg
    "encoder",          // SimSiam, solo-learn before 1.0.2
    "encoder_q",        // MoCo v1, v2
    "base_encoder",     // MoCo v3
    "online_encoder",   // BYOL
    "teacher.backbone", // DINO
    "teacher",
    "student.backbone",
    "student",
];

/// Where a head stands within the wrappers, and its name here.
const HEADS: &[(&str, &str)] = &[
    ("projector", "projector"),              // solo-learn, Barlow Twins, VICReg
    ("projection_head.layers", "projector"), // lightly
    ("projection_head", "projector"),
    ("predictor", "predictor"),              // solo-learn, SimSiam, MoCo v3
    ("prediction_head.layers", "predictor"), // lightly
    ("prediction_head", "predictor"),
];

/// MoCo's encoder ends in the projector, where others have a classifier.
const FC_IS_PROJECTOR: &[&str] = &["encoder_q", "base_encoder"];

/// What may stand beside the stages of an encoder without being a part of it.
const DROPPED: &[&str] = &[
    "fc",
    "classifier",
    "head",
    "linear",
    "last_linear",
    "online_classifier",
    "projector",
    "predictor",
    "projection_head",
    "prediction_head",
    "prototypes",
    "queue",
    "queue_ptr",
    // MAE's decoder.
    "mask_token",
    "decoder",
    "decoder_embed",
    "decoder_pos_embed",
    "decoder_blocks",
    "decoder_norm",
    "decoder_pred",
];

/// Finds the encoder and its heads.
///
/// # Errors
/// When there is no encoder, more than one that could be meant, or a tensor within it that none of its family has.
pub(super) fn find(shapes: &IndexMap<String, Vec<i64>>) -> Result<Found> {
    let roots = roots(shapes);
    let root = choose(&roots, shapes)?;
    let mut found = Found {
        family: root.family,
        encoder: Renamed::new(),
        head: Renamed::new(),
        solo_learn: root.solo_learn(shapes),
        moco_v3: root.place() == "base_encoder",
    };
    for (name, shape) in shapes {
        let inner = roots.iter().any(|other| other.prefix.len() > root.prefix.len() && name.starts_with(&other.prefix));
        let Some(rest) = name.strip_prefix(&root.prefix).filter(|_| !inner) else { continue };
        if let Some(ours) = root.ours(rest) {
            let theirs = Theirs { name: name.clone(), shape: shape.clone() };
            if let Some(first) = found.encoder.insert(ours.clone(), theirs) {
                return Err(Error::failed(format!("{} and {name} are both {ours}", first.name)));
            }
        } else if !DROPPED.contains(&rest.split('.').next().unwrap_or_default()) && !root.sequential() {
            return Err(Error::failed(format!("tensor {name} is no part of {}", root.family.text())).hint(READS));
        }
    }
    found.head = root.heads(shapes);
    Ok(found)
}

/// An encoder within a file.
struct Root {
    family: Family,
    /// What stands before the names of its tensors, with the last dot.
    prefix: String,
    /// The position of layer1, where a ResNet was rebuilt as a `torch.nn.Sequential` of its children: 4, or 3 and
    /// 2 where the max-pooling and the ReLU of the stem are no modules.
    layer1: Option<usize>,
}

impl Root {
    /// Its place in [`ROOTS`], by the parts of the prefix that are no wrappers.
    fn place(&self) -> String {
        let parts: Vec<&str> =
            self.prefix.split('.').filter(|part| !part.is_empty() && !WRAPPERS.contains(part)).collect();
        parts.join(".")
    }

    fn solo_learn(&self, shapes: &IndexMap<String, Vec<i64>>) -> bool {
        let outside = ["backbone.", "encoder."].iter().find_map(|name| self.prefix.strip_suffix(name));
        !self.sequential() && outside.is_some_and(|outside| shapes.contains_key(&format!("{outside}classifier.weight")))
    }

    fn sequential(&self) -> bool {
        self.layer1.is_some()
    }

    /// Our name of a tensor, from its name after the prefix; none for what is not a part of the encoder.
    fn ours(&self, rest: &str) -> Option<String> {
        let (first, inner) = rest.split_once('.').unwrap_or((rest, ""));
        let stage = match self.layer1 {
            None if self.family.has(first) => first.to_owned(),
            None => return None,
            Some(layer1) => match first.parse::<usize>().ok()? {
                0 => "conv1".to_owned(),
                1 => "bn1".to_owned(),
                i if (layer1..layer1 + 4).contains(&i) => format!("layer{}", i - layer1 + 1),
                _ => return None,
            },
        };
        if self.family != Family::ResNet {
            return Some(rest.to_owned());
        }
        // Lightly's own ResNet calls the downsampling a shortcut.
        Some(format!("{stage}.{}", inner.replace(".shortcut.", ".downsample.")))
    }

    /// The heads around it that are chains of linear layers, batch-norms and ReLUs.
    fn heads(&self, shapes: &IndexMap<String, Vec<i64>>) -> Renamed {
        let wrappers: String = self
            .prefix
            .split_inclusive('.')
            .take_while(|part| WRAPPERS.contains(&part.trim_end_matches('.')))
            .collect();
        let mut heads = Renamed::new();
        let mut add = |prefix: &str, ours: &str| {
            let chain: Renamed = shapes
                .iter()
                .filter_map(|(name, shape)| {
                    let rest = name.strip_prefix(prefix)?;
                    Some((format!("{ours}.{rest}"), Theirs { name: name.clone(), shape: shape.clone() }))
                })
                .collect();
            let taken = heads.keys().any(|name: &String| name.starts_with(ours));
            if !taken && is_chain(&chain) {
                heads.extend(chain);
            }
        };
        for (theirs, ours) in HEADS {
            add(&format!("{wrappers}{theirs}."), ours);
        }
        let fc = format!("{}fc.", self.prefix);
        if shapes.contains_key(&format!("{fc}0.weight")) {
            add(&fc, "projector");
        } else if FC_IS_PROJECTOR.contains(&self.place().as_str()) {
            add(&fc, "projector.0");
        }
        heads
    }
}

/// Whether these are layers by position, `NAME.N.part`, each linear or a batch-norm.
fn is_chain(tensors: &Renamed) -> bool {
    tensors.iter().all(|(name, tensor)| {
        let mut parts = name.split('.').skip(1);
        let (position, part) = (parts.next(), parts.next());
        let sized = match part {
            Some("weight") => match tensor.shape.len() {
                2 => true,
                1 => tensors.contains_key(&name.replace(".weight", ".running_mean")),
                _ => false,
            },
            Some("bias" | "running_mean" | "running_var") => tensor.shape.len() == 1,
            Some("num_batches_tracked") => tensor.shape.is_empty(),
            _ => false,
        };
        position.is_some_and(|position| position.parse::<usize>().is_ok()) && parts.next().is_none() && sized
    })
}

/// The first convolution of layer1's first block is in every ResNet; the stem is where the prefix ends.
fn roots(shapes: &IndexMap<String, Vec<i64>>) -> Vec<Root> {
    let mut roots: Vec<Root> = Vec::new();
    for name in shapes.keys() {
        for (mark, family) in MARKS {
            if let Some(prefix) = name.strip_suffix(mark).filter(|prefix| prefix.is_empty() || prefix.ends_with('.')) {
                roots.push(Root { family: *family, prefix: prefix.to_owned(), layer1: None });
            }
        }
        let Some(layer1) = name.strip_suffix(".0.conv1.weight") else { continue };
        let (prefix, last) = match layer1.rfind('.') {
            Some(dot) => layer1.split_at(dot + 1),
            None => ("", layer1),
        };
        let has = |rest: &str| shapes.contains_key(&format!("{prefix}{rest}"));
        let position = match last {
            "layer1" => None,
            "2" | "3" | "4" if has("0.weight") && has("1.running_mean") => last.parse().ok(),
            _ => continue,
        };
        match roots.iter_mut().find(|root| root.prefix == prefix && root.family == Family::ResNet) {
            Some(root) => root.layer1 = root.layer1.min(position),
            None => roots.push(Root { family: Family::ResNet, prefix: prefix.to_owned(), layer1: position }),
        }
    }
    roots
}

fn choose<'a>(roots: &'a [Root], shapes: &IndexMap<String, Vec<i64>>) -> Result<&'a Root> {
    let rank = |root: &Root| ROOTS.iter().position(|place| *place == root.place()).unwrap_or(ROOTS.len());
    let best = roots.iter().map(rank).min();
    let mut meant = roots.iter().filter(|root| Some(rank(root)) == best);
    match (meant.next(), meant.next()) {
        (Some(root), None) => Ok(root),
        (Some(_), Some(_)) => {
            let stem = |root: &Root| {
                let first = match root.family {
                    Family::ResNet if root.sequential() => "0",
                    Family::ResNet => "conv1",
                    Family::Vit => "patch_embed",
                    Family::ConvNext => "features",
                };
                format!("{}{first}", root.prefix)
            };
            let names: Vec<String> = roots.iter().map(stem).collect();
            Err(Error::failed(format!("holds several encoders, which begin at {}", names.join(", ")))
                .hint("save the state dict of the one you mean alone"))
        }
        (None, _) => Err(none_found(shapes)),
    }
}

fn none_found(shapes: &IndexMap<String, Vec<i64>>) -> Error {
    let first: Vec<&str> = shapes.keys().take(3).map(String::as_str).collect();
    match first.is_empty() {
        true => Error::failed("holds no tensor").hint(READS),
        false => {
            Error::failed(format!("holds no encoder; its {} tensors begin with {}", shapes.len(), first.join(", ")))
                .hint(READS)
        }
    }
}
