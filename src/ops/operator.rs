//! Operators of one and of three arguments, and what makes them operators of candle: on values in memory, or, where
//! kernels are compiled in, on a GPU.

use super::gpu::{self, BorrowedTensor, Gpu, Values};
use super::storage::{Element, slice, with_element, with_values};
use crate::{Result, profile};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::Storage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Shape, Tensor, WithDType};

/// An operator of one argument with its gradient.
pub(crate) trait Op1: Send + Sync + 'static {
    /// Name in error messages and profiles.
    const NAME: &'static str;

    /// The same of its gradient in profiles.
    const GRADIENT_NAME: &'static str;

    /// Shape of the result.
    fn output_shape(&self, x: &Shape) -> Shape {
        x.clone()
    }

    /// The result.
    fn forward<T: Element>(&self, x: &[T]) -> Result<Vec<T>>;

    /// The gradient of the argument, given the result's.
    fn gradient<T: Element>(&self, x: &[T], dy: &[T]) -> Result<Vec<T>>;

    /// The result on a GPU.
    fn gpu_forward(&self, gpu: &Gpu, x: Values) -> candle_core::Result<Storage>;

    /// The gradient on a GPU.
    fn gpu_gradient(&self, gpu: &Gpu, x: Values, dy: Values) -> candle_core::Result<Storage>;
}

/// Applies an operator of one argument, which is made contiguous.
pub(crate) fn apply1<O: Op1>(op: O, x: &Tensor) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op1(OnCandle(op))?)
}

impl<O: Op1> CustomOp1 for OnCandle<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let _span = profile::span(O::NAME);
        let shape = self.0.output_shape(layout.shape());
        if let Some(gpu) = Gpu::of_cpu() {
            let y = self.0.gpu_forward(&gpu, gpu::cpu_values(x, layout)?)?;
            return Ok((gpu::into_cpu(y)?, shape));
        }
        with_element!(x.dtype(), "input", T => {
            Ok((T::to_cpu_storage_owned(self.0.forward(slice::<T>(x, layout)?)?), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let _span = profile::span(O::NAME);
        let y = self.0.gpu_forward(&Gpu::of_cuda(x), gpu::cuda_values(x, layout)?)?;
        Ok((gpu::into_cuda(y)?, self.0.output_shape(layout.shape())))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let _span = profile::span(O::GRADIENT_NAME);
        if let Some(gpu) = Gpu::of(x) {
            let of = |gpu: &Gpu, [x, dy]: [Values; 2]| self.0.gpu_gradient(gpu, x, dy);
            return gpu::compute(&gpu, [x, dy], x.shape(), of).map(Some);
        }
        with_element!(x.dtype(), "input", T => with_values::<T, _>(x, |values| with_values::<T, _>(dy, |dy| {
            Tensor::from_vec(self.0.gradient(values, dy)?, x.shape(), x.device()).map(Some)
        })))
    }
}

/// The gradients of three arguments; those that are not wanted may be left out.
pub(crate) type Gradients<T> = [Option<Vec<T>>; 3];

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
    fn forward<T: Element>(&self, arguments: [&[T]; 3]) -> Result<Vec<T>>;

    /// The gradients of the arguments that are wanted, given the result's.
    fn gradients<T: Element>(&self, arguments: [&[T]; 3], dy: &[T], wanted: [bool; 3]) -> Result<Gradients<T>>;

    /// The result on a GPU. Operators that are put together from others there do without.
    fn gpu_forward(&self, _gpu: &Gpu, _arguments: [Values; 3]) -> candle_core::Result<Storage> {
        Err(gpu::no_kernel(Self::NAME))
    }

    /// The gradients on a GPU; others than those that are wanted are ignored.
    fn gpu_gradients(
        &self,
        _gpu: &Gpu,
        _arguments: [Values; 3],
        _dy: Values,
        _wanted: [bool; 3],
    ) -> candle_core::Result<[Option<Storage>; 3]> {
        Err(gpu::no_kernel(Self::GRADIENT_NAME))
    }
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
        if let Some(gpu) = Gpu::of_cpu() {
            let arguments =
                [gpu::cpu_values(a, a_layout)?, gpu::cpu_values(b, b_layout)?, gpu::cpu_values(c, c_layout)?];
            let y = gpu::into_cpu(self.0.gpu_forward(&gpu, arguments)?)?;
            return Ok((y, self.0.output_shape(a_layout.shape())));
        }
        with_element!(a.dtype(), "input", T => {
            let arguments = [slice::<T>(a, a_layout)?, slice(b, b_layout)?, slice(c, c_layout)?];
            Ok((T::to_cpu_storage_owned(self.0.forward(arguments)?), self.0.output_shape(a_layout.shape())))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        a: &CudaStorage,
        a_layout: &Layout,
        b: &CudaStorage,
        b_layout: &Layout,
        c: &CudaStorage,
        c_layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let _span = profile::span(O::NAME);
        let arguments =
            [gpu::cuda_values(a, a_layout)?, gpu::cuda_values(b, b_layout)?, gpu::cuda_values(c, c_layout)?];
        let y = self.0.gpu_forward(&Gpu::of_cuda(a), arguments)?;
        Ok((gpu::into_cuda(y)?, self.0.output_shape(a_layout.shape())))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let wanted = [a, b, c].map(Tensor::track_op);
        let [da, db, dc] = gradients(&self.0, [a, b, c], dy, wanted)?;
        Ok((da, db, dc))
    }
}

/// The gradients of the arguments that are wanted, given the result's.
pub(crate) fn gradients<O: Op3>(
    op: &O,
    [a, b, c]: [&Tensor; 3],
    dy: &Tensor,
    [wanted_a, wanted_b, wanted_c]: [bool; 3],
) -> candle_core::Result<[Option<Tensor>; 3]> {
    let _span = profile::span(O::GRADIENT_NAME);
    let passes = O::FIRST_GRADIENT_PASSES;
    let wanted = [wanted_a && !passes, wanted_b, wanted_c];
    if let Some(gpu) = Gpu::of(a) {
        let [a, b, c, dy] = [a.contiguous()?, b.contiguous()?, c.contiguous()?, dy.contiguous()?];
        let borrowed = [&a, &b, &c, &dy].map(BorrowedTensor::new);
        let arguments = [borrowed[0].values()?, borrowed[1].values()?, borrowed[2].values()?];
        let [da, db, dc] = op.gpu_gradients(&gpu, arguments, borrowed[3].values()?, wanted)?;
        let tensor = |storage: Option<Storage>, like: &Tensor, wanted: bool| {
            storage.filter(|_| wanted).map(|storage| gpu::tensor(storage, like.shape()))
        };
        let da = if passes { Some(dy.clone()) } else { tensor(da, &a, wanted[0]) };
        return Ok([da, tensor(db, &b, wanted[1]), tensor(dc, &c, wanted[2])]);
    }
    with_element!(dy.dtype(), "gradient", T => with_values::<T, _>(a, |av| with_values::<T, _>(b, |bv| {
        with_values::<T, _>(c, |cv| with_values::<T, _>(dy, |dyv| {
            let [da, db, dc] = op.gradients([av, bv, cv], dyv, wanted)?;
            let tensor = |values: Option<Vec<T>>, like: &Tensor| {
                values.map(|values| Tensor::from_vec(values, like.shape(), like.device())).transpose()
            };
            let da = if passes { Some(dy.clone()) } else { tensor(da, a)? };
            Ok([da, tensor(db, b)?, tensor(dc, c)?])
        }))
    })))
}
