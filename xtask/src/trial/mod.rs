//! `cargo xtask trial`: trains, repairs and judges every cell of a plan, and draws up what came of it.

mod cell;
mod front;
mod plan;
mod results;
mod statistics;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use glob::Pattern;

use crate::shell::{At, Failure, Result, cargo, run as run_shown};
use cell::{Lock, Workshop};
use plan::{Cell, Plan, Values};
use results::{Results, append, beside};

struct Arguments {
    plan: PathBuf,
    out: Option<PathBuf>,
    jobs: usize,
    only: Option<Pattern>,
    lethe: Option<PathBuf>,
    set: Values,
    table: bool,
}

fn parse(arguments: &[String]) -> Result<Arguments> {
    let usage = |what: String| Failure::usage(format!("trial: {what}"), "cargo xtask help");
    let mut rest = arguments.iter();
    let mut found = Arguments {
        plan: PathBuf::new(),
        out: None,
        jobs: 1,
        only: None,
        lethe: None,
        set: Values::new(),
        table: false,
    };
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| usage(format!("{argument} lacks its value")));
        match argument.as_str() {
            "--out" => found.out = Some(value()?.into()),
            "--lethe" => found.lethe = Some(value()?.into()),
            "--table" => found.table = true,
            "--jobs" => {
                let text = value()?;
                let jobs = text.parse().ok().filter(|&jobs: &usize| jobs > 0);
                found.jobs = jobs.ok_or_else(|| usage(format!("--jobs {text}: expected a number of at least 1")))?;
            }
            "--only" => {
                let text = value()?;
                found.only = Some(Pattern::new(text).map_err(|error| usage(format!("--only {text}: {error}")))?);
            }
            "--set" => {
                let text = value()?;
                let (name, value) =
                    text.split_once('=').ok_or_else(|| usage(format!("--set {text}: expected NAME=VALUE")))?;
                found.set.insert(name.into(), value.into());
            }
            flag if flag.starts_with('-') => return Err(usage(format!("unknown option `{flag}`"))),
            plan if found.plan.as_os_str().is_empty() => found.plan = plan.into(),
            extra => return Err(usage(format!("one plan at a time, but got `{extra}`"))),
        }
    }
    if found.plan.as_os_str().is_empty() {
        return Err(usage("which plan?".into()));
    }
    Ok(found)
}

pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let arguments = parse(arguments)?;
    let plan = Plan::read(&arguments.plan)?;
    let lines = beside(&arguments.plan, "jsonl")?;
    if arguments.table {
        return draw_up(&arguments.plan, &plan, &Results::read(&lines, &plan)?);
    }
    let out = match &arguments.out {
        Some(out) => std::path::absolute(out).at(out)?,
        None => root.join("target/trial").join(arguments.plan.file_stem().unwrap_or_default()),
    };
    let lethe = program(root, arguments.lethe)?;
    let workshop = Workshop { plan: &plan, lethe, out, set: arguments.set };
    workshop.check()?;
    fs::create_dir_all(&workshop.out).at(&workshop.out)?;

    let results = Results::read(&lines, &plan)?;
    if results.foreign > 0 {
        println!("{} lines of {} are of other settings than the plan's", results.foreign, lines.display());
    }
    let mut cells = plan.cells();
    cells.retain(|cell| arguments.only.as_ref().is_none_or(|only| only.matches(&cell.name())));
    let all = cells.len();
    cells.retain(|cell| !results.by_cell.contains_key(&cell.name()));
    println!("{} of {all} cells done before", all - cells.len());
    let queue = Queue {
        total: all,
        start: Instant::now(),
        state: Mutex::new(State { done: all - cells.len(), waiting: cells, ..State::default() }),
    };
    scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| while queue.work(&workshop, &lines) {});
        }
    });
    let state = queue.state();
    if state.elsewhere > 0 {
        println!("{} cells are left to another harness", state.elsewhere);
    }
    match state.failed {
        0 => Ok(()),
        failed => Err(Failure::new(format!("{failed} of {all} cells failed")).hint("run it again for these alone")),
    }
}

