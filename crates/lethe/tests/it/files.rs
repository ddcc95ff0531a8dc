//! Atomic writing: every step of a save is made to fail, or the program to die there, and nothing is lost.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lethe::checkpoint;
use lethe::files;
use tempfile::TempDir;

use crate::golden;

/// A folder with a file that a save is about to replace.
struct Saving {
    folder: TempDir,
    /// What the target holds before: a whole checkpoint.
    old: Vec<u8>,
}

impl Saving {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let old = fs::read(golden::folder("checkpoints").join("resnet18-w1.safetensors")).unwrap();
        fs::write(folder.path().join("e.safetensors"), &old).unwrap();
        Self { folder, old }
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("e.safetensors")
    }

    /// The real program replacing the target by another checkpoint, started by `sh -c "PREPARE; exec lethe ..."`.
    fn replace(&self, prepare: &str, environment: &[(&str, &str)]) -> Output {
        let input = golden::folder("checkpoints").join("plain.pth");
        Command::new("sh")
            .args(["-c", &format!("{prepare}\nexec \"$@\""), "sh"])
            .args([env!("CARGO_BIN_EXE_lethe"), "convert", "--overwrite"])
            .args([&input, &self.target()])
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }

    fn temporary(&self) -> usize {
        let names = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains("lethe-tmp")).count()
    }

    #[track_caller]
    fn assert_old(&self) {
        assert!(fs::read(self.target()).unwrap() == self.old, "the old file is untouched");
    }

    #[track_caller]
    fn assert_new(&self) {
        assert_eq!(checkpoint::open(&self.target()).unwrap().meta.encoder.name, "resnet18-w2");
    }
}

#[track_caller]
fn assert_failed(output: &Output, reason: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    let first = error.lines().next().unwrap_or_default();
    assert!(first.starts_with("error: ") && first.contains(reason), "{error}");
    assert!(error.lines().count() <= 2 && output.stdout.is_empty(), "{error}");
}

#[test]
fn a_save_replaces_the_file() {
    let saving = Saving::new();
    let output = saving.replace("", &[]);
    assert!(output.status.success());
    saving.assert_new();
    assert_eq!(fs::read_dir(saving.folder.path()).unwrap().count(), 1);
}

#[cfg(debug_assertions)]
#[test]
fn a_failing_step_loses_nothing() {
    for step in ["write", "sync", "rename"] {
        let saving = Saving::new();
        let output = saving.replace("", &[("LETHE_FAIL_AT", step)]);
        assert_failed(&output, &format!("cannot be written: LETHE_FAIL_AT={step}"));
        saving.assert_old();
        assert_eq!(saving.temporary(), 0, "{step}");
    }
    let saving = Saving::new();
    let output = saving.replace("", &[("LETHE_FAIL_AT", "sync-folder")]);
    assert_failed(&output, "written, but its folder could not be synced");
    saving.assert_new();
    assert_eq!(saving.temporary(), 0);
}

#[cfg(debug_assertions)]
#[test]
fn dying_at_a_step_loses_nothing_and_a_sweep_clears_up() {
    const SIGABRT: i32 = 6;
    for step in ["write", "sync", "rename", "sync-folder"] {
        let saving = Saving::new();
        let output = saving.replace("ulimit -c 0", &[("LETHE_ABORT_AT", step)]);
        assert_eq!(output.status.signal(), Some(SIGABRT), "{step}");
        match step {
            "sync-folder" => saving.assert_new(),
            _ => saving.assert_old(),
        }
        let left = usize::from(step != "sync-folder");
        assert_eq!(saving.temporary(), left, "{step}");
        assert_eq!(files::sweep(saving.folder.path()).unwrap().len(), left, "{step}");
        assert_eq!(saving.temporary(), 0, "{step}");
        // The fault is at the first save only, and another save succeeds after a crash.
        assert!(saving.replace("", &[("LETHE_ABORT_AT", "write:2")]).status.success());
        saving.assert_new();
    }
}

