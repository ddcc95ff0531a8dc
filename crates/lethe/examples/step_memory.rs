//! The peak of memory of one outer step of UMM by every hypergradient, beside a plain step and the joint one:
//! `cargo run --release --example step_memory -- [WIDTH] [BATCH]` (64 and 64). Linux only.
//!
//! Every step is taken by a process of its own, since what a process once held stays with it; what stands before the
//! step (libtorch, weights, early features) is subtracted.

#![allow(clippy::print_stdout, reason = "this is a program")]

#[path = "../benches/undo/setup.rs"]
mod setup;

use std::process::Command;

use lethe::undo::hypergradient::HYPERGRADIENTS;
use lethe::undo::{self, Batch, Problem, Settings};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| arguments.get(i).map_or(64, |text| text.parse().expect("a number"));
    let (width, batch) = (number(0), number(1));
    if let Some(step) = arguments.get(2) {
        println!("{step:20} {:8.0} MiB", peak_of(step, width, batch));
        return;
    }
    println!("resnet18-w{width}, batch {batch}, f32, cut after stage2");
    let program = std::env::current_exe().expect("this program");
    let steps = ["continue", "joint"].into_iter().chain(HYPERGRADIENTS.iter().map(|entry| entry.name));
    for step in steps {
        let status = Command::new(&program).args([&width.to_string(), &batch.to_string(), step]).status();
        assert!(status.is_ok_and(|status| status.success()), "{step} failed");
    }
}

/// MiB that a step holds at its peak beyond what stood before it.
fn peak_of(step: &str, width: i64, batch: i64) -> f64 {
    let setup = setup::Setup::new(width, batch);
    let (early, late) = setup.cut();
    let w = setup.late_weights(&late);
    let features = setup.early_features(&early);
    let settings = match undo::find(step) {
        Ok(repair) => Settings { repair: repair.name.into(), ..Settings::default() },
        Err(_) => Settings { hypergradient: step.into(), ..Settings::default() },
    };
    let problem =
        Problem { method: setup.method.as_ref(), late: &late, settings: &settings, teacher: None, held_out: None };
    let step = undo::find(&settings.repair).expect("a repair").training.as_ref().expect("one that trains").step;
    let before = memory("VmRSS:");
    step(&problem, &w, &Batch { images: &features, early: &features }).expect("a step");
    memory("VmHWM:") - before
}

/// A line of /proc/self/status, in MiB.
fn memory(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a line for every key");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}
