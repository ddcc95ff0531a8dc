//! All tests of `lethe`, in one binary: they run the real library and the real program.

mod golden;
mod report;
