//! Weights are data, networks are functions of them.

mod layers;
mod matmul;
pub(crate) mod native;
mod second_order;
mod weights;

pub use layers::{Mode, batch_norm, conv2d, linear, max_pool_3x3, relu, unit_rows};
pub use matmul::matmul;
pub use weights::{Gradients, Weights, batch_norm_init, is_buffer, kaiming_normal, linear_init};
