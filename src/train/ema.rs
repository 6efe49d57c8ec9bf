//! Exponential moving average of the weights.

use crate::Result;
use crate::nn::{Kind, Params};
use crate::ops::storage::with_values;
use crate::weights::TensorMap;
use candle_core::Tensor;

/// `e <- d * e + (1 - d) * p` after every optimiser step, for all parameters and batch-norm statistics. Angles and
/// counters are copied.
pub struct Ema {
    decay: f64,
    values: TensorMap,
}

impl Ema {
    /// An average that starts at the current values.
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    pub fn new(params: &Params, decay: f64) -> Result<Self> {
        let values = params
            .iter()
            .map(|(name, param)| Ok((name.to_string(), param.var.as_detached_tensor().copy()?)))
            .collect::<Result<_>>()?;
        Ok(Ema { decay, values })
    }

    /// Moves the average towards the current values.
    ///
    /// # Errors
    /// If a parameter is not f32.
    pub fn update(&mut self, params: &Params) -> Result<()> {
        let (keep, take) = (self.decay as f32, (1.0 - self.decay) as f32);
        for (name, param) in params.iter() {
            let Some(average) = self.values.get_mut(name) else { continue };
            *average = match param.kind {
                Kind::Theta | Kind::Counter => param.var.as_detached_tensor().copy()?,
                _ => {
                    let moved = with_values::<f32, _>(average, |e| {
                        with_values::<f32, _>(param.var.as_tensor(), |p| {
                            Ok(e.iter().zip(p).map(|(&e, &p)| keep * e + take * p).collect::<Vec<f32>>())
                        })
                    })?;
                    Tensor::from_vec(moved, param.var.shape(), param.var.device())?
                }
            };
        }
        Ok(())
    }

    /// The averaged values.
    pub fn tensors(&self) -> &TensorMap {
        &self.values
    }

    /// Replaces the averaged values, when resuming.
    pub fn restore(&mut self, tensors: TensorMap) {
        self.values = tensors;
    }
}
