//! Loss and accuracy.

use crate::Result;
use candle_core::{D, Tensor};

/// Cross entropy with soft targets, averaged over images:
/// `L = -1/N * sum_n sum_c target[n,c] * log softmax(logits[n])_c`.
///
/// Both are (N, classes); rows of `targets` sum to 1. Differentiable in the logits.
///
/// # Errors
/// If the shapes differ.
pub fn soft_cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let max = logits.max_keepdim(D::Minus1)?.detach();
    let shifted = logits.broadcast_sub(&max)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let log_probabilities = shifted.broadcast_sub(&log_sum)?;
    Ok((log_probabilities * targets)?.sum(D::Minus1)?.mean_all()?.neg()?)
}

/// Number of rows of `logits` (N, classes) whose largest entry is the label.
///
/// # Errors
/// If the logits are no f32 matrix.
pub fn accuracy(logits: &Tensor, labels: &[usize]) -> Result<usize> {
    let predictions = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
    Ok(predictions.iter().zip(labels).filter(|(p, l)| **p as usize == **l).count())
}
