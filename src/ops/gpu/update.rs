//! Launches of `kernels/update.cu`: parameters that are changed in place, in f32.

use super::params::{AdamWParams, AverageParams, MaskParams, SquareSumsParams};
use super::{
    BorrowedTensor, DeviceTables, FastDivisor, Gpu, InPlaceTarget, KernelArg, LaunchSize, THREADS, Values,
    download_singles,
};
use crate::ops::storage;
use crate::{Error, Result};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Storage, Tensor};
use std::cell::Cell;
use std::sync::Arc;

/// Values whose squares a block adds up.
const CHUNK: usize = 1 << 14;

/// Which groups of adjacent values are kept, as bits in the memory of devices.
#[derive(Debug)]
pub(crate) struct KeepMask {
    bits: DeviceTables,
    group: usize,
}

impl KeepMask {
    /// A bit for every group of `group` values; those that are zero are not kept.
    pub(crate) fn new(keep: &[u8], group: usize) -> Self {
        let word = |keep: &[u8]| keep.iter().rev().fold(0u32, |word, &keep| word << 1 | u32::from(keep != 0)) as i32;
        KeepMask { bits: DeviceTables::new(keep.chunks(32).map(word).collect()), group }
    }
}

/// The numbers of a step t of AdamW with learning rate a, for parameters of one decay group.
#[derive(Debug, Clone, Copy)]
pub struct AdamWStep {
    /// Decay rate of the first moment, b1.
    pub beta1: f32,
    /// Decay rate of the second moment, b2.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Of the gradients.
    pub scale: f32,
    /// `a / (1 - b1^t)`.
    pub rate: f32,
    /// `sqrt(1 - b2^t)`.
    pub root: f32,
    /// `1 - a * weight_decay`, or 1.
    pub keep: f32,
}

/// A step of AdamW: parameters, their gradients, and both moments.
pub(crate) fn adamw(gpu: &Gpu, p: &Tensor, g: &Tensor, [m, v]: &mut [Storage; 2], factors: AdamWStep) -> Result<()> {
    let AdamWStep { beta1, beta2, eps, scale, rate, root, keep } = factors;
    let (rest1, rest2, count) = (1.0 - beta1, 1.0 - beta2, count_of(p.elem_count())?);
    let params = AdamWParams { count, beta1, rest1, beta2, rest2, eps, scale, rate, root, keep };
    change_with(p, g, |p, g| {
        let mut arguments = [
            KernelArg::Update(p),
            KernelArg::Read(g),
            KernelArg::Write(m),
            KernelArg::Write(v),
            KernelArg::params(&params),
        ];
        gpu.launch("update_adamw", LaunchSize::over(count as usize), &mut arguments)
    })
}

/// `e <- keep * e + take * p`; with a mask, zeros start anew with p, and what is not kept becomes zero.
pub(crate) fn average(
    gpu: &Gpu,
    e: &Tensor,
    p: &Tensor,
    [keep, take]: [f32; 2],
    mask: Option<&KeepMask>,
) -> Result<()> {
    let count = count_of(p.elem_count())?;
    let by_group = FastDivisor::new(mask.map_or(1, |mask| mask.group));
    let masked = i32::from(mask.is_some());
    let params = AverageParams { mask: MaskParams { count, by_group }, keep, take, masked };
    let bits = mask.map(|mask| MaskBits::on(gpu, mask)).transpose()?;
    change_with(e, p, |e, p| {
        let bits = bits.as_ref().map(MaskBits::values).transpose()?;
        let mut arguments =
            [KernelArg::Update(e), KernelArg::Read(p), KernelArg::read_if_any(bits), KernelArg::params(&params)];
        gpu.launch("update_average", LaunchSize::over(count as usize), &mut arguments)
    })
}

/// Sets what is not kept to zero.
pub(crate) fn erase(gpu: &Gpu, values: &Tensor, mask: &KeepMask) -> Result<()> {
    let count = values.elem_count();
    change(values, |values| erase_in(gpu, KernelArg::Update(values), count, mask))
}

/// The same in memory of `count` values that belongs to no tensor.
pub(crate) fn erase_storage(gpu: &Gpu, values: &mut Storage, count: usize, mask: &KeepMask) -> Result<()> {
    Ok(erase_in(gpu, KernelArg::Write(values), count, mask)?)
}

fn erase_in(gpu: &Gpu, values: KernelArg, count: usize, mask: &KeepMask) -> candle_core::Result<()> {
    let count = count_of(count)?;
    let bits = MaskBits::on(gpu, mask)?;
    let params = MaskParams { count, by_group: FastDivisor::new(mask.group) };
    let mut arguments = [values, KernelArg::Read(bits.values()?), KernelArg::params(&params)];
    gpu.launch("update_erase", LaunchSize::over(count as usize), &mut arguments)
}

/// The bits of a mask in the memory of a GPU.
struct MaskBits {
    storage: Arc<Storage>,
    words: usize,
}

