//! The definition of layer normalization over channels, for x of shape (outer, channels, inner).

use crate::ops::storage::Element;

/// `y = weight[c] * (x - mean) / sqrt(var + eps) + bias[c]`, mean and variance over the middle axis.
pub fn forward<T: Element>(shape: (usize, usize, usize), x: &[T], weight: &[T], bias: &[T], eps: T) -> Vec<T> {
    let (outer, channels, inner) = shape;
    let count = T::from_f64(channels as f64);
    let mut y = vec![T::zero(); x.len()];
    for n in 0..outer {
        for s in 0..inner {
            let at = |c: usize| (n * channels + c) * inner + s;
            let mean = (0..channels).map(|c| x[at(c)]).sum::<T>() / count;
            let variance = (0..channels).map(|c| (x[at(c)] - mean) * (x[at(c)] - mean)).sum::<T>() / count;
            for c in 0..channels {
                y[at(c)] = weight[c] * (x[at(c)] - mean) / (variance + eps).sqrt() + bias[c];
            }
        }
    }
    y
}
