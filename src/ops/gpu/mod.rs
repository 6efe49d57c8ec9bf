//! Kernels on a GPU: the operators' second back end, in f32, f16 and bf16 with sums in f32.
//!
//! The kernels are in `kernels/*.cu`. Operators prepare launches (tables, sizes, scratch memory) and call `Gpu::launch`;
//! what runs them is either an NVIDIA GPU (feature `cuda`) or an emulator on the CPU, which tests bring along, so that all
//! but the driver calls is compiled and tested without a GPU. Memory is candle's own storage on both.
//!
//! Nothing here depends on the number of multiprocessors or on the order of blocks: the same input gives the same bits.

#[cfg(feature = "cuda")]
mod cuda;
mod emulator;
mod measure;
pub(crate) mod planes;
pub(crate) mod update;

pub use emulator::{Argument, Emulator, emulated};
pub use measure::{ArithmeticProbe, MemoryUse, Meter};

use crate::{Error, Result};
use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, DType, Layout, Shape, Storage, StorageRef, Tensor};
#[cfg(feature = "cuda")]
use candle_core::{CudaDevice, CudaStorage, Device};
use emulator::Emulated;

/// Threads of a block, unless a kernel has reasons for another number.
pub(crate) const THREADS: usize = 256;

/// Most shared memory of a block in bytes: all NVIDIA GPUs since compute capability 8.0 have it.
pub(crate) const SHARED_BYTES: usize = 96 << 10;

/// What runs kernels.
#[derive(Debug, Clone)]
pub(crate) enum Gpu {
    /// The CPU, for tests.
    Emulated(Emulated),
    /// An NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(CudaDevice),
}

