//! AdamW with decay groups and state that can be saved.

use super::sparse::Masks;
use crate::config::AdamWConfig;
use crate::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use kernelscope::nn::{Kind, Params};
use kernelscope::ops::update::{self, AdamWStep, Moments};
use kernelscope::profile;
use kernelscope::weights::TensorMap;

struct Slot {
    name: String,
    var: Var,
    decay: bool,
    moments: Moments,
}

/// AdamW (Loshchilov and Hutter, 2019). With gradient g, step t and learning rate a:
///
/// ```text
/// p <- p * (1 - a * weight_decay)        only parameters with two or more axes (no bias, norm, layer scale)
/// m <- b1 m + (1 - b1) g      v <- b2 v + (1 - b2) g^2
/// p <- p - a * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
/// ```
pub struct AdamW {
    config: AdamWConfig,
    slots: Vec<Slot>,
    step: u64,
}

impl AdamW {
    /// An optimizer of all trainable parameters, with zero moments.
    pub fn new(params: &Params, config: AdamWConfig) -> Self {
        let slots = params
            .trainable()
            .map(|(name, param)| Slot {
                name: name.to_string(),
                var: param.var.clone(),
                decay: param.kind == Kind::Weight && param.var.rank() > 1,
                moments: Moments::zero(),
            })
            .collect();
        AdamW { config, slots, step: 0 }
    }

    /// Euclidean norm of all gradients together.
    ///
    /// # Errors
    /// If a gradient is not f32.
    pub fn gradient_norm(&self, grads: &GradStore) -> Result<f64> {
        let _span = profile::span("optimizer");
        let grads = self.slots.iter().filter_map(|slot| grads.get(slot.var.as_tensor()));
        Ok(update::square_sum(grads)?.sqrt())
    }

    /// Updates all parameters in place with gradients multiplied by `scale` (for clipping).
    ///
    /// # Errors
    /// If a parameter has no gradient: it would silently stop learning.
    pub fn step(&mut self, grads: &GradStore, lr: f64, scale: f64) -> Result<()> {
        let _span = profile::span("optimizer");
        self.step += 1;
        let AdamWConfig { beta1, beta2, eps, weight_decay } = self.config;
        let power = i32::try_from(self.step).unwrap_or(i32::MAX);
        let (correction1, correction2) = (1.0 - beta1.powi(power), 1.0 - beta2.powi(power));
        let factors = AdamWStep {
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            eps: eps as f32,
            scale: scale as f32,
            rate: (lr / correction1) as f32,
            root: correction2.sqrt() as f32,
            keep: 1.0,
        };
        for Slot { name, var, decay, moments } in &mut self.slots {
            let grad = grads
                .get(var.as_tensor())
                .ok_or_else(|| Error::argument("gradients", format!("none for {name}"), "one for every parameter"))?;
            let factors = AdamWStep { keep: if *decay { (1.0 - lr * weight_decay) as f32 } else { 1.0 }, ..factors };
            update::adamw(var.as_tensor(), grad, moments, factors)?;
        }
        Ok(())
    }

    /// Sets the moments of pruned weights to zero.
    ///
    /// # Errors
    /// If a GPU fails.
    pub fn reset_pruned(&mut self, masks: &Masks) -> Result<()> {
        let masked = self.slots.iter_mut().filter_map(|slot| Some((masks.get(&slot.name)?, slot)));
        masked.into_iter().try_for_each(|(mask, slot)| slot.moments.erase(mask.groups()))
    }

    /// The moments, as tensors named `m.NAME` and `v.NAME`, and the number of steps.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn state(&self) -> Result<(TensorMap, u64)> {
        let mut tensors = TensorMap::new();
        for slot in &self.slots {
            for (prefix, values) in ["m", "v"].into_iter().zip(slot.moments.values(slot.var.elem_count())?) {
                let tensor = Tensor::from_vec(values, slot.var.shape(), &Device::Cpu)?;
                tensors.insert(format!("{prefix}.{}", slot.name), tensor);
            }
        }
        Ok((tensors, self.step))
    }

    /// Takes back what [`AdamW::state`] gave.
    ///
    /// # Errors
    /// If a moment is missing or has another size.
    pub fn restore(&mut self, tensors: &TensorMap, step: u64) -> Result<()> {
        for slot in &mut self.slots {
            let count = slot.var.elem_count();
            let moment = |prefix: &str| {
                let name = format!("{prefix}.{}", slot.name);
                let found = tensors.get(&name).map(|t| t.flatten_all()?.to_vec1::<f32>()).transpose()?;
                let given = format!("no {name} of {count} values");
                let wanted = || Error::argument("optimizer state", given, "the state of the same network");
                found.filter(|found| found.len() == count).ok_or_else(wanted)
            };
            slot.moments = Moments::new(slot.var.as_tensor(), [moment("m")?, moment("v")?])?;
        }
        self.step = step;
        Ok(())
    }
}
