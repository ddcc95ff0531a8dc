//! `cargo xtask setup`: puts libtorch 2.11 behind the link `.libtorch`, which `.cargo/config.toml` names as LIBTORCH.

mod download;
mod progress;
mod python;
mod unpack;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{At, Failure, Result, cargo, output};
use python::Python;

/// What tch 0.24 is made for. Only its patch number may differ.
const VERSION: &str = "2.11.0";

/// In this order: what the user's LIBTORCH names, what is linked already, what the cache holds, a PyTorch that is
/// installed, a download.
pub(crate) fn run(root: &Path) -> Result<()> {
    let link = root.join(".libtorch");
    if let Some(folder) = users_libtorch(&link) {
        check(&folder).map_err(|reason| {
            Failure::new(format!("LIBTORCH={}: {reason}", folder.display()))
                .hint("unset LIBTORCH, or let it name the folder of a libtorch 2.11")
        })?;
        return connect(&link, &folder);
    }
    if check(&link).is_ok() {
        return said(&link);
    }
    let cache = cache_folder()?;
    let kept = cache.join(format!("libtorch-{VERSION}"));
    if check(&kept).is_ok() {
        return connect(&link, &kept);
    }
    compilers()?;
    let pythons = python::all();
    if let Some(folder) = installed(&pythons) {
        return connect(&link, &folder);
    }
    download::run(&cache, &kept, &pythons)?;
    connect(&link, &kept)
}

/// LIBTORCH where the user has set it, and not cargo from `.cargo/config.toml`.
fn users_libtorch(link: &Path) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("LIBTORCH")?);
    (!folder.as_os_str().is_empty() && folder != link).then_some(folder)
}

/// Whether a folder holds the headers and libraries of libtorch 2.11; if not, why.
fn check(folder: &Path) -> std::result::Result<(), String> {
    let header = folder.join("include/torch/headeronly/version.h");
    let text = fs::read_to_string(&header).map_err(|_| format!("no {} in it", relative(&header, folder)))?;
    let number = |part: &str| {
        let key = format!("#define TORCH_VERSION_{part} ");
        text.lines().find_map(|line| line.strip_prefix(&key)).map_or("?", str::trim)
    };
    let version = format!("{}.{}", number("MAJOR"), number("MINOR"));
    if !VERSION.starts_with(&format!("{version}.")) {
        return Err(format!("it holds version {version}, but 2.11 is needed"));
    }
    let needed =
        ["include/torch/csrc/api/include/torch/torch.h", "lib/libtorch.so", "lib/libtorch_cpu.so", "lib/libc10.so"];
    match needed.iter().find(|file| !folder.join(file).exists()) {
        Some(missing) => Err(format!("no {missing} in it")),
        None => Ok(()),
    }
}

fn relative(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

/// A PyTorch 2.11 of one of the Pythons whose libraries can be linked and loaded.
fn installed(pythons: &[Python]) -> Option<PathBuf> {
    pythons.iter().filter_map(Python::torch_folder).find(|folder| {
        let usable = check(folder).and_then(|()| loads(folder));
        if let Err(reason) = &usable {
            eprintln!("PyTorch in {} is of no use here: {reason}", folder.display());
        }
        usable.is_ok()
    })
}

/// Links and runs an empty program with libtorch: its own libraries (such as CUDA's) may be missing.
fn loads(folder: &Path) -> std::result::Result<(), String> {
    let lib = folder.join("lib");
    let program = std::env::temp_dir().join(format!("lethe-probe-{}", std::process::id()));
    let mut compile = compiler("CC", "cc");
    compile.args(["-x", "c", "-", "-Wl,--no-as-needed", "-ltorch_cpu", "-lc10", "-L"]).arg(&lib);
    compile.arg(format!("-Wl,--disable-new-dtags,-rpath,{}", lib.display())).arg("-o").arg(&program);
    let outcome = pipe_into(&mut compile, "int main(void) { return 0; }\n")
        .and_then(|()| output(&mut Command::new(&program)).map_err(|failure| failure.what))
        .and_then(|run| if run.status.success() { Ok(()) } else { Err(last_line(&run.stderr)) });
    let _ = fs::remove_file(&program);
    outcome
}

fn pipe_into(command: &mut Command, text: &str) -> std::result::Result<(), String> {
    use std::io::Write;
    use std::process::Stdio;
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(text.as_bytes());
    }
    let run = child.wait_with_output().map_err(|error| error.to_string())?;
    if run.status.success() { Ok(()) } else { Err(last_line(&run.stderr)) }
}

