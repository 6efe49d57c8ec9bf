//! From an 8-bit image to normalised floats in CHW order, with and without augmentation.

mod augment;
mod erase;
mod eval;
mod geometry;
mod mix;
mod photometric;
mod rand_augment;

pub use augment::{Augment, ColorJitter, TrainTransform};
pub use eval::EvalTransform;
pub(super) use mix::soft_targets;
pub use mix::{MixConfig, mix_batch};
pub use rand_augment::RandAugment;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::Image;
use crate::Result;
use kernelscope::rng::ChaCha8Rng;

/// Per-channel normalisation: `(value - mean) / std` with values between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// Mean of the red, green and blue values.
    pub mean: [f32; 3],
    /// Standard deviation of the red, green and blue values; must be positive.
    pub std: [f32; 3],
}

impl Normalize {
    /// The statistics of ImageNet that most published weights expect.
    pub const IMAGENET: Normalize = Normalize { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    /// Maps 0 to 1 onto -1 to 1.
    pub const HALF: Normalize = Normalize { mean: [0.5; 3], std: [0.5; 3] };

    /// Checks that the standard deviations are positive and everything is finite.
    pub fn check(&self) -> Result<()> {
        let good = self.mean.iter().all(|m| m.is_finite()) && self.std.iter().all(|s| s.is_finite() && *s > 0.0);
        match good {
            true => Ok(()),
            false => Err(crate::Error::argument("normalize", format!("{self:?}"), "finite means and positive stds")),
        }
    }

    /// The normalised values of an image in CHW order, length `3 * height * width`.
    pub fn apply(&self, image: &Image) -> Vec<f32> {
        let mut values = image.to_chw();
        let plane = values.len() / 3;
        for (channel, value) in values.iter_mut().enumerate().map(|(i, v)| (i / plane.max(1), v)) {
            *value = (*value - self.mean[channel]) / self.std[channel];
        }
        values
    }

    /// The values between 0 and 1 that `values` (CHW, of a length divisible by 3) were normalised from.
    pub fn invert(&self, values: &[f32]) -> Vec<f32> {
        let plane = (values.len() / 3).max(1);
        let undo = |(i, v): (usize, &f32)| v * self.std[(i / plane).min(2)] + self.mean[(i / plane).min(2)];
        values.iter().enumerate().map(undo).collect()
    }

    /// The mean as an 8-bit colour: what geometric operations fill empty corners with.
    pub fn mean_color(&self) -> [u8; 3] {
        self.mean.map(|m| (m * 255.0).round().clamp(0.0, 255.0) as u8)
    }
}

impl Default for Normalize {
    fn default() -> Self {
        Normalize::IMAGENET
    }
}

/// What a loader does with every image.
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// Random augmentation.
    Train(TrainTransform),
    /// The fixed transformation of validation and inference.
    Eval(EvalTransform),
}

impl Transform {
    /// Side of the square result in pixels.
    pub fn size(&self) -> usize {
        match self {
            Transform::Train(t) => t.size,
            Transform::Eval(t) => t.size,
        }
    }

    /// Checks every setting.
    pub fn check(&self) -> Result<()> {
        match self {
            Transform::Train(t) => t.check(),
            Transform::Eval(t) => t.check(),
        }
    }

    /// The transformed image in CHW order, length `3 * size * size`. Only training uses `rng`.
    pub fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Vec<f32> {
        match self {
            Transform::Train(t) => t.apply(image, rng),
            Transform::Eval(t) => t.apply(image),
        }
    }
}

impl From<TrainTransform> for Transform {
    fn from(transform: TrainTransform) -> Self {
        Transform::Train(transform)
    }
}

impl From<EvalTransform> for Transform {
    fn from(transform: EvalTransform) -> Self {
        Transform::Eval(transform)
    }
}

/// True with probability `p`; values outside 0 to 1 count as 0 and 1.
fn chance(rng: &mut ChaCha8Rng, p: f32) -> bool {
    rng.random::<f32>() < p
}

/// A uniform value between `low` and `high`.
fn uniform(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

/// A value whose logarithm is uniform between those of `low` and `high`.
fn log_uniform(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    uniform(rng, low.ln(), high.ln()).exp()
}

/// An argument error unless `value` is a probability.
fn check_probability(name: &str, value: f64) -> Result<()> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => Err(crate::Error::argument(name, value, "0 to 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalising_is_per_channel_and_invertible() {
        let image = Image::filled(2, 2, [255, 0, 51]);
        let normalize = Normalize { mean: [0.5, 0.25, 0.2], std: [0.5, 0.25, 0.1] };
        let values = normalize.apply(&image);
        let close = |a: f32, b: f32| (a - b).abs() < 1e-6;
        assert!(close(values[0], 1.0) && close(values[4], -1.0) && close(values[11], 0.0), "{values:?}");
        assert!(normalize.invert(&values).iter().zip(image.to_chw()).all(|(a, b)| close(*a, b)));
        assert_eq!(Normalize::IMAGENET.mean_color(), [124, 116, 104]);
    }

    #[test]
    fn a_zero_deviation_is_refused() {
        assert!(Normalize { std: [0.2, 0.0, 0.2], ..Normalize::HALF }.check().is_err());
        assert!(Normalize::IMAGENET.check().is_ok());
    }
}
