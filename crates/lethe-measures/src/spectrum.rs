//! Gram matrices, their eigenvalues and determinants: the only place that knows a solver.
//!
//! The Gram matrix of the smaller side has the same non-zero eigenvalues as that of the larger, and one product costs a
//! tenth of a singular value decomposition. It squares the condition number, though: a singular value below `1e-8` of
//! the largest is lost in the rounding of the largest, and one at `1e-5` keeps five digits. So [`singular_values`]
//! trusts the Gram matrix where it is well conditioned, and otherwise decomposes the triangle of a QR decomposition
//! while that takes seconds.

use nalgebra::{Cholesky, DMatrix, SVD};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayBase, ArrayView2, ArrayViewMut2, Axis, Data, Ix2, concatenate, s};
use rayon::prelude::*;

/// Columns of one block of a Gram matrix; a block is computed by one thread.
const BLOCK: usize = 128;
/// Columns of one panel of a Cholesky decomposition.
const PANEL: usize = 64;
/// Ratio of the smallest to the largest eigenvalue from which on the singular values of a Gram matrix are good to
/// `1e-12` of the largest.
const WELL_CONDITIONED: f64 = 1e-6;
/// Multiplications a QR decomposition may take: half a second for the raw and the centred rows of 1,000 x 1,000 on two
/// cores. They took 13 s for 2,000 x 2,048, and no matrix with fewer rows than columns is well conditioned once centred.
const QR_BUDGET: f64 = 1e9;

/// `a'a` for `a` `[n, d]`: `[d, d]`.
pub(crate) fn gram(a: ArrayView2<f64>) -> Array2<f64> {
    let d = a.ncols();
    let starts: Vec<usize> = (0..d).step_by(BLOCK).collect();
    let blocks: Vec<(usize, usize)> =
        starts.iter().flat_map(|&i| starts.iter().filter(move |&&j| j >= i).map(move |&j| (i, j))).collect();
    let columns = |start: usize| a.slice(s![.., start..(start + BLOCK).min(d)]);
    let products: Vec<Array2<f64>> = blocks.par_iter().map(|&(i, j)| columns(i).t().dot(&columns(j))).collect();
    let mut gram = Array2::zeros((d, d));
    for ((i, j), product) in blocks.into_iter().zip(products) {
        let (rows, columns) = product.dim();
        gram.slice_mut(s![j..j + columns, i..i + rows]).assign(&product.t());
        gram.slice_mut(s![i..i + rows, j..j + columns]).assign(&product);
    }
    gram
}

/// The matrix or its transpose, with at least as many rows as columns.
fn tall(a: ArrayView2<f64>) -> ArrayView2<f64> {
    if a.nrows() >= a.ncols() { a } else { a.reversed_axes() }
}

/// Row-major and column-major are the same for a symmetric matrix.
fn symmetric(a: Array2<f64>) -> DMatrix<f64> {
    let n = a.nrows();
    DMatrix::from_vec(n, n, a.into_raw_vec_and_offset().0)
}

/// Eigenvalues of a symmetric positive semi-definite matrix, largest first. Rounding leaves small ones, positive or
/// negative, where there should be none: what lies below `noise` of the largest is 0.
fn eigenvalues(matrix: DMatrix<f64>, noise: f64) -> Vec<f64> {
    let scale = matrix.diagonal().max();
    if scale <= 0.0 {
        return vec![0.0; matrix.nrows()];
    }
    let mut values: Vec<f64> = (matrix / scale).symmetric_eigenvalues().iter().map(|value| value * scale).collect();
    values.sort_by(|a, b| b.total_cmp(a));
    zero_below(&mut values, noise);
    values
}

fn zero_below(values: &mut [f64], noise: f64) {
    let least = values[0] * noise;
    for value in values {
        if *value <= least {
            *value = 0.0;
        }
    }
}

/// Rounding of a decomposition of `a`, relative to the largest singular value; NumPy's `matrix_rank` takes the same.
fn rounding(a: ArrayView2<f64>) -> f64 {
    f64::EPSILON * a.nrows().max(a.ncols()) as f64
}

