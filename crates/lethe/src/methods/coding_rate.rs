//! Coding rates (Yu et al. 2020, arXiv 2006.08558) of projections as differentiable functions. `lethe-measures` has the
//! same numbers for matrices; a test holds the two together.

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::native::torch;
use crate::nn::{matmul, unit_rows};

/// R(Z) = 1/2 logdet(I + d/(m eps2) Z'Z) in nats, of the rows of `[m, d]` scaled to unit length. `eps2` is the
/// squared precision.
///
/// A row that is not finite makes it NaN.
///
/// # Errors
/// When libtorch cannot factor the Gram matrix.
pub fn coding_rate(z: &Tensor, eps2: f64) -> Result<Tensor> {
    coding_rate_as_is(&unit_rows(z), eps2)
}

/// [`coding_rate`] of rows that keep their lengths.
pub(super) fn coding_rate_as_is(z: &Tensor, eps2: f64) -> Result<Tensor> {
    let (m, d) = z.size2().map_err(torch)?;
    // Z'Z and ZZ' share their non-zero eigenvalues, so the smaller one has the same determinant.
    let gram = if d <= m { matmul(&z.tr(), z) } else { matmul(z, &z.tr()) };
    let identity = Tensor::eye(m.min(d), (z.kind(), z.device()));
    Ok(0.5 * logdet(&(identity + gram * (d as f64 / (m as f64 * eps2))))?)
}

/// R_c of `[n, d]` and `[n, d]`, the two views of an image being a group: the mean over the images of
/// 1/2 logdet(I + d/(2 eps2) Zj'Zj) = 1/2 ln((1+k)^2 - (kc)^2), c the cosine of the views and k = d/(2 eps2).
pub fn pair_compressed_rate(z1: &Tensor, z2: &Tensor, eps2: f64) -> Tensor {
    let k = z1.size()[1] as f64 / (2.0 * eps2);
    let cosine = (unit_rows(z1) * unit_rows(z2)).sum_dim_intlist([1i64].as_slice(), false, None::<Kind>);
    let logdet = ((1.0 + k).powi(2) - (k * cosine).square()).log();
    0.5 * logdet.mean(None::<Kind>)
}

/// R_c of `[m, d]` whose rows fall into groups, `groups[j]` holding the indices of the rows of group j: the sum of
/// m_j/(2m) logdet(I + d/(m_j eps2) Zj'Zj) over the groups.
///
/// # Errors
/// As [`coding_rate`].
pub fn compressed_rate(z: &Tensor, groups: &[Tensor], eps2: f64) -> Result<Tensor> {
    let m = z.size()[0] as f64;
    let rates: Vec<Tensor> = groups
        .iter()
        .map(|rows| Ok(coding_rate(&z.index_select(0, rows), eps2)? * (rows.numel() as f64 / m)))
        .collect::<Result<_>>()?;
    Ok(Tensor::stack(&rates, 0).sum(None::<Kind>))
}

/// Coding rate reduction dR = R - R_c of projections `[n, d]` of two views, with the views of an image as groups.
///
/// # Errors
/// As [`coding_rate`].
pub fn pair_coding_rate_reduction(z1: &Tensor, z2: &Tensor, eps2: f64) -> Result<Tensor> {
    Ok(coding_rate(&Tensor::cat(&[z1, z2], 0), eps2)? - pair_compressed_rate(z1, z2, eps2))
}

/// Of a symmetric positive definite matrix. The status of the factorisation stays on the device: a failed one shows
/// as NaN in the loss, which the loop looks at anyway.
pub(super) fn logdet(matrix: &Tensor) -> Result<Tensor> {
    let (lower, _status) = matrix.f_linalg_cholesky_ex(false, false).map_err(torch)?;
    Ok(2.0 * lower.diagonal(0, 0, 1).log().sum(None::<Kind>))
}
