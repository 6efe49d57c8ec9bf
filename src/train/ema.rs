//! Exponential moving average of the weights.

use super::sparse::{Mask, Masks};
use crate::nn::{Kind, Params};
use crate::ops::gpu::{Gpu, update as gpu_update};
use crate::ops::storage::update;
use crate::weights::TensorMap;
use crate::{Result, profile};
use rayon::prelude::*;

/// Values per parallel task.
const CHUNK: usize = 1 << 14;

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
        let (keep, take) = (self.decay as f32, (1.0 - self.decay) as f32);
        for (name, param) in params.iter() {
            let Some(average) = self.values.get_mut(name) else { continue };
            if matches!(param.kind, Kind::Theta | Kind::Counter) {
                *average = param.var.as_detached_tensor().copy()?;
                continue;
            }
            let mask = masks.and_then(|masks| masks.get(name));
            if let Some(gpu) = Gpu::of(average) {
                let kept = mask.map(Mask::on_device);
                gpu_update::average(&gpu, average, param.var.as_tensor(), [keep, take], kept)?;
                continue;
            }
            update(average, param.var.as_tensor(), |average, values| {
                average.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(average, values)| {
                    let pairs = average.iter_mut().zip(values);
                    match mask {
                        None => pairs.for_each(|(e, &p)| *e = keep * *e + take * p),
                        Some(_) => pairs.for_each(|(e, &p)| *e = if *e == 0.0 { p } else { keep * *e + take * p }),
                    }
                });
                if let Some(mask) = mask {
                    mask.erase(average);
                }
            })?;
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
