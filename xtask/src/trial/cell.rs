//! One cell: what `lethe` is called for, and the line that comes of it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use super::plan::{Cell, NOTHING, Plan, STAGES, Values, digest, fill, flags};
use crate::shell::{At, Failure, Result, shown};

/// Where a trial works.
pub(crate) struct Workshop<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) lethe: PathBuf,
    pub(crate) out: PathBuf,
    /// Of `--set`.
    pub(crate) set: Values,
}

impl Workshop<'_> {
    /// What is made once for a base and seed.
    pub(crate) fn base_folder(&self, cell: &Cell) -> PathBuf {
        self.out.join(&cell.base.name).join(cell.seed.to_string())
    }

    fn values(&self, cell: &Cell) -> Result<Values> {
        let mut values = self.set.clone();
        values.insert("seed".into(), cell.seed.to_string());
        values.insert("run".into(), text(&self.base_folder(cell).join("run")));
        if let Some(held_out) = &cell.base.held_out {
            let held_out = fill(held_out, &values)?;
            values.insert("held-out".into(), held_out);
        }
        Ok(values)
    }

    /// Fills every template of the plan, so that one that cannot be filled is told before the work.
    pub(crate) fn check(&self) -> Result<()> {
        for cell in self.plan.cells() {
            self.pretrain_flags(&cell)?;
            let values = self.values(&cell)?;
            flags(&cell.base.undo, &values)?;
            flags(&cell.base.diagnose, &values)?;
            flags(&cell.repair.flags, &values)?;
            fill(&cell.base.unseen, &values)?;
            for judge in self.plan.judges(cell.base) {
                fill(&judge.bank, &values)?;
                fill(&judge.question, &values)?;
            }
        }
        Ok(())
    }

    fn pretrain_flags(&self, cell: &Cell) -> Result<Vec<String>> {
        let values = self.values(cell)?;
        let own = ["--method".into(), cell.base.method.clone(), "--data".into(), fill(&cell.base.data, &values)?];
        let mut all = Vec::from(own);
        all.extend(flags(&cell.base.pretrain, &values)?);
        all.extend(["--seed".into(), cell.seed.to_string(), "--threads".into(), "1".into()]);
        Ok(all)
    }

    /// Trains the base, or goes on with it; gives its last checkpoint.
    pub(crate) fn pretrain(&self, cell: &Cell) -> Result<PathBuf> {
        let folder = self.base_folder(cell);
        fs::create_dir_all(&folder).at(&folder)?;
        let _lock = Lock::wait(&folder.join("lock"))?;
        let run = folder.join("run");
        let mut args = vec!["pretrain".into(), "--out".into(), text(&run)];
        args.extend(self.pretrain_flags(cell)?);
        let step = Step { folder: &folder, name: "pretrain".to_owned(), input: None };
        let recipe = step.recipe(&args)?;
        if step.made_by()?.is_some_and(|made_by| made_by != recipe) {
            return Err(Failure::new(format!("{} was trained with other settings", run.display()))
                .hint("remove its folder, or name another --out"));
        }
        // The program itself refuses to resume with other settings.
        let more = if run.join("config.toml").exists() { vec!["--resume".into()] } else { Vec::new() };
        step.make(&self.lethe, &args, &more)?;
        last_checkpoint(&run)
    }

    /// Diagnoses all checkpoints of the base, for repairs that choose by it.
    fn diagnose_run(&self, cell: &Cell) -> Result<PathBuf> {
        let folder = self.base_folder(cell);
        let _lock = Lock::wait(&folder.join("lock"))?;
        let run = folder.join("run");
        let values = self.values(cell)?;
        let held_out = values.get("held-out").expect("the plan was checked").clone();
        let mut args: Vec<String> = vec!["diagnose".into(), text(&run), "--unseen".into(), held_out];
        args.extend(flags(&cell.base.diagnose, &values)?);
        args.extend(["--seed".into(), cell.seed.to_string(), "--threads".into(), "1".into()]);
        let out = run.join("diagnosis");
        args.extend(["--out".into(), text(&out)]);
        let step = Step { folder: &folder, name: "diagnose".to_owned(), input: None };
        step.make(&self.lethe, &args, &["--overwrite".into()])?;
        Ok(out.join("diagnosis.json"))
    }

    /// Makes the cell, of which steps that stand already are not made again, and gives its line.
    pub(crate) fn run(&self, cell: &Cell, base: &Path) -> Result<Value> {
        let folder = self.base_folder(cell).join(&cell.repair.name);
        fs::create_dir_all(&folder).at(&folder)?;
        let values = self.values(cell)?;
        let data = fill(&cell.base.data, &values)?;
        let last = ["--seed".into(), cell.seed.to_string(), "--threads".into(), "1".into()];
        let step = |name: &str, input| Step { folder: &folder, name: name.to_owned(), input };

        let (checkpoint, undo) = if cell.repair.name == NOTHING {
            (base.to_owned(), Value::Null)
        } else {
            let chosen_by = cell.repair.diagnose_run.then(|| self.diagnose_run(cell)).transpose()?;
            let mut args: Vec<String> = vec!["undo".into(), text(base), "--data".into(), data.clone()];
            if !cell.repair.flags.contains_key("repair") {
                args.extend(["--repair".into(), cell.repair.name.clone()]);
            }
            let mut table = cell.base.undo.clone();
            table.extend(cell.repair.flags.clone());
            args.extend(flags(&table, &values)?);
            args.extend(last.clone());
            args.extend(["--json".into(), "--out".into(), text(&folder.join("undone"))]);
            let undo = step("undo", chosen_by);
            undo.make(&self.lethe, &args, &["--overwrite".into()])?;
            let undo = read(&undo.file("out"))?;
            let checkpoint = undo["checkpoint"].as_str().ok_or_else(|| Failure::new("undo names no checkpoint"))?;
            (PathBuf::from(checkpoint), undo)
        };

        let unseen = fill(&cell.base.unseen, &values)?;
        let diagnose = |name: &str, data: &str| -> Result<Value> {
            let out = folder.join(name.replace("diagnose", "diagnosis"));
            let mut args =
                ["diagnose", &text(&checkpoint), "--data", data, "--unseen", &unseen].map(str::to_owned).to_vec();
            if let Some(augmentation) = cell.base.pretrain.get("augmentation").and_then(toml::Value::as_str) {
                args.extend(["--augmentation".into(), augmentation.into()]);
            }
            args.extend(flags(&cell.base.diagnose, &values)?);
            args.extend(last.clone());
            args.extend(["--out".into(), text(&out)]);
            step(name, Some(checkpoint.clone())).make(&self.lethe, &args, &["--overwrite".into()])?;
            read(&out.join("diagnosis.json"))
        };
        let diagnosis = diagnose("diagnose", &data)?;
        // What a repair learns of the images held out for it.
        let of_held_out = values.get("held-out").map(|held_out| diagnose("diagnose-held-out", held_out)).transpose()?;

        let mut accuracy = Map::new();
        for judge in self.plan.judges(cell.base) {
            let name = format!("judge-{}", judge.name);
            let file = folder.join(format!("{name}.json"));
            let mut args: Vec<String> = vec!["evaluate".into(), text(&checkpoint)];
            args.extend([
                "--data".into(),
                fill(&judge.bank, &values)?,
                "--test".into(),
                fill(&judge.question, &values)?,
            ]);
            args.extend(["--protocol".into(), judge.protocols.clone(), "--stage".into(), STAGES.into()]);
            args.extend(["--threads".into(), "1".into(), "--out".into(), text(&file)]);
            step(&name, Some(checkpoint.clone())).make(&self.lethe, &args, &[])?;
            accuracy.insert(judge.name.clone(), accuracies(&read(&file)?));
        }
        Ok(json!({
            "cell": cell.name(),
            "base": cell.base.name,
            "repair": cell.repair.name,
            "seed": cell.seed,
            "memorisation": memorisation(&diagnosis),
            "memorisation_held_out": of_held_out.as_ref().map(memorisation),
            "accuracy": accuracy,
            "undo": effort(&undo),
            "settings": self.plan.settings(cell),
            "lethe": diagnosis["lethe"],
        }))
    }
}

