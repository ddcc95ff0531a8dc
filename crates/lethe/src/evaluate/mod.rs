//! How good features are: k-NN and a linear probe.

pub mod lbfgs;
mod linear;

pub use linear::{LinearProbe, LinearSettings};
