//! Settings of the optimizer.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of [`AdamW`](crate::train::AdamW).
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
                return Err(Error::argument(name, beta, "at least 0 and less than 1, in single precision"));
            }
        }
        let eps = self.eps as f32;
        if !(eps > 0.0 && eps.is_finite()) {
            return Err(Error::argument("eps", self.eps, "a number that is positive in single precision"));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return Err(Error::argument("weight decay", self.weight_decay, "a finite, nonnegative number"));
        }
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
