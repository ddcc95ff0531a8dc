//! The commands that need no tensor: one file for each. This is the only room that prints to stdout.

pub mod data;
pub mod diagnose;
pub mod measure;
pub mod report;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use lethe_data::error::{Error, Exit, Result};
use lethe_data::progress;

use crate::report::{BeforeAfterRow, Better};

/// Measures features, diagnoses them, and makes pages of what was found.
#[derive(Parser)]
#[command(name = "lethe-diagnosis", version, about, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Diagnose(diagnose::Args),
    Measure(measure::Args),
    #[command(subcommand)]
    Data(data::Args),
    Report(report::Args),
}

/// The program: parses the arguments, runs the command, prints at most one error, and gives the exit code.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    exit_code(|| match command {
        Command::Diagnose(args) => diagnose::run(&args),
        Command::Measure(args) => measure::run(args),
        Command::Data(args) => data::run(args),
        Command::Report(args) => report::run(args),
    })
}

/// Runs a command. An error or a panic becomes one line on stderr and an exit code.
pub fn exit_code(run: impl FnOnce() -> Result<()> + std::panic::UnwindSafe) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    progress::show();
    let error = match std::panic::catch_unwind(run) {
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

/// Parses a positive finite number.
///
/// # Errors
/// What is expected, for clap.
pub fn positive(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|&x: &f64| x > 0.0 && x.is_finite()).ok_or_else(|| "expected a positive number".into())
}

/// Prints to stdout. A closed pipe (`lethe ... | head`) ends the output, not the command.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::failed(format!("stdout: {error}"))),
        _ => Ok(()),
    }
}

/// Prints one JSON object.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_json<T: serde::Serialize>(value: &T) -> Result<()> {
    print(&to_json(value)?)
}

/// JSON for people.
///
/// # Errors
/// When `value` cannot be written as JSON.
pub fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|error| Error::failed(error.to_string()))
}

/// A table in the style of all of Lethe's.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table
}

/// The numbers of an encoder before and after a repair, as a table.
pub fn before_after(rows: &[BeforeAfterRow]) -> String {
    let mut table = table(&["", "before", "after", "change (95 % interval)", "better when"]);
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
        let change = row.change.filter(|change| change.low < change.high);
        let interval = change.map_or(String::new(), |change| format!(" ({} to {})", end(change.low), end(change.high)));
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
