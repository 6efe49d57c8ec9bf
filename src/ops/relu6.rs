//! The rectifier that saturates: `y = min(max(x, 0), 6)`, with slope 1 between 0 and 6 and slope 0 elsewhere, ends
//! included. What is not a number stays so.
//!
//! As a composition of candle's operators it takes several passes over memory forward, and more for the gradient.

use super::fill::results;
use super::gpu::{Gpu, Values};
use super::operator::{self, Op1};
use super::storage::Element;
use crate::Result;
use candle_core::Storage;
use candle_core::{Tensor, WithDType};
use rayon::prelude::*;

/// Elements per parallel task.
const CHUNK: usize = 8192;

/// Applies the rectifier to every element. Differentiable; f32 and f64; any shape.
///
/// # Errors
/// If the dtype is another.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = kernelscope::ops::relu6::relu6(&Tensor::new(&[-1f64, 2.5, 7.], &Device::Cpu)?)?.to_vec1::<f64>()?;
/// assert_eq!(y, [0., 2.5, 6.]);
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn relu6(x: &Tensor) -> Result<Tensor> {
    operator::apply1(Relu6, x)
}

struct Relu6;

/// The upper end, in any type.
fn six<T: Element>() -> T {
    <T as WithDType>::from_f64(6.0)
}

fn clamped<T: Element>(x: T, six: T) -> T {
    if x < T::zero() {
        T::zero()
    } else if x > six {
        six
    } else {
        x
    }
}

impl Op1 for Relu6 {
    const NAME: &'static str = "relu6";
    const GRADIENT_NAME: &'static str = "relu6, gradients";

    fn forward<T: Element>(&self, x: &[T]) -> Result<Vec<T>> {
        let six = six::<T>();
        results(x.len(), |y| {
            let chunks = y.par_chunks(CHUNK).zip(x.par_chunks(CHUNK));
            chunks.map(|(y, x)| y.write(x.iter().map(|&x| clamped(x, six)))).sum()
        })
    }

    fn gradient<T: Element>(&self, x: &[T], dy: &[T]) -> Result<Vec<T>> {
        let (zero, six) = (T::zero(), six::<T>());
        results(dy.len(), |dx| {
            let inputs = x.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
            let chunks = dx.par_chunks(CHUNK).zip(inputs);
            let slope = |(&x, &dy): (&T, &T)| if x > zero && x < six { dy } else { zero };
            chunks.map(|(dx, (x, dy))| dx.write(x.iter().zip(dy).map(slope))).sum()
        })
    }

    fn gpu_forward(&self, gpu: &Gpu, x: Values) -> candle_core::Result<Storage> {
        gpu.map("relu6", x)
    }

    fn gpu_gradient(&self, gpu: &Gpu, x: Values, dy: Values) -> candle_core::Result<Storage> {
        gpu.map_gradient("relu6_grad", x, dy)
    }
}
