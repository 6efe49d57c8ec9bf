//! Batch normalization in training (Ioffe and Szegedy, 2015): every channel by the statistics of its batch.
//!
//! ```text
//! m = mean_{n,s} x        v = mean_{n,s} (x - m)^2        y = weight[c] * (x - m) / sqrt(v + eps) + bias[c]
//! ```
//!
//! Gradients flow through mean and variance. Sums run over planes in parallel and are added up in order, so they do not
//! depend on the number of threads.

use super::fill::results;
use super::gpu::{
    self, BorrowedTensor, Gpu, Values,
    planes::{BatchNormGradients, ChannelStatistics, PlaneSum, Planes},
};
use super::operator::{self, Gradients, Op3};
use super::storage::{self, Element, with_element, with_values};
use super::{check_per_channel, dims4};
use crate::Result;
use candle_core::Storage;
use candle_core::{Shape, Tensor, WithDType};
use rayon::prelude::*;

/// Mean and (biased) variance per channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// Means.
    pub mean: Vec<f64>,
    /// Variances, divided by the number of values.
    pub variance: Vec<f64>,
}

/// The statistics of `x` (N, C, H, W) per channel, added up in double precision.
///
/// # Errors
/// If the tensor is not 4-D, or neither f32 nor f64.
pub fn statistics(x: &Tensor) -> Result<Statistics> {
    let (n, channels, h, w) = dims4("input", x)?;
    let count = (n * h * w) as f64;
    if let Some(gpu) = Gpu::of(x) {
        return statistics_on(&gpu, x, Planes { images: n, channels, positions: h * w });
    }
    Ok(with_element!(x.dtype(), "input", T => with_values::<T, _>(x, |x| {
        let mean = per_channel(x, channels, h * w, |_, x| x);
        let mean: Vec<f64> = mean.into_iter().map(|s| s / count).collect();
        let variance = per_channel(x, channels, h * w, |c, x| (x - mean[c]) * (x - mean[c]));
        Ok(Statistics { mean, variance: variance.into_iter().map(|s| s / count).collect() })
    }))?)
}

/// The statistics by sums over planes in single precision, which are added up in double precision.
fn statistics_on(gpu: &Gpu, x: &Tensor, planes: Planes) -> Result<Statistics> {
    let x = x.contiguous()?;
    let borrowed = BorrowedTensor::new(&x);
    let count = (planes.images * planes.positions) as f64;
    // Of every channel, the mean of one of the two sums of its planes.
    let means = |sums: &Storage, which: PlaneSum| -> Result<Vec<f64>> {
        let mut means = vec![0.0; planes.channels];
        for (index, sum) in gpu::download_singles(sums)?.chunks_exact(2).enumerate() {
            means[index % planes.channels] += f64::from(sum[which as usize]) / count;
        }
        Ok(means)
    };
    let mean = means(&planes.sums(gpu, borrowed.values()?, None, None)?, PlaneSum::Values)?;
    let shift = gpu::upload_singles(gpu, mean.iter().copied())?;
    let shift = Values::all(&shift, planes.channels)?;
    let variance = means(&planes.sums(gpu, borrowed.values()?, None, Some(shift))?, PlaneSum::Products)?;
    Ok(Statistics { mean, variance })
}

/// Sums `f(channel, value)` per channel: planes in parallel, images in order.
fn per_channel<T: Element>(x: &[T], channels: usize, plane: usize, f: impl Fn(usize, f64) -> f64 + Sync) -> Vec<f64> {
    let sums: Vec<f64> = x
        .par_chunks_exact(plane)
        .enumerate()
        .map(|(index, values)| {
            let mut lanes = [0.0; 8];
            for (i, value) in values.iter().enumerate() {
                lanes[i % 8] += f(index % channels, WithDType::to_f64(*value));
            }
            lanes.iter().sum()
        })
        .collect();
    let mut totals = vec![0.0; channels];
    for (index, sum) in sums.iter().enumerate() {
        totals[index % channels] += sum;
    }
    totals
}

/// Normalizes `x` (N, C, H, W) by its own batch `statistics`. Differentiable in x, weight and bias (both (C)); f32 and
/// f64.
///
/// # Errors
/// If shapes or dtypes do not fit.
pub fn batch_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, statistics: &Statistics, eps: f64) -> Result<Tensor> {
    let (n, channels, h, w) = dims4("input", x)?;
    check_per_channel("weight", weight, channels)?;
    check_per_channel("bias", bias, channels)?;
    storage::check_same("input, weight, and bias", &[x, weight, bias])?;
    let op = BatchNorm {
        channels,
        plane: h * w,
        count: (n * h * w) as f64,
        mean: statistics.mean.clone(),
        rstd: statistics.variance.iter().map(|v| 1.0 / (v + eps).sqrt()).collect(),
    };
    operator::apply(op, [x, weight, bias])
}

struct BatchNorm {
    channels: usize,
    plane: usize,
    count: f64,
    mean: Vec<f64>,
    rstd: Vec<f64>,
}

