//! A whole trial by the real programs: killed and gone on with, by two harnesses at once, with a repair that fails.
//!
//! It runs the `lethe` that stands beside xtask's own program, where `cargo test --workspace` puts it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

const PLAN: &str = r#"
seeds = [0, 1]
pretrain = { encoder = "resnet18-w4", image-size = 16, epochs = 4, batch-size = 32, save-every = 2 }
undo = { epochs = 1, batch-size = 32 }

[[base]]
name = "tiny"
method = "simclr"
data = "{what}:n=64,size=16,seed={seed}1"
unseen = "{what}:n=64,size=16,seed={seed}2"
held-out = "{what}:n=64,size=16,seed={seed}5"

[[repair]]
name = "nothing"

[[repair]]
name = "plain"
flags = { repair = "continue", lr = 1e-3 }

[[repair]]
name = "wrong"
diagnose-run = true
flags = { repair = "continue", split = "stage9" }

[[judge]]
name = "corrupted"
bank = "shapes:n=64,size=16,seed={seed}3"
question = "shapes:n=64,size=16,seed={seed}4@corrupt=all,severity=1"
protocols = "knn-20,linear"

[primary]
outcomes = ["memorisation/stage4/gap"]
compare = [["plain", "nothing"]]

[front]
memorisation = "memorisation/stage4/gap"
use = ["accuracy/corrupted/linear/stage4"]
"#;

struct Trial {
    folder: tempfile::TempDir,
}

