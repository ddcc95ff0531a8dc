//! All tests of `lethe`, in one binary: they run the real library and the real program.

mod bad_input;
mod checkpoint;
mod copies;
mod corruption;
mod data;
mod diagnose;
mod encoders;
mod evaluate;
mod files;
mod fuzz;
mod golden;
mod gpu;
mod hold_out;
mod kill;
mod matmul;
mod methods;
mod optim;
mod peers;
mod pretrain;
mod repairs;
mod report;
mod second_order;
mod transformers;
mod undo;
mod undo_sittings;
mod views;
#[path = "../../../lethe-diagnosis/tests/it/browser.rs"]
mod browser;
#[allow(dead_code, reason = "not every helper has a user yet")]
mod support;
