//! A diagnosis from feature files of any tool, one for each checkpoint.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use lethe_data::error::{At, Error, Result};
use lethe_data::feature_file::{FeatureBlocks, Side, in_order};
use ndarray::{ArrayView2, Axis};
use serde_json::json;

use super::diagnose::{ControlFrom, Diagnosed, Settings, Subject, diagnose as diagnose_features, enough};
use super::diagnosis::{CopiesFound, Relation};
use super::features::{CheckpointFeatures, Extra, SideFeatures, SideImages, StageFeatures};
use super::findings::ControlKind;

/// Name of the encoder of a diagnosis from files, which do not say it.
pub(crate) const FEATURES: &str = "features";

/// Copies that are left out without being asked for: one image of so many.
const ONE_IN: usize = 100;

/// What to diagnose.
pub struct FromFiles<'a> {
    /// One file for each checkpoint.
    pub features: &'a [PathBuf],
    /// Features of an encoder that never saw the images. Unless given, the file of epoch 0 is the control.
    pub control: Option<&'a Path>,
    pub no_control: bool,
    /// The two sides are a random split of one set.
    pub random_split: bool,
    /// The most images that may be on both sides; they are left out. Unless given, 1 % of a side.
    pub allow_overlap: Option<usize>,
    pub settings: Settings,
}

