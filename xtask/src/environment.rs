//! The Python of the reference implementations, for the golden cases, the tests beside peers and `bench/peers`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{At, Result, run};

/// Names a Python to take instead; tests find theirs by it.
pub(crate) const VARIABLE: &str = "LETHE_PEERS_PYTHON";

/// `$LETHE_PEERS_PYTHON`, or the Python of target/peers-venv, which is made on first use and made anew where
/// xtask/peers-requirements.txt has changed.
pub(crate) fn python(root: &Path) -> Result<PathBuf> {
    if let Some(python) = std::env::var_os(VARIABLE).filter(|python| !python.is_empty()) {
        return Ok(python.into());
    }
    let environment = root.join("target/peers-venv");
    let requirements = root.join("xtask/peers-requirements.txt");
    let wanted = fs::read_to_string(&requirements).at(&requirements)?;
    // Written last: an environment that lacks it, or holds another list, is made anew.
    let marker = environment.join("requirements.txt");
    let python = environment.join("bin/python");
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    eprintln!("making {} (several GB, for PyTorch comes with CUDA; {VARIABLE} names another)", environment.display());
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--no-compile", "-r"]).arg(&requirements))?;
    fs::write(&marker, wanted).at(&marker)?;
    Ok(python)
}

/// `cargo xtask setup --peers`: makes the environment and prints the path of its Python.
pub(crate) fn setup(root: &Path) -> Result<()> {
    println!("{}", python(root)?.display());
    Ok(())
}
