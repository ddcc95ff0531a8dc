//! Files of features, from Lethe or any other tool. A file is known by its content, not by its name: `.npy` and `.npz`
//! of NumPy, and safetensors.
//!
//! Two kinds of content:
//! - **Matrices**: arrays `[n, d]`, a row an image, and labels of the rows. [`read`] and [`write()`] them.
//! - **Blocks of views**: arrays `[q, n, d]`, q random views of n images, on two sides, of every stage of one
//!   checkpoint. [`FeatureBlocks`] reads them for a diagnosis, [`write_blocks`] writes them, and [`read_views`] reads a
//!   single one.

mod npy; // NumPy's format of one array
mod encoding; // values of one array, from their bytes
mod container; // the named arrays of a file, whatever its format
mod layout; // which arrays a file of blocks has to hold, and in which shapes
mod output; // writing
mod matrices; // [n, d] and labels
mod views; // one array [q, n, d]
mod blocks; // a file a checkpoint: views of two sides at every stage

pub use blocks::{FeatureBlocks, in_order};
pub use layout::Side;
pub use matrices::{FeatureFile, check, check_labels, labels_path, parse, parse_labels, read, read_labels, write};
pub use output::{Block, Blocks, Stage, check_blocks, write_blocks};
pub use views::read_views;
