//! Lethe finds where a self-supervised image encoder has memorised its training data, and undoes it.
//!
//! The modules stand in the order the data takes; none imports a later one (`cargo xtask layers`).

pub mod error; // one line: what and where, then a hint
pub mod rng; // counter-based random numbers, keyed by (seed, domain, epoch, index, view)
pub mod files; // atomic writing
pub mod feature_file; // matrices of features on disk
pub mod progress; // bars and lines on stderr
pub mod interrupt; // Ctrl-C and SIGTERM
mod native; // calls of the functions in csrc/
pub mod cuda; // the CUDA side of libtorch, on demand
pub mod data; // images and labels
pub mod views; // random augmentations, and the loader that computes them beside the training
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
pub mod report; // the page
pub mod cli; // one file a command; the only place that prints

pub use error::{Error, Result};
