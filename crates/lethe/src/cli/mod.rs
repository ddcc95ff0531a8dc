//! The command line: one file a command, and the only place that prints to stdout.

mod convert;
mod demo;
mod diagnose;
mod evaluate;
mod features;
mod images;
mod pretrain;
mod undo;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use lethe_diagnosis::cli::{data, exit_code, measure, report};
use lethe_diagnosis::cli::{print, print_json, table};

use crate::checkpoint;

#[derive(Parser)]
#[command(name = "lethe", version, about, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Finds where a self-supervised image encoder has memorised its training data, and undoes it.
#[derive(Subcommand)]
enum Command {
    Pretrain(pretrain::Args),
    Diagnose(Box<diagnose::Args>),
    Undo(Box<undo::Args>),
    Evaluate(evaluate::Args),
    Features(features::Args),
    Convert(convert::Args),
    Measure(measure::Args),
    #[command(subcommand)]
    Data(data::Args),
    Report(report::Args),
    Demo(demo::Args),
}

/// Parses the arguments, runs the command, prints at most one error, and gives the exit code.
pub fn main() -> ExitCode {
    let command = Cli::command().mut_subcommands(|command| command.allow_negative_numbers(true));
    let command = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit()).command;
    exit_code(|| match command {
        Command::Pretrain(args) => pretrain::run(args),
        Command::Diagnose(args) => diagnose::run(*args),
        Command::Undo(args) => undo::run(*args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Features(args) => features::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Measure(args) => measure::run(args),
        Command::Data(args) => data::run(args),
        Command::Report(args) => report::run(args),
        Command::Demo(args) => demo::run(args),
    })
}

/// Checkpoints as `checkpoints/*.safetensors` names them: the state beside one is left out where that one is named too.
fn without_states(paths: &[PathBuf]) -> Vec<PathBuf> {
    let states: Vec<PathBuf> = paths.iter().map(|path| checkpoint::state_path(path)).collect();
    paths.iter().filter(|path| !states.contains(path)).cloned().collect()
}

fn at_least_two(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n >= 2).ok_or_else(|| "expected a number of at least 2".into())
}
