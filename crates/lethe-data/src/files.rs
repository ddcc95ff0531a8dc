//! Atomic writing: a file is either the old one or the new one, whole, whenever the program or the machine stops.
//!
//! The bytes go to a temporary file beside the target, which is synced and renamed, and the folder is synced. A
//! killed program leaves its temporary file behind; [`sweep`] removes it. A temporary file is locked while it is
//! written, so a sweep leaves those of living processes alone, on this machine or in another container.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{At, Error, Result, io_text};

const TEMPORARY: &str = ".lethe-tmp-";

/// Replaces the file at `path`, or makes it.
///
/// # Errors
/// Names the file and why it cannot be written; an earlier file of that name is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// [`write_atomically`] for what `write` streams. A device or a pipe (`/dev/stdout`) is written to directly, and a
/// symbolic link stays one.
///
/// # Errors
/// As [`write_atomically`], and those of `write`.
pub fn write_with(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    if is_device(path) {
        return fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| write_all(&file, write))
            .map_err(|error| not_written(path, &error));
    }
    let (target, folder) = place(path)?;
    let temporary = Temporary::create(&folder).map_err(|error| not_written(path, &error))?;
    temporary.fill_and_rename(&target, write).map_err(|error| not_written(path, &error))?;
    sync_folder(&folder).map_err(|error| {
        Error::failed(format!("written, but its folder could not be synced: {}", io_text(&error)))
            .at(path)
            .hint("it may be lost if the machine loses power now")
    })
}

/// Whether a file can be written at `path`: to be asked before the work that fills it.
///
/// # Errors
/// As [`write_atomically`].
pub fn check(path: &Path) -> Result<()> {
    if is_device(path) {
        return Ok(());
    }
    let (target, folder) = place(path)?;
    let fits = if target.is_dir() { Err(ErrorKind::IsADirectory.into()) } else { Ok(()) };
    fits.and_then(|()| Temporary::create(&folder)).map(drop).map_err(|error| not_written(path, &error))
}

/// Makes the folder at `path` and those above it, where they are missing.
///
/// # Errors
/// Names the folder and why it cannot be made.
pub fn make_folder(path: &Path) -> Result<()> {
    let made = match fs::metadata(path) {
        Ok(found) if !found.is_dir() => Err("there is a file of that name".to_owned()),
        _ => fs::create_dir_all(path).map_err(|error| io_text(&error)),
    };
    made.map_err(|why| Error::failed(format!("this folder cannot be made: {why}")).at(path).hint("name another folder"))
}

/// A folder that only one process works in, until this is dropped or the process ends.
#[derive(Debug)]
pub struct FolderLock {
    _folder: Option<File>,
}

/// Takes a folder for this process. Where the file system knows no locks of folders, it is not guarded.
///
/// # Errors
/// When another process has it.
pub fn lock_folder(path: &Path) -> Result<FolderLock> {
    let Ok(folder) = File::open(path) else { return Ok(FolderLock { _folder: None }) };
    match folder.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(Error::failed("another process works in this folder")
            .at(path)
            .hint("wait until it has ended, or choose another --out")),
        held => Ok(FolderLock { _folder: held.is_ok().then_some(folder) }),
    }
}

/// # Errors
/// When there is no folder at `path`.
pub fn expect_folder(path: &Path) -> Result<()> {
    match fs::metadata(path).at(path)?.is_dir() {
        true => Ok(()),
        false => Err(Error::failed("is a file, expected a folder").at(path)),
    }
}

/// # Errors
/// When `out` is the very file or folder `input`, which writing would destroy.
pub fn refuse_same(out: &Path, input: &Path) -> Result<()> {
    match (fs::canonicalize(out), fs::canonicalize(input)) {
        (Ok(out_at), Ok(input_at)) if out_at == input_at => {
            Err(Error::usage("holds what is read, so the result cannot go there").at(out).hint("name another place"))
        }
        _ => Ok(()),
    }
}

/// # Errors
/// When the file at `path` has a content that is not `ours`: writing there would destroy what others made.
pub fn refuse_foreign(path: &Path, ours: impl FnOnce(&[u8]) -> bool) -> Result<()> {
    match path.is_file().then(|| fs::read(path)) {
        Some(Ok(content)) if !content.is_empty() && !ours(&content) => {
            Err(Error::usage("is there already, and not what this command writes")
                .at(path)
                .hint("name another place, or move it away"))
        }
        _ => Ok(()),
    }
}

/// The text of a file.
///
/// # Errors
/// When it cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(fs::read(path).at(path)?).map_err(|_| Error::failed("not UTF-8 text").at(path))
}

/// What a file of JSON says.
///
/// # Errors
/// When it cannot be read, is not JSON or says something else; with the line.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&read_text(path)?)
        .map_err(|error| Error::failed(format!("line {}: {}", error.line(), json_error(&error))).at(path))
}

/// Writes `value` as JSON for people.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let json = serde_json::to_string_pretty(value).map_err(|error| Error::failed(error.to_string()))?;
    write_atomically(path, json.as_bytes())
}

