//! How to train.

use super::text::check_toml;
use super::{AdamWConfig, SparseConfig};
use crate::data::{Augment, MixConfig};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per step.
    pub batch_size: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// Learning rate at the end.
    pub min_lr: f64,
    /// Epochs of warm-up; fractions count.
    pub warmup_epochs: f64,
    /// Largest norm of the gradient; larger ones are scaled down. 0: no limit.
    pub clip_norm: f64,
    /// Decay of the moving average of the weights. 0: none.
    pub ema: f64,
    /// Steps between logged rows. 0: epochs only.
    pub log_every: usize,
    /// Newest checkpoints that are kept. 0: all.
    pub keep_checkpoints: usize,
    /// Threads that prepare images.
    pub workers: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Weights to start from instead of fresh ones; names and shapes must fit the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Optimizer.
    pub optimizer: AdamWConfig,
    /// Mixing of images and label smoothing.
    pub mix: MixConfig,
    /// Augmentation of single images.
    pub augment: Augment,
    /// Masks of weights; without, training is dense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparse: Option<SparseConfig>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            epochs: 10,
            batch_size: 64,
            lr: 2e-3,
            min_lr: 1e-6,
            warmup_epochs: 1.0,
            clip_norm: 0.0,
            ema: 0.0,
            log_every: 10,
            keep_checkpoints: 0,
            workers: 2,
            seed: 0,
            weights: None,
            optimizer: AdamWConfig::default(),
            mix: MixConfig::default(),
            augment: Augment::default(),
            sparse: None,
        }
    }
}

impl TrainConfig {
    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        let bad = |name: &str, given: &dyn std::fmt::Display, allowed: &str| Err(Error::argument(name, given, allowed));
        for (name, value, least, most) in [
            ("epochs", self.epochs, 1, MAX_EPOCHS),
            ("batch size", self.batch_size, 1, MAX_BATCH),
            ("worker threads", self.workers, 0, MAX_WORKERS),
        ] {
            if !(least..=most).contains(&value) {
                return bad(name, &value, &format!("{least} to {most}"));
            }
        }
        check_toml("seed", self.seed)?;
        check_toml("steps between logged rows", self.log_every as u64)?;
        check_toml("checkpoints to keep", self.keep_checkpoints as u64)?;
        for (name, value) in [("learning rate", self.lr), ("final learning rate", self.min_lr)] {
            if !value.is_finite() || value < 0.0 {
                return bad(name, &value, "a finite number, not negative");
            }
        }
        if !(0.0..=self.epochs as f64).contains(&self.warmup_epochs) {
            return bad("warm-up epochs", &self.warmup_epochs, "between 0 and the number of epochs");
        }
        if !(0.0..1.0).contains(&self.ema) {
            return bad("EMA decay", &self.ema, "at least 0 and below 1");
        }
        if !self.clip_norm.is_finite() || self.clip_norm < 0.0 {
            return bad("clip norm", &self.clip_norm, "a finite number, not negative");
        }
        self.optimizer.check()?;
        self.sparse.map_or(Ok(()), |sparse| sparse.check())?;
        self.augment.check()?;
        self.mix.check()
    }
}

/// More epochs are refused; the number of steps must not overflow.
const MAX_EPOCHS: usize = 1_000_000;
/// More images per step are refused.
const MAX_BATCH: usize = 1_000_000;
/// More threads are refused: they and their batches would fill the memory.
const MAX_WORKERS: usize = 1024;
