//! What several tests need: the real program, and real images.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Runs the real program to its end.
pub(crate) fn lethe(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lethe")).args(args).output().expect("the program starts")
}

/// Runs the real program, expects success and gives its stdout.
pub(crate) fn lethe_ok(args: &[&str]) -> String {
    let output = lethe(args);
    assert!(output.status.success(), "lethe {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("stdout is UTF-8")
}

/// Runs the real program, expects it to fail with `code`, and gives its stderr.
pub(crate) fn lethe_err(args: &[&str], code: i32) -> String {
    let output = lethe(args);
    let stderr = String::from_utf8(output.stderr).expect("stderr is UTF-8");
    assert_eq!(output.status.code(), Some(code), "lethe {args:?}: {stderr}");
    stderr
}

/// A folder that is removed at the end of the test.
pub(crate) fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// The text of a path, for arguments.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// CIFAR-10 as JPEG files: `train/<class>/*.jpg` (10 x 5,000) and `test/<class>/*.jpg` (10 x 1,000), 32x32.
///
/// `LETHE_CIFAR` names that folder where it is unpacked already; otherwise `shared/data/cifar10-jpeg.tar.xz` beside the
/// repository is unpacked once into `target/cifar10`.
pub(crate) fn cifar() -> PathBuf {
    static CIFAR: OnceLock<PathBuf> = OnceLock::new();
    CIFAR.get_or_init(|| std::env::var_os("LETHE_CIFAR").map_or_else(unpack_cifar, PathBuf::from)).clone()
}

fn unpack_cifar() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace");
    let target = root.join("target");
    let folder = target.join("cifar10");
    std::fs::create_dir_all(&target).expect("target can be written");
    let lock = std::fs::File::create(target.join("cifar10.lock")).expect("target can be written");
    lock.lock().expect("a lock on target/cifar10.lock"); // let go when `lock` is dropped
    if folder.exists() {
        return folder;
    }
    let archive = root
        .ancestors()
        .skip(1)
        .map(|beside| beside.join("shared/data/cifar10-jpeg.tar.xz"))
        .find(|archive| archive.exists())
        .expect(
            "CIFAR-10: set LETHE_CIFAR to a folder with train/ and test/, or put shared/data beside the repository",
        );
    let half = target.join("cifar10.unpacking");
    let _ = std::fs::remove_dir_all(&half);
    std::fs::create_dir_all(&half).expect("target can be written");
    let status = Command::new("tar").arg("xJf").arg(&archive).arg("-C").arg(&half).status().expect("tar runs");
    assert!(status.success(), "tar could not unpack {}", archive.display());
    std::fs::rename(&half, &folder).expect("target can be written");
    folder
}
