//! Layer normalisation over channels (Ba et al., 2016) at every position, in both layouts.
//!
//! ```text
//! m = mean_c x        v = mean_c (x - m)^2        y = weight[c] * (x - m) / sqrt(v + eps) + bias[c]
//! ```
//!
//! candle's own fast layer norm has no backward pass: gradients silently stop there. This one has all three.

mod cpu;
pub mod reference;

use super::{Layout, check_per_channel, storage};
use crate::ops::storage::{with_element, with_values};
use crate::{Error, Result};
use candle_core::{CpuStorage, CustomOp3, Layout as TensorLayout, Shape, Tensor, WithDType};
use cpu::Sizes;

/// The epsilon of every network in the zoo.
pub const EPS: f64 = 1e-6;

/// Normalises `x`, (N, C, ...) for [`Layout::ChannelsFirst`] or (..., C) for [`Layout::ChannelsLast`], over its
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
        .ok_or_else(|| Error::argument("input", format!("shape {:?}", x.dims()), "two or more axes, none empty"))?;
    check_per_channel("weight", weight, sizes.channels)?;
    check_per_channel("bias", bias, sizes.channels)?;
    storage::check_same("input, weight and bias", &[x, weight, bias])?;
    let op = LayerNorm { sizes, eps };
    Ok(x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)?)
}

struct LayerNorm {
    sizes: Sizes,
    eps: f64,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &TensorLayout,
        w: &CpuStorage,
        w_layout: &TensorLayout,
        b: &CpuStorage,
        b_layout: &TensorLayout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        with_element!(candle_core::backend::BackendStorage::dtype(x), "input", T => {
            let (x, w, b) = (
                storage::slice::<T>(x, x_layout)?,
                storage::slice::<T>(w, w_layout)?,
                storage::slice::<T>(b, b_layout)?,
            );
            let y = cpu::forward(self.sizes, x, w, b, T::from_f64(self.eps));
            Ok((T::to_cpu_storage_owned(y), x_layout.shape().clone()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        with_element!(x.dtype(), "input", T => with_values::<T, _>(x, |xs| with_values::<T, _>(weight, |w| {
            with_values::<T, _>(dy, |dy| {
                let grads = cpu::backward(self.sizes, xs, w, dy, T::from_f64(self.eps));
                Ok((
                    Some(Tensor::from_vec(grads.dx, x.shape(), x.device())?),
                    Some(Tensor::from_vec(grads.dw, weight.shape(), x.device())?),
                    Some(Tensor::from_vec(grads.db, bias.shape(), x.device())?),
                ))
            })
        })))
    }
}
