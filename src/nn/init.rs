//! Initial values of parameters.

use crate::{Error, Result, rng};
use candle_core::Shape;
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

/// Initial values of a fresh parameter.
#[derive(Debug, Clone)]
pub enum Init {
    /// All the same.
    Constant(f64),
    /// Normal with mean 0, cut off (drawn again) beyond `bound` in absolute value.
    TruncatedNormal {
        /// Standard deviation.
        std: f64,
        /// Largest absolute value.
        bound: f64,
    },
    /// Normal with mean 0 and variance 1 / (values per output), so that outputs are as large as inputs whatever the
    /// width (LeCun et al., 1998).
    FanIn,
    /// Uniform between plus and minus `1 / sqrt(values per output)`: what PyTorch gives convolutions and linear maps,
    /// and so what networks have whose code initializes nothing.
    UniformFanIn,
    /// Uniform between plus and minus a bound.
    Uniform {
        /// Largest absolute value.
        bound: f64,
    },
    /// Given values, row-major.
    Values(Vec<f32>),
}

impl Init {
    /// ConvNeXt's initialization of weights: standard deviation 0.02, truncated at +-2.
    pub const WEIGHT: Init = Init::TruncatedNormal { std: 0.02, bound: 2.0 };

    /// The nearest initialization of candle's: it does not cut normal distributions off.
    pub(super) fn in_candle(&self) -> candle_nn::Init {
        use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};
        let kaiming = |dist, gain| candle_nn::Init::Kaiming {
            dist,
            fan: FanInOut::FanIn,
            non_linearity: NonLinearity::ExplicitGain(gain),
        };
        match *self {
            Init::Constant(value) => candle_nn::Init::Const(value),
            Init::Values(_) => candle_nn::Init::Const(0.0),
            Init::TruncatedNormal { std, .. } => candle_nn::Init::Randn { mean: 0.0, stdev: std },
            Init::FanIn => kaiming(NormalOrUniform::Normal, 1.0),
            // candle's bound is sqrt(3) times its standard deviation.
            Init::UniformFanIn => kaiming(NormalOrUniform::Uniform, 3f64.sqrt().recip()),
            Init::Uniform { bound } => candle_nn::Init::Uniform { lo: -bound, up: bound },
        }
    }

    /// Draws the values of the parameter `name`. The stream depends on seed and name alone, so the same layer
    /// starts with the same values whatever else the network contains.
    ///
    /// # Errors
    /// If a standard deviation or bound is negative or not a number, or one that values are drawn by is infinite.
    pub(super) fn draw(&self, shape: &Shape, seed: u64, name: &str) -> Result<Vec<f32>> {
        let count = shape.elem_count();
        let per_output = shape.dims().iter().skip(1).product::<usize>().max(1);
        let by_fan_in = (per_output as f64).sqrt().recip();
        let (std, bound) = match self {
            Init::Constant(value) => return Ok(vec![*value as f32; count]),
            Init::Values(values) => return Ok(values.clone()),
            Init::TruncatedNormal { std, bound } => (*std, *bound),
            Init::FanIn => (by_fan_in, f64::INFINITY),
            Init::UniformFanIn => return uniform(by_fan_in, count, seed, name),
            Init::Uniform { bound } => return uniform(*bound, count, seed, name),
        };
        if !(std.is_finite() && std >= 0.0 && bound >= 0.0) {
            let given = format!("a standard deviation of {std} truncated at {bound}");
            return Err(Error::argument(format!("initial values of {name}"), given, "nonnegative numbers"));
        }
        let mut rng = rng::stream(seed, &[rng::hash_name(name)]);
        Ok((0..count).map(|_| truncated_normal(&mut rng, std, bound) as f32).collect())
    }
}

/// Values between plus and minus `bound`.
fn uniform(bound: f64, count: usize, seed: u64, name: &str) -> Result<Vec<f32>> {
    if !(bound.is_finite() && bound >= 0.0) {
        let given = format!("a bound of {bound}");
        return Err(Error::argument(format!("initial values of {name}"), given, "a nonnegative number"));
    }
    let mut rng = rng::stream(seed, &[rng::hash_name(name)]);
    Ok((0..count).map(|_| (bound * rng.random_range(-1.0..=1.0f64)) as f32).collect())
}

/// A normal value with mean 0, drawn again while it is beyond `bound` in absolute value.
fn truncated_normal(rng: &mut rng::ChaCha8Rng, std: f64, bound: f64) -> f64 {
    // With a narrow bound nearly all normal values would be drawn again. Uniform ones, kept in proportion to the
    // density, have the same distribution, and more than half of them are kept.
    if bound < std {
        loop {
            let value = bound * rng.random_range(-1.0..=1.0f64);
            if rng.random::<f64>() < (-0.5 * (value / std).powi(2)).exp() {
                return value;
            }
        }
    }
    loop {
        let z: f64 = StandardNormal.sample(rng);
        if (z * std).abs() <= bound {
            return z * std;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(std: f64, bound: f64) -> Result<Vec<f32>> {
        Init::TruncatedNormal { std, bound }.draw(&Shape::from(2000), 1, "weight")
    }

    #[test]
    fn truncated_values_stay_inside_any_bound() {
        for (std, bound) in [(0.02, 2.0), (1.0, 1.0), (1.0, 0.5), (1.0, 1e-12), (1.0, 0.0), (0.0, 0.0), (0.0, 1.0)] {
            let values = drawn(std, bound).unwrap();
            assert!(values.iter().all(|v| f64::from(v.abs()) <= bound * (1.0 + 1e-6)), "{std} {bound}");
            let spread = (values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 2000.0).sqrt();
            // Cut off at 1 and at 1/2 deviation, a normal has deviations 0.540 and 0.284; a narrower one is uniform.
            let expected = match (std, bound) {
                (0.02, 2.0) => 0.02,
                (1.0, 1.0) => 0.5396,
                (1.0, 0.5) => 0.2840,
                _ => std * bound / 3f64.sqrt(),
            };
            assert!((spread - expected).abs() <= 0.1 * expected, "{std} {bound}: {spread}, not {expected}");
        }
    }

    #[test]
    fn impossible_spreads_are_refused() {
        for (std, bound) in [(f64::NAN, 1.0), (1.0, f64::NAN), (-1.0, 1.0), (1.0, -1.0), (f64::INFINITY, 1.0)] {
            let error = drawn(std, bound).unwrap_err().to_string();
            assert!(error.contains("initial values of weight") && error.contains("nonnegative"), "{error}");
        }
        for bound in [f64::NAN, -1.0, f64::INFINITY] {
            let error = Init::Uniform { bound }.draw(&Shape::from(3), 1, "bias").unwrap_err().to_string();
            assert!(error.contains("initial values of bias") && error.contains("nonnegative"), "{error}");
        }
    }

    #[test]
    fn uniform_values_fill_their_range() {
        let shape = Shape::from((100, 4, 3, 3));
        for (init, bound) in [(Init::UniformFanIn, 1.0 / 6.0), (Init::Uniform { bound: 0.25 }, 0.25)] {
            let values = init.draw(&shape, 1, "weight").unwrap();
            let largest = values.iter().fold(0f64, |max, v| max.max(f64::from(v.abs())));
            assert!(largest <= bound * (1.0 + 1e-6) && largest > 0.99 * bound, "{largest} for {bound}");
            let variance = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64;
            assert!((3.0 * variance / bound.powi(2) - 1.0).abs() < 0.1, "{variance} for {bound}");
        }
    }
}
