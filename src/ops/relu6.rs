//! The rectifier that saturates: `y = min(max(x, 0), 6)`, with slope 1 between 0 and 6 and slope 0 elsewhere, ends
//! included. What is not a number stays so.
//!
//! As a composition of candle's operators it takes several passes over memory forward, and more for the gradient.

use super::storage::{self, Element, results, with_element, with_values, write};
use crate::{Result, profile};
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, WithDType};
use num_traits::Zero;
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
    Ok(x.contiguous()?.apply_op1(Relu6)?)
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

impl CustomOp1 for Relu6 {
    fn name(&self) -> &'static str {
        "relu6"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let _span = profile::span("relu6");
        with_element!(candle_core::backend::BackendStorage::dtype(x), "input", T => {
            let (x, six) = (storage::slice::<T>(x, layout)?, six::<T>());
            let y = results(x.len(), |y| {
                y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
                    write(y, x.iter().map(|&x| clamped(x, six)));
                });
            });
            Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let _span = profile::span("relu6, gradients");
        with_element!(x.dtype(), "input", T => with_values::<T, _>(x, |x_values| with_values::<T, _>(dy, |dy| {
            let (zero, six) = (T::zero(), six::<T>());
            let dx = results(dy.len(), |dx| {
                let inputs = x_values.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
                dx.par_chunks_mut(CHUNK).zip(inputs).for_each(|(dx, (x, dy))| {
                    write(dx, x.iter().zip(dy).map(|(&x, &dy)| if x > zero && x < six { dy } else { zero }));
                });
            });
            Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
        })))
    }
}
