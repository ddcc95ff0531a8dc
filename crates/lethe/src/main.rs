//! The program: parse, run, print one error.

use std::process::ExitCode;

fn main() -> ExitCode {
    lethe::cli::main()
}
