//! `lethe report`.

use crate::error::{Error, Result};

#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: Args) -> Result<()> {
    Err(Error::failed("not built yet"))
}
