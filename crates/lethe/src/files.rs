//! Atomic writing.

use std::path::Path;

use crate::error::{At, Result};

/// Writes a file.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).at(path)
}
