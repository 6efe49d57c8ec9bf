//! Layers as parts of candle networks: candle's traits for what maps one tensor to one tensor.

use super::{
    BatchNorm, DenseConv, DepthwiseConv, LayerNorm, Linear, Mode, OrientedConv, PatchConv, Pointwise, ResponseNorm,
    TapListConv,
};
use candle_core::{Module, ModuleT, Result, Tensor};

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
