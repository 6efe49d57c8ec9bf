//! What residual blocks need.

use super::{Init, Kind, Mode, Scope};
use crate::ops::scale_residual;
use crate::{Error, Result, rng};
use candle_core::Tensor;
use rand::RngExt;

/// Stochastic depth (Huang et al., 2016): in training each sample's branch is dropped with a probability, and kept
/// branches are divided by the probability of being kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DropPath {
    rate: f64,
    layer: u64,
}

impl DropPath {
    /// For the block at `path`, with probability `rate` of dropping.
    ///
    /// # Errors
    /// If the rate is not in [0, 1).
    pub fn new(path: &str, rate: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::argument("drop_path", rate, "at least 0 and below 1"));
        }
        Ok(DropPath { rate, layer: rng::hash_name(path) })
    }

    /// Rates rising linearly from 0 in the first block to `rate` in the last.
    pub fn linear_rates(rate: f64, blocks: usize) -> Vec<f64> {
        (0..blocks).map(|i| if blocks > 1 { rate * i as f64 / (blocks - 1) as f64 } else { 0.0 }).collect()
    }

    /// The factor of each of `n` samples: 1 in evaluation, else 0 or `1 / (1 - rate)`.
    pub fn factors(&self, n: usize, mode: Mode) -> Vec<f64> {
        match mode {
            Mode::Train { seed } if self.rate > 0.0 => {
                let mut rng = rng::stream(seed, &[self.layer]);
                let keep = 1.0 - self.rate;
                (0..n).map(|_| if rng.random::<f64>() < keep { 1.0 / keep } else { 0.0 }).collect()
            }
            _ => vec![1.0; n],
        }
    }

    /// `x + drop_path(f)`: adds the branch `f` to `x`.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn add(&self, x: &Tensor, f: &Tensor, mode: Mode) -> Result<Tensor> {
        match mode {
            Mode::Train { .. } if self.rate > 0.0 => scale_residual::residual(x, f, &self.factors(x.dim(0)?, mode)),
            _ => Ok((x + f)?),
        }
    }
}

/// The end of a residual block: `x + drop_path(gamma * f)`.
#[derive(Debug, Clone)]
pub struct LayerScale {
    gamma: Tensor,
    drop_path: DropPath,
}

impl LayerScale {
    /// With the parameter `gamma` starting at `init`; without one (factor 1) if `init` is not positive.
    ///
    /// # Errors
    /// If the parameter cannot be made.
    pub fn new(scope: &Scope, channels: usize, init: f64, drop_path: DropPath) -> Result<Self> {
        let gamma = if init > 0.0 {
            scope.param("gamma", channels, Kind::Gamma, Init::Constant(init))?
        } else {
            scope.constant(channels, 1.0)?
        };
        Ok(LayerScale { gamma, drop_path })
    }

    /// The factors, for an operator that multiplies with them as part of something larger.
    pub(super) fn gamma(&self) -> &Tensor {
        &self.gamma
    }

    /// Adds the branch `f` to `x`.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn forward(&self, x: &Tensor, f: &Tensor, mode: Mode) -> Result<Tensor> {
        scale_residual::scale_residual(x, f, &self.gamma, &self.drop_path.factors(x.dim(0)?, mode))
    }

    /// Adds the branch `f` to `x`, where `f` is multiplied with the factors already (see
    /// [`Pointwise::forward_activated`](super::Pointwise::forward_activated)).
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn add_scaled(&self, x: &Tensor, f: &Tensor, mode: Mode) -> Result<Tensor> {
        scale_residual::residual(x, f, &self.drop_path.factors(x.dim(0)?, mode))
    }
}
