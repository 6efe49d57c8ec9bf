//! Layers as parts of candle networks: candle's traits for what maps one tensor to one tensor.

use crate::Error;
use crate::ops::depthwise2d::{Depthwise2d, Options};
use candle_core::{Module, ModuleT, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, VarBuilder};

use super::{
    BatchNorm, DenseConv, DepthwiseConv, LayerNorm, Linear, Mode, OrientedConv, PatchConv, Pointwise, ResponseNorm,
    TapListConv,
};

/// Layers that compute the same in training and in evaluation.
macro_rules! modules {
    ($($layer:ty),* $(,)?) => {
        $(impl Module for $layer {
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                Ok(<$layer>::forward(self, x)?)
            }
        })*
    };
}

modules!(DenseConv, DepthwiseConv, LayerNorm, Linear, OrientedConv, PatchConv, Pointwise, ResponseNorm, TapListConv);

impl ModuleT for BatchNorm {
    /// With `train`, normalizes by the statistics of the batch and updates the running ones.
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        // No random choice is made here, so any seed will do.
        let mode = if train { Mode::Train { seed: 0 } } else { Mode::Eval };
        Ok(self.forward(x, mode)?)
    }
}

/// A depthwise convolution in place of [`candle_nn::conv2d`], with the same arguments, weights and initial values, for
/// `groups == in_channels == out_channels`.
///
/// candle computes a convolution with as many groups as channels one channel at a time; this one computes them together,
/// many times as fast, forward and backward.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::{Conv2dConfig, VarBuilder, VarMap};
/// let vars = VarMap::new();
/// let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
/// let config = Conv2dConfig { padding: 3, groups: 16, ..Conv2dConfig::default() };
/// let theirs = candle_nn::conv2d(16, 16, 7, config, vb.pp("conv"))?;
/// let ours = kernelscope::nn::depthwise_conv2d(16, 16, 7, config, vb.pp("conv"))?;
/// let x = Tensor::randn(0f32, 1.0, (2, 16, 20, 20), &Device::Cpu)?;
/// let difference = (theirs.forward(&x)? - Module::forward(&ours, &x)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
/// assert!(difference < 1e-5);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// If the convolution is not depthwise, the kernel has more than 63 rows, or the builder has other weights.
pub fn depthwise_conv2d(
    in_channels: usize,
    out_channels: usize,
    kernel_size: usize,
    config: Conv2dConfig,
    builder: VarBuilder,
) -> crate::Result<DepthwiseConv> {
    DepthwiseConv::try_from(&candle_nn::conv2d(in_channels, out_channels, kernel_size, config, builder)?)
}

impl TryFrom<&Conv2d> for DepthwiseConv {
    type Error = Error;

    /// The same layer on the same weights: it follows them while they are trained.
    fn try_from(conv: &Conv2d) -> crate::Result<Self> {
        let Conv2dConfig { padding, stride, dilation, groups, .. } = *conv.config();
        let dims = conv.weight().dims();
        let &[channels, 1, height, width] = dims else {
            return Err(Error::argument("weight", format!("shape {dims:?}"), "[C, 1, rows, columns]: depthwise"));
        };
        if groups != channels {
            return Err(Error::argument("groups", groups, format!("{channels}, the number of channels")));
        }
        let pair = |value: usize| (value, value);
        let options =
            Options { kernel: (height, width), stride: pair(stride), padding: pair(padding), dilation: pair(dilation) };
        let op = Depthwise2d::new(channels, options)?;
        Ok(DepthwiseConv::of(op, conv.weight().clone(), conv.bias().cloned()))
    }
}
