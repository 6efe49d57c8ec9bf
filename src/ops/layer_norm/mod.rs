//! Layer normalization over channels (Ba et al., 2016) at every position, in both layouts.
//!
//! ```text
//! m = mean_c x        v = mean_c (x - m)^2        y = weight[c] * (x - m) / sqrt(v + eps) + bias[c]
//! ```
//!
//! candle's own fast layer norm has no backward pass: gradients silently stop there. This one has all three.

mod cpu;
mod gpu;
pub mod reference;

use super::gpu::{Gpu, Values};
use super::operator::{self, Gradients, Op3};
use super::storage::{self, Element};
use super::{Layout, check_per_channel};
use crate::{Error, Result};
use candle_core::Storage;
use candle_core::{Shape, Tensor};
use cpu::Sizes;

/// The epsilon of every network in the zoo.
pub const EPS: f64 = 1e-6;

/// Normalizes `x`, (N, C, ...) for [`Layout::ChannelsFirst`] or (..., C) for [`Layout::ChannelsLast`], over its
/// channels; `weight` and `bias` are (C). Differentiable in all three; f32 and f64.
///
/// # Errors
/// If shapes or dtypes do not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use kernelscope::ops::{Layout, layer_norm::{EPS, layer_norm}};
/// let x = Tensor::new(&[[1f64, 3.], [2., 2.]], &Device::Cpu)?;
/// let (w, b) = (Tensor::ones(2, x.dtype(), x.device())?, Tensor::zeros(2, x.dtype(), x.device())?);
/// let y = layer_norm(&x, &w, &b, EPS, Layout::ChannelsLast)?.to_vec2::<f64>()?;
/// assert!((y[0][1] - 1.0).abs() < 1e-5 && y[1] == [0.0, 0.0]);
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64, layout: Layout) -> Result<Tensor> {
    let sizes = Sizes::of(x.dims(), layout)
        .ok_or_else(|| Error::argument("input", format!("shape {:?}", x.dims()), "two or more non-empty axes"))?;
    check_per_channel("weight", weight, sizes.channels)?;
    check_per_channel("bias", bias, sizes.channels)?;
    storage::check_same("input, weight, and bias", &[x, weight, bias])?;
    let op = LayerNorm { sizes, eps };
    operator::apply(op, [x, weight, bias])
}

struct LayerNorm {
    sizes: Sizes,
    eps: f64,
}

impl Op3 for LayerNorm {
    const NAME: &'static str = "layer norm";
    const GRADIENT_NAME: &'static str = "layer norm, gradients";

    fn output_shape(&self, x: &Shape) -> Shape {
        x.clone()
    }

    fn forward<T: Element>(&self, [x, w, b]: [&[T]; 3]) -> Result<Vec<T>> {
        cpu::forward(self.sizes, x, w, b, T::from_f64(self.eps))
    }

    fn gradients<T: Element>(&self, [x, w, _]: [&[T]; 3], dy: &[T], _wanted: [bool; 3]) -> Result<Gradients<T>> {
        let cpu::Grads { dx, dw, db } = cpu::backward(self.sizes, x, w, dy, T::from_f64(self.eps))?;
        Ok([Some(dx), Some(dw), Some(db)])
    }

    fn gpu_forward(&self, gpu: &Gpu, arguments: [Values; 3]) -> candle_core::Result<Storage> {
        gpu::forward(gpu, self.sizes, arguments, self.eps)
    }

    fn gpu_gradients(
        &self,
        gpu: &Gpu,
        [x, w, _]: [Values; 3],
        dy: Values,
        _wanted: [bool; 3],
    ) -> candle_core::Result<[Option<Storage>; 3]> {
        Ok(gpu::backward(gpu, self.sizes, [x, w, dy], self.eps)?.map(Some))
    }
}