impl Trial {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, more: &[&str]) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_xtask"));
        let lethe = program.with_file_name("lethe");
        assert!(lethe.exists(), "{} is missing: cargo test --workspace builds it", lethe.display());
        let mut command = Command::new(program);
        command.arg("trial").arg(self.path("plan.toml")).arg("--lethe").arg(lethe);
        command.arg("--out").arg(self.path("out")).args(["--set", "what=shapes"]).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn spawn(&self) -> Child {
        self.command(&["--jobs", "2"]).spawn().expect("xtask starts")
    }

    /// Starts it and kills it without warning as soon as the file `name` holds something.
    fn kill_when(&self, name: &str) {
        let mut harness = self.spawn();
        let start = Instant::now();
        while fs::metadata(self.path(name)).map_or(0, |file| file.len()) == 0 {
            assert!(start.elapsed() < Duration::from_secs(100), "{name} does not come");
            assert!(harness.try_wait().expect("its status").is_none(), "it ended before {name} came");
            sleep(Duration::from_millis(2));
        }
        harness.kill().expect("it can be killed");
        harness.wait().expect("it ends");
        let killed = Instant::now();
        while self.is_written_to() {
            assert!(killed.elapsed() < Duration::from_millis(300), "a program outlives its harness");
            sleep(Duration::from_millis(5));
        }
    }

    /// Whether a process works in the trial's folder: one that its arguments name.
    fn is_written_to(&self) -> bool {
        let folder = self.folder.path().to_str().expect("a UTF-8 path");
        let processes = fs::read_dir("/proc").expect("Linux").flatten();
        let mut lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        lines.any(|line| String::from_utf8_lossy(&line).contains(folder))
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("plan.jsonl")).expect("lines");
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_killed_trial_goes_on_where_it_stopped() {
    let trial = Trial { folder: tempfile::tempdir().expect("a temporary folder") };
    fs::write(trial.path("plan.toml"), PLAN).expect("a temporary file");

    trial.kill_when("out/tiny/0/run/config.toml");
    trial.kill_when("plan.jsonl");
    // As if it had been killed while it wrote a line.
    let mut text = fs::read(trial.path("plan.jsonl")).expect("lines");
    text.extend(b"{\"cell\":\"tiny/pl");
    fs::write(trial.path("plan.jsonl"), text).expect("a temporary file");

    // Two at once share the cells; each tells of the failing ones it came to.
    let outputs = [trial.spawn(), trial.spawn()].map(|harness| harness.wait_with_output().expect("it ends"));
    let lines = trial.lines();
    let said = outputs.each_ref().map(shown).join("\n");
    let cells: Vec<&str> = lines.iter().map(|line| line["cell"].as_str().expect("a name")).collect();
    let expected = BTreeSet::from(["tiny/nothing/0", "tiny/nothing/1", "tiny/plain/0", "tiny/plain/1"]);
    assert_eq!((cells.len(), cells.iter().copied().collect()), (4, expected), "{said}");
    for seed in 0..2 {
        assert!(said.contains(&format!("failed: tiny/wrong/{seed}: lethe undo: exit status: 2: ")), "{said}");
    }

    // What a line holds; frozen stages are those of the base.
    let of = |cell: &str| lines.iter().find(|line| line["cell"] == cell).expect("a line");
    let (nothing, plain) = (of("tiny/nothing/0"), of("tiny/plain/0"));
    assert_eq!((&plain["undo"]["steps"], &nothing["undo"]), (&2.into(), &Value::Null));
    for stage in ["stem", "stage1", "stage2", "stage3", "stage4"] {
        let gap = |line: &Value| line["memorisation"][stage]["gap"].as_f64().expect("a gap");
        assert_eq!(gap(nothing) == gap(plain), !["stage3", "stage4"].contains(&stage), "{stage}");
        assert!(plain["memorisation"][stage]["auc"].is_f64(), "{stage}");
        // Compared by class at the last stage alone.
        assert_eq!(plain["memorisation"][stage]["class_rate"].is_f64(), stage == "stage4", "{stage}");
    }
    for protocol in ["knn-20", "linear"] {
        for stage in ["stage2", "stage4"] {
            assert!(plain["accuracy"]["corrupted"][protocol][stage].is_f64(), "{protocol} {stage}");
        }
    }

    // The diagnosis of a run, for the repair that asked for it, is on the images held out.
    let diagnosis = fs::read_to_string(trial.path("out/tiny/1/run/diagnosis/diagnosis.json")).expect("a diagnosis");
    let diagnosis: Value = serde_json::from_str(&diagnosis).expect("JSON");
    assert_eq!(diagnosis["settings"]["unseen"], "shapes:n=64,size=16,seed=15");
    assert_eq!(diagnosis["checkpoints"].as_array().map(Vec::len), Some(3));

    // Once more: only what failed is tried again.
    let before = fs::read(trial.path("plan.jsonl")).expect("lines");
    let output = trial.command(&["--only", "*/*/1"]).output().expect("xtask starts");
    let said = shown(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("2 of 3 cells done before\n") && said.contains("error: 1 of 3 cells failed"), "{said}");
    assert_eq!(fs::read(trial.path("plan.jsonl")).expect("lines"), before);

    // A cell whose settings have changed is made anew; what it shares with the old one is not.
    let made = |step: &str| fs::metadata(trial.path(step)).and_then(|file| file.modified()).expect("a time");
    let steps = ["out/tiny/0/pretrain.done", "out/tiny/0/plain/undo.done", "out/tiny/0/plain/judge-corrupted.done"];
    let before = steps.map(made);
    fs::write(trial.path("plan.toml"), PLAN.replace("lr = 1e-3", "lr = 2e-3")).expect("a temporary file");
    let output = trial.command(&["--only", "tiny/plain/0"]).output().expect("xtask starts");
    assert!(output.status.success(), "{}", shown(&output));
    assert_ne!(of("tiny/plain/0")["settings"], trial.lines().last().expect("a line")["settings"]);
    let after = steps.map(made);
    assert_eq!(
        [0, 1, 2].map(|i| after[i] == before[i]),
        [true, false, false],
        "trained once, repaired and judged anew"
    );
    // Another training is another base: it is refused and not mixed with what stands.
    fs::write(trial.path("plan.toml"), PLAN.replace("epochs = 4", "epochs = 6")).expect("a temporary file");
    let output = trial.command(&["--only", "tiny/nothing/0"]).output().expect("xtask starts");
    assert!(shown(&output).contains("was trained with other settings"), "{}", shown(&output));

    fs::write(trial.path("plan.toml"), PLAN).expect("a temporary file");
    let output = trial.command(&["--table"]).output().expect("xtask starts");
    let said = shown(&output);
    assert!(said.contains("| tiny | memorisation/stage4/gap | plain - nothing | "), "{said}");
    assert!(said.contains("| accuracy | corrupted/knn-20/stage4 | corrupted/linear/stage4 |\n"), "{said}");
    let picture = fs::read_to_string(trial.path("plan.svg")).expect("a plot");
    assert!(picture.contains(">plain</text>") && picture.ends_with("</svg>\n"));
}
