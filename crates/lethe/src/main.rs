//! The program: parse, run, print one error.

use std::process::ExitCode;

fn main() -> ExitCode {
    wait_without_spinning();
    lethe::cli::main()
}

/// libtorch's threads spin while they wait for each other, which on a machine with other work makes two threads slower
/// than one. OpenMP reads how to wait before `main` begins, so the program starts itself anew with the better setting;
/// a user's own setting stays.
#[cfg(unix)]
fn wait_without_spinning() {
    use std::os::unix::process::CommandExt;
    const POLICY: &str = "OMP_WAIT_POLICY";
    if std::env::var_os(POLICY).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_else(|| program.clone().into_os_string());
        // Comes back only where it failed; then the work is done as it is, slower.
        let _ = std::process::Command::new(program).arg0(name).args(arguments).env(POLICY, "passive").exec();
    }
}

#[cfg(not(unix))]
fn wait_without_spinning() {}
