//! All tests of `lethe`, in one binary: they run the real library and the real program.

mod diagnose;
mod encoders;
mod evaluate;
mod golden;
mod methods;
mod optim;
mod pretrain;
#[allow(dead_code, reason = "not every helper has a user yet")]
mod support;
