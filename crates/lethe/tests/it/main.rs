//! All tests of `lethe`, in one binary: they run the real library and the real program.

mod data;
mod golden;
mod support;
mod views;
