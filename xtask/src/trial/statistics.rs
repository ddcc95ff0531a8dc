//! Paired differences: Student's t, and Holm's correction of several p values.

use std::f64::consts::PI;

/// The mean of paired differences with what Student's t says about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Difference {
    pub(crate) pairs: usize,
    pub(crate) mean: f64,
    /// Half of the 95 % interval.
    pub(crate) half: f64,
    /// Two-sided.
    pub(crate) p: f64,
}

/// Nothing of fewer than two differences.
pub(crate) fn paired(differences: &[f64]) -> Option<Difference> {
    let pairs = differences.len();
    if pairs < 2 {
        return None;
    }
    let n = pairs as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let error = (variance / n).sqrt();
    let p = if error > 0.0 { 1.0 - within(mean / error, pairs - 1) } else { f64::from(u8::from(mean == 0.0)) };
    Some(Difference { pairs, mean, half: error * quantile(0.95, pairs - 1), p })
}

/// The probability that Student's t of `freedom` degrees lies between -t and t (Abramowitz & Stegun 26.7.3, 26.7.4).
fn within(t: f64, freedom: usize) -> f64 {
    let angle = (t.abs() / (freedom as f64).sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    // cos + 2/3 cos^3 + .. up to cos^(freedom - 2), or 1 + 1/2 cos^2 + .. up to there.
    let odd = freedom % 2;
    let (mut term, mut sum) = (if odd == 1 { cos } else { 1.0 }, 0.0);
    for power in (odd..freedom.saturating_sub(1)).step_by(2) {
        sum += term;
        term *= (power + 1) as f64 / (power + 2) as f64 * cos * cos;
    }
    if odd == 1 { 2.0 / PI * (angle + sin * sum) } else { sin * sum }
}

/// The t with `probability` between -t and t.
fn quantile(probability: f64, freedom: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if within(middle, freedom) < probability { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// Holm's step-down: every p so that those below 5 % are wrong together in at most 5 % of families (Holm 1979).
pub(crate) fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut corrected = vec![0.0; p.len()];
    let mut largest: f64 = 0.0;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max((p.len() - rank) as f64 * p[i]).min(1.0);
        corrected[i] = largest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    /// xtask/src/trial/statistics.py made these.
    #[test]
    fn paired_t_is_that_of_scipy() {
        for (differences, mean, half, p) in include!("statistics.golden") {
            let found = paired(differences).expect("enough pairs");
            assert_eq!(found.pairs, differences.len());
            near(found.mean, mean);
            near(found.half, half);
            near(found.p, p);
        }
        assert_eq!(paired(&[1.0]), None);
        // All alike: no doubt, or no difference.
        assert_eq!(paired(&[2.0, 2.0, 2.0]).map(|d| (d.half, d.p)), Some((0.0, 0.0)));
        assert_eq!(paired(&[0.0, 0.0]).map(|d| (d.half, d.p)), Some((0.0, 1.0)));
    }

    #[test]
    fn holm_steps_down() {
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        [0.03, 0.06, 0.06, 0.02].into_iter().zip(found).for_each(|(expected, found)| near(found, expected));
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert_eq!(holm(&[]), [0.0; 0]);
    }
}
