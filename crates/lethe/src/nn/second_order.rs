//! Convolution, batch-norm and layer-norm that are cheap to differentiate twice, and right when differentiated further (`csrc/second_order.cpp`).

use std::ffi::c_char;
use std::ptr::null;

use tch::Tensor;
use torch_sys::C_tensor;

use crate::native::checked;

unsafe extern "C" {
    fn lethe_conv2d(
        x: *const C_tensor,
        w: *const C_tensor,
        stride: i64,
        padding: i64,
        error: *mut *mut c_char,
    ) -> *mut C_tensor;
    fn lethe_batch_norm(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        running_mean: *const C_tensor,
        running_var: *const C_tensor,
        momentum: f64,
        eps: f64,
        error: *mut *mut c_char,
    ) -> *mut C_tensor;
    fn lethe_layer_norm(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        eps: f64,
        error: *mut *mut c_char,
    ) -> *mut C_tensor;
}

/// `[n, c, h, w]` by `weight` `[o, c, k, k]`.
pub(super) fn conv2d(x: &Tensor, weight: &Tensor, stride: i64, padding: i64) -> Tensor {
    // SAFETY: both tensors live through the call, and the function keeps to the contract of `checked`.
    checked(|error| unsafe { lethe_conv2d(x.as_ptr(), weight.as_ptr(), stride, padding, error) })
}

/// Batch normalisation of `[n, d]` or `[n, c, h, w]` in the batch's own statistics; updates the running ones if given.
pub(super) fn batch_norm(
    x: &Tensor,
    [weight, bias]: [Option<&Tensor>; 2],
    [mean, var]: [Option<&Tensor>; 2],
    momentum: f64,
    eps: f64,
) -> Tensor {
    let pointer = |tensor: Option<&Tensor>| tensor.map_or(null(), Tensor::as_ptr);
    // SAFETY: all tensors live through the call; null stands for one that is not there.
    checked(|error| unsafe {
        lethe_batch_norm(x.as_ptr(), pointer(weight), pointer(bias), pointer(mean), pointer(var), momentum, eps, error)
    })
}

/// Layer normalisation over the last dimension.
pub(super) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Tensor {
    // SAFETY: all tensors live through the call, and the function keeps to the contract of `checked`.
    checked(|error| unsafe { lethe_layer_norm(x.as_ptr(), weight.as_ptr(), bias.as_ptr(), eps, error) })
}
