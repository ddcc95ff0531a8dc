//! Weights are data, networks are functions of them.

mod drop_path;
mod layers;
mod matmul;
mod second_order;
pub mod transformer;
mod weights;

pub use drop_path::DropPath;
pub use layers::{
    Mode, batch_norm, conv2d, depthwise_conv2d, gelu, layer_norm, linear, max_pool_3x3, patch_conv2d, patches, relu,
    unit_rows,
};
pub use matmul::matmul;
pub use weights::{
    Gradients, Weights, batch_norm_init, constant, is_buffer, kaiming_normal, linear_init, normal, uniform_fan_in,
    xavier_uniform,
};
