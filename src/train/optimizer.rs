//! AdamW with decay groups and state that can be saved.

use super::sparse::Masks;
use crate::nn::{Kind, Params};
use crate::ops::storage::{update, with_values};
use crate::weights::TensorMap;
use crate::{Error, Result, profile};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;
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

/// Values per parallel task.
const CHUNK: usize = 1 << 14;

struct Slot {
    name: String,
    var: Var,
    decay: bool,
    m: Vec<f32>,
    v: Vec<f32>,
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
                m: vec![0.0; param.var.elem_count()],
                v: vec![0.0; param.var.elem_count()],
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
        // In lanes, so that it vectorises, and in chunks whose sums are added in order.
        let of_chunk = |chunk: &[f32]| {
            let mut lanes = [0.0; 16];
            for values in chunk.chunks(16) {
                for (lane, &g) in lanes.iter_mut().zip(values) {
                    *lane += f64::from(g) * f64::from(g);
                }
            }
            lanes.iter().sum::<f64>()
        };
        let mut sum = 0.0;
        for slot in &self.slots {
            if let Some(grad) = grads.get(slot.var.as_tensor()) {
                let chunks: Vec<f64> =
                    with_values::<f32, _>(grad, |g| Ok(g.par_chunks(CHUNK).map(of_chunk).collect()))?;
                sum += chunks.iter().sum::<f64>();
            }
        }
        Ok(sum.sqrt())
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
        let factors = Factors {
            betas: (beta1 as f32, beta2 as f32),
            eps: eps as f32,
            scale: scale as f32,
            rate: (lr / correction1) as f32,
            root: correction2.sqrt() as f32,
            keep: 1.0,
        };
        for Slot { name, var, decay, m, v } in &mut self.slots {
            let grad = grads
                .get(var.as_tensor())
                .ok_or_else(|| Error::argument("gradients", format!("none for {name}"), "one for every parameter"))?;
            let factors = Factors { keep: if *decay { (1.0 - lr * weight_decay) as f32 } else { 1.0 }, ..factors };
            update(var.as_tensor(), grad, |p, g| {
                let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
                let values = p.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK));
                values.zip(moments).for_each(|((p, g), (m, v))| {
                    pulp::Arch::new().dispatch(Update { factors, p, g, m, v });
                });
            })?;
        }
        Ok(())
    }

    /// Sets the moments of pruned weights to zero.
    pub fn reset_pruned(&mut self, masks: &Masks) {
        for slot in &mut self.slots {
            if let Some(mask) = masks.get(&slot.name) {
                mask.erase(&mut slot.m);
                mask.erase(&mut slot.v);
            }
        }
    }

    /// The moments, as tensors named `m.NAME` and `v.NAME`, and the number of steps.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn state(&self) -> Result<(TensorMap, u64)> {
        let mut tensors = TensorMap::new();
        for slot in &self.slots {
            for (prefix, values) in [("m", &slot.m), ("v", &slot.v)] {
                let tensor = Tensor::from_slice(values, slot.var.shape(), &Device::Cpu)?;
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
            for (prefix, values) in [("m", &mut slot.m), ("v", &mut slot.v)] {
                let name = format!("{prefix}.{}", slot.name);
                let found = tensors.get(&name).map(|t| t.flatten_all()?.to_vec1::<f32>()).transpose()?;
                match found {
                    Some(found) if found.len() == values.len() => *values = found,
                    _ => {
                        return Err(Error::argument(
                            "optimiser state",
                            format!("no {name} of {} values", values.len()),
                            "the state of the same network",
                        ));
                    }
                }
            }
        }
        self.step = step;
        Ok(())
    }
}

/// The numbers of one step, for parameters of one decay group.
#[derive(Clone, Copy)]
struct Factors {
    betas: (f32, f32),
    eps: f32,
    /// Of the gradients.
    scale: f32,
    /// `a / (1 - b1^t)`.
    rate: f32,
    /// `sqrt(1 - b2^t)`.
    root: f32,
    /// `1 - a * weight_decay`, or 1.
    keep: f32,
}

/// The step of some parameters with their gradients and moments.
struct Update<'a> {
    factors: Factors,
    p: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Update { factors: Factors { betas: (b1, b2), eps, scale, rate, root, keep }, p, g, m, v } = self;
        for ((p, &g), (m, v)) in p.iter_mut().zip(g).zip(m.iter_mut().zip(v)) {
            let g = g * scale;
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            *p = *p * keep - rate * *m / (v.sqrt() / root + eps);
        }
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
