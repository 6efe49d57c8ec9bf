//! Pointwise (1x1) convolution: a linear map of the channels at every position.
//!
//! ```text
//! y[n,o,s] = bias[o] + sum_c w[o,c] * x[n,c,s]          s: position in the image
//! ```
//!
//! Feature maps stay in (N, C, H, W): each image is one matrix product of the weights with its (C, H*W) matrix, so no
//! transpose is needed. The weight gradient sums the images in order, so it does not depend on the number of threads.
//! Maps are computed by groups of columns that stay in the cache between the bias and the product.

use super::fill::{Filled, results};
use super::gpu::{
    Gpu, MatrixBatch, ProductSize, Values,
    planes::{PlaneSum, Planes},
};
use super::matrix::{Matrix, OuterSum, parallelism, product};
use super::operator::{self, Gradients, Op3};
use super::storage::{self, Element};
use super::tiles::Tiles;
use super::{check_per_channel, dims4};
use crate::{Error, Result};
use candle_core::Storage;
use candle_core::{Shape, Tensor};
use rayon::prelude::*;

/// Applies `weight` (O, C) and `bias` (O) to `x` (N, C, H, W). Differentiable in all three; f32 and f64.
///
/// # Errors
/// If shapes or dtypes do not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use kernelscope::ops::pointwise::pointwise;
/// let x = Tensor::new(&[1f32, 2., 3., 4.], &Device::Cpu)?.reshape((1, 2, 1, 2))?;
/// let w = Tensor::new(&[[10f32, 1.]], &Device::Cpu)?;
/// assert_eq!(pointwise(&x, &w, None)?.flatten_all()?.to_vec1::<f32>()?, [13., 24.]);
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn pointwise(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (n, channels, height, width) = dims4("input", x)?;
    let outputs = outputs(weight, channels)?;
    let biased = bias.is_some();
    let bias = match bias {
        Some(bias) => bias.clone(),
        None => Tensor::zeros(outputs, x.dtype(), x.device())?,
    };
    check_per_channel("bias", &bias, outputs)?;
    storage::check_same("input, weight, and bias", &[x, weight, &bias])?;
    let op = Pointwise { n, channels, outputs, size: (height, width), biased };
    operator::apply(op, [x, weight, &bias])
}

/// The number of rows of a weight (outputs, channels), or an error that names it.
pub(super) fn outputs(weight: &Tensor, channels: usize) -> Result<usize> {
    match weight.dims() {
        &[outputs, c] if c == channels && outputs > 0 => Ok(outputs),
        dims => Err(Error::argument("weight", format!("shape {dims:?}"), format!("(outputs, {channels})"))),
    }
}

struct Pointwise {
    n: usize,
    channels: usize,
    outputs: usize,
    size: (usize, usize),
    biased: bool,
}

impl Pointwise {
    fn positions(&self) -> usize {
        self.size.0 * self.size.1
    }

    /// `w` times every image of `channels` channels, plus `offset` at every position.
    fn maps<T: Element>(&self, w: Matrix<T>, x: &[T], offset: Option<&[T]>) -> Result<Vec<T>> {
        let s = self.positions();
        let tiles = Tiles::apart(self.n, s);
        results(self.n * w.rows() * s, |y| {
            let targets = tiles.unfilled(y, w.rows());
            let by = parallelism(targets.len());
            let each = tiles.list().into_par_iter().zip(targets).map(|(tile, targets)| {
                let images = tile.matrices(x, w.cols()).zip(targets);
                images.map(|(x, target)| product(target, (w, x), offset, by)).sum::<Filled>()
            });
            each.sum()
        })
    }

    fn weight_grad<T: Element>(&self, x: &[T], dy: &[T]) -> Vec<T> {
        let s = self.positions();
        let images = x.chunks_exact(self.channels * s).zip(dy.chunks_exact(self.outputs * s));
        let pairs: Vec<_> =
            images.map(|(x, dy)| (Matrix::new(dy, self.outputs, s), Matrix::new(x, self.channels, s))).collect();
        let mut sum = OuterSum::new(self.outputs, self.channels);
        sum.add(&pairs);
        sum.finish()
    }

