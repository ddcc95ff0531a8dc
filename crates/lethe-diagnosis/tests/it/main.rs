//! Everything is one binary: it links once.

mod findings;
mod support;
