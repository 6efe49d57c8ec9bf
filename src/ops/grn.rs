//! Global response normalization (Woo et al., *ConvNeXt V2*, CVPR 2023, section 3.3): channels compete.
//!
//! ```text
//! G[n,c] = sqrt(sum_s x[n,c,s]^2)        R[n,c] = G[n,c] / (mean_c G[n,c] + 1e-6)
//! y[n,c,s] = (gamma[c] * R[n,c] + 1) * x[n,c,s] + beta[c]
//! ```
//!
//! A channel without a response has G = 0, and no gradient goes through its norm. Sums are in double precision, over
//! planes in parallel and images in order.

use super::fill::results;
use super::gpu::{
    Gpu, Values,
    planes::{PlaneSum, Planes, ResponseNormGradients},
};
use super::operator::{self, Gradients, Op3};
use super::storage::{self, Element};
use super::{check_per_channel, dims4};
use crate::Result;
use candle_core::Storage;
use candle_core::{Shape, Tensor, WithDType};
use rayon::prelude::*;

/// Added to the mean response.
pub const EPS: f64 = 1e-6;

/// Normalizes `x` (N, C, H, W); `gamma` and `beta` are (C). Differentiable in all; f32 and f64.
///
/// # Errors
/// If shapes or dtypes do not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[3f64, 4., 0., 5.], &Device::Cpu)?.reshape((1, 2, 2, 1))?;
/// let (one, zero) = (Tensor::new(&[1f64, 1.], &Device::Cpu)?, Tensor::new(&[0f64, 0.], &Device::Cpu)?);
/// let y = kernelscope::ops::grn::grn(&x, &one, &zero)?.flatten_all()?.to_vec1::<f64>()?;
/// // Both channels respond with 5, so every value is doubled.
/// assert!(y.iter().zip([6., 8., 0., 10.]).all(|(y, expected)| (y - expected).abs() < 1e-5));
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn grn(x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
    let (_, channels, height, width) = dims4("input", x)?;
    check_per_channel("gamma", gamma, channels)?;
    check_per_channel("beta", beta, channels)?;
    storage::check_same("input, gamma, and beta", &[x, gamma, beta])?;
    operator::apply(Grn { channels, positions: height * width }, [x, gamma, beta])
}

struct Grn {
    channels: usize,
    positions: usize,
}

/// Sums `f(x, dy)` of one plane, in a fixed order.
fn sum<T: Element>(x: &[T], dy: &[T], f: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0; 8];
    for (i, (&x, &dy)) in x.iter().zip(dy).enumerate() {
        lanes[i % 8] += f(WithDType::to_f64(x), WithDType::to_f64(dy));
    }
    lanes.iter().sum()
}

impl Grn {
    /// G of every plane.
    fn responses<T: Element>(&self, x: &[T]) -> Vec<f64> {
        x.par_chunks_exact(self.positions).map(|plane| sum(plane, plane, |x, _| x * x).sqrt()).collect()
    }

    /// Mean response and [`EPS`] of every image.
    fn means(&self, responses: &[f64]) -> Vec<f64> {
        let mean = |image: &[f64]| image.iter().sum::<f64>() / self.channels as f64 + EPS;
        responses.chunks_exact(self.channels).map(mean).collect()
    }
}

impl Op3 for Grn {
    const NAME: &'static str = "response norm";
    const GRADIENT_NAME: &'static str = "response norm, gradients";

    fn output_shape(&self, first: &Shape) -> Shape {
        first.clone()
    }

    fn forward<T: Element>(&self, [x, gamma, beta]: [&[T]; 3]) -> Result<Vec<T>> {
        let responses = self.responses(x);
        let means = self.means(&responses);
        results(x.len(), |y| {
            let planes = y.par_chunks(self.positions).zip(x.par_chunks_exact(self.positions)).enumerate();
            let each = planes.map(|(index, (y, x))| {
                let (image, channel) = (index / self.channels, index % self.channels);
                let factor = WithDType::to_f64(gamma[channel]) * responses[index] / means[image] + 1.0;
                let (factor, beta) = (T::from_f64(factor), beta[channel]);
                y.write(x.iter().map(|&x| factor * x + beta))
            });
            each.sum()
        })
    }