impl MaskBits {
    fn on(gpu: &Gpu, mask: &KeepMask) -> Result<Self> {
        Ok(MaskBits { storage: mask.bits.on(gpu)?, words: mask.bits.len() })
    }

    fn values(&self) -> candle_core::Result<Values<'_>> {
        Values::all(&self.storage, self.words)
    }
}

/// The sum of the squares of all values of some tensors: chunks in f32, their sums in f64, in their order.
pub(crate) fn square_sum(gpu: &Gpu, tensors: &[Tensor]) -> Result<f64> {
    let chunks = |tensor: &Tensor| tensor.elem_count().div_ceil(CHUNK);
    let mut sums = gpu.alloc(DType::F32, tensors.iter().map(chunks).sum())?;
    let mut first = 0;
    for tensor in tensors.iter().filter(|tensor| tensor.elem_count() > 0) {
        check_f32("gradient", tensor.dtype())?;
        let tensor = tensor.contiguous()?;
        let borrowed = BorrowedTensor::new(&tensor);
        let params = SquareSumsParams { count: count_of(tensor.elem_count())?, first: count_of(first)? };
        let size = LaunchSize { blocks: chunks(&tensor), threads: THREADS, shared_bytes: 4 * 32 };
        let mut arguments =
            [KernelArg::Read(borrowed.values()?), KernelArg::Write(&mut sums), KernelArg::params(&params)];
        gpu.launch("update_square_sums", size, &mut arguments)?;
        first += chunks(&tensor);
    }
    Ok(download_singles(&sums)?.into_iter().take(first).map(f64::from).sum())
}

/// The moments of a parameter, from the CPU's memory.
pub(crate) fn upload(gpu: &Gpu, values: &[f32]) -> Result<Storage> {
    Ok(gpu.upload_floats(values)?)
}

fn count_of(count: usize) -> Result<i32> {
    let allowed = "fewer than 2^30 on a GPU";
    let small = i32::try_from(count).ok().filter(|count| *count < 1 << 30);
    small.ok_or_else(|| Error::argument("values of a parameter", count, allowed))
}

fn check_f32(name: &str, dtype: DType) -> Result<()> {
    match dtype {
        DType::F32 => Ok(()),
        other => Err(Error::argument(name, format!("dtype {other:?}"), "f32")),
    }
}

/// Calls `f` with the memory of a tensor, which is to be changed, and with the values of another of its shape.
fn change_with(
    target: &Tensor,
    source: &Tensor,
    f: impl FnOnce(InPlaceTarget, Values) -> candle_core::Result<()>,
) -> Result<()> {
    storage::check_source(target, source)?;
    check_f32("source of an update", source.dtype())?;
    Ok(target.inplace_op2(&source.contiguous()?, &InPlace(Cell::new(Some(f))))?)
}

/// The same without another.
fn change(target: &Tensor, f: impl FnOnce(InPlaceTarget) -> candle_core::Result<()>) -> Result<()> {
    Ok(target.inplace_op1(&InPlace(Cell::new(Some(f))))?)
}

struct InPlace<F>(Cell<Option<F>>);

/// That a target is all of a contiguous f32 storage: kernels start at its beginning.
fn check_whole(dtype: DType, layout: &Layout) -> candle_core::Result<()> {
    if dtype == DType::F32 && layout.is_contiguous() && layout.start_offset() == 0 {
        return Ok(());
    }
    let given = format!("dtype {dtype:?}, strides {:?} from {}", layout.stride(), layout.start_offset());
    Err(Error::argument("target of an update", given, "a contiguous f32 tensor with its own memory").into())
}

impl<F: FnOnce(InPlaceTarget, Values) -> candle_core::Result<()>> InplaceOp2 for InPlace<F> {
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
        use candle_core::backend::BackendStorage;
        check_whole(target.dtype(), layout)?;
        let source = super::cpu_values(source, source_layout)?;
        self.0.take().map_or(Ok(()), |f| f(InPlaceTarget::Cpu(target), source))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        target: &mut CudaStorage,
        layout: &Layout,
        source: &CudaStorage,
        source_layout: &Layout,
    ) -> candle_core::Result<()> {
        use candle_core::backend::BackendStorage;
        check_whole(target.dtype(), layout)?;
        let source = super::cuda_values(source, source_layout)?;
        self.0.take().map_or(Ok(()), |f| f(InPlaceTarget::Cuda(target), source))
    }
}

impl<F: FnOnce(InPlaceTarget) -> candle_core::Result<()>> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "modify"
    }

    fn cpu_fwd(&self, target: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        use candle_core::backend::BackendStorage;
        check_whole(target.dtype(), layout)?;
        self.0.take().map_or(Ok(()), |f| f(InPlaceTarget::Cpu(target)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, target: &mut CudaStorage, layout: &Layout) -> candle_core::Result<()> {
        use candle_core::backend::BackendStorage;
        check_whole(target.dtype(), layout)?;
        self.0.take().map_or(Ok(()), |f| f(InPlaceTarget::Cuda(target)))
    }
}
