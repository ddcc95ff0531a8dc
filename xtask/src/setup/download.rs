//! Downloads the wheels that hold libtorch, a cut download from where it stopped, and keeps what Lethe needs of them.
//!
//! The index, mirrors and proxies are those that the user's pip is configured with; the checksums are pinned here.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::progress::Progress;
use super::python::{self, Python};
use super::{VERSION, compiler, last_line, pipe_into, unpack};
use crate::shell::{At, Failure, Result, output};

struct Wheel {
    requirement: &'static str,
    file: &'static str,
    bytes: u64,
    sha256: &'static str,
    /// What to keep, and where: a file, or all of a folder where it ends in `/`.
    keep: &'static [(&'static str, &'static str)],
}

/// One wheel for all: libtorch does not depend on the user's Python.
const WHEELS: &[Wheel] = &[
    Wheel {
        requirement: "torch==2.11.0",
        file: "torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        bytes: 530_604_548,
        sha256: "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
        keep: &[
            ("torch/include/", "include/"),
            ("torch/lib/libtorch_cpu.so", "lib/libtorch_cpu.so"),
            ("torch/lib/libc10.so", "lib/libc10.so"),
            ("torch/lib/libgomp.so.1", "lib/libgomp.so.1"),
        ],
    },
    Wheel {
        requirement: "nvidia-cuda-runtime==13.0.96",
        file: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        bytes: 2_243_632,
        sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        keep: &[("nvidia/cu13/lib/libcudart.so.13", "lib/libcudart.so.13")],
    },
    Wheel {
        requirement: "nvidia-cuda-cupti==13.0.85",
        file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
        bytes: 10_715_597,
        sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
        keep: &[("nvidia/cu13/lib/libcupti.so.13", "lib/libcupti.so.13")],
    },
];

/// pip's options for these wheels, whatever Python and Linux it runs on.
const PLATFORM: &[&str] = &[
    "--only-binary=:all:",
    "--implementation=cp",
    "--python-version=3.11",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_25_x86_64",
    "--platform=manylinux2014_x86_64",
];

/// How often a download is taken up again that brings nothing.
const ATTEMPTS: u32 = 4;

/// Makes `kept`, whole or not at all; of several clones that want it at once, one works and the others wait.
pub(super) fn run(cache: &Path, kept: &Path, pythons: &[Python]) -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Failure::new("libtorch can be downloaded for Linux on x86-64 only")
            .hint("install PyTorch 2.11 (pip install torch==2.11.*) and run again"));
    }
    let downloads = cache.join("downloads");
    fs::create_dir_all(&downloads).at(&downloads)?;
    let lock = File::create(cache.join("setup.lock")).at(cache)?;
    if lock.try_lock().is_err() {
        eprintln!("another setup is at work in {}; waiting for it", cache.display());
        lock.lock().at(cache)?;
    }
    if super::check(kept).is_ok() {
        return Ok(());
    }
    let python = python::with_pip(pythons)?;
    eprintln!("downloading libtorch {VERSION} to {} (540 MB; Ctrl-C and run again to continue later)", cache.display());
    let mut files = Vec::new();
    for wheel in WHEELS {
        files.push(obtain(wheel, &downloads, python)?);
    }
    let partial = cache.join(format!("libtorch-{VERSION}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).at(&partial)?;
    }
    eprintln!("unpacking");
    for (wheel, file) in WHEELS.iter().zip(&files) {
        unpack::unpack(file, wheel.keep, &partial)?;
    }
    complete(&partial)?;
    if kept.exists() {
        fs::remove_dir_all(kept).at(kept)?;
    }
    fs::rename(&partial, kept).at(kept)?;
    fs::remove_dir_all(&downloads).at(&downloads)
}

/// What the wheels lack: an empty libtorch.so, which the binding names when it links, and libgomp under its link name.
fn complete(folder: &Path) -> Result<()> {
    let lib = folder.join("lib");
    std::os::unix::fs::symlink("libgomp.so.1", lib.join("libgomp.so")).at(&lib)?;
    let mut compile = compiler("CC", "cc");
    compile.args(["-shared", "-x", "c", "-", "-o"]).arg(lib.join("libtorch.so"));
    pipe_into(&mut compile, "").map_err(|reason| {
        Failure::new(format!("the C compiler cannot make a library: {reason}"))
            .hint("apt-get install g++, or your system's like; then run again")
    })?;
    let version = folder.join("build-version");
    fs::write(&version, format!("{VERSION}\n")).at(&version)?;
    // All of it must be on the disk before the folder gets its name.
    output(Command::new("sync").arg("-f").arg(folder)).map(drop)
}

/// The wheel's file, whole and with the right checksum.
fn obtain(wheel: &Wheel, downloads: &Path, python: &Python) -> Result<PathBuf> {
    let whole = downloads.join(wheel.file);
    if !whole.exists() {
        fetch(wheel, &whole, python)?;
    }
    verify(wheel, &whole)?;
    Ok(whole)
}

