//! Whether two scores put checkpoints into the same order: Kendall's tau-b and Spearman's rho.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::criteria::range;
use crate::distributions::NORMAL_95;
use crate::error::{MeasureError, Result};
use crate::estimate::Estimate;
use crate::ranks::mid_ranks;
use crate::resampling::{drawn_groups, percentiles};

/// Pairs below which the variance of a transformed correlation is not defined.
const LEAST: usize = 5;

/// Both correlations with 95 % intervals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankCorrelation {
    pub kendall: Estimate,
    pub spearman: Estimate,
}

/// Kendall's tau-b: concordant less discordant pairs, over the root of the product of the numbers of pairs that are not
/// tied in `x` and in `y` (Kendall 1945).
///
/// # Errors
/// Not finite, all values of a side the same, different lengths, none.
pub fn kendall_tau(x: &[f64], y: &[f64]) -> Result<f64> {
    check(x, y)?;
    Ok(tau(x, y))
}

/// Spearman's rho: Pearson's correlation of the ranks, equal values sharing the mean of theirs.
///
/// # Errors
/// Not finite, all values of a side the same, different lengths, none.
pub fn spearman_rho(x: &[f64], y: &[f64]) -> Result<f64> {
    check(x, y)?;
    Ok(rho(x, y))
}

/// Both correlations of the checkpoints' scores, with 95 % intervals.
///
/// `runs`: the run of each checkpoint, where several are pooled. With two or more the interval is the percentile
/// interval of a bootstrap that draws whole runs, as checkpoints of one run are no independent cases; three runs allow
/// only ten different draws, so that it is then little more than the range of what the runs say. Without, it comes from
/// Fisher's z with the standard errors 0.437 / (n - 4) under the root for tau (Fieller, Hartley and Pearson 1957) and
/// (1 + rho^2 / 2) / (n - 3) for rho (Bonett and Wright 2000), a correlation of 1 counting as 1 - 1/n: that takes
/// checkpoints for independent and so is *too narrow for one run's*.
///
/// # Errors
/// Those of [`kendall_tau`]; fewer than five pairs; another number of runs than scores; no resamples.
pub fn rank_correlation(
    x: &[f64],
    y: &[f64],
    runs: Option<&[u32]>,
    resamples: usize,
    seed: u64,
) -> Result<RankCorrelation> {
    check(x, y)?;
    let n = x.len();
    if n < LEAST {
        return Err(MeasureError::TooFew { what: "pairs", found: n, needed: LEAST });
    }
    let (kendall, spearman) = (tau(x, y), rho(x, y));
    if let Some(runs) = runs {
        if runs.len() != n {
            return Err(MeasureError::Length { what: "runs", found: runs.len(), expected: n });
        }
        let members = by_run(runs);
        if members.len() > 1 {
            let drawn = by_drawing_runs(x, y, &members, resamples, seed)?;
            let [taus, rhos] = [0, 1].map(|which| drawn.iter().map(|pair| pair[which]).collect());
            return Ok(RankCorrelation { kendall: percentile(kendall, taus), spearman: percentile(spearman, rhos) });
        }
    }
    let count = n as f64;
    Ok(RankCorrelation {
        kendall: fisher(kendall, 0.437 / (count - 4.0), count),
        spearman: fisher(spearman, (1.0 + spearman * spearman / 2.0) / (count - 3.0), count),
    })
}

fn check(x: &[f64], y: &[f64]) -> Result<()> {
    if x.len() != y.len() {
        return Err(MeasureError::Length { what: "values", found: y.len(), expected: x.len() });
    }
    range(x)?;
    range(y)?;
    Ok(())
}

fn tau(x: &[f64], y: &[f64]) -> f64 {
    let (mut agreeing, mut in_x, mut in_y) = (0i64, 0i64, 0i64);
    let order = |a: f64, b: f64| i64::from(a > b) - i64::from(a < b);
    for i in 1..x.len() {
        for j in 0..i {
            let (dx, dy) = (order(x[i], x[j]), order(y[i], y[j]));
            agreeing += dx * dy;
            in_x += dx * dx;
            in_y += dy * dy;
        }
    }
    agreeing as f64 / (in_x as f64).sqrt() / (in_y as f64).sqrt()
}

fn rho(x: &[f64], y: &[f64]) -> f64 {
    let middle = (x.len() + 1) as f64 / 2.0;
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (a, b) in mid_ranks(x).into_iter().zip(mid_ranks(y)) {
        let (a, b) = (a - middle, b - middle);
        xy += a * b;
        xx += a * a;
        yy += b * b;
    }
    (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0)
}

/// Indices of each run's checkpoints, in the order of the runs' numbers.
fn by_run(runs: &[u32]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by_key(|&at| runs[at]);
    order.chunk_by(|&a, &b| runs[a] == runs[b]).map(<[usize]>::to_vec).collect()
}

/// Both correlations of every draw of as many runs as there are; a draw in which a side is constant is left out.
fn by_drawing_runs(x: &[f64], y: &[f64], members: &[Vec<usize>], resamples: usize, seed: u64) -> Result<Vec<[f64; 2]>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let draw = |_| {
        let drawn = drawn_groups(members, &mut rng);
        let [x, y] = [x, y].map(|side| drawn.iter().map(|&at| side[at]).collect::<Vec<f64>>());
        let [tau, rho] = [tau(&x, &y), rho(&x, &y)];
        (tau.is_finite() && rho.is_finite()).then_some([tau, rho])
    };
    let drawn: Vec<[f64; 2]> = (0..resamples).filter_map(draw).collect();
    if drawn.is_empty() { Err(MeasureError::TooFew { what: "resamples", found: 0, needed: 1 }) } else { Ok(drawn) }
}

fn percentile(value: f64, drawn: Vec<f64>) -> Estimate {
    let [low, high] = percentiles(drawn);
    Estimate { value, low, high }
}

fn fisher(value: f64, variance: f64, n: f64) -> Estimate {
    let most = 1.0 - 1.0 / n;
    let (z, width) = (value.clamp(-most, most).atanh(), NORMAL_95 * variance.sqrt());
    Estimate { value, low: (z - width).tanh().min(value), high: (z + width).tanh().max(value) }
}
