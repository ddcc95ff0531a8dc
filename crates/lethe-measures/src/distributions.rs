//! Quantiles and tails of the normal, Student's t and the binomial distribution.

/// The 97.5 % quantile of the standard normal distribution.
pub(crate) const NORMAL_95: f64 = 1.959_963_984_540_054;

/// Steps of an iteration that needs some ten.
const STEPS: usize = 200;
/// Relative precision at which an iteration ends.
const PRECISION: f64 = 1e-14;

/// The chance that a standard normal number lies above `x`.
pub(crate) fn normal_tail(x: f64) -> f64 {
    0.5 * libm::erfc(x / std::f64::consts::SQRT_2)
}

/// The quantile of the standard normal distribution.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    if p < 0.5 {
        return -normal_quantile(1.0 - p);
    }
    let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    from_below(0.0, 1.0 - p, normal_tail, density)
}

/// The chance that Student's t with `freedom` degrees of freedom lies above `x`, at least 0.
fn student_tail(x: f64, freedom: f64) -> f64 {
    0.5 * incomplete_beta(freedom / (freedom + x * x), 0.5 * freedom, 0.5)
}

/// The number that Student's t with `freedom` degrees of freedom exceeds as often as a standard normal number exceeds
/// `z`, at least 0.
pub(crate) fn student_for_normal(z: f64, freedom: f64) -> f64 {
    let scale =
        libm::lgamma(0.5 * (freedom + 1.0)) - libm::lgamma(0.5 * freedom) - 0.5 * (freedom * std::f64::consts::PI).ln();
    let density = |x: f64| (scale - 0.5 * (freedom + 1.0) * (x * x / freedom).ln_1p()).exp();
    from_below(z, normal_tail(z), |x| student_tail(x, freedom), density)
}

/// Where a convex `tail`, of slope -`density`, falls to `p`, from a place before: Newton's steps end there from below.
fn from_below(start: f64, p: f64, tail: impl Fn(f64) -> f64, density: impl Fn(f64) -> f64) -> f64 {
    let mut x = start;
    for _ in 0..STEPS {
        let step = (tail(x) - p) / density(x);
        x += step;
        if step.abs() <= PRECISION * x.abs().max(1.0) {
            break;
        }
    }
    x
}

/// The chance of at most `k` of `n` with a share of `p` each.
pub(crate) fn binomial(k: usize, n: usize, p: f64) -> f64 {
    if k >= n { 1.0 } else { incomplete_beta(1.0 - p, (n - k) as f64, (k + 1) as f64) }
}

/// I_x(a, b), the regularised incomplete beta function, by its continued fraction (Lentz's method).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let factor = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * (-x).ln_1p();
    let least = f64::MIN_POSITIVE / f64::EPSILON;
    let away = |value: f64| if value.abs() < least { least } else { value };
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..STEPS * 10 {
        let m = m as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            change = c * d;
            fraction *= change;
        }
        if (change - 1.0).abs() <= PRECISION {
            break;
        }
    }
    factor.exp() * fraction / a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-10, "{found} for {expected}");
    }

    /// SciPy 1.17.1: `norm.ppf`, `t.isf(norm.sf(z), v)`, `binom.cdf`.
    #[test]
    fn quantiles_are_scipys() {
        assert_close(normal_quantile(0.975), NORMAL_95);
        assert_close(normal_quantile(0.0005), -3.290_526_731_491_896);
        for (z, freedom, expected) in STUDENT {
            assert_close(student_for_normal(z, freedom), expected);
        }
        for (k, n, p, expected) in BINOMIAL {
            assert_close(binomial(k, n, p), expected);
        }
    }

    const STUDENT: [(f64, f64, f64); 6] = [
        (1.959963984540054, 1.0, 12.706204736174705),
        (1.959963984540054, 49.0, 2.0095752371292397),
        (3.3, 49.0, 3.5116901266651763),
        (3.3, 4.7, 7.322760566530165),
        (3.8, 1999.0, 3.8073503309763077),
        (0.5, 12.0, 0.5132779013380203),
    ];
    const BINOMIAL: [(usize, usize, f64, f64); 5] = [
        (0, 1000, 0.01, 4.3171247410658195e-05),
        (4, 1000, 0.01, 0.028686399999004478),
        (17, 1000, 0.01, 0.9861674182699915),
        (3, 5000, 0.01, 3.4167884748302542e-18),
        (9, 10, 0.1, 0.9999999999),
    ];
}