/// The limit stops a write in the middle of the file, as a full disk does.
#[test]
fn a_write_that_stops_midway_loses_nothing() {
    for blocks in [0, 1, 8, 64] {
        let saving = Saving::new();
        let output = saving.replace(&format!("ulimit -f {blocks}; trap '' XFSZ"), &[]);
        assert_failed(&output, "cannot be written: File too large");
        saving.assert_old();
        assert_eq!(saving.temporary(), 0);
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let saving = Saving::new();
    let mount = |args: &[&str]| Command::new(args[0]).args(&args[1..]).arg(saving.folder.path()).status();
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=64k", "lethe-test"]).is_ok_and(|status| status.success()) {
        return; // only root may mount a small disk
    }
    fs::write(saving.target(), &saving.old).unwrap();
    let output = saving.replace("", &[]);
    let seen = (fs::read(saving.target()).unwrap() == saving.old, saving.temporary());
    let unmounted = mount(&["umount"]);
    assert_failed(&output, "cannot be written: no space left on the disk");
    assert_eq!(seen, (true, 0));
    assert!(unmounted.unwrap().success());
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let failure = |path: &Path| {
        let error = files::write_atomically(path, b"new").unwrap_err();
        let text = format!("{error}; {}", error.hint.as_deref().unwrap_or_default());
        text.replace(&folder.path().display().to_string(), "FOLDER")
    };
    fs::write(at("file"), "old").unwrap();
    fs::create_dir(at("taken")).unwrap();
    insta::assert_snapshot!(failure(&at("absent/x")), @"FOLDER/absent/x: cannot be written: no such file or folder; make its folder first");
    insta::assert_snapshot!(failure(&at("file/x")), @"FOLDER/file/x: cannot be written: a part of the path is a file, not a folder; name another folder");
    insta::assert_snapshot!(failure(&at("taken")), @"FOLDER/taken: cannot be written: it is a folder; name a file");
    insta::assert_snapshot!(failure(Path::new("/")), @"/: is not the name of a file;");
    insta::assert_snapshot!(failure(Path::new("/dev/full")), @"/dev/full: cannot be written: no space left on the disk; make room and try again; an earlier file of that name is untouched");
    assert_eq!(fs::read(at("file")).unwrap(), b"old");
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["file", "taken"]);
}

#[test]
fn an_error_or_panic_of_the_writer_loses_nothing() {
    let saving = Saving::new();
    let error = files::write_with(&saving.target(), |file| {
        file.write_all(&[0; 3_000_000])?;
        Err(std::io::Error::other("no more"))
    });
    assert!(error.unwrap_err().what.ends_with("cannot be written: no more"));
    let target = saving.target();
    let panicked = std::panic::catch_unwind(|| files::write_with(&target, |_| panic!("as asked")));
    assert!(panicked.is_err());
    saving.assert_old();
    assert_eq!(saving.temporary(), 0);
}

#[test]
fn a_sweep_leaves_what_is_being_written_and_what_is_not_ours() {
    let saving = Saving::new();
    let path = |name: &str| saving.folder.path().join(name);
    fs::write(path(".lethe-tmp-1-0"), "left by a killed process").unwrap();
    fs::write(path("notes.lethe-tmp-1-0"), "not ours").unwrap();
    files::write_with(&saving.target(), |file| {
        assert_eq!(files::sweep(saving.folder.path()).unwrap(), [path(".lethe-tmp-1-0")]);
        file.write_all(b"new")
    })
    .unwrap();
    assert_eq!(fs::read(saving.target()).unwrap(), b"new");
    assert!(path("notes.lethe-tmp-1-0").exists());
    assert!(files::sweep(&path("absent")).unwrap().is_empty());
}

#[test]
fn links_stay_links_and_devices_stay_devices() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("elsewhere")).unwrap();
    fs::write(at("elsewhere/file"), "old").unwrap();
    std::os::unix::fs::symlink(at("elsewhere/file"), at("link")).unwrap();
    files::write_atomically(&at("link"), b"new").unwrap();
    assert!(at("link").is_symlink());
    assert_eq!(fs::read(at("elsewhere/file")).unwrap(), b"new");
    files::write_atomically(Path::new("/dev/null"), b"new").unwrap();
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}

/// Many threads replace one file while others read it: a reader only ever sees a whole one.
#[test]
fn readers_see_whole_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    files::write_atomically(&path, &[0; 5000]).unwrap();
    std::thread::scope(|scope| {
        for byte in 1..=3u8 {
            let path = &path;
            scope.spawn(move || (0..30).for_each(|_| files::write_atomically(path, &[byte; 5000]).unwrap()));
            scope.spawn(move || {
                for _ in 0..200 {
                    let bytes = fs::read(path).unwrap();
                    assert!(bytes.len() == 5000 && bytes.iter().all(|byte| *byte == bytes[0]));
                }
            });
        }
    });
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
