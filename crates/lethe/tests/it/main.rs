//! All tests of `lethe`, in one binary: they run the real library and the real program.

mod encoders;
mod golden;
mod methods;
mod optim;
mod pretrain;
#[allow(dead_code, reason = "not every helper has a user yet")]
mod support;
mod undo;