/// Values in the memory of a [`Gpu`]: part of a storage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    place: Place<'a>,
    start: usize,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Cpu(&'a CpuStorage),
    #[cfg(feature = "cuda")]
    Cuda(&'a CudaStorage),
}

impl<'a> Values<'a> {
    /// The values of a contiguous tensor.
    fn of_cpu(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<Self> {
        Self::part(Place::Cpu(storage), layout)
    }

    fn part(place: Place<'a>, layout: &Layout) -> candle_core::Result<Self> {
        match layout.contiguous_offsets() {
            Some((start, end)) => Ok(Values { place, start, len: end - start }),
            None => Err(candle_core::Error::RequiresContiguous { op: "kernelscope" }.bt()),
        }
    }

    /// All `len` values of a storage.
    pub(crate) fn all(storage: &'a Storage, len: usize) -> candle_core::Result<Self> {
        let place = match storage {
            Storage::Cpu(cpu) => Place::Cpu(cpu),
            #[cfg(feature = "cuda")]
            Storage::Cuda(cuda) => Place::Cuda(cuda),
            _ => return Err(no_gpu(storage)),
        };
        Ok(Values { place, start: 0, len })
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether they start at an even place of their memory.
    pub(crate) fn start_is_even(&self) -> bool {
        self.start.is_multiple_of(2)
    }

    /// Type of the values.
    pub(crate) fn dtype(&self) -> DType {
        match self.place {
            Place::Cpu(cpu) => cpu.dtype(),
            #[cfg(feature = "cuda")]
            Place::Cuda(cuda) => cuda.dtype(),
        }
    }
}

fn no_gpu(storage: &Storage) -> candle_core::Error {
    Error::argument("device", format!("{:?}", storage.device().location()), "the CPU or an NVIDIA GPU").into()
}

/// The error for an operator that has no kernel of its own.
pub(crate) fn no_kernel(name: &str) -> candle_core::Error {
    Error::argument("device", format!("{name} on a GPU"), "the CPU").into()
}

/// One argument of a kernel.
pub(crate) enum Arg<'a> {
    /// Memory that is read.
    Read(Values<'a>),
    /// Memory that is written.
    Write(&'a mut Storage),
    /// A tensor's memory that is changed in place.
    Update(Target<'a>),
    /// No memory.
    None,
    /// A structure of 32-bit words.
    Words(&'a [i32]),
}

/// The memory of a tensor that is changed in place.
pub(crate) enum Target<'a> {
    /// Of the CPU, for the emulator.
    Cpu(&'a mut CpuStorage),
    /// Of an NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(&'a mut CudaStorage),
}

/// The size of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Blocks.
    pub grid: usize,
    /// Threads of a block, whole warps.
    pub threads: usize,
    /// Dynamic shared memory of a block in bytes.
    pub shared: usize,
}

impl Launch {
    /// A launch whose threads go through `count` values in steps of the whole grid.
    pub(crate) fn over(count: usize) -> Self {
        Launch { grid: count.div_ceil(THREADS).clamp(1, 1 << 16), threads: THREADS, shared: 0 }
    }
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
    pub(crate) fn upload(&self, words: &[i32]) -> candle_core::Result<Storage> {
        match self {
            Gpu::Emulated(_) => Ok(Storage::Cpu(CpuStorage::I32(words.to_vec()))),
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => cuda::upload(device, words).map(Storage::Cuda),
        }
    }

    /// Copies numbers to the device.
    pub(crate) fn upload_floats(&self, values: &[f32]) -> candle_core::Result<Storage> {
        match self {
            Gpu::Emulated(_) => Ok(Storage::Cpu(CpuStorage::F32(values.to_vec()))),
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => cuda::upload_floats(device, values).map(Storage::Cuda),
        }
    }

    /// Runs a kernel.
    pub(crate) fn launch(&self, kernel: &str, launch: Launch, arguments: &mut [Arg]) -> candle_core::Result<()> {
        if launch.grid == 0 || launch.grid > i32::MAX as usize || launch.shared > SHARED_BYTES {
            let given = format!("{} blocks with {} bytes of shared memory for {kernel}", launch.grid, launch.shared);
            let allowed = format!("1 to {} blocks with at most {SHARED_BYTES} bytes; take fewer images", i32::MAX);
            return Err(Error::argument("size", given, allowed).into());
        }
        match self {
            Gpu::Emulated(emulated) => emulator::launch(kernel, launch, arguments, *emulated),
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => cuda::launch(device, kernel, launch, arguments),
        }
    }

    /// The kernel of that name over all values of `x`.
    pub(crate) fn map(&self, kernel: &str, x: Values) -> candle_core::Result<Storage> {
        let mut y = self.alloc(x.dtype(), x.len())?;
        let count = count_words(x.len());
        let mut arguments = [Arg::Read(x), Arg::Write(&mut y), Arg::Words(&count)];
        self.launch(&format!("{kernel}_{}", suffix(x.dtype())?), Launch::over(x.len()), &mut arguments)?;
        Ok(y)
    }

    /// The same for a kernel of `x` and a gradient.
    pub(crate) fn map_gradient(&self, kernel: &str, x: Values, dy: Values) -> candle_core::Result<Storage> {
        let mut dx = self.alloc(x.dtype(), x.len())?;
        let count = count_words(x.len());
        let mut arguments = [Arg::Read(x), Arg::Read(dy), Arg::Write(&mut dx), Arg::Words(&count)];
        self.launch(&format!("{kernel}_{}", suffix(x.dtype())?), Launch::over(x.len()), &mut arguments)?;
        Ok(dx)
    }

    /// The sum of `images` blocks of values, in their order, in single precision.
    pub(crate) fn sum_images(&self, values: Values, images: usize) -> candle_core::Result<Storage> {
        let count = values.len() / images;
        let mut sum = self.alloc(values.dtype(), count)?;
        let words = [count_words(count), count_words(images)].concat();
        let (each, images) = words.split_at(2);
        let mut arguments = [Arg::Read(values), Arg::Write(&mut sum), Arg::Words(each), Arg::Words(images)];
        let kernel = format!("sum_images_{}", suffix(values.dtype())?);
        self.launch(&kernel, Launch::over(count), &mut arguments)?;
        Ok(sum)
    }

    /// Values (n, c, s) in the order (c, n, s).
    pub(crate) fn transpose(&self, values: Values, (n, c, s): (usize, usize, usize)) -> candle_core::Result<Storage> {
        let layout = Layout::new(Shape::from((c, n, s)), vec![s, c * s, 1], values.start);
        let mut to = self.alloc(values.dtype(), n * c * s)?;
        match (values.place, &mut to) {
            (Place::Cpu(from), Storage::Cpu(to)) => from.copy_strided_src(to, 0, &layout)?,
            #[cfg(feature = "cuda")]
            (Place::Cuda(from), Storage::Cuda(to)) => from.copy_strided_src(to, 0, &layout)?,
            _ => return Err(no_gpu(&to)),
        }
        Ok(to)
    }

    /// `batch` products of (m, k) and (k, n) matrices, which are parts of `a` and `b` with strides of matrices, rows and
    /// columns; by the library (cuBLAS). A stride of 0 repeats a matrix.
    pub(crate) fn matmul(
        &self,
        (a, a_strides): (Values, [usize; 3]),
        (b, b_strides): (Values, [usize; 3]),
        (batch, m, n, k): (usize, usize, usize, usize),
    ) -> candle_core::Result<Storage> {
        let a_layout = Layout::new(Shape::from((batch, m, k)), a_strides.to_vec(), a.start);
        let b_layout = Layout::new(Shape::from((batch, k, n)), b_strides.to_vec(), b.start);
        match (a.place, b.place) {
            (Place::Cpu(a), Place::Cpu(b)) => a.matmul(b, (batch, m, n, k), &a_layout, &b_layout).map(Storage::Cpu),
            #[cfg(feature = "cuda")]
            (Place::Cuda(a), Place::Cuda(b)) => a.matmul(b, (batch, m, n, k), &a_layout, &b_layout).map(Storage::Cuda),
            #[cfg(feature = "cuda")]
            _ => Err(candle_core::Error::Msg("a product of values of two devices".into())),
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

    /// Bytes of the device's memory in use before what `f` launches, and at most while it runs; nothing where memory is
    /// not the device's own.
    pub(crate) fn memory(
        &self,
        f: impl FnOnce() -> candle_core::Result<()>,
    ) -> candle_core::Result<Option<(u64, u64)>> {
        match self {
            Gpu::Emulated(_) => f().map(|()| None),
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => cuda::memory(device, f).map(Some),
        }
    }

    /// What tells devices apart, for caches.
    pub(crate) fn key(&self) -> usize {
        match self {
            Gpu::Emulated(_) => 0,
            // Streams of one device may be several, its memory is one.
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => 1 + device.cuda_stream().context().ordinal(),
        }
    }
}

/// A number in two words.
fn count_words(count: usize) -> [i32; 2] {
    [count as u32 as i32, (count as u64 >> 32) as i32]
}

/// The suffix of kernels' names for a type, or an error for one that kernels do not know.
pub(crate) fn suffix(dtype: DType) -> candle_core::Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::F16 => Ok("f16"),
        DType::BF16 => Ok("bf16"),
        other => Err(unknown_dtype(other)),
    }
}

/// The error for a type that kernels do not know.
fn unknown_dtype(dtype: DType) -> candle_core::Error {
    Error::argument("input", format!("dtype {dtype:?} on a GPU"), "f32, f16 or bf16").into()
}

/// A contiguous tensor whose storage is held.
pub(crate) struct Held<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> Held<'a> {
    /// Holds the storage of a tensor.
    pub(crate) fn new(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Held { storage, layout }
    }

    /// The tensor's values, which must be contiguous.
    pub(crate) fn values(&self) -> candle_core::Result<Values<'_>> {
        match &*self.storage {
            Storage::Cpu(cpu) => Values::of_cpu(cpu, self.layout),
            #[cfg(feature = "cuda")]
            Storage::Cuda(cuda) => Values::part(Place::Cuda(cuda), self.layout),
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
    Values::of_cpu(storage, layout)
}

/// Values of a GPU's storage.
#[cfg(feature = "cuda")]
pub(crate) fn cuda_values<'a>(storage: &'a CudaStorage, layout: &Layout) -> candle_core::Result<Values<'a>> {
    Values::part(Place::Cuda(storage), layout)
}

/// The GPU's storage that a kernel writes.
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
    let held: Vec<Held> = contiguous.iter().map(Held::new).collect();
    let values: Vec<Values> = held.iter().map(Held::values).collect::<candle_core::Result<_>>()?;
    let values = <[Values; N]>::try_from(values).map_err(|_| candle_core::Error::Msg("number of tensors".into()))?;
    Ok(tensor(f(gpu, values)?, shape))
}

/// Tables on a device, uploaded once per device.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    words: Vec<i32>,
    uploaded: std::sync::Mutex<Vec<(usize, std::sync::Arc<Storage>)>>,
}

impl Tables {
    /// Tables of these words.
    pub(crate) fn new(words: Vec<i32>) -> Self {
        Tables { words, uploaded: std::sync::Mutex::default() }
    }

    /// Number of words.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// The tables in the memory of `gpu`.
    pub(crate) fn on(&self, gpu: &Gpu) -> Result<std::sync::Arc<Storage>> {
        let mut uploaded = self.uploaded.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, storage)) = uploaded.iter().find(|(key, _)| *key == gpu.key()) {
            return Ok(storage.clone());
        }
        let storage = std::sync::Arc::new(gpu.upload(&self.words)?);
        uploaded.push((gpu.key(), storage.clone()));
        Ok(storage)
    }
}