/// Prints the tables, and writes the plot beside the plan.
fn draw_up(path: &Path, plan: &Plan, results: &Results) -> Result<()> {
    print!("{}", table::markdown(plan, results));
    if let Some(front) = &plan.front {
        let picture = beside(path, "svg")?;
        fs::write(&picture, front::draw(plan, front, results)).at(&picture)?;
    }
    Ok(())
}

/// `--lethe`, or that of this clone, built where it is missing.
fn program(root: &Path, named: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(path) = named {
        return fs::canonicalize(&path).at(&path);
    }
    let path = root.join("target/release/lethe");
    if !path.exists() {
        run_shown(&mut cargo(root, &["build", "--release", "--bin", "lethe"]))?;
    }
    Ok(path)
}

/// The cells that are still to be made. A base is trained by one worker, while the others take cells of other bases.
struct Queue<'a> {
    total: usize,
    start: Instant,
    state: Mutex<State<'a>>,
}

#[derive(Default)]
struct State<'a> {
    waiting: Vec<Cell<'a>>,
    training: BTreeSet<PathBuf>,
    /// The last checkpoints of the bases that are trained, or nothing where that failed.
    bases: BTreeMap<PathBuf, Option<PathBuf>>,
    /// With those of earlier calls.
    done: usize,
    made: usize,
    failed: usize,
    elsewhere: usize,
}

impl<'a> Queue<'a> {
    fn state(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().expect("no worker panics while it holds it")
    }

    /// Makes one cell; false when there is none left.
    fn work(&self, workshop: &Workshop<'a>, lines: &Path) -> bool {
        let mut state = self.state();
        let free = state.waiting.iter().position(|cell| !state.training.contains(&workshop.base_folder(cell)));
        let Some(free) = free else {
            let over = state.waiting.is_empty();
            drop(state);
            if !over {
                sleep(Duration::from_millis(200));
            }
            return !over;
        };
        let cell = state.waiting.remove(free);
        let folder = workshop.base_folder(&cell);
        let trained = state.bases.get(&folder).cloned();
        if trained.is_none() {
            state.training.insert(folder.clone());
        }
        drop(state);

        let start = Instant::now();
        let base = match trained {
            Some(base) => base.ok_or_else(|| Failure::new("its base failed")),
            None => {
                let base = workshop.pretrain(&cell);
                let mut state = self.state();
                state.training.remove(&folder);
                state.bases.insert(folder.clone(), base.as_ref().ok().cloned());
                base
            }
        };
        let outcome = base.and_then(|base| make(workshop, &cell, &base, lines));
        self.tell(&cell, outcome, start.elapsed());
        true
    }

    fn tell(&self, cell: &Cell, outcome: Result<bool>, time: Duration) {
        let mut state = self.state();
        let name = cell.name();
        match outcome {
            Ok(true) => {
                state.done += 1;
                state.made += 1;
            }
            Ok(false) => {
                state.elsewhere += 1;
                return;
            }
            Err(failure) => {
                state.failed += 1;
                println!("failed: {name}: {}", failure.what);
                if let Some(hint) = failure.hint {
                    println!("  hint: {hint}");
                }
                return;
            }
        }
        let per_hour = state.made as f64 / self.start.elapsed().as_secs_f64() * 3600.0;
        let left = self.total - state.done - state.failed - state.elsewhere;
        println!(
            "[{}/{}] {name}: {:.0} s; {per_hour:.1} cells an hour, {} left",
            state.done,
            self.total,
            time.as_secs_f64(),
            duration(left as f64 / per_hour * 3600.0),
        );
    }
}

/// Makes the cell and appends its line; false when another harness has it or had it meanwhile.
fn make(workshop: &Workshop, cell: &Cell, base: &Path, lines: &Path) -> Result<bool> {
    let lock = workshop.base_folder(cell).join(format!("{}.lock", cell.repair.name));
    let Some(_lock) = Lock::attempt(&lock)? else { return Ok(false) };
    if Results::read(lines, workshop.plan)?.by_cell.contains_key(&cell.name()) {
        return Ok(false);
    }
    append(lines, &workshop.run(cell, base)?)?;
    Ok(true)
}

fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).ceil() as u64;
    if minutes < 60 { format!("{minutes} min") } else { format!("{} h {:02} min", minutes / 60, minutes % 60) }
}
