//! Operators: the numerical core of the crate, as candle custom operators with CPU gradients.
//!
//! An operator with an engine has a folder: public parameters and candle glue (`mod.rs`), its definition in plain loops
//! (`reference.rs`) and, where the tap engine does not already serve it, a fast CPU path (`cpu.rs`). Operators whose
//! definition is a line are one file.
//!
//! | operator | equation | used by |
//! |---|---|---|
//! | [`oriented1d`] | depthwise convolution along a line at an angle | ConvNeXt 1D, 1D++, 2D++ and the 1-D forms of others |
//! | [`depthwise2d`] | depthwise convolution with a rectangle | every 2-D network |
//! | [`taplist`] | depthwise convolution with any list of taps per channel | pruned and merged kernels |
//! | [`shiftwise`] | large kernels as sums of shifted small ones | Shift-wise networks |
//! | [`layer_norm`] | normalization over channels | ConvNeXt |
//! | [`batch_norm`] | normalization by the batch's statistics | ConvMixer, MobileNetV3, the small networks |
//! | [`pointwise`] | 1x1 convolution | every network |
//! | [`gelu`] | `x * Phi(x)` | ConvNeXt, ConvMixer |
//! | [`max_pool`] | maximum over windows | ResNet |
//! | [`grn`] | global response normalization | Shift-wise networks |
//! | [`relu6`] | `min(max(x, 0), 6)` | MobileNetV2 |
//! | [`scale_residual`] | `x + s * gamma * f` | ConvNeXt blocks |
//! | [`fused`] | layer norm or GELU with the pointwise convolution that follows | ConvNeXt blocks |
//!
//! The first four are *tap tables* ([`taps`]) run by one engine.

pub mod batch_norm;
pub mod depthwise2d;
mod fill;
pub mod fused;
pub mod gelu;
pub mod gpu;
pub mod grn;
pub mod layer_norm;
mod matrix;
pub mod max_pool;
mod operator;
pub mod oriented1d;
pub mod pointwise;
pub mod relu6;
pub mod scale_residual;
pub mod shiftwise;
pub(crate) mod storage;
pub mod taplist;
pub mod taps;
mod tiles;
pub mod update;

use crate::{Error, Result};
use candle_core::Tensor;

/// Order of the axes of a batch of feature maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// Batch, channels, height, width.
    #[default]
    ChannelsFirst,
    /// Batch, height, width, channels.
    ChannelsLast,
}

/// Dimensions (N, C, H, W) of a 4-D tensor without empty axes, or an error that names the argument.
pub(crate) fn dims4(name: &str, tensor: &Tensor) -> Result<(usize, usize, usize, usize)> {
    match tensor.dims() {
        &[n, c, h, w] if n * c * h * w > 0 => Ok((n, c, h, w)),
        dims => Err(Error::shape(name, dims, "four non-empty axes (N, C, H, W)")),
    }
}

/// Checks the shape of a depthwise kernel.
pub(crate) fn check_kernel(weight: &Tensor, height: usize, width: usize) -> Result<()> {
    match weight.dims() {
        &[_, 1, h, w] if (h, w) == (height, width) => Ok(()),
        dims => Err(Error::shape("weight", dims, format!("[C, 1, {height}, {width}]"))),
    }
}

/// Checks that a 1-D tensor has one value per channel.
pub(crate) fn check_per_channel(name: &str, tensor: &Tensor, channels: usize) -> Result<()> {
    if tensor.dims() == [channels] {
        return Ok(());
    }
    Err(Error::shape(name, tensor.dims(), format!("[{channels}], one value per channel")))
}
