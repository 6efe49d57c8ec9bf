//! Kernels on the CPU, by an emulator that tests bring along: the one in `kernels/emulator/`.

use super::memory::{InPlaceTarget, Memory, Values};
use super::{KernelArg, LaunchSize};
use crate::Error;
use candle_core::{CpuStorage, DType, Storage};
use half::{bf16, f16};
use std::cell::Cell;
use std::ops::Range;

/// An argument of an emulated kernel.
#[derive(Debug)]
pub enum EmulatedArg<'a> {
    /// Memory that is read: some values of a storage.
    Read(&'a CpuStorage, Range<usize>),
    /// Memory that is written, or read and written.
    Write(&'a mut CpuStorage),
    /// No memory.
    Absent,
    /// A struct that is passed by value: its name, and its bytes.
    Params(&'static str, &'a [u8]),
}

/// Runs the kernel of a name with these arguments. The threads of a block run in ascending order (0), in descending order
/// (1), or mixed by the number. A fault of the kernel is an error that says what and where it is.
pub type Emulator = fn(&str, LaunchSize, &mut [EmulatedArg], u32) -> Result<(), String>;

/// An emulator and the order of threads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Emulated {
    run: Emulator,
    order: u32,
}

thread_local! {
    static CURRENT: Cell<Option<Emulated>> = const { Cell::new(None) };
}

/// Runs `f` with the operators on tensors of the CPU computed by the GPU's kernels, emulated, wherever an operator has
/// kernels. It holds for the calling thread.
pub fn emulated<R>(run: Emulator, order: u32, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Emulated>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(Some(Emulated { run, order })));
    f()
}

/// What emulates kernels on this thread.
pub(super) fn current() -> Option<Emulated> {
    CURRENT.get()
}

/// Room for values that start as NaN, or as -1: what a kernel does not write is noticed.
pub(super) fn alloc(dtype: DType, len: usize) -> candle_core::Result<CpuStorage> {
    Ok(match dtype {
        DType::F32 => CpuStorage::F32(vec![f32::NAN; len]),
        DType::F16 => CpuStorage::F16(vec![f16::NAN; len]),
        DType::BF16 => CpuStorage::BF16(vec![bf16::NAN; len]),
        DType::I32 => CpuStorage::I32(vec![-1; len]),
        other => return Err(super::unknown_dtype(other)),
    })
}

/// Runs a kernel.
pub(super) fn launch(
    kernel: &str,
    size: LaunchSize,
    arguments: &mut [KernelArg],
    Emulated { run, order }: Emulated,
) -> candle_core::Result<()> {
    let elsewhere = || candle_core::Error::Msg("an argument of an emulated kernel is not in the CPU's memory".into());
    let mut emulated = Vec::with_capacity(arguments.len());
    for argument in arguments {
        emulated.push(match argument {
            KernelArg::Read(Values { memory: Memory::Cpu(storage), start, len }) => {
                EmulatedArg::Read(storage, *start..*start + *len)
            }
            KernelArg::Write(Storage::Cpu(storage)) => EmulatedArg::Write(storage),
            KernelArg::Update(InPlaceTarget::Cpu(storage)) => EmulatedArg::Write(storage),
            KernelArg::Absent => EmulatedArg::Absent,
            KernelArg::Params { name, bytes } => EmulatedArg::Params(name, bytes),
            #[cfg(feature = "cuda")]
            KernelArg::Read(_) | KernelArg::Update(_) => return Err(elsewhere()),
            KernelArg::Write(_) => return Err(elsewhere()),
        });
    }
    run(kernel, size, &mut emulated, order)
        .map_err(|fault| Error::argument("emulated kernel", fault, "a kernel without faults").into())
}
