//! One binary for CPU and GPU: the CUDA side of libtorch is loaded when a GPU is first asked for. And copies to it that
//! nobody waits for (`csrc/cuda.cpp`): one from common memory would wait until the GPU has done all it was given.

use std::ffi::{CString, c_char};
use std::path::PathBuf;
use std::sync::OnceLock;

use tch::{Device, Tensor};
use torch_sys::C_tensor;

use crate::error::{Error, Result};
use crate::native::checked;

unsafe extern "C" {
    fn lethe_staging(shape: *const i64, dims: i64, pinned: bool, error: *mut *mut c_char) -> *mut C_tensor;
    fn lethe_deterministic();
    fn lethe_upload(t: *const C_tensor, gpu: i64, error: *mut *mut c_char) -> *mut C_tensor;
}

static LOADED: OnceLock<Result<()>> = OnceLock::new();

/// Loads libtorch_cuda for this process; convolutions are told to sum in one order (docs/decisions/0012). Later calls return
/// what the first one found.
///
/// # Errors
/// When the library is not there or needs another that is not.
pub fn load() -> Result<()> {
    LOADED.get_or_init(open).clone()
}

/// An f32 tensor of the CPU to be filled and [uploaded](upload): of any content, pinned once a GPU was asked for.
pub fn staging(shape: &[i64]) -> Tensor {
    let pinned = matches!(LOADED.get(), Some(Ok(()))) && tch::Cuda::is_available();
    // SAFETY: the shape lives through the call, and the function keeps to the contract of `checked`.
    checked(|error| unsafe { lethe_staging(shape.as_ptr(), shape.len() as i64, pinned, error) })
}

/// A tensor of the CPU on `device`, without waiting for the device.
pub fn upload(tensor: &Tensor, device: Device) -> Tensor {
    match device {
        // SAFETY: the tensor lives through the call, and the function keeps to the contract of `checked`.
        Device::Cuda(gpu) => checked(|error| unsafe { lethe_upload(tensor.as_ptr(), gpu as i64, error) }),
        _ => tensor.shallow_clone(),
    }
}

fn open() -> Result<()> {
    let candidates = [beside_libtorch(), Some(PathBuf::from("libtorch_cuda.so"))];
    let mut reason = String::new();
    for path in candidates.into_iter().flatten() {
        let name = CString::new(path.to_string_lossy().as_bytes()).expect("a path has no NUL");
        // SAFETY: a plain dlopen; libtorch_cuda registers its kernels in the libtorch_cpu already loaded here.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if !handle.is_null() {
            // SAFETY: it sets a switch of libtorch.
            unsafe { lethe_deterministic() };
            return Ok(());
        }
        // SAFETY: dlerror returns a NUL-terminated text after a failed dlopen.
        reason = unsafe { std::ffi::CStr::from_ptr(libc::dlerror()) }.to_string_lossy().into_owned();
    }
    Err(Error::failed(format!("--device cuda: no CUDA libtorch here ({reason})"))
        .hint("install PyTorch 2.11 with CUDA and put its torch/lib folder into LD_LIBRARY_PATH, or use --device cpu"))
}

/// The libtorch_cuda.so in the folder of the libtorch_cpu.so that this process runs on.
fn beside_libtorch() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let cpu = maps
        .lines()
        .find_map(|line| line.find('/').map(|at| &line[at..]).filter(|path| path.ends_with("libtorch_cpu.so")))?;
    let cuda = PathBuf::from(cpu).with_file_name("libtorch_cuda.so");
    cuda.exists().then_some(cuda)
}
