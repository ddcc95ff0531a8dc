//! Calls of the functions in `csrc/`.

use crate::error::Error;
use std::ffi::{CStr, c_char};
use std::ptr::null_mut;

use tch::Tensor;
use torch_sys::C_tensor;

unsafe extern "C" {
    fn lethe_free(message: *mut c_char);
}

/// The new tensor that `call` returns, or a panic with its message, as tch's own operators do.
pub(crate) fn checked(call: impl FnOnce(*mut *mut c_char) -> *mut C_tensor) -> Tensor {
    let mut error = null_mut();
    let tensor = call(&mut error);
    if tensor.is_null() {
        // SAFETY: with a null tensor comes a NUL-terminated message that is ours to free.
        let message = unsafe {
            let message = CStr::from_ptr(error).to_string_lossy().into_owned();
            lethe_free(error);
            message
        };
        panic!("{message}");
    }
    // SAFETY: a tensor of our own on the heap, made by `new`, as tch expects.
    unsafe { Tensor::from_ptr(tensor) }
}

/// An error of libtorch, in the first line of its message: a C++ backtrace follows it.
pub(crate) fn torch(error: tch::TchError) -> Error {
    let text = error.to_string();
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown error");
    Error::failed(format!("libtorch: {}", first.trim()))
}
