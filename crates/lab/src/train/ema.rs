//! Exponential moving average of the weights.

use super::sparse::{Mask, Masks};
use crate::Result;
use kernelscope::nn::{Kind, Params};
use kernelscope::ops::update;
use kernelscope::profile;
use kernelscope::weights::TensorMap;

/// `e <- d * e + (1 - d) * p` after every optimizer step, for all parameters and batch-norm statistics. Angles and
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
        self.move_towards(params, None)
    }

    /// The same in sparse training. Averages of weights with a mask are
    ///
    /// ```text
    /// e <- mask * (d * e + (1 - d) * p + [e = 0] * d * p)
    /// ```
    ///
    /// so that pruned weights have none, and grown weights, which have none yet, start with their own value instead of a
    /// small part of it (SLaK's `ModelEma`).
    ///
    /// # Errors
    /// If a parameter is not f32.
    pub fn update_masked(&mut self, params: &Params, masks: &Masks) -> Result<()> {
        self.move_towards(params, Some(masks))
    }

    fn move_towards(&mut self, params: &Params, masks: Option<&Masks>) -> Result<()> {
        let _span = profile::span("averaging");
        for (name, param) in params.iter() {
            let Some(average) = self.values.get_mut(name) else { continue };
            if matches!(param.kind, Kind::Theta | Kind::Counter) {
                *average = param.var.as_detached_tensor().copy()?;
                continue;
            }
            let mask = masks.and_then(|masks| masks.get(name));
            update::average(average, param.var.as_tensor(), self.decay, mask.map(Mask::groups))?;
        }
        Ok(())
    }

    /// The averaged values; the tensors' values move with [`Ema::update`].
    pub fn tensors(&self) -> &TensorMap {
        &self.values
    }

    /// Replaces the averaged values, when resuming.
    pub fn restore(&mut self, tensors: TensorMap) {
        self.values = tensors;
    }
}
