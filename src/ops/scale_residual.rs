//! The end of a residual block: layer scale (Touvron et al., 2021), drop path (Huang et al., 2016) and the sum, in one
//! pass over memory.
//!
//! ```text
//! y[n,c,s] = x[n,c,s] + keep[n] * gamma[c] * f[n,c,s]
//! ```
//!
//! `keep[n]` is 1 in evaluation; in training 0 for a dropped sample and `1 / (1 - rate)` for a kept one.

use super::storage::{self, Element, Op3};
use super::{check_per_channel, dims4};
use crate::{Error, Result};
use candle_core::{Shape, Tensor};
use rayon::prelude::*;

/// Adds the scaled branch `f` to `x`, both (N, C, H, W); `gamma` is (C), `keep` has one factor per image.
/// Differentiable in x, f and gamma; f32 and f64.
///
/// # Errors
/// If shapes or dtypes do not fit.
///
/// ```
/// use candle_core::{Device, DType, Tensor};
/// use kernelscope::ops::scale_residual::scale_residual;
/// let x = Tensor::ones((2, 1, 1, 1), DType::F32, &Device::Cpu)?;
/// let gamma = Tensor::new(&[0.5f32], &Device::Cpu)?;
/// let y = scale_residual(&x, &x, &gamma, &[0.0, 2.0])?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.0, 2.0]);
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn scale_residual(x: &Tensor, f: &Tensor, gamma: &Tensor, keep: &[f64]) -> Result<Tensor> {
    let (n, channels, height, width) = dims4("input", x)?;
    if f.dims() != x.dims() {
        return Err(Error::argument("branch", format!("shape {:?}", f.dims()), format!("{:?}", x.dims())));
    }
    if keep.len() != n {
        return Err(Error::argument("keep", format!("{} factors", keep.len()), format!("{n}, one per image")));
    }
    check_per_channel("gamma", gamma, channels)?;
    storage::check_same("input, branch and gamma", &[x, f, gamma])?;
    let op = ScaleResidual { keep: keep.to_vec(), channels, positions: height * width };
    storage::apply(op, [x, f, gamma])
}

struct ScaleResidual {
    keep: Vec<f64>,
    channels: usize,
    positions: usize,
}

impl ScaleResidual {
    fn factor<T: Element>(&self, plane: usize, gamma: &[T]) -> T {
        T::from_f64(self.keep[plane / self.channels]) * gamma[plane % self.channels]
    }

    fn branch_grad<T: Element>(&self, dy: &[T], gamma: &[T]) -> Vec<T> {
        let mut df = vec![T::zero(); dy.len()];
        let s = self.positions;
        df.par_chunks_exact_mut(s).zip(dy.par_chunks_exact(s)).enumerate().for_each(|(plane, (df, dy))| {
            let factor = self.factor(plane, gamma);
            for (df, &dy) in df.iter_mut().zip(dy) {
                *df = factor * dy;
            }
        });
        df
    }

    fn gamma_grad<T: Element>(&self, f: &[T], dy: &[T]) -> Vec<T> {
        let s = self.positions;
        let sums: Vec<T> = f
            .par_chunks_exact(s)
            .zip(dy.par_chunks_exact(s))
            .map(|(f, dy)| f.iter().zip(dy).map(|(&f, &dy)| f * dy).sum())
            .collect();
        let mut dgamma = vec![T::zero(); self.channels];
        for (plane, &sum) in sums.iter().enumerate() {
            dgamma[plane % self.channels] += T::from_f64(self.keep[plane / self.channels]) * sum;
        }
        dgamma
    }
}

impl Op3 for ScaleResidual {
    const NAME: &'static str = "scale and residual";
    const GRADIENT_NAME: &'static str = "scale and residual, gradients";
    const FIRST_GRADIENT_PASSES: bool = true;

    fn output_shape(&self, x: &Shape) -> Shape {
        x.clone()
    }

    fn forward<T: Element>(&self, [x, f, gamma]: [&[T]; 3]) -> Vec<T> {
        let mut y = vec![T::zero(); x.len()];
        let s = self.positions;
        y.par_chunks_exact_mut(s).zip(x.par_chunks_exact(s)).zip(f.par_chunks_exact(s)).enumerate().for_each(
            |(plane, ((y, x), f))| {
                let factor = self.factor(plane, gamma);
                for ((y, &x), &f) in y.iter_mut().zip(x).zip(f) {
                    *y = x + factor * f;
                }
            },
        );
        y
    }

    fn gradients<T: Element>(&self, [_, f, gamma]: [&[T]; 3], dy: &[T], wanted: [bool; 3]) -> [Option<Vec<T>>; 3] {
        [None, wanted[1].then(|| self.branch_grad(dy, gamma)), wanted[2].then(|| self.gamma_grad(f, dy))]
    }
}
