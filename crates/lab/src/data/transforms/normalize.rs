//! Normalization.

use crate::data::Image;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Per-channel normalization: `(value - mean) / std` with values between 0 and 1.
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
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        let good = self.mean.iter().all(|m| m.is_finite()) && self.std.iter().all(|s| s.is_finite() && *s > 0.0);
        match good {
            true => Ok(()),
            false => Err(Error::argument("normalize", format!("{self:?}"), "finite means and positive stds")),
        }
    }

    /// The normalized values of an image in CHW order, length `3 * height * width`.
    pub fn apply(&self, image: &Image) -> Vec<f32> {
        let mut values = image.to_chw();
        let plane = values.len() / 3;
        for (channel, value) in values.iter_mut().enumerate().map(|(i, v)| (i / plane.max(1), v)) {
            *value = (*value - self.mean[channel]) / self.std[channel];
        }
        values
    }

    /// The values between 0 and 1 that `values` (CHW, of a length divisible by 3) were normalized from.
    pub fn invert(&self, values: &[f32]) -> Vec<f32> {
        let plane = (values.len() / 3).max(1);
        let undo = |(i, v): (usize, &f32)| v * self.std[(i / plane).min(2)] + self.mean[(i / plane).min(2)];
        values.iter().enumerate().map(undo).collect()
    }

    /// The mean as an 8-bit color: what geometric operations fill empty corners with.
    pub fn mean_color(&self) -> [u8; 3] {
        self.mean.map(|m| (m * 255.0).round().clamp(0.0, 255.0) as u8)
    }
}

impl Default for Normalize {
    fn default() -> Self {
        Normalize::IMAGENET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizing_is_per_channel_and_invertible() {
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
