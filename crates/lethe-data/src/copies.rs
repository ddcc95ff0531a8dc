//! Images that two data sets share, or that one holds more than once, whatever their format, name or compression.
//!
//! Every number that sets one side against the other is wrong where they share images. Every image is decoded once; of
//! one side [fingerprints](Fingerprint) are kept (816 bytes an image), the other passes by.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::fingerprint::{Fingerprint, proposes};
use crate::progress::Progress;
use crate::sources::{Dataset, part};

/// So many training images that a diagnosis does not look at are compared too, unless told.
pub const OTHERS: usize = 20_000;

/// Copies are left out up to this share of a side; above it the two sides are not what they should be.
const TOLERATED: f64 = 0.01;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Equal pixels.
    Exact,
    /// One picture, saved again or enlarged.
    Near,
}

/// A training image and an unseen one that are copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Index into the training images that were compared.
    pub train: usize,
    /// Index into the unseen images.
    pub unseen: usize,
    pub kind: Kind,
    pub train_name: String,
    pub unseen_name: String,
}

/// What two data sets share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copies {
    /// In the order of the unseen images. Every image that has a copy on the other side is in one of them, but where
    /// several are alike not every pair of them is here.
    pub pairs: Vec<Pair>,
    /// Images compared; broken ones are not among them.
    pub train_images: usize,
    pub unseen_images: usize,
}

/// Indices of copies, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    pub train: Vec<usize>,
    pub unseen: Vec<usize>,
}

/// More copies than are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooMany {
    /// Unseen images with a copy among the training images, of how many.
    pub copies: usize,
    pub images: usize,
    /// The names of one pair.
    pub train_name: String,
    pub unseen_name: String,
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { copies, images, train_name, unseen_name } = self;
        write!(f, "{copies} of {images} images are copies of training images: {unseen_name} is {train_name}")
    }
}

impl std::error::Error for TooMany {}

impl Copies {
    /// What to leave out of the two sides, of which the training side is the first `looked_at` images that were compared.
    /// Up to `allowed` images of a side, a hundredth of it unless told.
    ///
    /// # Errors
    /// When a side has more copies.
    pub fn left_out(&self, looked_at: usize, allowed: Option<usize>) -> Result<LeftOut, TooMany> {
        let train: BTreeSet<usize> =
            self.pairs.iter().map(|pair| pair.train).filter(|&train| train < looked_at).collect();
        let unseen: BTreeSet<usize> = self.pairs.iter().map(|pair| pair.unseen).collect();
        let fits = |copies: usize, images: usize| copies <= allowed.unwrap_or((TOLERATED * images as f64) as usize);
        let Some(Pair { train_name, unseen_name, .. }) = self.pairs.first() else { return Ok(LeftOut::default()) };
        if fits(train.len(), looked_at.min(self.train_images)) && fits(unseen.len(), self.unseen_images) {
            return Ok(LeftOut { train: train.into_iter().collect(), unseen: unseen.into_iter().collect() });
        }
        Err(TooMany {
            copies: unseen.len(),
            images: self.unseen_images,
            train_name: train_name.clone(),
            unseen_name: unseen_name.clone(),
        })
    }
}

/// The training images to compare with: the `looked_at` images that [`sample`](crate::sources::sample) draws from `seed`,
/// in its order, and after them the first `others` of the rest.
pub fn against(whole: &Arc<dyn Dataset>, looked_at: usize, others: usize, seed: u64) -> Arc<dyn Dataset> {
    let whole = Arc::clone(whole);
    let images = whole.len();
    if looked_at >= images { whole } else { part(whole, 0..images.min(looked_at.saturating_add(others)), seed) }
}

/// How many `others` [`against`] takes: a number or `all`.
///
/// # Errors
/// When `text` is neither.
pub fn others(text: &str) -> Result<usize, String> {
    if text == "all" {
        return Ok(usize::MAX);
    }
    text.parse().map_err(|_| "expected a number of images, or all".into())
}

