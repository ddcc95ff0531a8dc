//! Whether two sets of images are known to be a random split of one set.

use super::SOURCES;
use super::spec::Settings;

/// Whether `first` and `second`, two specifications of images, are disjoint random parts of one set: ranges of one
/// permutation (`D@n=..,skip=..,seed=..`), generated images that differ in nothing but their seed and number, or the
/// training and test files of CIFAR-10 or CIFAR-100, which their authors split at random. Anything else is not known to be.
pub fn is_random_split(first: &str, second: &str) -> bool {
    parts_of_one(first, second) || SOURCES.iter().any(|source| (source.split)(first, second))
}

/// `D@n=100,skip=20,seed=1` as D, its range of the permutation and the seed; no end where all the rest is meant.
fn part(spec: &str) -> Option<(&str, usize, Option<usize>, u64)> {
    let (whole, settings) = spec.rsplit_once('@')?;
    let settings = Settings::parse(spec, settings, &["n", "skip", "seed"]).ok()?;
    let skip: usize = settings.get("skip", "").ok()?.unwrap_or(0);
    let n: Option<usize> = settings.get("n", "").ok()?;
    Some((whole, skip, n.map(|n| skip.saturating_add(n)), settings.get("seed", "").ok()?.unwrap_or(0)))
}

fn parts_of_one(first: &str, second: &str) -> bool {
    let (Some((whole, start, end, seed)), Some((other, other_start, other_end, other_seed))) =
        (part(first), part(second))
    else {
        return false;
    };
    let before = |end: Option<usize>, start: usize| end.is_some_and(|end| end <= start);
    let same = absolute(whole) == absolute(other) && seed == other_seed;
    same && (before(end, other_start) || before(other_end, start))
}

fn absolute(path: &str) -> std::path::PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.into())
}