impl BatchNorm {
    /// With `h = (x - m) * rstd`: `db = sum dy`, `dw = sum dy h`, `dx = w * rstd * (dy - db / M - h * dw / M)`.
    fn input_grad<T: Element>(&self, [x, w, dy]: [&[T]; 3], dw: &[f64], db: &[f64]) -> Result<Vec<T>> {
        results(x.len(), |dx| {
            let inputs = x.par_chunks_exact(self.plane).zip(dy.par_chunks_exact(self.plane));
            let planes = dx.par_chunks(self.plane).zip(inputs).enumerate();
            let each = planes.map(|(index, (dx, (x, dy)))| {
                let c = index % self.channels;
                let scale = w[c] * T::from_f64(self.rstd[c]);
                let shift = T::from_f64(db[c] / self.count);
                let (mean, slope) = (T::from_f64(self.mean[c]), T::from_f64(self.rstd[c] * dw[c] / self.count));
                dx.write(x.iter().zip(dy).map(|(&x, &dy)| scale * (dy - shift - (x - mean) * slope)))
            });
            each.sum()
        })
    }

    fn planes(&self, x: Values) -> Planes {
        Planes::of(x.len(), self.channels, self.plane)
    }

    /// Means and inverse deviations in a GPU's memory.
    fn upload(&self, gpu: &Gpu) -> candle_core::Result<[Storage; 2]> {
        let upload = |values: &[f64]| gpu::upload_singles(gpu, values.iter().copied());
        Ok([upload(&self.mean)?, upload(&self.rstd)?])
    }

    fn on_gpu<'a>(&self, mean: &'a Storage, rstd: &'a Storage) -> candle_core::Result<ChannelStatistics<'a>> {
        Ok(ChannelStatistics { mean: Values::all(mean, self.channels)?, rstd: Values::all(rstd, self.channels)? })
    }

    fn weight_grad<T: Element>(&self, x: &[T], dy: &[T]) -> Vec<f64> {
        let sums: Vec<f64> = x
            .par_chunks_exact(self.plane)
            .zip(dy.par_chunks_exact(self.plane))
            .enumerate()
            .map(|(index, (x, dy))| {
                let c = index % self.channels;
                let mut lanes = [0.0; 8];
                for (i, (x, dy)) in x.iter().zip(dy).enumerate() {
                    lanes[i % 8] += WithDType::to_f64(*dy) * (WithDType::to_f64(*x) - self.mean[c]);
                }
                lanes.iter().sum::<f64>() * self.rstd[c]
            })
            .collect();
        let mut dw = vec![0.0; self.channels];
        for (index, sum) in sums.iter().enumerate() {
            dw[index % self.channels] += sum;
        }
        dw
    }
}

impl Op3 for BatchNorm {
    const NAME: &'static str = "batch norm";
    const GRADIENT_NAME: &'static str = "batch norm, gradients";

    fn output_shape(&self, x: &Shape) -> Shape {
        x.clone()
    }

    fn forward<T: Element>(&self, [x, w, b]: [&[T]; 3]) -> Result<Vec<T>> {
        results(x.len(), |y| {
            let planes = y.par_chunks(self.plane).zip(x.par_chunks_exact(self.plane)).enumerate();
            let each = planes.map(|(index, (y, x))| {
                let c = index % self.channels;
                let (mean, scale) = (T::from_f64(self.mean[c]), w[c] * T::from_f64(self.rstd[c]));
                y.write(x.iter().map(|&x| (x - mean) * scale + b[c]))
            });
            each.sum()
        })
    }

    fn gradients<T: Element>(&self, [x, w, _]: [&[T]; 3], dy: &[T], _wanted: [bool; 3]) -> Result<Gradients<T>> {
        let db = per_channel(dy, self.channels, self.plane, |_, dy| dy);
        let dw = self.weight_grad(x, dy);
        let dx = self.input_grad([x, w, dy], &dw, &db)?;
        let narrow = |values: &[f64]| values.iter().map(|&v| T::from_f64(v)).collect();
        Ok([Some(dx), Some(narrow(&dw)), Some(narrow(&db))])
    }

    fn gpu_forward(&self, gpu: &Gpu, [x, w, b]: [Values; 3]) -> candle_core::Result<Storage> {
        let planes = self.planes(x);
        let [mean, rstd] = self.upload(gpu)?;
        let statistics = self.on_gpu(&mean, &rstd)?;
        let factors = planes.batch_norm_factors(gpu, w, b, statistics)?;
        planes.affine(gpu, x, None, &factors)
    }

    fn gpu_gradients(
        &self,
        gpu: &Gpu,
        [x, w, _]: [Values; 3],
        dy: Values,
        _wanted: [bool; 3],
    ) -> candle_core::Result<[Option<Storage>; 3]> {
        let planes = self.planes(x);
        let [mean, rstd] = self.upload(gpu)?;
        let statistics = self.on_gpu(&mean, &rstd)?;
        let sums = planes.sums(gpu, dy, Some(x), Some(statistics.mean))?;
        let BatchNormGradients { weight, bias, factors } = planes.batch_norm_gradients(gpu, &sums, w, statistics)?;
        let dx = planes.affine(gpu, dy, Some(x), &factors)?;
        Ok([Some(dx), Some(weight), Some(bias)])
    }
}
