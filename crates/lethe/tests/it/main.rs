//! All tests of `lethe`, in one binary: they run the real library and the real program.

mod evaluate;
mod golden;
#[allow(dead_code, reason = "not every helper has a user yet")]
mod support;
