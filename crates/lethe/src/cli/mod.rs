//! The command line: one file a command, and the only place that prints to stdout.

mod convert;
mod data;
mod demo;
mod diagnose;
mod evaluate;
mod features;
mod images;
mod measure;
mod pretrain;
mod report;
mod undo;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};

use crate::checkpoint;
use crate::error::{Error, Exit, Result};
use crate::progress;
use crate::report::{BeforeAfterRow, Better};

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
    Diagnose(diagnose::Args),
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

fn positive(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|&x: &f64| x > 0.0 && x.is_finite()).ok_or_else(|| "expected a positive number".into())
}

/// Parses the arguments, runs the command, prints at most one error, and gives the exit code.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    progress::show();
    let command = Cli::command().mut_subcommands(|command| command.allow_negative_numbers(true));
    let command = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit()).command;
    let outcome = std::panic::catch_unwind(|| match command {
        Command::Pretrain(args) => pretrain::run(args),
        Command::Diagnose(args) => diagnose::run(args),
        Command::Undo(args) => undo::run(*args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Features(args) => features::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Measure(args) => measure::run(args),
        Command::Data(args) => data::run(args),
        Command::Report(args) => report::run(args),
        Command::Demo(args) => demo::run(args),
    });
    let error = match outcome {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => error,
        Err(panic) => unexpected(panic.as_ref()),
    };
    progress::say(&format!("error: {error}"));
    if let Some(hint) = &error.hint {
        progress::say(&format!("  hint: {hint}"));
    }
    ExitCode::from(error.exit.code() as u8)
}

fn unexpected(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    // A panic shows an error of libtorch with its C++ backtrace, and that on one line.
    let ends = ["\n", "\\n", "Exception raised from"].iter().filter_map(|end| text.find(end)).min();
    let first = text[..ends.unwrap_or(text.len())].trim_end();
    Error {
        exit: Exit::Failed,
        what: format!("internal error: {first}"),
        hint: Some("this is a defect of lethe: please report it".into()),
    }
}

/// Checkpoints as `checkpoints/*.safetensors` names them: the state beside one is left out where that one is named too.
fn without_states(paths: &[PathBuf]) -> Vec<PathBuf> {
    let states: Vec<PathBuf> = paths.iter().map(|path| checkpoint::state_path(path)).collect();
    paths.iter().filter(|path| !states.contains(path)).cloned().collect()
}

/// Prints to stdout; a closed pipe (`lethe ... | head`) ends the output, not the command.
fn print(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::failed(format!("stdout: {error}"))),
        _ => Ok(()),
    }
}

/// Prints one JSON object.
fn print_json<T: serde::Serialize>(value: &T) -> Result<()> {
    print(&serde_json::to_string_pretty(value).map_err(|error| Error::failed(error.to_string()))?)
}

/// A table in the style of all of Lethe's.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table
}

/// The same numbers of an encoder before and after a repair.
fn before_after(rows: &[BeforeAfterRow]) -> String {
    let mut table = table(&["", "before", "after", "change", "better when"]);
    for row in rows {
        let shown = |value: f64, sign: bool| match (row.unit.as_str(), sign) {
            ("%", false) => format!("{:.1} %", 100.0 * value),
            ("%", true) => format!("{:+.1} points", 100.0 * value),
            (_, false) => format!("{value:.4}"),
            (_, true) => format!("{value:+.4}"),
        };
        let end = |value: f64| shown(value, true).trim_end_matches(" points").to_owned();
        let better = match row.better {
            Better::Higher => "higher",
            Better::Lower => "lower",
            Better::Neither => "-",
        };
        let interval = row.interval.filter(|[low, high]| low < high);
        let interval = interval.map_or(String::new(), |ends| format!(" ({} .. {})", end(ends[0]), end(ends[1])));
        table.add_row([
            row.what.clone(),
            shown(row.before, false),
            shown(row.after, false),
            shown(row.after - row.before, true) + &interval,
            better.into(),
        ]);
    }
    table.to_string()
}
