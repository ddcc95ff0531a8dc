//! `cargo xtask test --peers`: the checks that need the Python of the reference implementations, and those that are long.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::check::{Step, in_order, run_tests};
use crate::shell::{At, Failure, Result, cargo, output, run, shown};
use crate::{environment, golden, setup};

/// Cheap ones first.
const STEPS: &[Step] = &[
    ("setup", setup::run),
    ("python", |root| environment::python(root).map(drop)),
    ("golden", |root| golden::run(root, &["--check".to_owned()])),
    ("statistics", statistics),
    ("peers", peers),
    ("kills", kills),
    ("simulations", simulations),
    ("scripts", scripts),
];

/// Kills of a training, where a plain test makes 100.
const KILLS: u32 = 300;
/// Repeats of every simulation, where all of them (5,000, hours) are made by hand.
const REPEATS: u32 = 100;

/// Runs all checks in order and stops at the first that fails.
pub(crate) fn test(root: &Path) -> Result<()> {
    in_order(root, STEPS)
}

/// SciPy says of paired t tests what the tests of `trial::statistics` expect.
fn statistics(root: &Path) -> Result<()> {
    let folder = root.join("xtask/src/trial");
    let golden = folder.join("statistics.golden");
    let mut command = Command::new(environment::python(root)?);
    let found = output(command.arg(folder.join("statistics.py")))?;
    if !found.status.success() {
        return Err(Failure::new(format!(
            "{}: {}",
            shown(&command),
            String::from_utf8_lossy(&found.stderr).trim_end()
        )));
    }
    if String::from_utf8_lossy(&found.stdout) == fs::read_to_string(&golden).at(&golden)? {
        return Ok(());
    }
    Err(Failure::new(format!("{}: statistics.py gives something else", golden.display())))
}

/// Tests of `lethe` that run a peer beside it.
fn peers(root: &Path) -> Result<()> {
    let python = environment::python(root)?;
    run_tests(tests_of_lethe(root, "peers::").arg("--ignored").env(environment::VARIABLE, python)).map(drop)
}

/// The kill campaign, with more kills.
fn kills(root: &Path) -> Result<()> {
    let kills = KILLS.to_string();
    run_tests(tests_of_lethe(root, "kill::").arg("--nocapture").env("LETHE_KILLS", kills)).map(drop)
}

/// Of the binary `it`, from the build of `cargo xtask test`: with `--package` cargo would choose other features and build
/// half the crates once more.
fn tests_of_lethe(root: &Path, filter: &str) -> Command {
    cargo(root, &["test", "--workspace", "--test", "it", "--", filter])
}

/// The ignored tests in crates/lethe-measures/tests. The ignored tests within its sources measure times.
fn simulations(root: &Path) -> Result<()> {
    let mut command =
        cargo(root, &["test", "--release", "--package", "lethe-measures", "--test", "*", "--", "--ignored"]);
    if std::env::var_os("LETHE_REPEATS").is_none() {
        command.env("LETHE_REPEATS", REPEATS.to_string());
    }
    run_tests(&mut command).map(drop)
}

/// Every script of bench and docs, in a small form.
fn scripts(root: &Path) -> Result<()> {
    let python = environment::python(root)?;
    run(Command::new("python3").arg("-B").arg(root.join("bench/peers/smoke.py")).env(environment::VARIABLE, python))
}
