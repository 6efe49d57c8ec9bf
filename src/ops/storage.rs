//! Access to tensors' values on the CPU, for the two floating-point types the operators compute in.

use crate::{Error, Result, profile};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, InplaceOp1, InplaceOp2, Layout, Shape, Storage, Tensor, WithDType};
use std::cell::Cell;
use std::mem::MaybeUninit;

/// A type the operators compute in: `f32` or `f64`.
pub trait Element: WithDType + num_traits::Float + num_traits::NumAssign + std::iter::Sum + Send + Sync {
    /// `0.5 * (1 + erf(x / sqrt 2))`, the normal distribution function.
    fn normal_cdf(self) -> Self;
    /// The same, and `exp(-x^2 / 2) / sqrt(2 pi)`, the normal density: together they cost little more than one.
    fn normal(self) -> (Self, Self);
    /// The values, if this is f32.
    fn as_f32(_values: &[Self]) -> Option<&[f32]> {
        None
    }
    /// Room for values, if this is f32.
    fn as_f32_mut(_values: &mut [MaybeUninit<Self>]) -> Option<&mut [MaybeUninit<f32>]> {
        None
    }
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

/// A vector of `len` values that `f` writes all of. Fresh memory is not set to zero first: for large feature maps that
/// takes as long as a cheap operator.
pub(crate) fn results<T: Copy>(len: usize, f: impl FnOnce(&mut [MaybeUninit<T>])) -> Vec<T> {
    let mut values = Vec::new();
    refill(&mut values, len, f);
    values
}

/// The same in memory that was used before, for scratch.
pub(crate) fn refill<T: Copy>(values: &mut Vec<T>, len: usize, f: impl FnOnce(&mut [MaybeUninit<T>])) {
    values.clear();
    values.reserve_exact(len);
    f(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: the capacity is at least `len`, and every caller's `f` writes each of these values: operators write all
    // of their results.
    unsafe { values.set_len(len) };
}

/// Writes values one after the other; there must be one for each place.
#[inline(always)]
pub(crate) fn write<T: Copy>(to: &mut [MaybeUninit<T>], values: impl Iterator<Item = T>) {
    for (to, value) in to.iter_mut().zip(values) {
        to.write(value);
    }
}

/// Calls `f` with the values of `target`, to be changed in place, and those of `source`. Both are f32 on the CPU; every
/// tensor on the storage of `target` sees the change.
pub(crate) fn update(target: &Tensor, source: &Tensor, f: impl FnOnce(&mut [f32], &[f32])) -> Result<()> {
    if source.dims() != target.dims() {
        let (given, allowed) = (format!("shape {:?}", source.dims()), format!("{:?}", target.dims()));
        return Err(Error::argument("source of an update", given, allowed));
    }
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

/// Calls `f` with the values of `target`, f32 on the CPU, to be changed in place; every tensor on its storage sees the
/// change.
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
            Err(Error::argument("target of an update", given, "contiguous f32").into())
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
                "one dtype for all arguments",
            ));
        }
    }
    Ok(())
}

/// An operator of three arguments with its gradients, on values in memory; [`apply`] makes it a candle operator.
pub(crate) trait Op3: Send + Sync + 'static {
    /// Name in error messages and profiles.
    const NAME: &'static str;

    /// The same of its gradients in profiles.
    const GRADIENT_NAME: &'static str;

    /// Whether the first argument's gradient is the result's own: a sum passes it through.
    const FIRST_GRADIENT_PASSES: bool = false;

    /// Shape of the result, from the first argument's.
    fn output_shape(&self, first: &Shape) -> Shape;

    /// The result.
    fn forward<T: Element>(&self, arguments: [&[T]; 3]) -> Vec<T>;

    /// The gradients of the arguments that are wanted, given the result's; others may be left out.
    fn gradients<T: Element>(&self, arguments: [&[T]; 3], dy: &[T], wanted: [bool; 3]) -> [Option<Vec<T>>; 3];
}

/// Applies an operator. Arguments are made contiguous; frozen ones get no gradient, since receptive fields, for example,
/// only ask for the image's.
pub(crate) fn apply<O: Op3>(op: O, arguments: [&Tensor; 3]) -> Result<Tensor> {
    let [a, b, c] = arguments.map(Tensor::contiguous);
    Ok(a?.apply_op3(&b?, &c?, OnCandle(op))?)
}

struct OnCandle<O>(O);

impl<O: Op3> CustomOp3 for OnCandle<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
        c: &CpuStorage,
        c_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let _span = profile::span(O::NAME);
        with_element!(a.dtype(), "input", T => {
            let arguments = [slice::<T>(a, a_layout)?, slice(b, b_layout)?, slice(c, c_layout)?];
            Ok((T::to_cpu_storage_owned(self.0.forward(arguments)), self.0.output_shape(a_layout.shape())))
        })
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let _span = profile::span(O::GRADIENT_NAME);
        let passes = O::FIRST_GRADIENT_PASSES;
        let wanted = [a.track_op() && !passes, b.track_op(), c.track_op()];
        with_element!(dy.dtype(), "gradient", T => with_values::<T, _>(a, |av| with_values::<T, _>(b, |bv| {
            with_values::<T, _>(c, |cv| with_values::<T, _>(dy, |dyv| {
                let [da, db, dc] = self.0.gradients([av, bv, cv], dyv, wanted);
                let tensor = |values: Option<Vec<T>>, like: &Tensor| {
                    values.map(|values| Tensor::from_vec(values, like.shape(), like.device())).transpose()
                };
                let da = if passes { Some(dy.clone()) } else { tensor(da, a)? };
                Ok((da, tensor(db, b)?, tensor(dc, c)?))
            }))
        })))
    }
}
