//! AdamW with decay groups and state that can be saved.

use super::sparse::Masks;
use crate::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use kernelscope::nn::{Kind, Params};
use kernelscope::ops::update::{self, AdamWStep, Moments};
use kernelscope::profile;
use kernelscope::weights::TensorMap;
use serde::{Deserialize, Serialize};

/// Settings of [`AdamW`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay rate of the first moment.
    pub beta1: f64,
    /// Decay rate of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, for weights with two or more axes.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        AdamWConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.05 }
    }
}

impl AdamWConfig {
    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        // The update is in single precision: a double just below 1 is 1 there, and the least one is 0.
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&(beta as f32)) {
                return Err(Error::argument(name, beta, "at least 0 and below 1 in single precision"));
            }
        }
        let eps = self.eps as f32;
        if !(eps > 0.0 && eps.is_finite()) {
            return Err(Error::argument("eps", self.eps, "a positive number in single precision"));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return Err(Error::argument("weight decay", self.weight_decay, "a finite number, not negative"));
        }
        Ok(())
    }
}

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
    /// An optimiser of all trainable parameters, with zero moments.
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
        let _span = profile::span("optimiser");
        let grads = self.slots.iter().filter_map(|slot| grads.get(slot.var.as_tensor()));
        Ok(update::square_sum(grads)?.sqrt())
    }

    /// Updates all parameters in place with gradients multiplied by `scale` (for clipping).
    ///
    /// # Errors
    /// If a parameter has no gradient: it would silently stop learning.
    pub fn step(&mut self, grads: &GradStore, lr: f64, scale: f64) -> Result<()> {
        let _span = profile::span("optimiser");
        self.step += 1;
        let AdamWConfig { beta1, beta2, eps, weight_decay } = self.config;
        let power = i32::try_from(self.step).unwrap_or(i32::MAX);
        let (correction1, correction2) = (1.0 - beta1.powi(power), 1.0 - beta2.powi(power));
        let factors = AdamWStep {
            betas: (beta1 as f32, beta2 as f32),
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
                let wanted = || Error::argument("optimiser state", given, "the state of the same network");
                found.filter(|found| found.len() == count).ok_or_else(wanted)
            };
            slot.moments = Moments::new(slot.var.as_tensor(), [moment("m")?, moment("v")?])?;
        }
        self.step = step;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        assert!(AdamWConfig::default().check().is_ok());
        type Change = fn(&mut AdamWConfig, f64);
        let changes: [(&str, Change, &[f64]); 4] = [
            ("beta1", |c, v| c.beta1 = v, &[-0.1, 1.0, 0.999_999_999_999, f64::NAN]),
            ("beta2", |c, v| c.beta2 = v, &[-0.1, 1.0, f64::INFINITY, f64::NAN]),
            ("eps", |c, v| c.eps = v, &[0.0, -1e-8, 1e-60, 1e60, f64::NAN]),
            ("weight decay", |c, v| c.weight_decay = v, &[-0.1, f64::INFINITY, f64::NAN]),
        ];
        for (name, change, values) in changes {
            for &value in values {
                let mut config = AdamWConfig::default();
                change(&mut config, value);
                let message = config.check().unwrap_err().to_string();
                assert!(message.contains(name) && message.contains(&format!("got {value}")), "{message}");
            }
        }
    }
}
