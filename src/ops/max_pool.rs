//! Maximum over windows.
//!
//! ```text
//! y[n,c,p,q] = max_ij x[n, c, S*p + i - P, S*q + j - P]          0 <= i, j < K, inside the image
//! ```
//!
//! with one side K, stride S and padding P for both axes; padding never wins. The gradient goes to the first pixel, in
//! row-major order, that has the maximum, as in PyTorch. A window with a value that is not a number has that as its
//! maximum.

use super::dims4;
use super::fill::results;
use super::gpu::{Gpu, Values, params::MaxPoolParams};
use super::operator::{self, Op1};
use super::storage::Element;
use crate::{Error, Result};
use candle_core::Storage;
use candle_core::{Shape, Tensor};
use rayon::prelude::*;

/// Longest side and largest stride that are accepted.
const MAX_SIDE: usize = 64;

/// The operator for one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool {
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl MaxPool {
    /// Square windows of side `kernel`, `stride` apart, with `padding` on all four sides.
    ///
    /// # Errors
    /// If a side or stride is not from 1 to 64, or the padding is more than half the side, so that a window could lie
    /// outside the image.
    pub fn new(kernel: usize, stride: usize, padding: usize) -> Result<Self> {
        for (name, value) in [("kernel", kernel), ("stride", stride)] {
            if !(1..=MAX_SIDE).contains(&value) {
                return Err(Error::argument(name, value, format!("1 to {MAX_SIDE}")));
            }
        }
        if padding > kernel / 2 {
            return Err(Error::argument("padding", padding, format!("at most {} (half the kernel)", kernel / 2)));
        }
        Ok(MaxPool { kernel, stride, padding })
    }

    /// Output height and width: `(H + 2P - K) div S + 1`.
    ///
    /// # Errors
    /// If the padded image is smaller than a window.
    pub fn output_size(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let side = |size: usize| (size + 2 * self.padding).checked_sub(self.kernel).map(|free| free / self.stride + 1);
        match (side(height), side(width)) {
            (Some(h), Some(w)) => Ok((h, w)),
            _ => {
                let least = self.kernel - 2 * self.padding;
                Err(Error::argument("input size", format!("{height}x{width}"), format!("at least {least}x{least}")))
            }
        }
    }

    /// Applies the operator to (N, C, H, W). Differentiable; f32 and f64.
    ///
    /// # Errors
    /// If the shape or dtype does not fit.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use kernelscope::ops::max_pool::MaxPool;
    /// let x = Tensor::arange(0f32, 16.0, &Device::Cpu)?.reshape((1, 1, 4, 4))?;
    /// let y = MaxPool::new(3, 2, 1)?.forward(&x)?;
    /// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [5., 7., 13., 15.]);
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, h, w) = dims4("input", x)?;
        let op = Pool { options: *self, input: (h, w), output: self.output_size(h, w)? };
        operator::apply1(op, x)
    }
}

struct Pool {
    options: MaxPool,
    input: (usize, usize),
    output: (usize, usize),
}

impl Pool {
    /// The part of window `index` that is inside a side of length `size`.
    fn window(&self, index: usize, size: usize) -> std::ops::Range<usize> {
        let MaxPool { kernel, stride, padding } = self.options;
        (index * stride).saturating_sub(padding)..(index * stride + kernel - padding).min(size)
    }

    /// Where the maximum of every window of a plane is.
    fn winners<T: Element>(&self, plane: &[T]) -> impl Iterator<Item = usize> {
        let ((height, width), (rows, cols)) = (self.input, self.output);
        (0..rows * cols).map(move |index| {
            let (down, across) = (self.window(index / cols, height), self.window(index % cols, width));
            let mut best = down.start * width + across.start;
            for row in down {
                for at in row * width + across.start..row * width + across.end {
                    if plane[at] > plane[best] || (plane[at].is_nan() && !plane[best].is_nan()) {
                        best = at;
                    }
                }
            }
            best
        })
    }
}

impl Op1 for Pool {
    const NAME: &'static str = "max pool";
    const GRADIENT_NAME: &'static str = "max pool, gradients";

    fn output_shape(&self, x: &Shape) -> Shape {
        Shape::from((x.dims()[0], x.dims()[1], self.output.0, self.output.1))
    }

    fn forward<T: Element>(&self, x: &[T]) -> Result<Vec<T>> {
        let ((h, w), (rows, cols)) = (self.input, self.output);
        results(x.len() / (h * w) * rows * cols, |y| {
            let planes = y.par_chunks(rows * cols).zip(x.par_chunks_exact(h * w));
            planes.map(|(y, x)| y.write(self.winners(x).map(|winner| x[winner]))).sum()
        })
    }

    fn gradient<T: Element>(&self, x: &[T], dy: &[T]) -> Result<Vec<T>> {
        let ((h, w), (rows, cols)) = (self.input, self.output);
        let mut dx = vec![T::zero(); x.len()];
        let planes = x.par_chunks_exact(h * w).zip(dy.par_chunks_exact(rows * cols));
        dx.par_chunks_exact_mut(h * w).zip(planes).for_each(|(dx, (x, dy))| {
            for (winner, &dy) in self.winners(x).zip(dy) {
                dx[winner] += dy;
            }
        });
        Ok(dx)
    }

    fn gpu_forward(&self, gpu: &Gpu, x: Values) -> candle_core::Result<Storage> {
        gpu.max_pool(x, self.params(x)?)
    }

    fn gpu_gradient(&self, gpu: &Gpu, x: Values, dy: Values) -> candle_core::Result<Storage> {
        gpu.max_pool_gradient(x, dy, self.params(x)?)
    }
}

impl Pool {
    /// The numbers of the GPU's kernels.
    fn params(&self, x: Values) -> candle_core::Result<MaxPoolParams> {
        let (input, output) = (self.input, self.output);
        let planes = x.len() / (input.0 * input.1);
        if planes >= 1 << 30 || input.0 * input.1 >= 1 << 30 {
            let given = format!("{planes} planes of {}x{}", input.0, input.1);
            return Err(Error::argument("input", given, "fewer than 2^30 planes and pixels on a GPU").into());
        }
        let MaxPool { kernel, stride, padding } = self.options;
        let int = |number: usize| number as i32;
        Ok(MaxPoolParams {
            planes: int(planes),
            rows: int(input.0),
            cols: int(input.1),
            result_rows: int(output.0),
            result_cols: int(output.1),
            kernel: int(kernel),
            stride: int(stride),
            padding: int(padding),
        })
    }
}
