//! One binary for CPU and GPU: the CUDA side of libtorch is loaded when a GPU is first asked for.

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::error::{Error, Result};

static LOADED: OnceLock<Result<()>> = OnceLock::new();

/// Loads libtorch_cuda for this process; later calls return what the first one found.
///
/// # Errors
/// When the library is not there or needs another that is not.
pub fn load() -> Result<()> {
    LOADED.get_or_init(open).clone()
}

fn open() -> Result<()> {
    let candidates = [beside_libtorch(), Some(PathBuf::from("libtorch_cuda.so"))];
    let mut reason = String::new();
    for path in candidates.into_iter().flatten() {
        let name = CString::new(path.to_string_lossy().as_bytes()).expect("a path has no NUL");
        // SAFETY: a plain dlopen; libtorch_cuda registers its kernels in the libtorch_cpu already loaded here.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if !handle.is_null() {
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
