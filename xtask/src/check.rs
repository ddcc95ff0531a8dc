//! `cargo xtask test` and `cargo xtask demo`.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::shell::{At, Failure, Result, cargo, run, shown};
use crate::{layers, setup};

/// A name and what it does in the clone.
pub(crate) type Step = (&'static str, fn(&Path) -> Result<()>);

/// Cheap ones first. Clippy, build, test and doc share one build of torch-sys (`[profile.dev.build-override]`).
const STEPS: &[Step] = &[
    ("setup", setup::run),
    ("chromium", |_| chromium()),
    ("fmt", |root| run(&mut cargo(root, &["fmt", "--all", "--check"]))),
    ("layers", layers::run),
    ("clippy", |root| run(&mut cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))),
    // Not `cargo build`: without the features of dev-dependencies it would compile half the crates once more.
    ("build", |root| run(&mut cargo(root, &["test", "--workspace", "--no-run"]))),
    ("test", |root| in_time(&mut cargo(root, &["test", "--workspace"]))),
    (
        "doc",
        |root| run(cargo(root, &["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings")),
    ),
];

/// The checks that need no Python but that of the set-up.
pub(crate) fn test(root: &Path) -> Result<()> {
    in_order(root, STEPS)
}

/// Runs all steps, shows what each took, and stops at the first that fails.
pub(crate) fn in_order(root: &Path, steps: &[Step]) -> Result<()> {
    let mut times = Vec::new();
    for (name, step) in steps {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let outcome = step(root);
        times.push((*name, start.elapsed()));
        if let Err(failure) = outcome {
            summary(&times, Some(name));
            return Err(failure);
        }
        eprintln!("   {name}: {}", seconds(start.elapsed()));
    }
    summary(&times, None);
    Ok(())
}

/// Runs all tests; one that takes over 60 s is a failure. libtest says so of tests that run beside others, so on a machine
/// with one core nothing is said.
fn in_time(tests: &mut Command) -> Result<()> {
    let slow = run_tests(tests)?;
    if slow.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("over 60 s: {}", slow.join(", ")))
        .hint("make it smaller, or leave it to `cargo xtask test --peers`; does this machine do other work?"))
}

/// Runs tests to the end, at least one, and gives back the names of those that took over 60 s.
pub(crate) fn run_tests(tests: &mut Command) -> Result<Vec<String>> {
    let started = tests.stdout(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| Failure::new(format!("{}: cannot be started: {error}", shown(tests))))?;
    let (mut passed, mut slow) = (0, Vec::new());
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.at("cargo test")?;
        println!("{line}");
        passed += passed_tests(&line).unwrap_or(0);
        slow.extend(slow_test(&line).map(str::to_owned));
    }
    let status = child.wait().at("cargo test")?;
    match passed {
        _ if !status.success() => Err(Failure::new(format!("{}: {status}", shown(tests)))),
        0 => Err(Failure::new(format!("{}: no test ran", shown(tests)))),
        _ => Ok(slow),
    }
}

/// N in libtest's "test result: ok. N passed; ...".
fn passed_tests(line: &str) -> Option<usize> {
    line.strip_prefix("test result: ok. ")?.split_once(" passed")?.0.parse().ok()
}

/// The name in libtest's "test NAME has been running for over 60 seconds".
fn slow_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" has been running for over 60 seconds")
}

fn summary(times: &[(&str, Duration)], failed: Option<&str>) {
    println!("\n{:<10} {:>9}", "step", "time");
    for (name, time) in times {
        let note = if failed == Some(name) { "  FAILED" } else { "" };
        println!("{name:<10} {:>9}{note}", seconds(*time));
    }
    println!("{:<10} {:>9}", "all", seconds(times.iter().map(|(_, time)| *time).sum()));
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Builds the program in release mode and becomes `lethe demo`.
pub(crate) fn demo(root: &Path, arguments: &[String]) -> Result<()> {
    setup::run(root)?;
    run(&mut cargo(root, &["build", "--release", "--bin", "lethe"]))?;
    let mut lethe = cargo(root, &["run", "--release", "--quiet", "--bin", "lethe", "--", "demo"]);
    let error = lethe.args(arguments).exec();
    Err(Failure::new(format!("cargo run: cannot be started: {error}")))
}

/// The test of the report opens it in a browser. Without one it says so and fails; the other tests do not need it.
fn chromium() -> Result<()> {
    const INSTALL: &str = "apt-get update && apt-get install -y --no-install-recommends chromium";
    if let Some(path) = ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|name| in_path(name)) {
        eprintln!("   {}", path.display());
        return Ok(());
    }
    let may_install = in_path("apt-get").is_some() && is_root();
    if !may_install {
        eprintln!("   no Chromium here, which the test of the report needs; to install it: sudo sh -c '{INSTALL}'");
        return Ok(());
    }
    if run(Command::new("sh").args(["-c", INSTALL]).env("DEBIAN_FRONTEND", "noninteractive")).is_err() {
        eprintln!("   Chromium could not be installed, so the test of the report will fail");
    }
    Ok(())
}

fn in_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printing(text: &str) -> Command {
        let mut command = Command::new("printf");
        command.arg(text);
        command
    }

    #[test]
    fn tests_that_pass_but_take_over_a_minute_fail() {
        let result = "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 70.00s";
        let slow = "test a::b has been running for over 60 seconds";
        assert!(in_time(&mut printing(&format!("test a::b ... ok\n{result}\n"))).is_ok());
        let failure = in_time(&mut printing(&format!("{slow}\ntest a::b ... ok\n{result}\n"))).unwrap_err();
        assert_eq!(failure.what, "over 60 s: a::b");
    }

    #[test]
    fn tests_that_fail_or_that_are_none_fail() {
        let none = "test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        assert!(run_tests(&mut printing(none)).unwrap_err().what.ends_with("no test ran"));
        assert!(run_tests(Command::new("sh").args(["-c", "echo 'test result: ok. 1 passed'; exit 101"])).is_err());
    }
}