/// serde_json's message without its own "at line 1 column 7".
pub fn json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rfind(" at line ").map_or(text.as_str(), |at| &text[..at]);
    if error.is_data() { text.into() } else { format!("not JSON ({text})") }
}

/// toml's message about `text` on one line, with the line it is about.
pub fn toml_error(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
    format!("line {line}: {}", error.message())
}

/// Serialises a path as people read it: in JSON every text is UTF-8, in paths not.
pub fn as_text<S: serde::Serializer>(path: &Path, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// [`as_text`] of several.
pub fn as_texts<S: serde::Serializer>(paths: &[PathBuf], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.display().to_string()))
}

/// [`as_text`], where there is one.
pub fn as_text_or_none<S: serde::Serializer>(
    path: &Option<PathBuf>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.display().to_string()).serialize(serializer)
}

/// Removes the temporary files that killed processes left in `folder` (not in folders below it), and names them.
/// Where the file system knows no locks they stay.
///
/// # Errors
/// When the folder cannot be read or a leftover cannot be removed; a missing folder has no leftovers.
pub fn sweep(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at(folder)?,
    };
    let mut swept = Vec::new();
    for entry in entries {
        let entry = entry.at(folder)?;
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        let path = entry.path();
        let unlocked = |file: File| file.try_lock().is_ok();
        if File::open(&path).is_ok_and(unlocked) {
            fs::remove_file(&path).at(&path)?;
            swept.push(path);
        }
    }
    Ok(swept)
}

/// A device or a pipe.
fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// The file that a write to `path` replaces, and its folder.
fn place(path: &Path) -> Result<(PathBuf, PathBuf)> {
    let target = if path.is_symlink() { fs::canonicalize(path).at(path)? } else { path.to_owned() };
    let folder = match target.parent() {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) if target.file_name().is_some() => folder.to_owned(),
        _ => return Err(Error::usage("is not the name of a file").at(path)),
    };
    Ok((target, folder))
}

/// A locked temporary file, which goes when it is dropped before it was renamed.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn create(folder: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{TEMPORARY}{}-{count}", std::process::id()));
            match File::create_new(&path) {
                // Without locks in the file system a save works all the same; only `sweep` needs them.
                Ok(file) => {
                    let _ = file.try_lock();
                    return Ok(Self { path, file });
                }
                // The leftover of a killed process that had the same id.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn fill_and_rename(self, target: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        write_all(&self.file, write)?;
        fault::at("sync")?;
        self.file.sync_all()?;
        fault::at("rename")?;
        fs::rename(&self.path, target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // after the renaming there is none
    }
}

fn write_all(file: &File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = BufWriter::with_capacity(1 << 20, file);
    write(&mut buffer)?;
    fault::at("write")?;
    buffer.flush()
}

/// Some file systems cannot sync a folder; theirs are as safe as they get.
fn sync_folder(folder: &Path) -> io::Result<()> {
    fault::at("sync-folder")?;
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

fn not_written(path: &Path, error: &io::Error) -> Error {
    let failed = Error::failed(format!("cannot be written: {}", io_text(error))).at(path);
    match error.kind() {
        ErrorKind::NotFound => failed.hint("make its folder first"),
        ErrorKind::NotADirectory => failed.hint("name another folder"),
        ErrorKind::IsADirectory => failed.hint("name a file"),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            failed.hint("name a folder in which you may write")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            failed.hint("make room and try again; an earlier file of that name is untouched")
        }
        _ => failed,
    }
}

/// Faults that no test can bring about from outside: `LETHE_FAIL_AT=STEP[:N]` makes the N-th save of a process (the
/// first unless told) fail at a step with an input/output error, `LETHE_ABORT_AT=STEP[:N]` makes the process die there. The
/// steps are `write`, `sync`, `rename` and `sync-folder`. Debug builds only, so that the tests drive the very
/// binary `cargo test` builds, without a second build for a feature, and a release knows nothing of it.
mod fault {
    use std::io;

    #[cfg(not(debug_assertions))]
    pub(super) fn at(_step: &str) -> io::Result<()> {
        Ok(())
    }

    #[cfg(debug_assertions)]
    pub(super) fn at(step: &str) -> io::Result<()> {
        use std::sync::atomic::{AtomicU32, Ordering};

        /// Saves that reached the step the variable names.
        static REACHED: AtomicU32 = AtomicU32::new(0);
        let hit = |variable: &str| {
            let Ok(value) = std::env::var(variable) else { return false };
            let (name, nth) = value.split_once(':').unwrap_or((&value, "1"));
            name == step && nth.parse() == Ok(REACHED.fetch_add(1, Ordering::Relaxed) + 1)
        };
        if hit("LETHE_ABORT_AT") {
            std::process::abort();
        }
        match hit("LETHE_FAIL_AT") {
            true => Err(io::Error::other(format!("LETHE_FAIL_AT={step}"))),
            false => Ok(()),
        }
    }
}
