//! The one error type: what happened and where on one line, then a hint on what to do.

use std::fmt;
use std::path::Path;

pub type Result<T> = std::result::Result<T, Error>;

/// The exit code an error leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 1: the command could not do its work.
    Failed,
    /// 2: the command was used wrongly.
    Usage,
    /// 128 + the signal: the user or the system asked it to stop.
    Signal(i32),
}

impl Exit {
    pub fn code(self) -> i32 {
        match self {
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

/// `what` names the file, key or option and what was expected; `hint` says what to do about it.
#[derive(Debug, Clone)]
pub struct Error {
    pub exit: Exit,
    pub what: String,
    pub hint: Option<String>,
}

impl Error {
    pub fn failed(what: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, what: one_line(&what.into()), hint: None }
    }

    pub fn usage(what: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, what: one_line(&what.into()), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts the place before what happened: `PATH: what`.
    #[must_use]
    pub fn at(self, path: &Path) -> Self {
        self.of(&path.display().to_string())
    }

    /// Puts what it concerns before what happened: `SUBJECT: what`.
    #[must_use]
    pub fn of(mut self, subject: &str) -> Self {
        self.what = format!("{subject}: {}", self.what);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Error {}

/// Names the file in an input/output error.
pub trait At<T> {
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|error| Error::failed(io_text(&error)).at(path))
    }
}

impl<T> At<T> for Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|error| error.at(path))
    }
}

/// The message of an input/output error in plain words.
pub fn io_text(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "no such file or folder".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::NotADirectory => "a part of the path is a file, not a folder".into(),
        ErrorKind::IsADirectory => "it is a folder".into(),
        ErrorKind::StorageFull => "no space left on the disk".into(),
        _ => error.to_string(),
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
