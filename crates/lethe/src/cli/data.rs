//! `lethe data`.

use crate::error::{Error, Result};

#[derive(clap::Subcommand)]
pub(super) enum Args {
    List,
}

pub(super) fn run(_args: Args) -> Result<()> {
    Err(Error::failed("not built yet"))
}
