//! Launches of `kernels/update.cu`: parameters that are changed in place, in f32.

use super::{Arg, Division, Gpu, Held, Launch, THREADS, Tables, Target, Values, planes};
use crate::ops::storage;
use crate::{Error, Result};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Storage, Tensor};
use std::cell::Cell;

/// Values whose squares a block adds up.
const CHUNK: usize = 1 << 14;

/// Which groups of values are kept, as bits in the memory of devices.
#[derive(Debug)]
pub(crate) struct Kept {
    bits: Tables,
    group: usize,
}

impl Kept {
    /// A bit for every group of `group` values; those that are zero are not kept.
    pub(crate) fn new(keep: &[u8], group: usize) -> Self {
        let word = |keep: &[u8]| keep.iter().rev().fold(0u32, |word, &keep| word << 1 | u32::from(keep != 0)) as i32;
        Kept { bits: Tables::new(keep.chunks(32).map(word).collect()), group }
    }
}

/// The numbers of a step t of AdamW with learning rate a, for parameters of one decay group.
#[derive(Debug, Clone, Copy)]
pub struct AdamWStep {
    /// Decay rates of the moments, b1 and b2.
    pub betas: (f32, f32),
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
    let AdamWStep { betas: (b1, b2), eps, scale, rate, root, keep } = factors;
    let numbers = [b1, 1.0 - b1, b2, 1.0 - b2, eps, scale, rate, root, keep];
    let count = count_of(p.elem_count())?;
    let words: Vec<i32> = [count].into_iter().chain(numbers.map(|number| number.to_bits() as i32)).collect();
    change_with(p, g, |p, g| {
        let mut arguments = [Arg::Update(p), Arg::Read(g), Arg::Write(m), Arg::Write(v), Arg::Words(&words)];
        gpu.launch("update_adamw", Launch::over(count as usize), &mut arguments)
    })
}

/// `e <- keep * e + take * p`; with a mask, zeros start anew with p, and what is not kept becomes zero.
pub(crate) fn average(gpu: &Gpu, e: &Tensor, p: &Tensor, [keep, take]: [f32; 2], mask: Option<&Kept>) -> Result<()> {
    let count = count_of(p.elem_count())?;
    let factors = [keep.to_bits() as i32, take.to_bits() as i32, i32::from(mask.is_some())];
    let (groups, bits) = groups(gpu, count, mask)?;
    change_with(e, p, |e, p| {
        let bits = match (&bits, mask) {
            (Some(bits), Some(mask)) => Arg::Read(Values::all(bits, mask.bits.len())?),
            _ => Arg::None,
        };
        let mut arguments = [Arg::Update(e), Arg::Read(p), bits, Arg::Words(&factors), Arg::Words(&groups)];
        gpu.launch("update_average", Launch::over(count as usize), &mut arguments)
    })
}

/// Sets what is not kept to zero.
pub(crate) fn erase(gpu: &Gpu, values: &Tensor, kept: &Kept) -> Result<()> {
    let count = values.elem_count();
    change(values, |values| erase_in(gpu, Arg::Update(values), count, kept))
}

/// The same in memory of `count` values that belongs to no tensor.
pub(crate) fn erase_storage(gpu: &Gpu, values: &mut Storage, count: usize, kept: &Kept) -> Result<()> {
    Ok(erase_in(gpu, Arg::Write(values), count, kept)?)
}

fn erase_in(gpu: &Gpu, values: Arg, count: usize, kept: &Kept) -> candle_core::Result<()> {
    let count = count_of(count)?;
    let (groups, bits) = groups(gpu, count, Some(kept))?;
    let Some(bits) = bits else { return Ok(()) };
    let bits = Arg::Read(Values::all(&bits, kept.bits.len())?);
    gpu.launch("update_erase", Launch::over(count as usize), &mut [values, bits, Arg::Words(&groups)])
}

/// The words of the kernels' `Groups`, and the bits.
fn groups(gpu: &Gpu, count: i32, mask: Option<&Kept>) -> Result<(Vec<i32>, Option<std::sync::Arc<Storage>>)> {
    let division = Division::by(mask.map_or(1, |mask| mask.group));
    let words = [count].into_iter().chain(division.words()).collect();
    Ok((words, mask.map(|mask| mask.bits.on(gpu)).transpose()?))
}

/// The sum of the squares of all values of some tensors: chunks in f32, their sums in f64, in their order.
pub(crate) fn square_sum(gpu: &Gpu, tensors: &[Tensor]) -> Result<f64> {
    let chunks = |tensor: &Tensor| tensor.elem_count().div_ceil(CHUNK);
    let mut sums = gpu.alloc(DType::F32, tensors.iter().map(chunks).sum())?;
    let mut first = 0;
    for tensor in tensors.iter().filter(|tensor| tensor.elem_count() > 0) {
        check_f32("gradient", tensor.dtype())?;
        let tensor = tensor.contiguous()?;
        let held = Held::new(&tensor);
        let words = [count_of(tensor.elem_count())?, count_of(first)?];
        let launch = Launch { grid: chunks(&tensor), threads: THREADS, shared: 4 * 32 };
        let mut arguments = [Arg::Read(held.values()?), Arg::Write(&mut sums), Arg::Words(&words)];
        gpu.launch("update_square_sums", launch, &mut arguments)?;
        first += chunks(&tensor);
    }
    Ok(planes::download(&sums)?.into_iter().take(first).map(f64::from).sum())
}

/// Memory of values that are zero, as the CPU gives them.
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
    f: impl FnOnce(Target, Values) -> candle_core::Result<()>,
) -> Result<()> {
    storage::check_source(target, source)?;
    check_f32("source of an update", source.dtype())?;
    Ok(target.inplace_op2(&source.contiguous()?, &InPlace(Cell::new(Some(f))))?)
}

/// The same without another.
fn change(target: &Tensor, f: impl FnOnce(Target) -> candle_core::Result<()>) -> Result<()> {
    Ok(target.inplace_op1(&InPlace(Cell::new(Some(f))))?)
}

struct InPlace<F>(Cell<Option<F>>);

/// That a target is all of a contiguous f32 storage: kernels start at its beginning.
fn check_whole(dtype: DType, layout: &Layout) -> candle_core::Result<()> {
    if dtype == DType::F32 && layout.is_contiguous() && layout.start_offset() == 0 {
        return Ok(());
    }
    let given = format!("dtype {dtype:?}, strides {:?} from {}", layout.stride(), layout.start_offset());
    Err(Error::argument("target of an update", given, "contiguous f32 with memory of its own").into())
}

impl<F: FnOnce(Target, Values) -> candle_core::Result<()>> InplaceOp2 for InPlace<F> {
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
        self.0.take().map_or(Ok(()), |f| f(Target::Cpu(target), source))
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
        self.0.take().map_or(Ok(()), |f| f(Target::Cuda(target), source))
    }
}

impl<F: FnOnce(Target) -> candle_core::Result<()>> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "modify"
    }

    fn cpu_fwd(&self, target: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        use candle_core::backend::BackendStorage;
        check_whole(target.dtype(), layout)?;
        self.0.take().map_or(Ok(()), |f| f(Target::Cpu(target)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, target: &mut CudaStorage, layout: &Layout) -> candle_core::Result<()> {
        use candle_core::backend::BackendStorage;
        check_whole(target.dtype(), layout)?;
        self.0.take().map_or(Ok(()), |f| f(Target::Cuda(target)))
    }
}
