//! Running other programs, and the one error type.

use std::fmt::Display;
use std::path::Path;
use std::process::{Command, Output, Stdio};

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// One line on what happened and where, then what to do about it; the exit code is 1, or 2 for wrong usage.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
    pub(crate) code: u8,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, code: 1 }
    }

    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: Some(hint.into()), code: 2 }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Names the file in an input/output error.
pub(crate) trait At<T> {
    fn at(self, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|error| {
            let failure = Failure::new(format!("{}: {error}", path.as_ref().display()));
            match error.kind() {
                std::io::ErrorKind::StorageFull => {
                    failure.hint("make room, or let XDG_CACHE_HOME name a folder with 1.1 GB free; then run again")
                }
                std::io::ErrorKind::PermissionDenied => {
                    failure.hint("let XDG_CACHE_HOME name a folder that you may write to")
                }
                _ => failure,
            }
        })
    }
}

/// A call of cargo in the clone, by the cargo that runs this program.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(arguments);
    command
}

/// Runs to the end with this terminal's streams.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|error| not_started(command, &error))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("{}: {status}", shown(command)))) }
}

/// Runs to the end and gives back what it wrote, whatever its exit status.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().map_err(|error| not_started(command, &error))
}

fn not_started(command: &Command, error: &impl Display) -> Failure {
    Failure::new(format!("{}: cannot be started: {error}", command.get_program().display()))
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    command.get_args().fold(program, |line, argument| format!("{line} {}", argument.to_string_lossy()))
}
