//! Draws of augmentations, and what a probability may be.

use crate::{Error, Result};
use kernelscope::rng::ChaCha8Rng;
use rand::RngExt;

/// True with probability `p`; values outside 0 to 1 count as 0 and 1.
pub(super) fn chance(rng: &mut ChaCha8Rng, p: f32) -> bool {
    rng.random::<f32>() < p
}

/// A uniform value between `low` and `high`.
pub(super) fn uniform(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

/// A value whose logarithm is uniform between those of `low` and `high`.
pub(super) fn log_uniform(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    uniform(rng, low.ln(), high.ln()).exp()
}

/// An argument error unless `value` is a probability.
pub(super) fn check_probability(name: &str, value: f64) -> Result<()> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => Err(Error::argument(name, value, "0 to 1")),
    }
}
