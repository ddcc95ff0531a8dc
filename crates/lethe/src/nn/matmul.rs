//! Products of matrices by the fastest kernels at hand (`csrc/matmul.cpp`).

use std::ffi::c_char;

use tch::Tensor;
use torch_sys::C_tensor;

use crate::native::checked;

unsafe extern "C" {
    fn lethe_matmul(a: *const C_tensor, b: *const C_tensor, error: *mut *mut c_char) -> *mut C_tensor;
}

/// `[n, k]` by `[k, m]`, to be differentiated any number of times. float32 on the CPU goes to oneDNN, all else to
/// libtorch's own product.
pub fn matmul(a: &Tensor, b: &Tensor) -> Tensor {
    // SAFETY: both tensors live through the call, and the function keeps to the contract of `checked`.
    checked(|error| unsafe { lethe_matmul(a.as_ptr(), b.as_ptr(), error) })
}