    fn gradients<T: Element>(&self, [x, gamma, _]: [&[T]; 3], dy: &[T], wanted: [bool; 3]) -> Result<Gradients<T>> {
        let channels = self.channels;
        let responses = self.responses(x);
        let means = self.means(&responses);
        let gamma: Vec<f64> = gamma.iter().map(|&g| WithDType::to_f64(g)).collect();
        // Of every plane: the sums of dy x and dy.
        let sums: Vec<(f64, f64)> = x
            .par_chunks_exact(self.positions)
            .zip(dy.par_chunks_exact(self.positions))
            .map(|(x, dy)| (sum(x, dy, |x, dy| x * dy), sum(x, dy, |_, dy| dy)))
            .collect();
        let (mut dgamma, mut dbeta) = (vec![0.0; channels], vec![0.0; channels]);
        for (index, &(product, plain)) in sums.iter().enumerate() {
            dgamma[index % channels] += product * responses[index] / means[index / channels];
            dbeta[index % channels] += plain;
        }
        // What every image's mean passes to each response: R = G / m, m = mean G.
        let through_mean: Vec<f64> = (means.iter().enumerate())
            .map(|(image, mean)| {
                let of = |c: usize| gamma[c] * sums[image * channels + c].0 * responses[image * channels + c];
                (0..channels).map(of).sum::<f64>() / (mean * mean * channels as f64)
            })
            .collect();
        let dx = wanted[0].then(|| {
            results(x.len(), |dx| {
                let inputs = x.par_chunks_exact(self.positions).zip(dy.par_chunks_exact(self.positions));
                let planes = dx.par_chunks(self.positions).zip(inputs).enumerate();
                let each = planes.map(|(index, (dx, (x, dy)))| {
                    let (image, channel, response) = (index / channels, index % channels, responses[index]);
                    let factor = T::from_f64(gamma[channel] * response / means[image] + 1.0);
                    let inner = gamma[channel] * sums[index].0 / means[image] - through_mean[image];
                    let inner = T::from_f64(if response > 0.0 { inner / response } else { 0.0 });
                    dx.write(x.iter().zip(dy).map(|(&x, &dy)| factor * dy + inner * x))
                });
                each.sum()
            })
        });
        let values = |values: Vec<f64>| values.into_iter().map(T::from_f64).collect();
        Ok([dx.transpose()?, Some(values(dgamma)), Some(values(dbeta))])
    }

    fn gpu_forward(&self, gpu: &Gpu, [x, gamma, beta]: [Values; 3]) -> candle_core::Result<Storage> {
        let planes = Planes::of(x.len(), self.channels, self.positions);
        let squares = planes.sums(gpu, x, None, None)?;
        let factors = planes.response_norm_factors(gpu, &squares, gamma, beta)?;
        planes.affine(gpu, x, None, &factors)
    }

    fn gpu_gradients(
        &self,
        gpu: &Gpu,
        [x, gamma, _]: [Values; 3],
        dy: Values,
        _wanted: [bool; 3],
    ) -> candle_core::Result<[Option<Storage>; 3]> {
        let planes = Planes::of(x.len(), self.channels, self.positions);
        let squares = planes.sums(gpu, x, None, None)?;
        let sums = planes.sums(gpu, dy, Some(x), None)?;
        let ResponseNormGradients { factors, shares } = planes.response_norm_gradients(gpu, &squares, &sums, gamma)?;
        let dx = planes.affine(gpu, dy, Some(x), &factors)?;
        let over_images = |which: PlaneSum| planes.over_images(gpu, &shares, which, None, x.dtype());
        Ok([Some(dx), Some(over_images(PlaneSum::Products)?), Some(over_images(PlaneSum::Values)?)])
    }
}
