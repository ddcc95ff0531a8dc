//! Files of features: those of NumPy and PyTorch are read, what is written reads back, and no broken byte panics.

mod blocks; // a file a checkpoint: views of two sides
mod case; // golden cases
mod matrices; // [n, d] and labels
mod views; // one array [q, n, d]
