//! The Pythons of this machine: one may hold a PyTorch, and pip knows where wheels come from.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{Failure, Result, output};

pub(super) struct Python {
    program: PathBuf,
}

/// That of the active environment, that of PATH, the system's (an environment of uv's has no pip).
pub(super) fn all() -> Vec<Python> {
    let environment = std::env::var_os("VIRTUAL_ENV").map(|folder| Path::new(&folder).join("bin/python"));
    let candidates = environment.into_iter().chain(["python3".into(), "/usr/bin/python3".into()]);
    candidates
        .map(|program| Python { program })
        .filter(|python| output(python.command().arg("--version")).is_ok_and(|run| run.status.success()))
        .collect()
}

/// The first that has pip.
pub(super) fn with_pip(pythons: &[Python]) -> Result<&Python> {
    if pythons.is_empty() {
        return Err(Failure::new("no python3, whose pip downloads libtorch").hint("apt-get install python3-pip"));
    }
    let has_pip = |python: &&Python| output(python.pip().arg("--version")).is_ok_and(|run| run.status.success());
    pythons.iter().find(has_pip).ok_or_else(|| {
        let names: Vec<_> = pythons.iter().map(|python| python.program.display().to_string()).collect();
        Failure::new(format!("no pip, which downloads libtorch, in {}", names.join(", ")))
            .hint("apt-get install python3-pip, or python3 -m ensurepip")
    })
}

impl Python {
    pub(super) fn command(&self) -> Command {
        Command::new(&self.program)
    }

    /// Its pip, with the user's settings but for those that contradict a download into a folder.
    pub(super) fn pip(&self) -> Command {
        let mut command = self.command();
        command.args(["-m", "pip"]);
        command.envs([("PIP_USER", "0"), ("PIP_REQUIRE_VIRTUALENV", "0"), ("PIP_DISABLE_PIP_VERSION_CHECK", "1")]);
        command
    }

    /// Where its PyTorch lies, found without importing it.
    pub(super) fn torch_folder(&self) -> Option<PathBuf> {
        const FIND: &str =
            "import importlib.util; print(importlib.util.find_spec('torch').submodule_search_locations[0])";
        let run = output(self.command().args(["-c", FIND])).ok()?;
        run.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&run.stdout).trim_end()))
    }
}
