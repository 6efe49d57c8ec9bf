//! Pointwise (1x1) convolution: a linear map of the channels at every position.
//!
//! ```text
//! y[n,o,s] = bias[o] + sum_c w[o,c] * x[n,c,s]          s: position in the image
//! ```
//!
//! Feature maps stay in (N, C, H, W): each image is one matrix product of the weights with its (C, H*W) matrix, so no
//! transpose is needed. The weight gradient sums the images in order, so it does not depend on the number of threads.

use super::storage::{self, Element, Op3};
use super::{check_per_channel, dims4};
use crate::{Error, Result};
use candle_core::{Shape, Tensor};
use gemm::Parallelism;
use rayon::prelude::*;

/// Rows of the weight gradient computed by one task.
const GRAD_ROWS: usize = 32;

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
    let outputs = match weight.dims() {
        &[o, c] if c == channels && o > 0 => o,
        dims => {
            return Err(Error::argument("weight", format!("shape {dims:?}"), format!("(outputs, {channels})")));
        }
    };
    let bias = match bias {
        Some(bias) => bias.clone(),
        None => Tensor::zeros(outputs, x.dtype(), x.device())?,
    };
    check_per_channel("bias", &bias, outputs)?;
    storage::check_same("input, weight and bias", &[x, weight, &bias])?;
    let op = Pointwise { n, channels, outputs, size: (height, width) };
    storage::apply(op, [x, weight, &bias])
}

struct Pointwise {
    n: usize,
    channels: usize,
    outputs: usize,
    size: (usize, usize),
}

/// A matrix view: values, and the strides between rows and between columns.
#[derive(Clone, Copy)]
struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    cols: usize,
    strides: (usize, usize),
}

impl<'a, T> Matrix<'a, T> {
    fn row_major(values: &'a [T], rows: usize, cols: usize) -> Self {
        Matrix { values, rows, cols, strides: (cols, 1) }
    }

    fn transposed(self) -> Self {
        Matrix { values: self.values, rows: self.cols, cols: self.rows, strides: (self.strides.1, self.strides.0) }
    }
}

/// `target += a * b`, target row-major.
fn add_product<T: Element>(target: &mut [T], a: Matrix<T>, b: Matrix<T>, parallelism: Parallelism) {
    assert!(a.cols == b.rows && target.len() == a.rows * b.cols);
    assert!(a.values.len() == a.rows * a.cols && b.values.len() == b.rows * b.cols);
    // SAFETY: the assertions above show that every index that the strides reach lies inside its slice (both views are
    // row-major matrices or their transposes), and `target` is borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            target.as_mut_ptr(),
            1,
            b.cols as isize,
            true,
            a.values.as_ptr(),
            a.strides.1 as isize,
            a.strides.0 as isize,
            b.values.as_ptr(),
            b.strides.1 as isize,
            b.strides.0 as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            parallelism,
        );
    }
}

impl Pointwise {
    fn positions(&self) -> usize {
        self.size.0 * self.size.1
    }

    /// Images in parallel when there are several, else the threads inside the one matrix product.
    fn parallelism(&self) -> Parallelism {
        if self.n > 1 { Parallelism::None } else { Parallelism::Rayon(0) }
    }

    fn input_grad<T: Element>(&self, dy: &[T], w: &[T]) -> Vec<T> {
        let s = self.positions();
        let w = Matrix::row_major(w, self.outputs, self.channels).transposed();
        let mut dx = vec![T::zero(); self.n * self.channels * s];
        dx.par_chunks_exact_mut(self.channels * s).zip(dy.par_chunks_exact(self.outputs * s)).for_each(|(dx, dy)| {
            add_product(dx, w, Matrix::row_major(dy, self.outputs, s), self.parallelism());
        });
        dx
    }

    fn weight_grad<T: Element>(&self, x: &[T], dy: &[T]) -> Vec<T> {
        let s = self.positions();
        let mut dw = vec![T::zero(); self.outputs * self.channels];
        dw.par_chunks_mut(GRAD_ROWS * self.channels).enumerate().for_each(|(block, dw)| {
            let rows = dw.len() / self.channels;
            for n in 0..self.n {
                let first = (n * self.outputs + block * GRAD_ROWS) * s;
                let dy = Matrix::row_major(&dy[first..first + rows * s], rows, s);
                let x = Matrix::row_major(&x[n * self.channels * s..(n + 1) * self.channels * s], self.channels, s);
                add_product(dw, dy, x.transposed(), Parallelism::None);
            }
        });
        dw
    }

    fn bias_grad<T: Element>(&self, dy: &[T]) -> Vec<T> {
        let mut db = vec![T::zero(); self.outputs];
        for (index, row) in dy.chunks_exact(self.positions()).enumerate() {
            db[index % self.outputs] += row.iter().copied().sum::<T>();
        }
        db
    }
}

impl Op3 for Pointwise {
    const NAME: &'static str = "pointwise convolution";
    const GRADIENT_NAME: &'static str = "pointwise convolution, gradients";

    fn output_shape(&self, _x: &Shape) -> Shape {
        Shape::from((self.n, self.outputs, self.size.0, self.size.1))
    }

    fn forward<T: Element>(&self, [x, w, b]: [&[T]; 3]) -> Vec<T> {
        let s = self.positions();
        let w = Matrix::row_major(w, self.outputs, self.channels);
        let mut y = vec![T::zero(); self.n * self.outputs * s];
        y.par_chunks_exact_mut(self.outputs * s).zip(x.par_chunks_exact(self.channels * s)).for_each(|(y, x)| {
            for (row, &b) in y.chunks_exact_mut(s).zip(b) {
                row.fill(b);
            }
            add_product(y, w, Matrix::row_major(x, self.channels, s), self.parallelism());
        });
        y
    }

    fn gradients<T: Element>(&self, [x, w, _]: [&[T]; 3], dy: &[T], wanted: [bool; 3]) -> [Option<Vec<T>>; 3] {
        [
            wanted[0].then(|| self.input_grad(dy, w)),
            wanted[1].then(|| self.weight_grad(x, dy)),
            wanted[2].then(|| self.bias_grad(dy)),
        ]
    }
}