/// Diagnoses the files in the order of their epochs.
///
/// # Errors
/// Those of the files, one line that names file and array; files that do not fit together; copies above the bound;
/// those of [`diagnose`](super::diagnose()).
pub fn diagnose(input: &FromFiles) -> Result<Diagnosed> {
    let files = input.features.iter().map(|path| FeatureBlocks::open(path)).collect::<Result<Vec<_>>>()?;
    let files = in_order(files)?;
    let Some(first) = files.first() else { return Err(Error::usage("no feature file to diagnose")) };
    if first.sides().contains(&Side::Canaries) {
        return Err(Error::usage("holds the canaries of an audit, expected train.views.STAGE and unseen.views.STAGE")
            .at(first.path()));
    }
    let control = input.control.map(FeatureBlocks::open).transpose()?;
    if let Some(control) = &control {
        control.expect_alike(first)?;
    }
    let (copies, kept) = copies(first, input.allow_overlap)?;
    let count = kept.as_ref().map_or(first.images(Side::Train), Vec::len);
    enough(count).at(first.path())?;
    let images = |side: Side| SideImages {
        names: first.names(side).map_or_else(Vec::new, |names| take(names, kept.as_deref())),
        labels: first.labels(side).map(|labels| take(labels, kept.as_deref())),
        // Labels of both sides are of one list of classes.
        classes: Vec::new(),
        // Copies are counted among the training images alone.
        copies: match side {
            Side::Train => first.digests(side).map(|digests| within(&take(digests, kept.as_deref()))),
            _ => None,
        },
    };
    let known = if input.random_split || files.iter().all(FeatureBlocks::random_split) {
        Relation::RandomSplit
    } else {
        Relation::Unknown
    };
    let file = |blocks: FeatureBlocks| File { path: blocks.path().display().to_string(), blocks, kept: kept.clone() };
    let shown = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    let settings: IndexMap<String, serde_json::Value> = [
        ("features", json!(shown(input.features))),
        ("control", json!(input.control.map(|path| path.display().to_string()))),
        ("images", json!(count)),
        ("views", json!(first.views_per_image())),
        ("eps2", json!(input.settings.eps2)),
        ("margin", json!(input.settings.margin)),
        ("seed", json!(input.settings.seed)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    let subject = Subject {
        encoder: FEATURES.into(),
        stages: first.stages().to_vec(),
        settings,
        train: images(Side::Train),
        unseen: images(Side::Unseen),
        relation: known,
        copies,
        difference: None,
        control: match control {
            _ if input.no_control => ControlFrom::Nowhere,
            Some(control) => {
                let path = control.path().display().to_string();
                ControlFrom::Features(ControlKind::Reference, Some(path), Box::new(file(control)))
            }
            None if first.epoch() == Some(0) => ControlFrom::Start,
            None => ControlFrom::Nowhere,
        },
        reference: None,
    };
    let checkpoints = files.into_iter().map(|blocks| Ok(Box::new(file(blocks)) as Box<dyn CheckpointFeatures>));
    diagnose_features(subject, checkpoints, &input.settings)
}

/// A file of features, of which only some images are kept.
struct File {
    path: String,
    blocks: FeatureBlocks,
    /// The images that are on one side only; none where all are.
    kept: Option<Vec<usize>>,
}

impl CheckpointFeatures for File {
    fn path(&self) -> &str {
        &self.path
    }

    fn epoch(&self) -> Option<u32> {
        self.blocks.epoch()
    }

    fn stage(&self, stage: usize) -> Result<StageFeatures> {
        let name = &self.blocks.stages()[stage];
        let side = |side: Side| -> Result<SideFeatures> {
            let (mut views, mut plain) = (self.blocks.views(side, name)?, self.blocks.plain(side, name)?);
            if let Some(kept) = &self.kept {
                views = views.select(Axis(1), kept).as_standard_layout().into_owned();
                plain = plain.map(|plain| plain.select(Axis(0), kept));
            }
            Ok(SideFeatures { views, plain })
        };
        Ok(StageFeatures { train: side(Side::Train)?, unseen: Some(side(Side::Unseen)?), extra: Extra::default() })
    }
}

fn take<T: Clone>(values: &[T], kept: Option<&[usize]>) -> Vec<T> {
    kept.map_or_else(|| values.to_vec(), |kept| kept.iter().map(|&i| values[i].clone()).collect())
}

/// How often each digest is there beside itself.
fn within(digests: &[String]) -> Vec<usize> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    digests.iter().for_each(|digest| *counts.entry(digest).or_default() += 1);
    digests.iter().map(|digest| counts[digest.as_str()] - 1).collect()
}

/// Copies between the sides, and the images that are kept; none of either where nothing tells. Both images of a pair
/// leave both sides, so that image i of one side stays beside image i of the other.
fn copies(file: &FeatureBlocks, allow: Option<usize>) -> Result<(Option<CopiesFound>, Option<Vec<usize>>)> {
    let Some(pairs) = pairs(file)? else { return Ok((None, None)) };
    let images = file.images(Side::Train);
    let name = |side: Side, i: usize| file.names(side).map_or_else(|| format!("{side} {i}"), |names| names[i].clone());
    let unseen: BTreeSet<usize> = pairs.iter().map(|&(_, unseen)| unseen).collect();
    if unseen.len() > allow.unwrap_or(images / ONE_IN) {
        let (train, other) = pairs[0];
        return Err(Error::usage(format!(
            "{} of {images} unseen images are training images: {} is {}",
            unseen.len(),
            name(Side::Unseen, other),
            name(Side::Train, train)
        ))
        .at(file.path())
        .hint("give images that the encoder has not seen, or pass --allow-overlap N"));
    }
    let left_out = pairs.iter().map(|&(i, j)| [name(Side::Train, i), name(Side::Unseen, j)]).collect();
    let gone: BTreeSet<usize> = pairs.iter().flat_map(|&(i, j)| [i, j]).collect();
    let kept = (!gone.is_empty()).then(|| (0..images).filter(|i| !gone.contains(i)).collect());
    Ok((Some(CopiesFound { unseen: images, train: images, left_out }), kept))
}

/// Training and unseen images with equal digests; without digests, those with equal plain rows at the last stage, where
/// the rows of a side differ. None where neither is there.
fn pairs(file: &FeatureBlocks) -> Result<Option<Vec<(usize, usize)>>> {
    if let (Some(train), Some(unseen)) = (file.digests(Side::Train), file.digests(Side::Unseen)) {
        return Ok(Some(equal(train, unseen)));
    }
    let Some(last) = file.stages().last() else { return Ok(None) };
    let (Some(train), Some(unseen)) = (file.plain(Side::Train, last)?, file.plain(Side::Unseen, last)?) else {
        return Ok(None);
    };
    let (train, unseen) = (bits(train.view()), bits(unseen.view()));
    let differ = |rows: &[Vec<u64>]| rows.iter().collect::<BTreeSet<_>>().len() > rows.len() / 2;
    Ok((differ(&train) && differ(&unseen)).then(|| equal(&train, &unseen)))
}

fn bits(rows: ArrayView2<f64>) -> Vec<Vec<u64>> {
    rows.rows().into_iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
}

/// Places of equal values: of the first list, the first such; of the second, each.
fn equal<T: Eq + std::hash::Hash>(train: &[T], unseen: &[T]) -> Vec<(usize, usize)> {
    let mut places: HashMap<&T, usize> = HashMap::new();
    for (i, value) in train.iter().enumerate() {
        places.entry(value).or_insert(i);
    }
    unseen.iter().enumerate().filter_map(|(j, value)| Some((*places.get(value)?, j))).collect()
}
