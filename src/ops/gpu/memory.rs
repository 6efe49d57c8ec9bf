//! Values in the memory of a GPU, or of the CPU for the emulator: candle's storage, borrowed.

use super::Gpu;
use crate::{Error, Result};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, DType, Layout, Shape, Storage, StorageRef, Tensor};
use std::sync::{Arc, Mutex, PoisonError};

/// Adjacent values in the memory of a [`Gpu`]: part of a storage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(super) memory: Memory<'a>,
    pub(super) start: usize,
    pub(super) len: usize,
}

/// The storage that values are part of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Memory<'a> {
    Cpu(&'a CpuStorage),
    #[cfg(feature = "cuda")]
    Cuda(&'a CudaStorage),
}

impl<'a> Values<'a> {
    fn part(memory: Memory<'a>, layout: &Layout) -> candle_core::Result<Self> {
        match layout.contiguous_offsets() {
            Some((start, end)) => Ok(Values { memory, start, len: end - start }),
            None => Err(candle_core::Error::RequiresContiguous { op: "kernelscope" }.bt()),
        }
    }

    /// All `len` values of a storage.
    pub(crate) fn all(storage: &'a Storage, len: usize) -> candle_core::Result<Self> {
        let memory = match storage {
            Storage::Cpu(cpu) => Memory::Cpu(cpu),
            #[cfg(feature = "cuda")]
            Storage::Cuda(cuda) => Memory::Cuda(cuda),
            _ => return Err(no_gpu(storage)),
        };
        Ok(Values { memory, start: 0, len })
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether they start at an even index of their storage, so that two can be read together.
    pub(crate) fn start_is_even(&self) -> bool {
        self.start.is_multiple_of(2)
    }

    /// Type of the values.
    pub(crate) fn dtype(&self) -> DType {
        match self.memory {
            Memory::Cpu(cpu) => cpu.dtype(),
            #[cfg(feature = "cuda")]
            Memory::Cuda(cuda) => cuda.dtype(),
        }
    }
}

/// The memory of a tensor that is changed in place.
pub(crate) enum InPlaceTarget<'a> {
    /// Of the CPU, for the emulator.
    Cpu(&'a mut CpuStorage),
    /// Of an NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(&'a mut CudaStorage),
}

/// The error for storage of another kind of device.
pub(super) fn no_gpu(storage: &Storage) -> candle_core::Error {
    Error::argument("device", format!("{:?}", storage.device().location()), "the CPU or an NVIDIA GPU").into()
}

/// A tensor whose storage is borrowed, so that its [`Values`] can be taken.
pub(crate) struct BorrowedTensor<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> BorrowedTensor<'a> {
    /// Borrows the storage of a tensor.
    pub(crate) fn new(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        BorrowedTensor { storage, layout }
    }

    /// The tensor's values, which must be contiguous.
    pub(crate) fn values(&self) -> candle_core::Result<Values<'_>> {
        match &*self.storage {
            Storage::Cpu(cpu) => Values::part(Memory::Cpu(cpu), self.layout),
            #[cfg(feature = "cuda")]
            Storage::Cuda(cuda) => Values::part(Memory::Cuda(cuda), self.layout),
            other => Err(no_gpu(other)),
        }
    }
}

/// A tensor of a storage that an operator has written.
pub(crate) fn tensor(storage: Storage, shape: &Shape) -> Tensor {
    Tensor::from_storage(storage, shape.clone(), BackpropOp::none(), false)
}

/// Values of the CPU's storage, for the emulator.
pub(crate) fn cpu_values<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<Values<'a>> {
    Values::part(Memory::Cpu(storage), layout)
}

/// Values of a GPU's storage.
#[cfg(feature = "cuda")]
pub(crate) fn cuda_values<'a>(storage: &'a CudaStorage, layout: &Layout) -> candle_core::Result<Values<'a>> {
    Values::part(Memory::Cuda(storage), layout)
}

/// The GPU's storage that a kernel has written.
#[cfg(feature = "cuda")]
pub(crate) fn into_cuda(storage: Storage) -> candle_core::Result<CudaStorage> {
    match storage {
        Storage::Cuda(cuda) => Ok(cuda),
        other => Err(no_gpu(&other)),
    }
}

/// The CPU's storage that the emulator has written.
pub(crate) fn into_cpu(storage: Storage) -> candle_core::Result<CpuStorage> {
    match storage {
        Storage::Cpu(cpu) => Ok(cpu),
        other => Err(no_gpu(&other)),
    }
}

/// Runs `f` with the values of tensors of one device, made contiguous; the result becomes a tensor of a shape.
pub(crate) fn compute<const N: usize>(
    gpu: &Gpu,
    tensors: [&Tensor; N],
    shape: &Shape,
    f: impl FnOnce(&Gpu, [Values; N]) -> candle_core::Result<Storage>,
) -> candle_core::Result<Tensor> {
    let contiguous: Vec<Tensor> = tensors.iter().map(|t| t.contiguous()).collect::<candle_core::Result<_>>()?;
    let borrowed: Vec<BorrowedTensor> = contiguous.iter().map(BorrowedTensor::new).collect();
    let values: Vec<Values> = borrowed.iter().map(BorrowedTensor::values).collect::<candle_core::Result<_>>()?;
    let values = <[Values; N]>::try_from(values).map_err(|_| candle_core::Error::Msg("number of tensors".into()))?;
    Ok(tensor(f(gpu, values)?, shape))
}

/// Copies single-precision numbers to the device.
pub(crate) fn upload_singles(gpu: &Gpu, values: impl IntoIterator<Item = f64>) -> candle_core::Result<Storage> {
    gpu.upload_floats(&values.into_iter().map(|value| value as f32).collect::<Vec<_>>())
}

/// Copies single-precision numbers from the device.
pub(crate) fn download_singles(storage: &Storage) -> candle_core::Result<Vec<f32>> {
    let cpu = match storage {
        Storage::Cpu(cpu) => cpu.clone(),
        Storage::Cuda(cuda) => cuda.to_cpu_storage()?,
        Storage::Metal(metal) => metal.to_cpu_storage()?,
    };
    match cpu {
        CpuStorage::F32(values) => Ok(values),
        _ => Err(candle_core::Error::Msg("sums of a type other than f32".into())),
    }
}

/// Tables of words that never change, copied to each device when it first needs them.
#[derive(Debug, Default)]
pub(crate) struct DeviceTables {
    words: Vec<i32>,
    copies: Mutex<Vec<DeviceCopy>>,
}

#[derive(Debug)]
struct DeviceCopy {
    device: usize,
    storage: Arc<Storage>,
}

impl DeviceTables {
    /// Tables of these words.
    pub(crate) fn new(words: Vec<i32>) -> Self {
        DeviceTables { words, copies: Mutex::default() }
    }

    /// Number of words.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// The tables in the memory of `gpu`.
    pub(crate) fn on(&self, gpu: &Gpu) -> Result<Arc<Storage>> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copy) = copies.iter().find(|copy| copy.device == gpu.key()) {
            return Ok(copy.storage.clone());
        }
        let storage = Arc::new(gpu.upload(&self.words)?);
        copies.push(DeviceCopy { device: gpu.key(), storage: storage.clone() });
        Ok(storage)
    }
}
