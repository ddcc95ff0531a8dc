//! Which arrays a file of blocks has to hold, and in which shapes. Reader and writer ask the same rules.

use std::fmt;

use ndarray::ArrayViewD;

use crate::error::{Error, Result};

use super::container::subject;

/// The images of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Images that the encoder was trained on.
    Train,
    /// Images that it never saw.
    Unseen,
    /// Images of an audit, in or out by a coin.
    Canaries,
}

impl Side {
    const ALL: [Side; 3] = [Side::Train, Side::Unseen, Side::Canaries];

    /// What the names of its arrays begin with.
    pub fn name(self) -> &'static str {
        match self {
            Side::Train => "train",
            Side::Unseen => "unseen",
            Side::Canaries => "canaries",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An array by its name and shape.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
}

/// What an array of a side is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Views(&'a str),
    Plain(&'a str),
    Labels,
    Names,
    Digests,
}

/// The side and the part that a name stands for; none where it begins with no side.
///
/// # Errors
/// When it begins with a side and ends in no part.
pub(super) fn part(name: &str) -> Result<Option<(Side, Part<'_>)>> {
    let of_side = |side: Side| Some((side, name.strip_prefix(side.name())?.strip_prefix('.')?));
    let Some((side, rest)) = Side::ALL.into_iter().find_map(of_side) else { return Ok(None) };
    let part = match (rest, rest.split_once('.')) {
        ("labels", _) => Part::Labels,
        ("names", _) => Part::Names,
        ("digests", _) => Part::Digests,
        (_, Some(("views", stage))) if !stage.is_empty() => Part::Views(stage),
        (_, Some(("plain", stage))) if !stage.is_empty() => Part::Plain(stage),
        _ => {
            return Err(Error::failed("expected views.STAGE, plain.STAGE, labels, names or digests after the side")
                .of(&subject(name)));
        }
    };
    Ok(Some((side, part)))
}

/// The names of stages in metadata: a JSON list, or the list with commas of earlier versions of Lethe.
pub(super) fn stage_names(text: &str) -> Option<Vec<String>> {
    match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text).ok(),
        false => Some(text.split(',').map(str::to_owned).collect()),
    }
}

/// The sizes of blocks that fit together.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) sides: Vec<Side>,
    /// From first to last.
    pub(super) stages: Vec<String>,
    /// Numbers in a row of each stage, d.
    pub(super) dimensions: Vec<usize>,
    /// Views an image, q.
    pub(super) views: usize,
    /// Images a side, n.
    pub(super) images: usize,
}

impl Layout {
    /// Looks at all arrays of a file, whose stages stand in the order of `stages`, else in that of the arrays.
    ///
    /// # Errors
    /// Names the first array that does not fit, or is missing.
    pub(super) fn new(arrays: &[Named], stages: Option<&[String]>) -> Result<Self> {
        let mut found = Vec::new();
        for array in arrays {
            if let Some((side, part)) = part(&array.name)? {
                if found.iter().any(|&(a, b, _)| (a, b) == (side, part)) {
                    return Err(Error::failed("is there twice").of(&subject(&array.name)));
                }
                found.push((side, part, array));
            }
        }
        let views = || found.iter().filter(|(_, part, _)| matches!(part, Part::Views(_)));
        let Some((_, _, first)) = views().next() else { return Err(no_views(arrays)) };
        for (_, part, array) in &found {
            check_shape(*part, array, first)?;
        }
        let stages = order(views().filter_map(|(_, part, _)| stage_of(*part)), stages)?;
        let mut sides: Vec<Side> = found.iter().map(|(side, ..)| *side).collect();
        sides.sort();
        sides.dedup();
        if sides.contains(&Side::Canaries) && sides.len() > 1 {
            let canaries = found.iter().find(|(side, ..)| *side == Side::Canaries);
            let name = canaries.map_or("", |(_, _, array)| &array.name);
            return Err(Error::failed(format!("stands beside arrays of {}", sides[0]))
                .of(&subject(name))
                .hint("a file holds train and unseen, or canaries alone"));
        }
        let needed: &[Side] = if sides[0] == Side::Canaries { &[Side::Canaries] } else { &[Side::Train, Side::Unseen] };
        let array =
            |side: Side, part: Part| found.iter().find(|(a, b, _)| (*a, *b) == (side, part)).map(|found| found.2);
        let mut dimensions = Vec::new();
        for stage in &stages {
            let of_stage = needed.iter().filter_map(|&side| array(side, Part::Views(stage))).next();
            let of_stage = of_stage.ok_or_else(|| missing(needed[0], "views", stage, "the other arrays"))?;
            let d = of_stage.shape[2];
            dimensions.push(d);
            let plain = needed.iter().filter_map(|&side| array(side, Part::Plain(stage))).next();
            for &side in needed {
                let views = array(side, Part::Views(stage));
                let views = views.ok_or_else(|| missing(side, "views", stage, &of_stage.name))?;
                same_dimension(views, views.shape[2], of_stage, d)?;
                if let Some(plain) = plain {
                    let own = array(side, Part::Plain(stage));
                    let own = own.ok_or_else(|| missing(side, "plain", stage, &plain.name))?;
                    same_dimension(own, own.shape[1], of_stage, d)?;
                }
            }
        }
        for (_, part, array) in &found {
            if let Part::Plain(stage) = part
                && !stages.iter().any(|known| known == stage)
            {
                return Err(Error::failed(format!("has no views beside it: {stage} is no stage of this file"))
                    .of(&subject(&array.name)));
            }
        }
        Ok(Self { sides, stages, dimensions, views: first.shape[0], images: first.shape[1] })
    }
}

