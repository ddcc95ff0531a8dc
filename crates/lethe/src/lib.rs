//! Lethe finds where a self-supervised image encoder has memorised its training data, and undoes it.
//!
//! The modules stand in the order the data takes; none imports a later one (`cargo xtask layers`).

pub mod interrupt; // Ctrl-C and SIGTERM
mod native; // calls of the functions in csrc/
pub mod cuda; // the CUDA side of libtorch, on demand
pub mod loader; // batches of views, computed beside the training
pub mod nn; // weights as data, layers as functions
pub mod encoders; // chains of named stages, which can be cut
pub mod methods; // self-supervised losses with their heads and teachers
pub mod optim; // SGD, Adam, AdamW, LARS; schedules
pub mod config; // the settings of a run
pub mod checkpoint; // reading and writing encoders
pub mod run; // the folder of a run
pub mod train; // the loop of pre-training
pub mod evaluate; // features, k-NN, linear probe
pub mod diagnose; // measures of every stage and checkpoint
pub mod undo; // the Undoing Memorization Mechanism
pub mod cli; // one file a command; the only place that prints

pub use lethe_data as data;
pub use lethe_data::{Error, Result, error, feature_file, files, progress, rng, views};
