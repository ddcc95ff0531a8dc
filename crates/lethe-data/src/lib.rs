//! Images without tensors: where they come from, how they are decoded, which random views they are shown in, and the
//! files that hold features of them. This crate needs no libtorch.
//!
//! [`open`] gives a [`Dataset`] for any specification that `--data` takes. [`views`] makes random views of its images.
//! [`feature_file`] reads and writes features. [`error`] is the one error type of Lethe.

pub mod error; // one line: what and where, then a hint
pub mod rng; // counter-based random numbers, keyed by (seed, purpose, epoch, index, view)
pub mod files; // atomic writing
pub mod progress; // bars and lines on stderr
pub mod feature_file; // features on disk: matrices, and views of two sides
pub mod sources; // images and labels
pub mod fingerprint; // what is kept of an image to find it again
pub mod copies; // images that two data sets share
pub mod difference; // in what the files of two data sets differ
pub mod views; // random augmentations

pub use error::{Error, Result};
pub use sources::{
    Dataset, Encoding, Fault, SOURCES, Source, absolute, catalog, choose, cifar, corruption, dead_leaves, folder,
    held_out, is_random_split, open, part, sample, shapes, without,
};
