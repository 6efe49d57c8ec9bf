//! The end of a residual block: layer scale (Touvron et al., 2021), drop path (Huang et al., 2016) and the sum, in one
//! pass over memory.
//!
//! ```text
//! y[n,c,s] = x[n,c,s] + keep[n] * gamma[c] * f[n,c,s]
//! ```
//!
//! `keep[n]` is 1 in evaluation; in training 0 for a dropped sample and `1 / (1 - rate)` for a kept one.

use super::fill::results;
use super::gpu::{
    self, Gpu, Values,
    planes::{PlaneSum, Planes},
};
use super::operator::{self, Gradients, Op3};
use super::storage::{self, Element, with_element, with_values};
use super::{check_per_channel, dims4};
use crate::{Error, Result, profile};
use candle_core::Storage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor, WithDType};
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
    let (channels, positions) = check_branch(x, f, keep)?;
    check_per_channel("gamma", gamma, channels)?;
    storage::check_same("input, branch, and gamma", &[x, f, gamma])?;
    let op = ScaleResidual { keep: keep.to_vec(), channels, positions };
    operator::apply(op, [x, f, gamma])
}

/// The same without layer scale, `x + keep * f`: for branches that are scaled already. Where no image is dropped, both
/// gradients are the result's.
///
/// # Errors
/// If shapes or dtypes do not fit.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use kernelscope::ops::scale_residual::residual;
/// let x = Tensor::ones((2, 1, 1, 1), DType::F32, &Device::Cpu)?;
/// assert_eq!(residual(&x, &x, &[0.0, 2.0])?.flatten_all()?.to_vec1::<f32>()?, [1.0, 3.0]);
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn residual(x: &Tensor, f: &Tensor, keep: &[f64]) -> Result<Tensor> {
    let (channels, positions) = check_branch(x, f, keep)?;
    storage::check_same("input and branch", &[x, f])?;
    let op = Residual { keep: keep.to_vec(), channels, positions };
    Ok(x.contiguous()?.apply_op2(&f.contiguous()?, op)?)
}

