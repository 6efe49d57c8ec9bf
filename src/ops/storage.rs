//! Access to tensors' values on the CPU, for the two floating-point types the operators compute in.

use crate::{Error, Result};
use candle_core::{CpuStorage, DType, Layout, Storage, Tensor, WithDType};

/// A type the operators compute in: `f32` or `f64`.
pub trait Element: WithDType + num_traits::Float + num_traits::NumAssign + std::iter::Sum + Send + Sync {
    /// `0.5 * (1 + erf(x / sqrt 2))`, the normal distribution function.
    fn normal_cdf(self) -> Self;
    /// `exp(-x^2 / 2) / sqrt(2 pi)`, the normal density.
    fn normal_pdf(self) -> Self;
}

/// Runs `$body` with `$type` bound to the element type of the given dtype, or fails with a candle error.
macro_rules! with_element {
    ($dtype:expr, $name:expr, $type:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $type = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $type = f64;
                $body
            }
            other => Err($crate::ops::storage::unsupported($name, other)),
        }
    };
}
pub(crate) use with_element;

/// The error for an element type no operator computes in.
pub(crate) fn unsupported(name: &str, dtype: DType) -> candle_core::Error {
    Error::argument(name, format!("dtype {dtype:?}"), "f32 or f64").into()
}

/// The values of a contiguous CPU storage.
pub(crate) fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [T]> {
    let values = storage.as_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => Err(candle_core::Error::RequiresContiguous { op: "kernelscope" }.bt()),
    }
}

/// Calls `f` with the values of a tensor on the CPU, made contiguous first if need be.
pub(crate) fn with_values<T: WithDType, R>(
    tensor: &Tensor,
    f: impl FnOnce(&[T]) -> candle_core::Result<R>,
) -> candle_core::Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => f(slice(cpu, layout)?),
        _ => Err(Error::argument("device", "an accelerator", "the CPU").into()),
    }
}

/// Checks that several tensors share one element type.
pub(crate) fn check_same(name: &str, tensors: &[&Tensor]) -> Result<()> {
    for tensor in tensors {
        if tensor.dtype() != tensors[0].dtype() {
            return Err(Error::argument(
                name,
                format!("dtypes {:?} and {:?}", tensors[0].dtype(), tensor.dtype()),
                "one dtype for all arguments",
            ));
        }
    }
    Ok(())
}
