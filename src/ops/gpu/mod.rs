//! Kernels on a GPU: the operators' second back end, in f32, f16 and bf16 with sums in f32.
//!
//! The kernels are in `kernels/*.cu`. An operator on this side prepares a launch (tables, parameters, scratch memory) and
//! calls `Gpu::launch`. What runs it is either an NVIDIA GPU (feature `cuda`) or an emulator on the CPU that tests bring
//! along, so that all but the driver calls is compiled and tested without a GPU. Memory is candle's own storage on both.
//!
//! | module | holds |
//! |---|---|
//! | `params` | the structs that kernels take, field by field as they declare them |
//! | `memory` | values in a GPU's memory, tables that are copied there once |
//! | `launch` | the size and the arguments of a launch |
//! | `elementwise`, `planes`, `update` | the launches of the kernel file of that name |
//! | `measure` | the device's clock and memory in use, and what it can do at most |
//! | `cuda`, `emulator` | what runs kernels |
//!
//! No result depends on the number of multiprocessors or on the order of blocks: the same input gives the same bits.

#[cfg(feature = "cuda")]
mod cuda;
mod elementwise;
pub(crate) mod emulator;
mod fast_divisor;
pub(crate) mod launch;
mod measure;
mod memory;
pub(crate) mod params;
pub(crate) mod planes;
pub(crate) mod update;

pub(crate) use fast_divisor::FastDivisor;
pub use measure::{ArithmeticProbe, MemoryUse, Meter};

pub(crate) use launch::{KernelArg, LaunchSize, SHARED_BYTES, THREADS};
pub(crate) use memory::{
    BorrowedTensor, DeviceTables, InPlaceTarget, Values, compute, cpu_values, download_singles, into_cpu, tensor,
    upload_singles,
};
#[cfg(feature = "cuda")]
pub(crate) use memory::{cuda_values, into_cuda};

use crate::Error;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Layout, Shape, Storage, Tensor};
#[cfg(feature = "cuda")]
use candle_core::{CudaDevice, CudaStorage, Device};
use emulator::Emulated;
use memory::{Memory, no_gpu};

/// What runs kernels.
#[derive(Debug, Clone)]
pub(crate) enum Gpu {
    /// The CPU, for tests.
    Emulated(Emulated),
    /// An NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(CudaDevice),
}

/// The error for an operator that has no kernel of its own.
pub(crate) fn no_kernel(name: &str) -> candle_core::Error {
    Error::argument("device", format!("{name} on a GPU"), "the CPU").into()
}

/// A batch of matrices that are part of some values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MatrixBatch<'a> {
    values: Values<'a>,
    strides: [usize; 3],
}

impl<'a> MatrixBatch<'a> {
    /// Matrices, rows and columns are so many values apart; a distance of 0 repeats a matrix.
    pub(crate) fn new(values: Values<'a>, strides: [usize; 3]) -> Self {
        MatrixBatch { values, strides }
    }

    fn layout(&self, shape: (usize, usize, usize)) -> Layout {
        Layout::new(Shape::from(shape), self.strides.to_vec(), self.values.start)
    }
}

/// The size of products of matrices (rows, inner) and (inner, cols).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProductSize {
    pub batch: usize,
    pub rows: usize,
    pub cols: usize,
    pub inner: usize,
}

impl Gpu {
    /// The device of a tensor, if its operators are to run there: an NVIDIA GPU, or the CPU while emulated.
    pub(crate) fn of(tensor: &Tensor) -> Option<Gpu> {
        if tensor.device().is_cpu() {
            return Gpu::of_cpu();
        }
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = tensor.device() {
            return Some(Gpu::Cuda(device.clone()));
        }
        None
    }

    /// The GPU of a storage.
    #[cfg(feature = "cuda")]
    pub(crate) fn of_cuda(storage: &CudaStorage) -> Gpu {
        Gpu::Cuda(storage.device.clone())
    }

    /// The emulator, where values of the CPU are emulated at present.
    pub(crate) fn of_cpu() -> Option<Gpu> {
        emulator::current().map(Gpu::Emulated)
    }

    /// Room for `len` values.
    pub(crate) fn alloc(&self, dtype: DType, len: usize) -> candle_core::Result<Storage> {
        match self {
            Gpu::Emulated(_) => emulator::alloc(dtype, len).map(Storage::Cpu),
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => cuda::alloc(device, dtype, len).map(Storage::Cuda),
        }
    }

    /// Copies words to the device.
    fn upload(&self, words: &[i32]) -> candle_core::Result<Storage> {
        match self {
            Gpu::Emulated(_) => Ok(Storage::Cpu(CpuStorage::I32(words.to_vec()))),
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => cuda::upload(device, words).map(Storage::Cuda),
        }
    }

