//! What must hold for any matrix, and what is refused.

mod clusters;
mod dimension;
mod memorisation;
mod per_image;
mod spectra;
mod support;
mod table;
mod views;
