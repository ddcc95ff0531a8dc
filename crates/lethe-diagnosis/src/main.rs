//! The commands of `lethe` that need no tensor, as a program that never loads libtorch.

fn main() -> std::process::ExitCode {
    lethe_diagnosis::cli::main()
}