/// A call of `lethe`: NAME.log is what it said, NAME.out what it printed, NAME.done its [recipe](Step::recipe) once it has
/// succeeded.
struct Step<'a> {
    folder: &'a Path,
    name: String,
    /// What an earlier step has made and this one reads: where that has changed, this one is made anew.
    input: Option<PathBuf>,
}

impl Step<'_> {
    fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.name))
    }

    fn made_by(&self) -> Result<Option<String>> {
        let path = self.file("done");
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            text => text.at(&path).map(Some),
        }
    }

    /// The arguments, and a hash of the input.
    fn recipe(&self, args: &[String]) -> Result<String> {
        let mut lines = args.to_vec();
        if let Some(path) = &self.input {
            lines.push(digest(&fs::read(path).at(path)?));
        }
        Ok(lines.join("\n"))
    }

    /// Runs `lethe ARGS MORE` unless it was run with these `args` on this input already.
    fn make(&self, lethe: &Path, args: &[String], more: &[String]) -> Result<()> {
        let recipe = self.recipe(args)?;
        if self.made_by()?.is_some_and(|made_by| made_by == recipe) {
            return Ok(());
        }
        let create = |ending| File::create(self.file(ending)).at(self.file(ending));
        let mut command = Command::new(lethe);
        command.args(args).args(more).stdin(Stdio::null()).stdout(create("out")?).stderr(create("log")?);
        die_with_parent(&mut command);
        let status = command.status().at(lethe)?;
        if !status.success() {
            let log = fs::read_to_string(self.file("log")).unwrap_or_default();
            let said = log.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or("it said nothing");
            let (call, log) = (shown(Command::new(lethe).args(&args[..1])), self.file("log"));
            return Err(Failure::new(format!("{call}: {status}: {said}")).hint(format!("see {}", log.display())));
        }
        let (half, done) = (self.file("half"), self.file("done"));
        fs::write(&half, recipe).at(&half)?;
        fs::rename(&half, &done).at(&done)
    }
}

