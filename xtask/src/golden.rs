//! `cargo xtask golden`: makes the golden cases anew from their `make.py`, or checks that they would come out the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::environment;
use crate::shell::{At, Failure, Result, output, run as run_shown};

pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let check = arguments.iter().any(|argument| argument == "--check");
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).filter(|argument| *argument != "--check").collect();
    if let Some(flag) = wanted.iter().find(|argument| argument.starts_with('-')) {
        return Err(Failure::usage(format!("golden: unknown option `{flag}`"), "cargo xtask help"));
    }
    let cases = cases(&root.join("crates"))?;
    let name = |case: &Path| case.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(unknown) = wanted.iter().find(|wanted| !cases.iter().any(|case| name(case) == **wanted)) {
        let names: Vec<String> = cases.iter().map(|case| name(case)).collect();
        return Err(Failure::usage(format!("golden: no case `{unknown}`"), format!("cases: {}", names.join(" "))));
    }
    let python = environment::python(root)?;
    let mut differing = Vec::new();
    for case in cases.iter().filter(|case| wanted.is_empty() || wanted.contains(&name(case).as_str())) {
        let outcome = remake(&python, case, check)?;
        println!("{:<20} {}", name(case), outcome.text());
        if let Outcome::Differs(reasons) = outcome {
            println!("{reasons}");
            differing.push(name(case));
        }
    }
    if differing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "golden: make.py gives something else than what is committed for {}",
        differing.join(", ")
    ))
    .hint("look at what changed; `cargo xtask golden CASE` takes the new values"))
}

/// Every folder `golden/CASE` that holds a make.py.
fn cases(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).at(folder)? {
        let path = entry.at(folder)?.path();
        let in_golden = folder.file_name().is_some_and(|name| name == "golden");
        if in_golden && path.join("make.py").is_file() {
            found.push(path);
        } else if path.is_dir() && !path.ends_with("target") {
            found.extend(cases(&path)?);
        }
    }
    found.sort();
    Ok(found)
}

enum Outcome {
    Same,
    Written,
    Differs(String),
}

impl Outcome {
    fn text(&self) -> &str {
        match self {
            Outcome::Same => "same",
            Outcome::Written => "written",
            Outcome::Differs(_) => "DIFFERS",
        }
    }
}

/// Runs a case's make.py. A file that comes out the same but for rounding is left as it is.
fn remake(python: &Path, case: &Path, check: bool) -> Result<Outcome> {
    let (script, committed) = (case.join("make.py"), case.join("case.safetensors"));
    let fresh = case.join(format!(".case-{}.safetensors", std::process::id()));
    let made = run_shown(Command::new(python).arg(&script).arg(&fresh).env("CUDA_VISIBLE_DEVICES", ""));
    let outcome = made.and_then(|()| {
        if committed.exists() {
            let compare = ["-c", include_str!("golden_compare.py")];
            let run = output(Command::new(python).args(compare).arg(&committed).arg(&fresh))?;
            if run.status.success() {
                return Ok(Outcome::Same);
            }
            if check {
                return Ok(Outcome::Differs(String::from_utf8_lossy(&run.stdout).trim_end().to_owned()));
            }
        } else if check {
            return Ok(Outcome::Differs("case.safetensors is missing".into()));
        }
        fs::rename(&fresh, &committed).at(&committed)?;
        Ok(Outcome::Written)
    });
    let _ = fs::remove_file(&fresh);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_a_folder_in_golden_with_a_make_py() {
        let root = tempfile::tempdir().unwrap();
        for file in ["a/tests/golden/one/make.py", "a/tests/golden/two/case.safetensors", "a/other/three/make.py"] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(cases(root.path()).unwrap(), [root.path().join("a/tests/golden/one")]);
    }
}
