//! `cargo xtask test` and `cargo xtask demo`.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::shell::{Failure, Result, cargo, run};
use crate::{layers, setup};

type Step = (&'static str, fn(&Path) -> Result<()>);

/// Cheap ones first. Clippy, build, test and doc share one build of torch-sys (`[profile.dev.build-override]`).
const STEPS: &[Step] = &[
    ("setup", setup::run),
    ("chromium", |_| chromium()),
    ("fmt", |root| run(&mut cargo(root, &["fmt", "--all", "--check"]))),
    ("layers", layers::run),
    ("clippy", |root| run(&mut cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))),
    // Not `cargo build`: without the features of dev-dependencies it would compile half the crates once more.
    ("build", |root| run(&mut cargo(root, &["test", "--workspace", "--no-run"]))),
    ("test", |root| run(&mut cargo(root, &["test", "--workspace"]))),
    (
        "doc",
        |root| run(cargo(root, &["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings")),
    ),
];

/// Runs all checks in order and stops at the first that fails.
pub(crate) fn test(root: &Path) -> Result<()> {
    let mut times = Vec::new();
    for (name, step) in STEPS {
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