fn stage_of(part: Part<'_>) -> Option<&str> {
    match part {
        Part::Views(stage) => Some(stage),
        _ => None,
    }
}

/// The stages found, in the order of the list or else as they were found.
fn order<'a>(found: impl Iterator<Item = &'a str>, listed: Option<&[String]>) -> Result<Vec<String>> {
    let mut stages: Vec<String> = Vec::new();
    for stage in found {
        if !stages.iter().any(|known| known == stage) {
            stages.push(stage.to_owned());
        }
    }
    let Some(listed) = listed else { return Ok(stages) };
    if let Some(stage) = listed.iter().find(|stage| !stages.contains(stage)) {
        return Err(Error::failed(format!("stages names {stage}, of which there is no array views.{stage}")));
    }
    if let Some(stage) = stages.iter().find(|stage| !listed.contains(stage)) {
        return Err(Error::failed(format!("stages does not name {stage}, of which there is an array views.{stage}")));
    }
    if listed.len() > stages.len() {
        return Err(Error::failed("stages names a stage twice"));
    }
    Ok(listed.to_vec())
}

fn no_views(arrays: &[Named]) -> Error {
    let held: Vec<String> = arrays.iter().take(4).map(|array| format!("{} {:?}", array.name, array.shape)).collect();
    let more = if arrays.len() > 4 { ", ..." } else { "" };
    Error::failed(format!("no array train.views.STAGE, but {}{more}", held.join(", ")))
        .hint("a file of features holds train.views.STAGE and unseen.views.STAGE, [q, n, d] each")
}

fn missing(side: Side, part: &str, stage: &str, beside: &str) -> Error {
    Error::failed("is missing")
        .of(&subject(&format!("{side}.{part}.{stage}")))
        .hint(format!("it belongs beside {beside}: both sides hold the same stages"))
}

fn same_dimension(array: &Named, d: usize, other: &Named, expected: usize) -> Result<()> {
    match d == expected {
        true => Ok(()),
        false => Err(Error::failed(format!("rows of {d} numbers, but {} has {expected}", other.name))
            .of(&subject(&array.name))
            .hint("one encoder gives all features of a stage the same length")),
    }
}

/// Compares number of dimensions, views and images with those of `first`, an array of views.
fn check_shape(part: Part, array: &Named, first: &Named) -> Result<()> {
    let error = |what: String| Error::failed(what).of(&subject(&array.name));
    let (expected, dimensions) = match part {
        Part::Views(_) => ("[q views, n images, d]", 3),
        Part::Plain(_) => ("[n images, d]", 2),
        Part::Labels | Part::Names | Part::Digests => ("[n images]", 1),
    };
    if array.shape.len() != dimensions {
        return Err(error(format!("shape {:?}, expected {expected}", array.shape)));
    }
    if array.shape.contains(&0) {
        return Err(error(format!("shape {:?}: there is nothing in it", array.shape)));
    }
    // Where `first` itself has the wrong shape, it is the array named.
    if first.shape.len() != 3 {
        return check_shape(Part::Views(""), first, first);
    }
    if dimensions == 3 && array.shape[0] < 2 {
        return Err(error("1 view an image, expected at least 2".into())
            .hint("memorisation is told from several random views of every image"));
    }
    if dimensions == 3 && array.shape[0] != first.shape[0] {
        let (q, other) = (array.shape[0], first.shape[0]);
        return Err(error(format!("{q} views an image, but {} has {other}", first.name))
            .hint("take the same number of views of every image of both sides"));
    }
    let n = array.shape[if dimensions == 3 { 1 } else { 0 }];
    if dimensions == 1 && n != first.shape[1] {
        return Err(error(format!(
            "{n} of them, expected one for each of the {} images of {}",
            first.shape[1], first.name
        )));
    }
    if n != first.shape[1] {
        return Err(error(format!("{n} images, but {} has {}", first.name, first.shape[1]))
            .hint("take the same number of images on both sides, in the same order in every array"));
    }
    Ok(())
}

/// # Errors
/// Names the first value that is not finite, of views `[q, n, d]` or plain rows `[n, d]`.
pub(super) fn expect_finite<T: Copy + Into<f64>>(values: &ArrayViewD<T>, name: &str) -> Result<()> {
    let Some(mut at) = values.iter().position(|&value| !value.into().is_finite()) else { return Ok(()) };
    let value: f64 = values.iter().nth(at).map_or(f64::NAN, |&value| value.into());
    let value = if value.is_nan() { "NaN" } else { "infinity" };
    let axes = ["view", "image", "column"];
    let mut place = Vec::new();
    for (axis, &size) in axes[axes.len().saturating_sub(values.ndim())..].iter().zip(values.shape()).rev() {
        place.push(format!("{axis} {}", at % size));
        at /= size;
    }
    place.reverse();
    let what = Error::failed(format!("{value} at {}", place.join(", ")));
    let what = if name.is_empty() { what } else { what.of(&subject(name)) };
    Err(what.hint("views, images and columns count from 0"))
}