/// The line of a program's error output that says most: its last one.
fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("no message").to_owned()
}

/// The user's compiler: the variable's, or the system's.
fn compiler(variable: &str, usual: &str) -> Command {
    Command::new(std::env::var_os(variable).unwrap_or_else(|| usual.into()))
}

/// The binding to libtorch is C++; better to say so before a download than after.
fn compilers() -> Result<()> {
    for (variable, usual) in [("CC", "cc"), ("CXX", "c++")] {
        if output(compiler(variable, usual).arg("--version")).is_err() {
            let what = format!("no compiler `{usual}` (${variable} is not set), which the binding to libtorch needs");
            return Err(Failure::new(what).hint("apt-get install g++, or your system's like"));
        }
    }
    Ok(())
}

/// Makes `.libtorch` a link to `folder`. The folder itself, never another link, so that moving that one breaks nothing.
fn connect(link: &Path, folder: &Path) -> Result<()> {
    let folder = folder.canonicalize().at(folder)?;
    if link.canonicalize().is_ok_and(|linked| linked == folder) {
        return said(link);
    }
    if link.is_dir() && !link.is_symlink() {
        return Err(Failure::new(format!(
            "{}: a folder without libtorch 2.11 stands where the link goes",
            link.display()
        ))
        .hint("move it away and run again"));
    }
    let fresh = link.with_extension(format!("new-{}", std::process::id()));
    std::os::unix::fs::symlink(&folder, &fresh).at(&fresh)?;
    let moved = link.is_symlink();
    fs::rename(&fresh, link).at(link)?;
    if moved {
        forget_builds(link.parent().expect("in the clone"));
    }
    said(link)
}

/// What is built holds the old folder's path, and asks the linker for CUDA's part where the old folder had one.
fn forget_builds(root: &Path) {
    if root.join("target").exists() {
        for profile in ["dev", "release"] {
            let _ = output(&mut cargo(root, &["clean", "--profile", profile, "-p", "lethe", "-p", "torch-sys"]));
        }
    }
}

fn said(link: &Path) -> Result<()> {
    let folder = link.canonicalize().at(link)?;
    eprintln!("libtorch 2.11: {}", folder.display());
    Ok(())
}

/// The folder of Lethe in the user's cache, shared by all clones.
fn cache_folder() -> Result<PathBuf> {
    let absolute = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("lethe"))
        .ok_or_else(|| Failure::new("neither XDG_CACHE_HOME nor HOME names a folder to keep libtorch in"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn libtorch(minor: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let version = format!("#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR {minor}\n");
        for (file, text) in [
            ("include/torch/headeronly/version.h", version.as_str()),
            ("include/torch/csrc/api/include/torch/torch.h", ""),
            ("lib/libtorch.so", "no library"),
            ("lib/libtorch_cpu.so", "no library"),
            ("lib/libc10.so", "no library"),
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn a_whole_libtorch_of_the_right_version_is_taken() {
        assert_eq!(check(libtorch(11).path()), Ok(()));
    }

    #[test]
    fn another_version_is_refused_by_its_number() {
        assert_eq!(check(libtorch(1).path()), Err("it holds version 2.1, but 2.11 is needed".into()));
    }

    #[test]
    fn a_missing_library_is_named() {
        let folder = libtorch(11);
        fs::remove_file(folder.path().join("lib/libc10.so")).unwrap();
        assert_eq!(check(folder.path()), Err("no lib/libc10.so in it".into()));
    }

    #[test]
    fn libraries_that_do_not_link_are_refused() {
        assert!(loads(libtorch(11).path()).is_err());
    }

    #[test]
    fn the_link_is_replaced_but_a_folder_is_not() {
        let (one, other, clone) = (libtorch(11), libtorch(11), tempfile::tempdir().unwrap());
        let link = clone.path().join(".libtorch");
        connect(&link, one.path()).unwrap();
        connect(&link, other.path()).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), other.path().canonicalize().unwrap());
        fs::remove_file(&link).unwrap();
        fs::create_dir(&link).unwrap();
        assert!(connect(&link, one.path()).is_err());
    }
}