/// A harness that is killed must not leave a program behind that still writes where the next harness goes on.
fn die_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    // SAFETY: prctl may be called between fork and exec, and takes no pointer here.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

/// A file that is locked until this is dropped or the process ends.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    fn wait(path: &Path) -> Result<Self> {
        let file = File::create(path).at(path)?;
        file.lock().at(path)?;
        Ok(Self { _file: file })
    }

    /// Nothing when another process has it.
    pub(crate) fn attempt(path: &Path) -> Result<Option<Self>> {
        let file = File::create(path).at(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error).at(path),
        }
    }
}

fn last_checkpoint(run: &Path) -> Result<PathBuf> {
    let folder = run.join("checkpoints");
    let names = fs::read_dir(&folder).at(&folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let encoder =
        |name: &String| name.starts_with("epoch-") && name.ends_with(".safetensors") && !name.contains(".state.");
    let last = names.filter(encoder).max_by_key(|name| (name.len(), name.clone()));
    last.map(|name| folder.join(name)).ok_or_else(|| Failure::new(format!("{}: no checkpoint", folder.display())))
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).at(path)?;
    serde_json::from_str(&text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The numbers of memorisation of each stage, those with an interval as `NAME` and `NAME_interval`.
fn memorisation(diagnosis: &Value) -> Value {
    const WITH_INTERVAL: [(&str, &str); 7] = [
        ("gap", "memorisation_gap"),
        ("relative_gap", "relative_gap"),
        ("d_train", "d_train"),
        ("d_unseen", "d_unseen"),
        ("d_between", "d_between"),
        ("retrieval_gap", "retrieval_gap"),
        ("auc", "membership"),
    ];
    let cells = diagnosis["cells"].as_array().into_iter().flatten();
    let of = |cell: &Value| {
        let mut numbers = Map::new();
        for (name, key) in WITH_INTERVAL {
            let estimate = &cell["memorisation"][key];
            numbers.insert(name.to_owned(), rounded(&estimate["value"]));
            let ends = [rounded(&estimate["low"]), rounded(&estimate["high"])];
            numbers.insert(format!("{name}_interval"), json!(ends));
        }
        numbers.insert("class_rate".to_owned(), rounded(&cell["class_rate_gap"]["gap"]["value"]));
        Value::Object(numbers)
    };
    Value::Object(cells.map(|cell| (cell["stage"].as_str().unwrap_or_default().to_owned(), of(cell))).collect())
}

/// By protocol and stage.
fn accuracies(evaluation: &Value) -> Value {
    let mut by_protocol = Map::new();
    for row in evaluation["rows"].as_array().into_iter().flatten() {
        for (protocol, accuracy) in row["accuracy"].as_object().into_iter().flatten() {
            let stages = by_protocol.entry(protocol).or_insert_with(|| json!({}));
            stages[row["stage"].as_str().unwrap_or_default()] = rounded(accuracy);
        }
    }
    Value::Object(by_protocol)
}

/// What the repair cost, as far as it says.
fn effort(undo: &Value) -> Value {
    let Some(undo) = undo.as_object() else { return Value::Null };
    let kept = ["steps", "seconds", "passes"].iter().filter_map(|&key| Some((key.to_owned(), rounded(undo.get(key)?))));
    Value::Object(kept.collect())
}

/// Six digits after the point: more than any of these numbers knows.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => json!((number.as_f64().unwrap_or(f64::NAN) * 1e6).round() / 1e6),
        other => other.clone(),
    }
}
