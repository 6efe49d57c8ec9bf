//! The kernels on the CPU, for tests; see `kernels/emulator/emulator.h` for what it checks.

use super::{Arg, Launch, Place, Values};
use crate::Error;
use candle_core::{CpuStorage, DType, Storage};
use half::{bf16, f16};
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};

unsafe extern "C" {
    fn ks_emulate(
        name: *const c_char,
        grid: u32,
        threads: u32,
        shared: usize,
        arguments: *mut *mut c_void,
        order: u32,
        message: *mut c_char,
        room: usize,
    ) -> i32;
}

thread_local! {
    static ORDER: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Runs `f` with the operators on tensors of the CPU computed by the GPU's kernels, emulated, wherever an operator has
/// kernels. The threads of a block run in ascending order (0), in descending order (1), or mixed by the number.
///
/// This is for tests: it is thousands of times slower than a GPU. What is undefined on a GPU, such as access outside of
/// memory, a race in shared memory, or a barrier that some threads do not reach, is an error. It holds for the calling
/// thread.
pub fn emulated<R>(order: u32, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<u32>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ORDER.set(self.0);
        }
    }
    let _restore = Restore(ORDER.replace(Some(order)));
    f()
}

/// Runs a kernel of `kernels/emulator/faults.cu`, of 64 threads with as many words of shared memory, on a buffer of
/// `len` values: tests of the emulator itself.
///
/// # Errors
/// The fault that the emulator finds.
pub fn run_fault(kernel: &str, len: usize, order: u32) -> crate::Result<Vec<f32>> {
    let mut y = Storage::Cpu(alloc(DType::F32, len)?);
    let size = Launch { grid: 2, threads: 64, shared: 256 };
    launch(kernel, size, &mut [Arg::Write(&mut y)], order)?;
    Ok(super::planes::download(&y)?)
}

/// The order of threads, while emulated.
pub(super) fn order() -> Option<u32> {
    ORDER.get()
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

/// A pointer into a buffer, as the emulator's `Global`.
#[repr(C)]
struct Global {
    begin: *mut c_void,
    bytes: usize,
}

fn part<T>(values: &[T], Values { start, len, .. }: Values) -> Global {
    let values = &values[start..start + len];
    Global { begin: values.as_ptr().cast_mut().cast(), bytes: size_of_val(values) }
}

fn read(values: Values) -> candle_core::Result<Global> {
    let storage = match values.place {
        Place::Cpu(storage) => storage,
        #[cfg(feature = "cuda")]
        Place::Cuda(_) => return Err(candle_core::Error::Msg("the emulator's argument is in a GPU's memory".into())),
    };
    Ok(match storage {
        CpuStorage::F32(v) => part(v, values),
        CpuStorage::F16(v) => part(v, values),
        CpuStorage::BF16(v) => part(v, values),
        CpuStorage::I32(v) => part(v, values),
        CpuStorage::U32(v) => part(v, values),
        _ => return Err(candle_core::Error::Msg("a kernel's argument has a dtype that kernels do not know".into())),
    })
}

fn write(storage: &mut Storage) -> candle_core::Result<Global> {
    fn whole<T>(values: &mut [T]) -> Global {
        Global { begin: values.as_mut_ptr().cast(), bytes: size_of_val(values) }
    }
    Ok(match storage {
        Storage::Cpu(CpuStorage::F32(v)) => whole(v),
        Storage::Cpu(CpuStorage::F16(v)) => whole(v),
        Storage::Cpu(CpuStorage::BF16(v)) => whole(v),
        Storage::Cpu(CpuStorage::I32(v)) => whole(v),
        _ => return Err(candle_core::Error::Msg("a kernel's result has a dtype that kernels do not know".into())),
    })
}

/// Runs a kernel.
pub(super) fn launch(kernel: &str, launch: Launch, arguments: &mut [Arg], order: u32) -> candle_core::Result<()> {
    let mut memory = Vec::with_capacity(arguments.len());
    for argument in arguments.iter_mut() {
        memory.push(match argument {
            Arg::Read(values) => read(*values)?,
            Arg::Write(storage) => write(storage)?,
            Arg::None => Global { begin: std::ptr::null_mut(), bytes: 0 },
            Arg::Words(words) => Global { begin: words.as_ptr().cast_mut().cast(), bytes: 0 },
        });
    }
    let mut pointers: Vec<*mut c_void> = memory
        .iter_mut()
        .zip(arguments.iter())
        .map(|(memory, argument)| match argument {
            Arg::Words(_) => memory.begin,
            _ => std::ptr::from_mut(memory).cast(),
        })
        .collect();
    let name = CString::new(kernel).map_err(candle_core::Error::wrap)?;
    let mut message = [0 as c_char; 512];
    let (grid, threads) = (launch.grid as u32, launch.threads as u32);
    // SAFETY: every argument points to a structure that lives until the call returns. The emulator checks accesses to
    // the buffers against their sizes. It ends the message with a zero.
    let failed = unsafe {
        let (arguments, message) = (pointers.as_mut_ptr(), message.as_mut_ptr());
        ks_emulate(name.as_ptr(), grid, threads, launch.shared, arguments, order, message, 512)
    };
    if failed == 0 {
        return Ok(());
    }
    // SAFETY: as above.
    let message = unsafe { CStr::from_ptr(message.as_ptr()) };
    Err(Error::argument("emulated kernel", message.to_string_lossy(), "a kernel without faults").into())
}
