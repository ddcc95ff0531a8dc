//! `lethe report`: a page about a folder.

use std::path::PathBuf;

use lethe_data::{Result, files};
use serde_json::json;

use crate::report;

/// Writes one self-contained HTML page about a run, a diagnosis or a repair
#[derive(clap::Args)]
#[command(after_help = "Example:\n  lethe report runs/first\n  lethe report runs/first --out first.html")]
pub struct Args {
    /// The --out folder of pretrain, diagnose, undo or demo
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Where to write the page [default: RUN/report.html]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one JSON object: the page's path and the files it shows
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When the folder has nothing to show, or the page cannot be written.
pub fn run(args: Args) -> Result<()> {
    let input = report::read_folder(&args.run)?;
    let out = args.out.unwrap_or_else(|| args.run.join("report.html"));
    files::refuse_foreign(&out, report::is_page)?;
    files::write_atomically(&out, report::page(&input).as_bytes())?;
    if args.json {
        return super::print_json(
            &json!({ "report": out.display().to_string(), "files": input.files, "notes": input.notes }),
        );
    }
    super::print(&out.display().to_string())
}