/// The `min(n, d)` singular values of `a` `[n, d]`, largest first; those that rounding cannot tell from 0 are 0.
///
/// Accurate to about `1e-12` of the largest, except for an ill-conditioned matrix with `n d min(n, d) > 1e9`: there
/// values below `1e-6` of the largest are 0 and the others accurate to about `1e-13 s_1 / s` of themselves.
pub(crate) fn singular_values(a: ArrayView2<f64>) -> Vec<f64> {
    singular_values_by(a, small_gram(a))
}

/// The same where the Gram matrix of the smaller side is known.
pub(crate) fn singular_values_by(a: ArrayView2<f64>, gram: Array2<f64>) -> Vec<f64> {
    let a = tall(a);
    singular_values_of_tall(|| a, a.dim(), gram)
}

/// The same of a matrix `[n, d]` with n not below d that is only made where its Gram matrix is not enough.
pub(crate) fn singular_values_of_tall<S: Data<Elem = f64>>(
    make: impl FnOnce() -> ArrayBase<S, Ix2>,
    (n, d): (usize, usize),
    gram: Array2<f64>,
) -> Vec<f64> {
    let rounding = f64::EPSILON * n as f64;
    let squares = eigenvalues(symmetric(gram), rounding);
    let well_conditioned = squares[squares.len() - 1] > WELL_CONDITIONED * squares[0];
    if !well_conditioned
        && decomposes((n, d))
        && let Some(values) = singular_values_by_qr(make().view())
    {
        return values;
    }
    squares.into_iter().map(f64::sqrt).collect()
}

/// Whether an ill-conditioned matrix of this shape, or its transpose, is decomposed.
pub(crate) fn decomposes((n, d): (usize, usize)) -> bool {
    n as f64 * d as f64 * n.min(d) as f64 <= QR_BUDGET
}

/// Of a tall matrix; nothing if the iteration does not converge.
fn singular_values_by_qr(a: ArrayView2<f64>) -> Option<Vec<f64>> {
    let svd = SVD::try_new_unordered(triangle(a), false, false, f64::EPSILON, 100 * a.ncols())?;
    let mut values: Vec<f64> = svd.singular_values.iter().copied().collect();
    values.sort_by(|a, b| b.total_cmp(a));
    zero_below(&mut values, rounding(a));
    Some(values)
}

/// R of a QR decomposition of a tall matrix; a long one is cut into chunks that fit a cache, and their triangles are
/// stacked and decomposed in turn.
fn triangle(a: ArrayView2<f64>) -> DMatrix<f64> {
    let (n, d) = a.dim();
    let chunk = (4 * d).max(256);
    if n <= chunk {
        return DMatrix::from_row_iterator(n, d, a.iter().copied()).qr().unpack_r();
    }
    let chunks: Vec<ArrayView2<f64>> = a.axis_chunks_iter(Axis(0), chunk).collect();
    let triangles: Vec<DMatrix<f64>> = chunks.into_par_iter().map(triangle).collect();
    let mut stacked = Array2::zeros((triangles.iter().map(DMatrix::nrows).sum(), d));
    let mut rows = stacked.outer_iter_mut();
    for row in triangles.iter().flat_map(DMatrix::row_iter) {
        rows.next().expect("one row a row").iter_mut().zip(row.iter()).for_each(|(to, from)| *to = *from);
    }
    triangle(stacked.view())
}

/// `a'a` or `aa'` for `a` `[n, d]`, whichever is smaller.
pub(crate) fn small_gram(a: ArrayView2<f64>) -> Array2<f64> {
    gram(tall(a))
}

/// The square roots of the eigenvalues of a Gram matrix, largest first: singular values, but those below `1e-6` of the
/// largest are lost. `longer` is the larger of the sides of the matrix that it is of.
pub(crate) fn singular_values_of_gram(gram: &Array2<f64>, longer: usize) -> Vec<f64> {
    eigenvalues(symmetric(gram.clone()), f64::EPSILON * longer as f64).into_iter().map(f64::sqrt).collect()
}