/// The copies that `train` and `unseen` share. A broken image is no copy.
pub fn find(train: &dyn Dataset, unseen: &dyn Dataset) -> Copies {
    let progress = progress(train.len() + unseen.len());
    let prints = fingerprints(unseen, &progress);
    let distinct = Distinct::of(&prints);
    // For each training image that can be read, its copies among the distinct unseen ones.
    let found: Vec<Option<Vec<(Kind, usize)>>> = (0..train.len())
        .into_par_iter()
        .map(|i| {
            let print = train.image(i).ok().map(|image| Fingerprint::of(&image));
            progress.advance(1);
            print.map(|print| distinct.copies_of(&print))
        })
        .collect();
    // An image has its best copy: an exact one where there is one, of several the first.
    let mut pairs = BTreeMap::new();
    let mut best: Vec<Option<(Kind, usize)>> = vec![None; distinct.groups.len()];
    for (i, copies) in found.iter().enumerate() {
        for &(kind, group) in copies.iter().flatten() {
            best[group] = Some(best[group].map_or((kind, i), |best| best.min((kind, i))));
        }
        if let Some(&(kind, group)) = copies.iter().flatten().min() {
            pairs.insert((distinct.groups[group].1[0], i), kind);
        }
    }
    for ((_, images), best) in distinct.groups.iter().zip(best) {
        pairs.extend(best.iter().flat_map(|&(kind, i)| images.iter().map(move |&unseen| ((unseen, i), kind))));
    }
    let named = |((unseen_at, train_at), kind): ((usize, usize), Kind)| Pair {
        train: train_at,
        unseen: unseen_at,
        kind,
        train_name: train.name(train_at),
        unseen_name: unseen.name(unseen_at),
    };
    Copies {
        pairs: pairs.into_iter().map(named).collect(),
        train_images: found.iter().flatten().count(),
        unseen_images: prints.iter().flatten().count(),
    }
}

/// Fewer images than this take no time that anybody waits for.
const SHOWN_FROM: usize = 2000;

fn progress(images: usize) -> Progress {
    if images < SHOWN_FROM { Progress::hidden() } else { Progress::new("copies", "images", images as u64) }
}

/// Images of one data set that are copies of one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Indices, in order; at least two.
    pub images: Vec<usize>,
    /// Exact where all have equal pixels.
    pub kind: Kind,
}

/// The groups of copies in `data`, in the order of their first images. Every two images are compared: 50,000 take
/// a second beside the decoding, 1,000,000 some minutes. A broken image is no copy.
pub fn within(data: &dyn Dataset) -> Vec<Group> {
    let prints = fingerprints(data, &progress(data.len()));
    let groups = Distinct::of(&prints).groups;
    let hashes: Vec<u64> = groups.iter().map(|(print, _)| print.hash).collect();
    let near = |i: usize| {
        let later = (i + 1..groups.len()).filter(|&j| proposes(hashes[i], hashes[j]));
        later.filter(|&j| groups[i].0.is_near(groups[j].0)).map(|j| (i, j)).collect::<Vec<_>>()
    };
    let near: Vec<(usize, usize)> = (0..groups.len()).into_par_iter().flat_map_iter(near).collect();
    // Each group of equal pixels points at an earlier one that it is near to, or at itself.
    let mut first: Vec<usize> = (0..groups.len()).collect();
    let root = |first: &[usize], mut i: usize| {
        while first[i] != i {
            i = first[i];
        }
        i
    };
    for (i, j) in near {
        let (i, j) = (root(&first, i), root(&first, j));
        first[i.max(j)] = i.min(j);
    }
    let mut joined: BTreeMap<usize, Group> = BTreeMap::new();
    for (i, (_, images)) in groups.iter().enumerate() {
        match joined.entry(root(&first, i)) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(Group { images: images.clone(), kind: Kind::Exact });
            }
            std::collections::btree_map::Entry::Occupied(mut group) => {
                group.get_mut().kind = Kind::Near;
                group.get_mut().images.extend(images);
            }
        }
    }
    let mut copies: Vec<Group> = joined.into_values().filter(|group| group.images.len() > 1).collect();
    copies.iter_mut().for_each(|group| group.images.sort_unstable());
    copies
}

/// Of every image; none of a broken one.
fn fingerprints(data: &dyn Dataset, progress: &Progress) -> Vec<Option<Fingerprint>> {
    let print = |i: usize| {
        let print = data.image(i).ok().map(|image| Fingerprint::of(&image));
        progress.advance(1);
        print
    };
    (0..data.len()).into_par_iter().map(print).collect()
}

/// Images by their pixels.
struct Distinct<'a> {
    /// Fingerprints of different pixels, each with the images that have them, in the order of the first of these.
    groups: Vec<(&'a Fingerprint, Vec<usize>)>,
    by_digest: HashMap<[u8; 32], usize>,
}

impl<'a> Distinct<'a> {
    fn of(prints: &'a [Option<Fingerprint>]) -> Self {
        let mut groups: Vec<(&Fingerprint, Vec<usize>)> = Vec::new();
        let mut by_digest = HashMap::new();
        for (i, print) in prints.iter().enumerate() {
            let Some(print) = print else { continue };
            let group = *by_digest.entry(print.digest).or_insert(groups.len());
            match groups.get_mut(group) {
                Some((_, images)) => images.push(i),
                None => groups.push((print, vec![i])),
            }
        }
        Self { groups, by_digest }
    }

    fn copies_of(&self, print: &Fingerprint) -> Vec<(Kind, usize)> {
        let exact = self.by_digest.get(&print.digest).copied();
        let near = (0..self.groups.len()).filter(|&i| Some(i) != exact && self.groups[i].0.is_near(print));
        exact.map(|i| (Kind::Exact, i)).into_iter().chain(near.map(|i| (Kind::Near, i))).collect()
    }
}
