//! All tests of `lethe`, in one binary: they run the real library and the real program.

mod feature_file;
mod golden;
mod measure;
#[allow(dead_code, reason = "not every helper has a user yet")]
mod support;
