//! Access to tensors' values on the CPU, for the two floating-point types the operators compute in.

use crate::{Error, Result};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Device, InplaceOp1, InplaceOp2, Layout, Storage, Tensor, WithDType};
use std::cell::Cell;

/// A type the operators compute in: `f32` or `f64`.
pub trait Element: WithDType + num_traits::Float + num_traits::NumAssign + std::iter::Sum + Send + Sync {
    /// `0.5 * (1 + erf(x / sqrt 2))`, the normal distribution function.
    fn normal_cdf(self) -> Self;
    /// The same, and `exp(-x^2 / 2) / sqrt(2 pi)`, the normal density: together they cost little more than one.
    fn normal(self) -> (Self, Self);
    /// This type as f32, if it is.
    const SINGLE: Option<Single<Self>> = None;
}

/// That `T` is f32: values of the one are values of the other.
pub struct Single<T> {
    /// Borrowed values.
    pub slice: fn(&[T]) -> &[f32],
    /// Owned values.
    pub vec: fn(Vec<f32>) -> Vec<T>,
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

/// Calls `f` with the values of a tensor, made contiguous and copied to the CPU first if need be.
pub(crate) fn with_values<T: WithDType, R>(
    tensor: &Tensor,
    f: impl FnOnce(&[T]) -> candle_core::Result<R>,
) -> candle_core::Result<R> {
    let tensor = tensor.contiguous()?.to_device(&Device::Cpu)?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => f(slice(cpu, layout)?),
        other => Err(Error::argument("device", format!("{:?}", other.device().location()), "the CPU").into()),
    }
}

/// Checks that an update of `target` by `source` finds a value for each of its values.
pub(crate) fn check_source(target: &Tensor, source: &Tensor) -> Result<()> {
    if source.dims() == target.dims() {
        return Ok(());
    }
    let (given, allowed) = (format!("shape {:?}", source.dims()), format!("{:?}", target.dims()));
    Err(Error::argument("source of an update", given, allowed))
}

/// Calls `f` with the values of `target`, to be changed in place, and those of `source`. Both are f32 and on the CPU;
/// every tensor on the storage of `target` sees the change.
pub(crate) fn update(target: &Tensor, source: &Tensor, f: impl FnOnce(&mut [f32], &[f32])) -> Result<()> {
    check_source(target, source)?;
    Ok(target.inplace_op2(&source.contiguous()?, &Update(Cell::new(Some(f))))?)
}

struct Update<F>(Cell<Option<F>>);

impl<F: FnOnce(&mut [f32], &[f32])> InplaceOp2 for Update<F> {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        layout: &Layout,
        source: &CpuStorage,
        source_layout: &Layout,
    ) -> candle_core::Result<()> {
        let source = slice(source, source_layout)?;
        let target = slice_mut(target, layout)?;
        if let Some(f) = self.0.take() {
            f(target, source);
        }
        Ok(())
    }
}

/// Calls `f` with the values of `target`, f32 and on the CPU, to be changed in place; every tensor on its storage sees
/// the change.
pub(crate) fn modify(target: &Tensor, f: impl FnOnce(&mut [f32])) -> Result<()> {
    Ok(target.inplace_op1(&Modify(Cell::new(Some(f))))?)
}

struct Modify<F>(Cell<Option<F>>);

impl<F: FnOnce(&mut [f32])> InplaceOp1 for Modify<F> {
    fn name(&self) -> &'static str {
        "modify"
    }

    fn cpu_fwd(&self, target: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let target = slice_mut(target, layout)?;
        if let Some(f) = self.0.take() {
            f(target);
        }
        Ok(())
    }
}

/// The values of a contiguous f32 storage, to be changed.
fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> candle_core::Result<&'a mut [f32]> {
    let dtype = storage.dtype();
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => {
            let given = format!("dtype {dtype:?}, strides {:?}", layout.stride());
            Err(Error::argument("target of an update", given, "a contiguous f32 tensor").into())
        }
    }
}

/// Checks that several tensors share one element type.
pub(crate) fn check_same(name: &str, tensors: &[&Tensor]) -> Result<()> {
    for tensor in tensors {
        if tensor.dtype() != tensors[0].dtype() {
            return Err(Error::argument(
                name,
                format!("dtypes {:?} and {:?}", tensors[0].dtype(), tensor.dtype()),
                "the same dtype for all arguments",
            ));
        }
    }
    Ok(())
}
