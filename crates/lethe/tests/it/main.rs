//! All tests of `lethe`, in one binary: they run the real library and the real program.

mod checkpoint;
mod files;
mod fuzz;
mod golden;
mod kill;
