//! Images without tensors: where they come from, how they are decoded, which random views they are shown in, and the
//! files that hold features of them. This crate needs no libtorch.
//!
//! [`open`] gives a [`Dataset`] for any specification that `--data` takes. [`views`] makes random views of its images.
//! [`feature_file`] reads and writes features. [`error`] is the one error type of Lethe.

pub mod error; // one line: what and where, then a hint
pub mod rng; // counter-based random numbers, keyed by (seed, purpose, epoch, index, view)
pub mod files; // atomic writing
pub mod progress; // bars and lines on stderr
pub mod feature_file; // matrices of features on disk
pub mod sources; // images and labels
pub mod views; // random augmentations

pub use error::{Error, Result};
pub use sources::{
    Dataset, Fault, SOURCES, Source, absolute, catalog, cifar, corruption, dead_leaves, folder, is_random_split, open,
    overlap, part, sample, shapes,
};