/// Channels and positions of maps that fit together.
fn check_branch(x: &Tensor, f: &Tensor, keep: &[f64]) -> Result<(usize, usize)> {
    let (n, channels, height, width) = dims4("input", x)?;
    if f.dims() != x.dims() {
        return Err(Error::argument("branch", format!("shape {:?}", f.dims()), format!("{:?}", x.dims())));
    }
    if keep.len() != n {
        return Err(Error::argument("keep", format!("{} factors", keep.len()), format!("{n}, one per image")));
    }
    Ok((channels, height * width))
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

    fn branch_grad<T: Element>(&self, dy: &[T], gamma: &[T]) -> Result<Vec<T>> {
        let s = self.positions;
        results(dy.len(), |df| {
            let planes = df.par_chunks(s).zip(dy.par_chunks_exact(s)).enumerate();
            let each = planes.map(|(plane, (df, dy))| {
                let factor = self.factor(plane, gamma);
                df.write(dy.iter().map(|&dy| factor * dy))
            });
            each.sum()
        })
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

    fn forward<T: Element>(&self, [x, f, gamma]: [&[T]; 3]) -> Result<Vec<T>> {
        let s = self.positions;
        results(x.len(), |y| {
            let inputs = x.par_chunks_exact(s).zip(f.par_chunks_exact(s));
            let planes = y.par_chunks(s).zip(inputs).enumerate();
            let each = planes.map(|(plane, (y, (x, f)))| {
                let factor = self.factor(plane, gamma);
                y.write(x.iter().zip(f).map(|(&x, &f)| x + factor * f))
            });
            each.sum()
        })
    }

    fn gradients<T: Element>(&self, [_, f, gamma]: [&[T]; 3], dy: &[T], wanted: [bool; 3]) -> Result<Gradients<T>> {
        let df = wanted[1].then(|| self.branch_grad(dy, gamma)).transpose()?;
        Ok([None, df, wanted[2].then(|| self.gamma_grad(f, dy))])
    }

    fn gpu_forward(&self, gpu: &Gpu, [x, f, gamma]: [Values; 3]) -> candle_core::Result<Storage> {
        let planes = Planes::of(x.len(), self.channels, self.positions);
        let factors = planes.residual_factors(gpu, Some(gamma), &self.keep, x.dtype())?;
        planes.affine(gpu, x, Some(f), &factors)
    }

    fn gpu_gradients(
        &self,
        gpu: &Gpu,
        [_, f, gamma]: [Values; 3],
        dy: Values,
        wanted: [bool; 3],
    ) -> candle_core::Result<[Option<Storage>; 3]> {
        let planes = Planes::of(dy.len(), self.channels, self.positions);
        let df = || {
            let factors = planes.residual_gradient_factors(gpu, Some(gamma), &self.keep, dy.dtype())?;
            planes.affine(gpu, dy, None, &factors)
        };
        let dgamma = || {
            let keep = gpu::upload_singles(gpu, self.keep.iter().copied())?;
            let keep = Values::all(&keep, self.keep.len())?;
            let sums = planes.sums(gpu, dy, Some(f), None)?;
            planes.over_images(gpu, &sums, PlaneSum::Products, Some(keep), dy.dtype())
        };
        Ok([None, wanted[1].then(df).transpose()?, wanted[2].then(dgamma).transpose()?])
    }
}

struct Residual {
    keep: Vec<f64>,
    channels: usize,
    positions: usize,
}

impl Residual {
    fn factor<T: Element>(&self, plane: usize) -> T {
        T::from_f64(self.keep[plane / self.channels])
    }

    fn forward<T: Element>(&self, x: &[T], f: &[T]) -> Result<Vec<T>> {
        let s = self.positions;
        results(x.len(), |y| {
            let inputs = x.par_chunks_exact(s).zip(f.par_chunks_exact(s));
            let planes = y.par_chunks(s).zip(inputs).enumerate();
            let each = planes.map(|(plane, (y, (x, f)))| {
                let factor = self.factor::<T>(plane);
                y.write(x.iter().zip(f).map(|(&x, &f)| x + factor * f))
            });
            each.sum()
        })
    }

    fn branch_grad<T: Element>(&self, dy: &[T]) -> Result<Vec<T>> {
        let s = self.positions;
        results(dy.len(), |df| {
            let planes = df.par_chunks(s).zip(dy.par_chunks_exact(s)).enumerate();
            let each = planes.map(|(plane, (df, dy))| {
                let factor = self.factor::<T>(plane);
                df.write(dy.iter().map(|&dy| factor * dy))
            });
            each.sum()
        })
    }
}

impl Residual {
    fn gpu_forward(&self, gpu: &Gpu, x: Values, f: Values) -> candle_core::Result<Storage> {
        let planes = Planes::of(x.len(), self.channels, self.positions);
        let factors = planes.residual_factors(gpu, None, &self.keep, x.dtype())?;
        planes.affine(gpu, x, Some(f), &factors)
    }

    fn gpu_branch_grad(&self, gpu: &Gpu, dy: Values) -> candle_core::Result<Storage> {
        let planes = Planes::of(dy.len(), self.channels, self.positions);
        let factors = planes.residual_gradient_factors(gpu, None, &self.keep, dy.dtype())?;
        planes.affine(gpu, dy, None, &factors)
    }
}

impl CustomOp2 for Residual {
    fn name(&self) -> &'static str {
        "residual"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        f: &CpuStorage,
        f_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let _span = profile::span("residual");
        if let Some(gpu) = Gpu::of_cpu() {
            let y = self.gpu_forward(&gpu, gpu::cpu_values(x, x_layout)?, gpu::cpu_values(f, f_layout)?)?;
            return Ok((gpu::into_cpu(y)?, x_layout.shape().clone()));
        }
        with_element!(x.dtype(), "input", T => {
            let y = self.forward::<T>(storage::slice(x, x_layout)?, storage::slice(f, f_layout)?)?;
            Ok((T::to_cpu_storage_owned(y), x_layout.shape().clone()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        x_layout: &Layout,
        f: &candle_core::CudaStorage,
        f_layout: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        let _span = profile::span("residual");
        let (values, branch) = (gpu::cuda_values(x, x_layout)?, gpu::cuda_values(f, f_layout)?);
        let y = self.gpu_forward(&Gpu::of_cuda(x), values, branch)?;
        Ok((gpu::into_cuda(y)?, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        f: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let _span = profile::span("residual, gradients");
        if self.keep.iter().all(|&keep| keep == 1.0) {
            return Ok((Some(dy.clone()), Some(dy.clone())));
        }
        if let Some(gpu) = Gpu::of(dy) {
            let df = gpu::compute(&gpu, [dy], f.shape(), |gpu, [dy]| self.gpu_branch_grad(gpu, dy))?;
            return Ok((Some(dy.clone()), Some(df)));
        }
        with_element!(dy.dtype(), "gradient", T => with_values::<T, _>(dy, |values| {
            let df = Tensor::from_vec(self.branch_grad(values)?, f.shape(), f.device())?;
            Ok((Some(dy.clone()), Some(df)))
        }))
    }
}