/// The sum of the singular values of `a`, by the Gram matrix of the smaller side: good to about `1e-5` of itself.
pub(crate) fn nuclear_norm(a: ArrayView2<f64>) -> f64 {
    singular_values_of_gram(&small_gram(a), a.nrows().max(a.ncols())).iter().sum()
}

/// `ln det(I + scale a'a)` for `a` `[n, d]`, by the Gram matrix of the smaller side.
pub(crate) fn log_det_identity_plus(scale: f64, a: ArrayView2<f64>) -> f64 {
    log_det_identity_plus_gram(scale, &small_gram(a), a.nrows().max(a.ncols()))
}

/// The same where the Gram matrix is known; `longer` is the larger of the sides of `a`.
pub(crate) fn log_det_identity_plus_gram(scale: f64, gram: &Array2<f64>, longer: usize) -> f64 {
    let mut matrix = gram * scale;
    matrix.diag_mut().mapv_inplace(|diagonal| diagonal + 1.0);
    log_det(matrix).unwrap_or_else(|| {
        // `scale` is so large that the identity is lost in the rounding of a singular Gram matrix.
        let values = eigenvalues(symmetric(gram.clone()), f64::EPSILON * longer as f64);
        values.iter().map(|value| (scale * value).ln_1p()).sum()
    })
}

/// `ln det a` of a symmetric positive definite matrix; nothing if rounding makes it indefinite.
fn log_det(a: Array2<f64>) -> Option<f64> {
    cholesky(a).map(|lower| 2.0 * lower.diag().iter().map(|value| value.ln()).sum::<f64>())
}

/// L of `a` = LL', on and below the diagonal (above it nothing is meant), of a symmetric positive definite matrix; nothing
/// if rounding makes it indefinite. In panels, whose work is products of matrices.
pub(crate) fn cholesky(mut a: Array2<f64>) -> Option<Array2<f64>> {
    let n = a.nrows();
    for start in (0..n).step_by(PANEL) {
        let end = (start + PANEL).min(n);
        let (mut panel, mut rest) = a.view_mut().split_at(Axis(1), end);
        let mut corner = panel.slice_mut(s![start..end, start..]);
        let lower = Cholesky::new(DMatrix::from_fn(end - start, end - start, |i, j| corner[(i, j)]))?.unpack();
        corner.indexed_iter_mut().for_each(|(at, value)| *value = lower[at]);
        // Rows x of the panel below the corner become x L^-T.
        let mut below = panel.slice_mut(s![end.., start..]);
        let chunks: Vec<ArrayViewMut2<f64>> = below.axis_chunks_iter_mut(Axis(0), BLOCK).collect();
        chunks.into_par_iter().for_each(|mut rows| {
            for mut row in rows.outer_iter_mut() {
                let row = row.as_slice_mut().expect("rows of the standard layout");
                for j in 0..row.len() {
                    let known: f64 = (0..j).map(|k| row[k] * lower[(j, k)]).sum();
                    row[j] = (row[j] - known) / lower[(j, j)];
                }
            }
        });
        let below = panel.slice(s![end.., start..]);
        let mut rest = rest.slice_mut(s![end.., ..]);
        let chunks: Vec<ArrayViewMut2<f64>> = rest.axis_chunks_iter_mut(Axis(0), BLOCK).collect();
        chunks.into_par_iter().enumerate().for_each(|(chunk, mut rows)| {
            let (first, last) = (chunk * BLOCK, chunk * BLOCK + rows.nrows());
            let (left, right) = (below.slice(s![first..last, ..]), below.slice(s![..last, ..]));
            general_mat_mul(-1.0, &left, &right.t(), 1.0, &mut rows.slice_mut(s![.., ..last]));
        });
    }
    Some(a)
}