/// Division of numbers below 2^31 by `divisor`, as kernels do it: `floor(n / d) = (mulhi(n, magic) + n) >> shift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Division {
    divisor: u32,
    magic: u32,
    shift: u32,
}

impl Division {
    /// Division by a number from 1 to 2^30.
    pub(crate) fn by(divisor: usize) -> Self {
        let divisor = u32::try_from(divisor).unwrap_or(u32::MAX).clamp(1, 1 << 30);
        let shift = divisor.next_power_of_two().trailing_zeros();
        let excess = (1u64 << shift) - u64::from(divisor);
        Division { divisor, magic: ((excess << 32) / u64::from(divisor) + 1) as u32, shift }
    }

    /// As the kernels' structure.
    pub(crate) fn words(&self) -> [i32; 3] {
        [self.divisor, self.magic, self.shift].map(|word| word as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_is_exact_below_two_to_the_31() {
        for divisor in (1..2000).chain([4095, 4096, 65_535, 65_537, 1 << 29, (1 << 30) - 1, 1 << 30]) {
            let Division { magic, shift, .. } = Division::by(divisor);
            let near = |n: u64| n.saturating_sub(2)..n + 3;
            let numbers =
                (0..100).chain(near(divisor as u64)).chain(near(divisor as u64 * 7)).chain((1 << 31) - 5..1 << 31);
            for n in numbers.filter(|&n| n < 1 << 31) {
                let quotient = (((n * u64::from(magic)) >> 32) + n) >> shift;
                assert_eq!(quotient, n / divisor as u64, "{n} / {divisor}");
            }
        }
    }
}