    /// Copies numbers to the device.
    fn upload_floats(&self, values: &[f32]) -> candle_core::Result<Storage> {
        match self {
            Gpu::Emulated(_) => Ok(Storage::Cpu(CpuStorage::F32(values.to_vec()))),
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => cuda::upload_floats(device, values).map(Storage::Cuda),
        }
    }

    /// Runs a kernel.
    pub(crate) fn launch(
        &self,
        kernel: &str,
        size: LaunchSize,
        arguments: &mut [KernelArg],
    ) -> candle_core::Result<()> {
        let LaunchSize { blocks, shared_bytes, .. } = size;
        if blocks == 0 || blocks > i32::MAX as usize || shared_bytes > SHARED_BYTES {
            let given = format!("{blocks} blocks with {shared_bytes} bytes of shared memory for {kernel}");
            let allowed =
                format!("1 to {} blocks with at most {SHARED_BYTES} bytes; use fewer images per batch", i32::MAX);
            return Err(Error::argument("size", given, allowed).into());
        }
        match self {
            Gpu::Emulated(emulated) => emulator::launch(kernel, size, arguments, *emulated),
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => cuda::launch(device, kernel, size, arguments),
        }
    }

    /// Values (n, c, s) in the order (c, n, s).
    pub(crate) fn transpose(&self, values: Values, [n, c, s]: [usize; 3]) -> candle_core::Result<Storage> {
        let layout = Layout::new(Shape::from((c, n, s)), vec![s, c * s, 1], values.start);
        let mut to = self.alloc(values.dtype(), n * c * s)?;
        match (values.memory, &mut to) {
            (Memory::Cpu(from), Storage::Cpu(to)) => from.copy_strided_src(to, 0, &layout)?,
            #[cfg(feature = "cuda")]
            (Memory::Cuda(from), Storage::Cuda(to)) => from.copy_strided_src(to, 0, &layout)?,
            _ => return Err(no_gpu(&to)),
        }
        Ok(to)
    }

    /// Products of matrices, by the library (cuBLAS).
    pub(crate) fn matmul(&self, a: MatrixBatch, b: MatrixBatch, size: ProductSize) -> candle_core::Result<Storage> {
        let ProductSize { batch, rows, cols, inner } = size;
        let (a_layout, b_layout) = (a.layout((batch, rows, inner)), b.layout((batch, inner, cols)));
        let size = (batch, rows, cols, inner);
        match (a.values.memory, b.values.memory) {
            (Memory::Cpu(a), Memory::Cpu(b)) => a.matmul(b, size, &a_layout, &b_layout).map(Storage::Cpu),
            #[cfg(feature = "cuda")]
            (Memory::Cuda(a), Memory::Cuda(b)) => a.matmul(b, size, &a_layout, &b_layout).map(Storage::Cuda),
            #[cfg(feature = "cuda")]
            _ => Err(candle_core::Error::Msg("a product of values on two different devices".into())),
        }
    }

    /// How many seconds what `f` launches takes, by the device's clock.
    pub(crate) fn seconds(&self, f: impl FnOnce() -> candle_core::Result<()>) -> candle_core::Result<f64> {
        match self {
            Gpu::Emulated(_) => {
                let started = std::time::Instant::now();
                f()?;
                Ok(started.elapsed().as_secs_f64())
            }
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => cuda::seconds(device, f),
        }
    }

    /// The device's memory in use before and while what `f` launches runs; nothing where memory is not the device's own.
    pub(crate) fn memory(&self, f: impl FnOnce() -> candle_core::Result<()>) -> candle_core::Result<Option<MemoryUse>> {
        match self {
            Gpu::Emulated(_) => f().map(|()| None),
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => cuda::memory(device, f).map(Some),
        }
    }

    /// What tells devices apart, for caches.
    fn key(&self) -> usize {
        match self {
            Gpu::Emulated(_) => 0,
            // Streams of one device may be several, its memory is one.
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => 1 + device.cuda_stream().context().ordinal(),
        }
    }
}

/// The name of a kernel for values of a type, or an error for a type that kernels do not know.
pub(crate) fn typed(kernel: &str, dtype: DType) -> candle_core::Result<String> {
    let suffix = match dtype {
        DType::F32 => "f32",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        other => return Err(unknown_dtype(other)),
    };
    Ok(format!("{kernel}_{suffix}"))
}

/// The error for a type that kernels do not know.
fn unknown_dtype(dtype: DType) -> candle_core::Error {
    Error::argument("input", format!("dtype {dtype:?} on a GPU"), "f32, f16 or bf16").into()
}