/// Downloads to `whole`, by way of a `.part` that a later call goes on with.
fn fetch(wheel: &Wheel, whole: &Path, python: &Python) -> Result<()> {
    let name = wheel.requirement.replace("==", " ");
    let part = whole.with_extension("whl.part");
    let mut file = File::options().create(true).append(true).open(&part).at(&part)?;
    let mut progress = Progress::new(&name, length(&file, &part)?, wheel.bytes);
    let mut vain = 0;
    loop {
        let before = length(&file, &part)?;
        if before >= wheel.bytes {
            break;
        }
        let reason = match fetch_once(wheel, &mut file, &part, &mut progress, python)? {
            Outcome::Whole => continue,
            Outcome::AskPip(reason) => {
                eprintln!("{name}: {reason}; trying pip itself");
                return pip_download(wheel, whole.parent().expect("in the downloads folder"), python);
            }
            Outcome::OtherFile(reason) => {
                return Err(Failure::new(format!("{name}: {reason}")).hint(OTHER_BUILD));
            }
            Outcome::Cut(reason) => reason,
        };
        vain = if length(&file, &part)? > before { 0 } else { vain + 1 };
        if vain == ATTEMPTS {
            let hint = format!("{NETWORK}; what has come is kept, and the next call goes on from there");
            return Err(Failure::new(format!("{name}: no download: {reason}")).hint(hint));
        }
        eprintln!("{name}: {reason}; trying again from {:.0} MB", length(&file, &part)? as f64 / 1e6);
        std::thread::sleep(Duration::from_secs(1 << vain));
    }
    file.sync_all().at(&part)?;
    fs::rename(&part, whole).at(whole)
}

const NETWORK: &str = "check the network and pip's settings (`pip config list`); or install PyTorch 2.11 yourself";
const OTHER_BUILD: &str = "the index that pip is configured with holds another build; `pip config list` names it";

enum Outcome {
    Whole,
    Cut(String),
    /// The index is of a kind, or wants a login in a way, that only pip may know.
    AskPip(String),
    OtherFile(String),
}

/// One request. Its bytes come through a pipe: if this process dies, the other finds the pipe closed and ends.
fn fetch_once(
    wheel: &Wheel,
    file: &mut File,
    part: &Path,
    progress: &mut Progress,
    python: &Python,
) -> Result<Outcome> {
    let mut done = length(file, part)?;
    let mut command = python.command();
    let project = wheel.requirement.split("==").next().expect("a name");
    command.args(["-c", include_str!("fetch.py"), project, wheel.file, wheel.sha256, &done.to_string()]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::new(format!("python3: {error}")))?;
    let mut body = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut start = String::new();
    let mut copied = body.read_line(&mut start).map(drop);
    if start.trim_end() == "0" && done > 0 {
        eprintln!("{}: the server cannot resume, so from the start", wheel.requirement);
        file.set_len(0).at(part)?;
        done = 0;
    }
    let mut buffer = vec![0; 1 << 18];
    while copied.is_ok() {
        match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                file.write_all(&buffer[..n]).at(part)?;
                done += n as u64;
                progress.show(done);
            }
            Err(error) => copied = Err(error),
        }
    }
    drop(body);
    let run = child.wait_with_output().map_err(|error| Failure::new(format!("python3: {error}")))?;
    Ok(match run.status.code() {
        Some(0) if done >= wheel.bytes => Outcome::Whole,
        Some(0) => Outcome::Cut("the connection was closed early".into()),
        Some(3) => Outcome::AskPip(last_line(&run.stderr)),
        Some(4) => Outcome::OtherFile(last_line(&run.stderr)),
        _ => Outcome::Cut(last_line(&run.stderr)),
    })
}

fn length(file: &File, path: &Path) -> Result<u64> {
    Ok(file.metadata().at(path)?.len())
}

/// The whole file by pip itself, which cannot resume but knows every way to log in.
fn pip_download(wheel: &Wheel, downloads: &Path, python: &Python) -> Result<()> {
    let mut command = python.pip();
    command
        .args(["download", "--quiet", "--no-input", "--no-deps", "--dest"])
        .arg(downloads)
        .args(PLATFORM)
        .arg(wheel.requirement);
    let run = output(&mut command)?;
    if !run.status.success() {
        let stderr = String::from_utf8_lossy(&run.stderr);
        let last = stderr.lines().rfind(|line| line.starts_with("ERROR: ") && *line != "ERROR: Exception:");
        let reason = last.map_or_else(|| last_line(&run.stderr), |line| line.replace("ERROR: ", ""));
        return Err(Failure::new(format!("{}: pip cannot download it: {reason}", wheel.requirement)).hint(NETWORK));
    }
    if downloads.join(wheel.file).exists() {
        return Ok(());
    }
    Err(Failure::new(format!("{}: pip brought another file than {}", wheel.requirement, wheel.file)).hint(OTHER_BUILD))
}

/// A file with the wrong checksum is deleted, so that the next call starts anew.
fn verify(wheel: &Wheel, path: &Path) -> Result<()> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut BufReader::with_capacity(1 << 20, File::open(path).at(path)?), &mut hasher).at(path)?;
    let sha256: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if sha256 == wheel.sha256 {
        return Ok(());
    }
    fs::remove_file(path).at(path)?;
    Err(Failure::new(format!("{}: its sha256 is {sha256}, not {}", path.display(), wheel.sha256))
        .hint("it is deleted: run again; if this comes back, pip's index holds another file (`pip config list`)"))
}
