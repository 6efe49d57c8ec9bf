//! Means over seeds and differences between variants.

use serde::Serialize;

/// Mean and spread of some values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Number of values.
    pub n: usize,
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation, `sqrt(sum (x - mean)^2 / (n - 1))`; `None` for a single value.
    pub std: Option<f64>,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl Spread {
    /// Mean and spread; `None` without values.
    ///
    /// ```
    /// let spread = kernelscope_lab::ablate::Spread::of(&[1.0, 2.0, 4.0]).ok_or("no values")?;
    /// assert_eq!((spread.n, spread.min, spread.max), (3, 1.0, 4.0));
    /// assert!((spread.mean - 7.0 / 3.0).abs() < 1e-12);
    /// assert!((spread.std.unwrap_or(0.0) - (7.0f64 / 3.0).sqrt()).abs() < 1e-12);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Some(Spread {
            n,
            mean,
            std: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

/// Difference of two variants, paired over the seeds that both have: the mean of the differences seed by seed, so that
/// what a seed does to both (its images and their order) cancels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Number of seeds.
    pub pairs: usize,
    /// Mean difference.
    pub mean: f64,
    /// Standard error of the mean, `std / sqrt(n)`; `None` for a single pair.
    pub standard_error: Option<f64>,
    /// Half the width of its 95 % confidence interval: the standard error times the 97.5 % quantile of Student's t with
    /// `n - 1` degrees of freedom. `None` for a single pair.
    pub margin: Option<f64>,
}

impl Difference {
    /// The difference from pairs of (value, value of the baseline); `None` without pairs.
    pub fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let spread = Spread::of(&pairs.iter().map(|(a, b)| a - b).collect::<Vec<_>>())?;
        let standard_error = spread.std.map(|std| std / (spread.n as f64).sqrt());
        let margin = standard_error.map(|error| error * student_t(spread.n - 1));
        Some(Difference { pairs: spread.n, mean: spread.mean, standard_error, margin })
    }
}

/// 97.5 % quantiles of Student's t with 1 to 30 degrees of freedom.
const STUDENT_T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// The 97.5 % quantile of Student's t; beyond the table by two terms of its expansion around the normal quantile.
fn student_t(freedom: usize) -> f64 {
    let z = 1.959_963_985f64;
    let v = freedom as f64;
    let expansion = z + (z.powi(3) + z) / (4.0 * v) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * v * v);
    freedom.checked_sub(1).and_then(|index| STUDENT_T.get(index)).copied().unwrap_or(expansion)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_goes_on_smoothly_where_the_table_ends() {
        assert!((student_t(30) - 2.0423).abs() < 5e-4);
        assert!((student_t(31) - 2.0395).abs() < 2e-4);
        assert!((student_t(60) - 2.0003).abs() < 2e-4);
        assert!((student_t(100_000) - 1.95999).abs() < 1e-4);
    }

    #[test]
    fn a_difference_is_paired() {
        // What the seeds have in common is far larger than the difference, and cancels.
        let pairs = [(0.52, 0.50), (0.74, 0.70), (0.93, 0.90)];
        let difference = Difference::of(&pairs).unwrap();
        assert_eq!(difference.pairs, 3);
        assert!((difference.mean - 0.03).abs() < 1e-12);
        let error = 0.01 / 3f64.sqrt();
        assert!((difference.standard_error.unwrap() - error).abs() < 1e-12);
        assert!((difference.margin.unwrap() - 4.303 * error).abs() < 1e-12);
        assert_eq!(Difference::of(&pairs[..1]).unwrap().margin, None);
        assert_eq!(Difference::of(&[]), None);
        assert_eq!(Spread::of(&[]), None);
    }
}