/// (LL')^-1 `b`, for L of [`cholesky`] and `b` of as many rows.
pub(crate) fn cholesky_solve(lower: ArrayView2<f64>, mut b: Array2<f64>) -> Array2<f64> {
    let n = lower.nrows();
    let panels: Vec<(usize, usize)> = (0..n).step_by(PANEL).map(|start| (start, (start + PANEL).min(n))).collect();
    for &(start, end) in &panels {
        let (mut known, mut rest) = b.view_mut().split_at(Axis(0), end);
        let mut known = known.slice_mut(s![start.., ..]);
        for i in 0..end - start {
            let (before, mut this) = known.view_mut().split_at(Axis(0), i);
            let mut this = this.row_mut(0);
            for (k, before) in before.outer_iter().enumerate() {
                this.scaled_add(-lower[(start + i, start + k)], &before);
            }
            this /= lower[(start + i, start + i)];
        }
        general_mat_mul(-1.0, &lower.slice(s![end.., start..end]), &known, 1.0, &mut rest);
    }
    for &(start, end) in panels.iter().rev() {
        let (mut rest, mut known) = b.view_mut().split_at(Axis(0), start);
        let mut known = known.slice_mut(s![..end - start, ..]);
        for i in (0..end - start).rev() {
            let (mut this, after) = known.view_mut().split_at(Axis(0), i + 1);
            let mut this = this.row_mut(i);
            for (k, after) in after.outer_iter().enumerate().take(end - start - i - 1) {
                this.scaled_add(-lower[(start + i + 1 + k, start + i)], &after);
            }
            this /= lower[(start + i, start + i)];
        }
        general_mat_mul(-1.0, &lower.slice(s![start..end, ..start]).t(), &known, 1.0, &mut rest);
    }
    b
}

/// `ln det a` and the inverse of a symmetric positive definite matrix; nothing if rounding makes it indefinite.
pub(crate) fn log_det_and_inverse(a: Array2<f64>) -> Option<(f64, Array2<f64>)> {
    let n = a.nrows();
    let cholesky = Cholesky::new(symmetric(a))?;
    let inverse = Array2::from_shape_vec((n, n), cholesky.inverse().as_slice().to_vec()).expect("n x n");
    Some((cholesky.ln_determinant(), inverse))
}

/// The `d` eigenvalues of `b^-1/2 a'a b^-1/2` for `a` `[n, d]` and positive definite `b` `[d, d]`, largest first, none
/// negative; nothing if rounding makes `b` indefinite.
pub(crate) fn whitened_eigenvalues(a: ArrayView2<f64>, b: Array2<f64>) -> Option<Vec<f64>> {
    let (n, d) = a.dim();
    let lower = Cholesky::new(symmetric(b))?.unpack();
    if n < d {
        // By the small side: with the rows of x = a L^-T, xx' has the eigenvalues that are not 0.
        let chunks: Vec<ArrayView2<f64>> = a.axis_chunks_iter(Axis(0), PANEL).collect();
        let whitened = |rows: ArrayView2<f64>| {
            let columns = DMatrix::from_fn(d, rows.nrows(), |i, j| rows[(j, i)]);
            let solved = lower.solve_lower_triangular(&columns).expect("a Cholesky factor");
            Array2::from_shape_vec(rows.raw_dim(), solved.data.into()).expect("a row a column")
        };
        let parts: Vec<Array2<f64>> = chunks.into_par_iter().map(whitened).collect();
        let parts: Vec<ArrayView2<f64>> = parts.iter().map(Array2::view).collect();
        let whitened = concatenate(Axis(0), &parts).expect("parts of one width");
        let mut values = eigenvalues(symmetric(small_gram(whitened.view())), 0.0);
        values.resize(d, 0.0);
        return Some(values);
    }
    let half = lower.solve_lower_triangular(&symmetric(gram(a)))?;
    let whitened = lower.solve_lower_triangular(&half.transpose())?;
    Some(eigenvalues(whitened, 0.0))
}