    fn bias_grad<T: Element>(&self, dy: &[T]) -> Vec<T> {
        let sums: Vec<T> = dy.par_chunks_exact(self.positions()).map(lane_sum).collect();
        let mut db = vec![T::zero(); self.outputs];
        for (index, &sum) in sums.iter().enumerate() {
            db[index % self.outputs] += sum;
        }
        db
    }
}

/// A sum in 16 independent lanes, so that it vectorizes with the same rounding everywhere.
fn lane_sum<T: Element>(values: &[T]) -> T {
    let mut lanes = [T::zero(); 16];
    let chunks = values.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks.chain([rest]) {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().copied().sum()
}

impl Op3 for Pointwise {
    const NAME: &'static str = "pointwise convolution";
    const GRADIENT_NAME: &'static str = "pointwise convolution, gradients";

    fn output_shape(&self, _x: &Shape) -> Shape {
        Shape::from((self.n, self.outputs, self.size.0, self.size.1))
    }

    fn forward<T: Element>(&self, [x, w, b]: [&[T]; 3]) -> Result<Vec<T>> {
        self.maps(Matrix::new(w, self.outputs, self.channels), x, self.biased.then_some(b))
    }

    fn gradients<T: Element>(&self, [x, w, _]: [&[T]; 3], dy: &[T], wanted: [bool; 3]) -> Result<Gradients<T>> {
        let transposed = Matrix::new(w, self.outputs, self.channels).transposed();
        Ok([
            wanted[0].then(|| self.maps(transposed, dy, None)).transpose()?,
            wanted[1].then(|| self.weight_grad(x, dy)),
            wanted[2].then(|| self.bias_grad(dy)),
        ])
    }

    fn gpu_forward(&self, gpu: &Gpu, [x, w, b]: [Values; 3]) -> candle_core::Result<Storage> {
        let (c, o, s) = (self.channels, self.outputs, self.positions());
        let (weights, maps) = (MatrixBatch::new(w, [0, c, 1]), MatrixBatch::new(x, [c * s, s, 1]));
        let mut y = gpu.matmul(weights, maps, ProductSize { batch: self.n, rows: o, cols: s, inner: c })?;
        if self.biased {
            Planes { images: self.n, channels: o, positions: s }.add_bias(gpu, &mut y, b)?;
        }
        Ok(y)
    }

    fn gpu_gradients(
        &self,
        gpu: &Gpu,
        [x, w, _]: [Values; 3],
        dy: Values,
        wanted: [bool; 3],
    ) -> candle_core::Result<[Option<Storage>; 3]> {
        let (n, c, o, s) = (self.n, self.channels, self.outputs, self.positions());
        let dx = || {
            let (transposed, gradients) = (MatrixBatch::new(w, [0, 1, c]), MatrixBatch::new(dy, [o * s, s, 1]));
            gpu.matmul(transposed, gradients, ProductSize { batch: n, rows: c, cols: s, inner: o })
        };
        let dw = || {
            // One product per image, added up; or, where that takes more memory than the maps, one product in all.
            if n * o * c <= x.len() + dy.len() {
                let (gradients, maps) = (MatrixBatch::new(dy, [o * s, s, 1]), MatrixBatch::new(x, [c * s, 1, s]));
                let each = gpu.matmul(gradients, maps, ProductSize { batch: n, rows: o, cols: c, inner: s })?;
                return gpu.sum_images(Values::all(&each, n * o * c)?, n);
            }
            let (x, dy) = (gpu.transpose(x, [n, c, s])?, gpu.transpose(dy, [n, o, s])?);
            let (x, dy) = (Values::all(&x, n * c * s)?, Values::all(&dy, n * o * s)?);
            let (gradients, maps) = (MatrixBatch::new(dy, [0, n * s, 1]), MatrixBatch::new(x, [0, 1, n * s]));
            gpu.matmul(gradients, maps, ProductSize { batch: 1, rows: o, cols: c, inner: n * s })
        };
        let db = || {
            let planes = Planes { images: n, channels: o, positions: s };
            planes.over_images(gpu, &planes.sums(gpu, dy, None, None)?, PlaneSum::Values, None, dy.dtype())
        };
        Ok([
            wanted[0].then(dx).transpose()?,
            wanted[1].then(dw).transpose()?,
            (wanted[2] && self.biased).then(db).transpose()?,
        ])
    }
}
