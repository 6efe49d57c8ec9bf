//! What a network is and what it learned, as plain values that figures, tables and the viewer share.

pub mod calibration;
pub mod confusion;
pub mod cost;
pub mod erf;
mod imagenet16;
pub mod kernels;
pub mod orientation;
pub mod report;
pub mod shape_bias;
pub mod sparsity;
pub mod tree;
