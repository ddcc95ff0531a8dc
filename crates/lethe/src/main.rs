//! The program: parse, run, print one error.

use std::process::ExitCode;

fn main() -> ExitCode {
    with_settings_of_the_process();
    lethe::cli::main()
}

/// What libgomp and glibc's malloc read before `main` begins (measured in docs/decisions/0001): threads that wait spin
/// for microseconds, then sleep, so that shared cores are not burnt; freed maps stay with the process instead of going
/// back page by page.
#[cfg(unix)]
const SETTINGS: [(&str, &str); 3] = [
    ("OMP_WAIT_POLICY", "passive"),
    ("GOMP_SPINCOUNT", "10000"),
    ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592"),
];

/// Starts the program anew with [`SETTINGS`]; a user's own ones stay.
#[cfg(unix)]
fn with_settings_of_the_process() {
    use std::os::unix::process::CommandExt;
    let missing: Vec<_> = SETTINGS.iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect();
    if missing.is_empty() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_else(|| program.clone().into_os_string());
        let mut anew = std::process::Command::new(program);
        // Comes back only where it failed; then the work is done as it is, slower.
        let _ = anew.arg0(name).args(arguments).envs(missing.into_iter().copied()).exec();
    }
}

#[cfg(not(unix))]
fn with_settings_of_the_process() {}

#[cfg(all(test, unix))]
mod tests {
    /// Tests and benches call the library, and take the settings from there.
    #[test]
    fn cargo_sets_the_same() {
        let config = include_str!("../../../.cargo/config.toml");
        for (name, value) in super::SETTINGS {
            assert!(config.contains(&format!("{name} = \"{value}\"")), "{name}");
        }
    }
}
