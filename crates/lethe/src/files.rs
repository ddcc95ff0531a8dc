//! Atomic writing.

use std::path::Path;

use crate::error::{At, Result};

/// Replaces the file at `path`, or makes it.
///
/// # Errors
/// Names the file and why it cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).at(path)
}
