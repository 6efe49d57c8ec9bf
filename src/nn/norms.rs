//! Normalization layers.

use super::{Init, Kind, Mode, Scope, Trace};
use crate::ops::{Layout, batch_norm, grn, layer_norm};
use crate::{Error, Result};
use candle_core::{DType, Tensor};

/// Layer normalization over channels with learned scale and shift (see [`crate::ops::layer_norm`]).
#[derive(Debug, Clone)]
pub struct LayerNorm {
    path: String,
    weight: Tensor,
    bias: Tensor,
    layout: Layout,
}

impl LayerNorm {
    /// For feature maps (N, C, H, W) with [`Layout::ChannelsFirst`], for vectors (N, C) with
    /// [`Layout::ChannelsLast`].
    ///
    /// # Errors
    /// If the parameters cannot be made.
    pub fn new(scope: &Scope, channels: usize, layout: Layout) -> Result<Self> {
        Ok(LayerNorm {
            path: scope.path().to_string(),
            weight: scope.param("weight", channels, Kind::NormWeight, Init::Constant(1.0))?,
            bias: scope.bias(channels)?,
            layout,
        })
    }

    /// Normalizes every position.
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm::layer_norm(x, &self.weight, &self.bias, layer_norm::EPS, self.layout)
    }

    /// Weight and bias, for an operator that normalizes as part of something larger.
    pub(super) fn parameters(&self) -> (&Tensor, &Tensor) {
        (&self.weight, &self.bias)
    }

    /// Adds this layer to a trace.
    pub fn trace(&self, trace: &mut Trace) {
        trace.push_free(&self.path, "layer norm");
    }
}

/// Batch normalization over images and positions (Ioffe and Szegedy, 2015).
///
/// ```text
/// y = weight * (x - mean) / sqrt(var + eps) + bias        eps = 1e-5
/// ```
///
/// In training mean and variance are those of the batch, and the running statistics move a tenth of the way towards
/// them (the variance towards its unbiased estimate); in evaluation the running statistics are used.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    path: String,
    channels: usize,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    counter: Tensor,
    eps: f64,
}

impl BatchNorm {
    /// Added to the variance, unless another value is set ([`BatchNorm::with_eps`]).
    pub const EPS: f64 = 1e-5;
    /// Share of a new batch in the running statistics.
    pub const MOMENTUM: f64 = 0.1;

    /// For feature maps with `channels` channels.
    ///
    /// # Errors
    /// If the parameters cannot be made.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        Ok(BatchNorm {
            path: scope.path().to_string(),
            channels,
            weight: scope.param("weight", channels, Kind::NormWeight, Init::Constant(1.0))?,
            bias: scope.bias(channels)?,
            running_mean: scope.param("running_mean", channels, Kind::RunningStat, Init::Constant(0.0))?,
            running_var: scope.param("running_var", channels, Kind::RunningStat, Init::Constant(1.0))?,
            counter: scope.param("num_batches_tracked", (), Kind::Counter, Init::Constant(0.0))?,
            eps: Self::EPS,
        })
    }

    /// The same with another number added to the variance: networks that came from TensorFlow have 1e-3.
    #[must_use]
    pub fn with_eps(self, eps: f64) -> Self {
        BatchNorm { eps, ..self }
    }

    /// Normalizes `x` (N, C, H, W).
    ///
    /// # Errors
    /// If the shape does not fit, or a training batch has only one value per channel.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        if !mode.is_train() {
            let column = |t: &Tensor| t.reshape((1, self.channels, 1, 1));
            let scale = self.weight.div(&(&self.running_var + self.eps)?.sqrt()?)?;
            let centered = x.broadcast_sub(&column(&self.running_mean)?)?;
            return Ok(centered.broadcast_mul(&column(&scale)?)?.broadcast_add(&column(&self.bias)?)?);
        }
        let count = x.elem_count() / self.channels;
        if count < 2 {
            return Err(Error::argument("batch", "one value per channel", "at least two for batch statistics"));
        }
        let statistics = batch_norm::statistics(x)?;
        self.update(&statistics, count)?;
        batch_norm::batch_norm(x, &self.weight, &self.bias, &statistics, self.eps)
    }

    /// Scale and shift of the evaluation: `y = scale * x + shift`, for an operator that takes them into its own weights.
    pub(super) fn affine(&self) -> Result<(Tensor, Tensor)> {
        let scale = self.weight.div(&(&self.running_var + self.eps)?.sqrt()?)?;
        let shift = (&self.bias - (&self.running_mean * &scale)?)?;
        Ok((scale, shift))
    }

    fn update(&self, batch: &batch_norm::Statistics, count: usize) -> Result<()> {
        let unbiased = count as f64 / (count - 1) as f64;
        let tensor = |values: Vec<f64>| Tensor::from_vec(values, self.channels, self.weight.device());
        let variance = batch.variance.iter().map(|v| v * unbiased).collect();
        for (running, batch) in
            [(&self.running_mean, tensor(batch.mean.clone())?), (&self.running_var, tensor(variance)?)]
        {
            let batch = batch.to_dtype(running.dtype())?;
            assign(running, &((running * (1.0 - Self::MOMENTUM))? + (batch * Self::MOMENTUM)?)?)?;
        }
        assign(&self.counter, &(self.counter.to_dtype(DType::F64)? + 1.0)?.to_dtype(self.counter.dtype())?)
    }

    /// Adds this layer to a trace.
    pub fn trace(&self, trace: &mut Trace) {
        trace.push_free(&self.path, "batch norm");
    }
}

/// Global response normalization (see [`crate::ops::grn`]) with `gamma` and `beta`, which start at zero: the identity.
#[derive(Debug, Clone)]
pub struct ResponseNorm {
    path: String,
    gamma: Tensor,
    beta: Tensor,
}

impl ResponseNorm {
    /// For feature maps with `channels` channels. The parameters are stored as (1, 1, 1, C).
    ///
    /// # Errors
    /// If the parameters cannot be made.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        let param = |name: &str, kind| {
            let stored = scope.param(name, (1, 1, 1, channels), kind, Init::Constant(0.0))?;
            Ok::<_, Error>(stored.reshape(channels)?)
        };
        Ok(ResponseNorm {
            path: scope.path().to_string(),
            gamma: param("gamma", Kind::Gamma)?,
            beta: param("beta", Kind::Bias)?,
        })
    }

    /// Normalizes (N, C, H, W).
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        grn::grn(x, &self.gamma, &self.beta)
    }

    /// Adds this layer to a trace.
    pub fn trace(&self, trace: &mut Trace) {
        trace.push_free(&self.path, "response norm");
    }
}

/// Overwrites a state tensor in place; it shares its storage with the parameter of the same name.
fn assign(state: &Tensor, value: &Tensor) -> Result<()> {
    let count = state.elem_count();
    // Both are contiguous, so these views share their storage; a scalar has no axis to write along.
    state.reshape(count)?.slice_set(&value.reshape(count)?.contiguous()?, 0, 0)?;
    Ok(())
}
