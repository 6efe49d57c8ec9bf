//! The end of a residual block: layer scale (Touvron et al., 2021), drop path (Huang et al., 2016) and the sum, in one
//! pass over memory.
//!
//! ```text
//! y[n,c,s] = x[n,c,s] + keep[n] * gamma[c] * f[n,c,s]
//! ```
//!
//! `keep[n]` is 1 in evaluation; in training 0 for a dropped sample and `1 / (1 - rate)` for a kept one.

use super::storage::{self, Element, with_element, with_values};
use super::{check_per_channel, dims4};
use crate::{Error, Result};
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor, WithDType};
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
    Ok(x.contiguous()?.apply_op3(&f.contiguous()?, &gamma.contiguous()?, op)?)
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

    fn forward<T: Element>(&self, x: &[T], f: &[T], gamma: &[T]) -> Vec<T> {
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

impl CustomOp3 for ScaleResidual {
    fn name(&self) -> &'static str {
        "scale-residual"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        f: &CpuStorage,
        f_layout: &Layout,
        gamma: &CpuStorage,
        gamma_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        with_element!(candle_core::backend::BackendStorage::dtype(x), "input", T => {
            let (x, f, gamma) = (
                storage::slice::<T>(x, x_layout)?,
                storage::slice::<T>(f, f_layout)?,
                storage::slice::<T>(gamma, gamma_layout)?,
            );
            Ok((T::to_cpu_storage_owned(self.forward(x, f, gamma)), x_layout.shape().clone()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        f: &Tensor,
        gamma: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        with_element!(x.dtype(), "input", T => with_values::<T, _>(dy, |grad| {
            let df = with_values::<T, _>(gamma, |gamma| {
                Tensor::from_vec(self.branch_grad(grad, gamma), f.shape(), f.device())
            })?;
            let dgamma = gamma.track_op().then(|| with_values::<T, _>(f, |f| {
                Tensor::from_vec(self.gamma_grad(f, grad), gamma.shape(), gamma.device())
            })).transpose()?;
            Ok((Some(dy.clone()), Some(df), dgamma))
        }))
    }
}
