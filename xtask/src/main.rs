//! `cargo xtask`: the chores of this repository. It needs no libtorch, for it is what fetches libtorch.

mod check;
mod environment;
mod golden;
mod layers;
mod peers;
mod setup;
mod shell;
mod trial;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use shell::{Failure, Result};

const HELP: &str = "\
Chores of this repository

Usage: cargo xtask COMMAND

Commands:
  setup            Get libtorch and link it as .libtorch: a PyTorch 2.11 that is already here, or a download of 540 MB,
                   kept for all clones in ~/.cache/lethe (or $XDG_CACHE_HOME/lethe)
  setup --peers    Make the Python environment of the reference implementations (xtask/peers-requirements.txt) in
                   target/peers-venv, several GB, and print its Python; $LETHE_PEERS_PYTHON names another
  demo [ARGS]      setup, build in release mode, run `lethe demo ARGS`
  test             setup, then the checks that need no Python packages: fmt, layers, clippy, build, test, doc
  test --peers     The checks that need those of setup --peers, or long: golden cases, peers, simulations, kills, scripts
  layers           Check that no module imports a later one of its lib.rs, and that only `cli` prints
  golden [--check] [CASE ...]
                   Make the golden cases anew from their make.py, or only compare; by the Python of setup --peers
  trial PLAN.toml [--out DIR] [--jobs N] [--only GLOB] [--lethe PATH] [--set NAME=VALUE] ..
                   Train, repair and judge every cell BASE/REPAIR/SEED of a plan, a line each in PLAN.jsonl beside it; it
                   goes on where it stopped. The rest lies in DIR (target/trial/PLAN); --set fills {NAME} in the plan
  trial PLAN.toml --table
                   What PLAN.jsonl says, in Markdown, and the plot PLAN.svg
  help             This text

Example:
  cargo xtask test
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.what);
            if let Some(hint) = &failure.hint {
                eprintln!("  hint: {hint}");
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let root = root();
    let Some((command, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(());
    };
    // `demo --help` is lethe's.
    if command != "demo" && rest.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    match (command.as_str(), rest) {
        ("setup", []) => setup::run(&root),
        ("setup", [flag]) if flag == "--peers" => environment::setup(&root),
        ("demo", arguments) => check::demo(&root, arguments),
        ("test", []) => check::test(&root),
        ("test", [flag]) if flag == "--peers" => peers::test(&root),
        ("layers", []) => layers::run(&root),
        ("golden", arguments) => golden::run(&root, arguments),
        ("trial", arguments) => trial::run(&root, arguments),
        ("help" | "--help" | "-h", _) => {
            print!("{HELP}");
            Ok(())
        }
        ("setup" | "test" | "layers", [extra, ..]) => {
            Err(Failure::usage(format!("{command}: unexpected argument `{extra}`"), "cargo xtask help"))
        }
        _ => Err(Failure::usage(format!("unknown command `{command}`"), "cargo xtask help")),
    }
}

/// The folder of this clone: the parent of xtask's own.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask has a parent").to_owned()
}
