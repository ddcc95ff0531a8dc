//! Whether images that should be others are the same: every number that sets one side against the other would be wrong.

use std::collections::HashMap;

use rayon::prelude::*;

use super::Dataset;
use crate::error::{Error, Result};
use crate::progress;

/// So many images of the second side are looked up; a share tells as much as all.
const ASKED: usize = 256;

/// Above it the two sides are the same data; below it stand the few pictures that large data sets hold twice.
const TOLERATED: f64 = 0.05;

/// Images that are on both sides.
pub struct Overlap {
    /// How many of those `asked`.
    pub found: usize,
    pub asked: usize,
    /// The names of one of them.
    pub example: (String, String),
}

/// Looks up evenly spread images of `second` among all of `first`, pixel for pixel; nothing where there is none.
pub fn overlap(first: &dyn Dataset, second: &dyn Dataset) -> Option<Overlap> {
    let mut by_mark: HashMap<u64, Vec<usize>> = HashMap::new();
    let marks: Vec<Option<u64>> = (0..first.len()).into_par_iter().map(|i| first.mark(i)).collect();
    for (i, mark) in marks.into_iter().enumerate() {
        if let Some(mark) = mark {
            by_mark.entry(mark).or_default().push(i);
        }
    }
    let asked = second.len().min(ASKED);
    let twin = |k: usize| {
        let j = k * second.len() / asked;
        let candidates = by_mark.get(&second.mark(j)?)?;
        let image = second.image(j).ok()?;
        let i = candidates.iter().find(|&&i| first.image(i).is_ok_and(|other| other == image))?;
        Some((first.name(*i), second.name(j)))
    };
    let twins: Vec<(String, String)> = (0..asked).into_par_iter().filter_map(twin).collect();
    let found = twins.len();
    twins.into_iter().next().map(|example| Overlap { found, asked, example })
}

/// Expects the images that `flag` names to be others than those of `training`; says where a few are the same.
///
/// # Errors
/// When many are.
pub fn expect_others(training: &dyn Dataset, others: &dyn Dataset, flag: &str) -> Result<()> {
    let Some(Overlap { found, asked, example: (first, second) }) = overlap(training, others) else { return Ok(()) };
    let what = format!("{flag}: {found} of {asked} images looked at are training images: {second} is {first}");
    if found as f64 > TOLERATED * asked as f64 {
        return Err(Error::usage(what).hint("name images of the same kind that the encoder has not seen"));
    }
    progress::say(&format!("warning: {what}"));
    Ok(())
}
