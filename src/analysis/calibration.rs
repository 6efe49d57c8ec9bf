//! Whether a network is right as often as it is sure: reliability, and the expected calibration error (Naeini et al.,
//! *Obtaining Well Calibrated Probabilities Using Bayesian Binning*, AAAI 2015; Guo et al., *On Calibration of Modern
//! Neural Networks*, ICML 2017).
//!
//! An image's confidence is the probability of its answer, the largest of the softmax. The range from 0 to 1 is divided
//! into B bins of equal width, the b-th from `(b-1)/B`, excluded, to `b/B`, included. With `n_b` images in a bin, of `N`
//! in all:
//!
//! ```text
//! ECE = sum_b n_b / N * | accuracy(b) - mean confidence(b) |
//! ```
//!
//! The value depends on the number of bins; those papers use [`BINS`].

use crate::{Error, Result};
use serde::Serialize;

/// Bins of the published figures.
pub const BINS: usize = 15;

/// The images whose confidence is in one range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// Confidence above which the bin begins.
    pub low: f64,
    /// Confidence up to which it goes.
    pub high: f64,
    /// Number of images.
    pub images: usize,
    /// Share of them that are answered with their label; `None` without images.
    pub accuracy: Option<f64>,
    /// Their mean confidence; `None` without images.
    pub confidence: Option<f64>,
}

/// How far confidence and accuracy are apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// The bins, from low to high confidence.
    pub bins: Vec<ReliabilityBin>,
    /// The expected calibration error; `None` without images.
    pub ece: Option<f64>,
}

impl Calibration {
    /// Counts pairs of a confidence and whether the answer was right.
    ///
    /// # Errors
    /// If there is no bin, or a confidence is not between 0 and 1.
    ///
    /// ```
    /// use kernelscope::analysis::calibration::Calibration;
    /// // Nine of ten are right where the network says 90 percent, and half where it says 70.
    /// let sure = (0..10).map(|i| (0.9, i > 0));
    /// let unsure = (0..10).map(|i| (0.7, i < 5));
    /// let calibration = Calibration::of(sure.chain(unsure), 10)?;
    /// assert!((calibration.ece.unwrap_or_default() - 0.1).abs() < 1e-12);
    /// assert_eq!(calibration.bins[8].images, 10);
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn of(answers: impl IntoIterator<Item = (f64, bool)>, bins: usize) -> Result<Self> {
        if bins == 0 {
            return Err(Error::argument("bins", 0, "at least 1"));
        }
        let mut sums = vec![(0usize, 0usize, 0.0); bins];
        for (confidence, right) in answers {
            if !(0.0..=1.0).contains(&confidence) {
                return Err(Error::argument("confidence", confidence, "0 to 1"));
            }
            let bin = ((confidence * bins as f64).ceil() as usize).clamp(1, bins) - 1;
            if let Some((images, correct, sum)) = sums.get_mut(bin) {
                *images += 1;
                *correct += usize::from(right);
                *sum += confidence;
            }
        }
        let all: usize = sums.iter().map(|(images, ..)| images).sum();
        let (mut list, mut ece) = (Vec::with_capacity(bins), 0.0);
        for (index, (images, correct, sum)) in sums.into_iter().enumerate() {
            let mean = |total: f64| (images > 0).then(|| total / images as f64);
            ece += (correct as f64 - sum).abs() / all.max(1) as f64;
            list.push(ReliabilityBin {
                low: index as f64 / bins as f64,
                high: (index + 1) as f64 / bins as f64,
                images,
                accuracy: mean(correct as f64),
                confidence: mean(sum),
            });
        }
        Ok(Calibration { bins: list, ece: (all > 0).then_some(ece) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_end_with_their_upper_bound() {
        let confidences = [0.0, 0.25, 0.250_001, 0.5, 1.0];
        let calibration = Calibration::of(confidences.map(|c| (c, true)), 4).unwrap();
        let counts: Vec<usize> = calibration.bins.iter().map(|bin| bin.images).collect();
        assert_eq!(counts, [2, 2, 0, 1]);
        assert_eq!((calibration.bins[2].accuracy, calibration.bins[2].confidence), (None, None));
        assert_eq!((calibration.bins[1].low, calibration.bins[1].high), (0.25, 0.5));
    }

    #[test]
    fn the_error_is_the_mean_distance_weighted_by_images() {
        // 3 images at 0.8, of which 1 is right; 1 image at 0.3 that is wrong.
        let answers = [(0.8, true), (0.8, false), (0.8, false), (0.3, false)];
        let ece = Calibration::of(answers, 10).unwrap().ece.unwrap();
        let expected = 0.75 * (0.8 - 1.0 / 3.0) + 0.25 * 0.3;
        assert!((ece - expected).abs() < 1e-12, "{ece}");
        assert_eq!(Calibration::of([(1.0, true), (1.0, true)], BINS).unwrap().ece, Some(0.0));
        assert_eq!(Calibration::of([], BINS).unwrap().ece, None);
    }

    #[test]
    fn what_is_no_confidence_is_refused() {
        for bad in [-0.1, 1.1, f64::NAN] {
            let message = Calibration::of([(bad, true)], BINS).unwrap_err().to_string();
            assert!(message.contains("confidence") && message.contains("0 to 1"), "{message}");
        }
        assert!(Calibration::of([], 0).unwrap_err().to_string().contains("bins"));
    }
}
