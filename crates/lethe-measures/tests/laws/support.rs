//! Made-up matrices.

use ndarray::Array2;

/// Uniform in (0, 1), by a linear congruential generator.
fn stream(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
}

/// Of the unit cube.
pub(crate) fn uniform(n: usize, d: usize, seed: u64) -> Array2<f64> {
    Array2::from_shape_simple_fn((n, d), stream(seed))
}

/// Standard normal numbers: Box-Muller.
pub(crate) fn normal(n: usize, d: usize, seed: u64) -> Array2<f64> {
    let mut uniform = stream(seed);
    Array2::from_shape_simple_fn((n, d), || {
        (-2.0 * uniform().ln()).sqrt() * (2.0 * std::f64::consts::PI * uniform()).cos()
    })
}

/// Two reflections: an orthogonal matrix far from the identity.
pub(crate) fn rotation(d: usize) -> Array2<f64> {
    let reflection = |seed| {
        let v = normal(d, 1, seed);
        let outer = v.dot(&v.t());
        Array2::eye(d) - 2.0 / v.mapv(|x| x * x).sum() * outer
    };
    reflection(5).dot(&reflection(6))
}

pub(crate) fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-10 * expected.abs().max(1.0), "{found} for {expected}");
}

/// `classes` heaps of rows, far apart for their size; row `i` is of class `i % classes`.
pub(crate) fn heaps(n: usize, d: usize, classes: usize, seed: u64) -> Array2<f64> {
    let (centres, noise) = (10.0 * normal(classes, d, seed), normal(n, d, seed + 1));
    Array2::from_shape_fn((n, d), |(i, j)| centres[(i % classes, j)] + noise[(i, j)])
}

/// The same on one thread as on four.
pub(crate) fn on_any_threads<T: PartialEq + std::fmt::Debug + Send>(of: impl Fn() -> T + Sync) -> T {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(&of)
    };
    let found = on(1);
    assert_eq!(found, on(4));
    found
}