/// exp(-sum p ln p), with 0 ln 0 = 0.
pub(crate) fn exp_entropy(p: impl Iterator<Item = f64>) -> f64 {
    (-p.filter(|&p| p > 0.0).map(|p| p * p.ln()).sum::<f64>()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix with the given singular values, between two reflections.
    fn with_singular_values(n: usize, values: &[f64]) -> Array2<f64> {
        let d = values.len();
        let mut a = Array2::zeros((n, d));
        for (i, &value) in values.iter().enumerate() {
            a[(i, i)] = value;
        }
        let reflection = |size: usize| {
            let v: Vec<f64> = (0..size).map(|i| ((i * i + 1) as f64).sin()).collect();
            let square: f64 = v.iter().map(|v| v * v).sum();
            Array2::from_shape_fn((size, size), |(i, j)| f64::from(u8::from(i == j)) - 2.0 * v[i] * v[j] / square)
        };
        reflection(n).dot(&a).dot(&reflection(d))
    }

    fn powers(d: usize, decades: f64) -> Vec<f64> {
        (0..d).map(|i| 10f64.powf(-decades * i as f64 / (d - 1) as f64)).collect()
    }

    #[test]
    fn singular_values_keep_seven_digits_down_to_1e_8() {
        for n in [40, 700] {
            let expected = powers(40, 8.0);
            for (found, expected) in singular_values(with_singular_values(n, &expected).view()).iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-15 + 1e-7 * expected, "{found:e} for {expected:e}");
            }
        }
    }

    /// What the module says of matrices that are too large for a QR decomposition.
    #[test]
    fn a_gram_matrix_alone_loses_small_singular_values() {
        let expected = powers(40, 8.0);
        let a = with_singular_values(700, &expected);
        for (square, expected) in eigenvalues(symmetric(gram(a.view())), rounding(a.view())).iter().zip(&expected) {
            let found = square.sqrt();
            if *expected < 1e-7 {
                assert_eq!(found, 0.0);
            } else if *expected > 1e-6 {
                assert!((found / expected - 1.0).abs() < 1e-13 / expected.powi(2), "{found:e} for {expected:e}");
            }
        }
    }

    #[test]
    fn both_sides_have_the_same_spectrum() {
        let a = with_singular_values(300, &powers(150, 1.0));
        for (x, y) in singular_values(a.view()).iter().zip(singular_values(a.t())) {
            assert!((x - y).abs() < 1e-13);
        }
        let (x, y) = (log_det_identity_plus(3.0, a.view()), log_det_identity_plus(3.0, a.t()));
        assert!((x / y - 1.0).abs() < 1e-13);
    }

    #[test]
    fn a_determinant_of_several_panels_is_that_of_the_eigenvalues() {
        for d in [1, 63, 64, 65, 300] {
            let values: Vec<f64> = powers(d.max(2), 3.0).into_iter().take(d).collect();
            let a = with_singular_values(310, &values);
            let expected: f64 = values.iter().map(|value| (7.0 * value * value).ln_1p()).sum();
            assert!((log_det_identity_plus(7.0, a.view()) / expected - 1.0).abs() < 1e-12, "{d} columns");
        }
        assert_eq!(log_det(Array2::from_shape_fn((200, 200), |(i, j)| if i == j { 1.0 } else { 2.0 })), None);
    }

    #[test]
    fn a_system_of_several_panels_is_solved() {
        for d in [1, 63, 64, 65, 200] {
            let a = with_singular_values(210, &powers(d.max(2), 2.0)[..d]);
            let mut square = gram(a.view());
            square.diag_mut().mapv_inplace(|value| value + 0.1);
            let x = Array2::from_shape_fn((d, 3), |(i, j)| ((i + 7 * j) as f64).cos());
            let lower = cholesky(square.clone()).unwrap();
            let found = cholesky_solve(lower.view(), square.dot(&x));
            assert!((found - x).iter().all(|error| error.abs() < 1e-12), "{d} columns");
        }
    }

    #[test]
    fn a_determinant_whose_identity_is_lost_is_still_that_of_its_eigenvalues() {
        let a = Array2::from_elem((50, 30), 1.0);
        let expected = (1e18 * 1500.0f64).ln();
        assert!((log_det_identity_plus(1e18, a.view()) / expected - 1.0).abs() < 1e-9);
    }
}
