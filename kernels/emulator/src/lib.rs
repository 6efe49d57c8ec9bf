//! Runs the kernels of `kernels/*.cu` on the CPU, one thread of a block after the other. `emulator.h` says what is checked.

use candle_core::CpuStorage;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ops::Range;

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
    fn ks_count(wanted: i32);
    fn ks_counts(numbers: *mut Counts);
}

/// What the warps of a launch did. An access counts once for a warp, however many of its lanes take part.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Multiply-adds: instructions, and those of all lanes.
    pub multiply_adds: u64,
    /// The latter.
    pub lane_multiply_adds: u64,
    /// Reads of global memory.
    pub global_reads: u64,
    /// Sectors of 32 bytes that they touch.
    pub sectors_read: u64,
    /// Writes of global memory.
    pub global_writes: u64,
    /// Sectors of 32 bytes that they touch.
    pub sectors_written: u64,
    /// Reads of shared memory.
    pub shared_reads: u64,
    /// Cycles that they take: one where no two lanes want different words of a bank.
    pub shared_read_cycles: u64,
    /// Writes of shared memory.
    pub shared_writes: u64,
    /// Cycles that they take.
    pub shared_write_cycles: u64,
    /// Reads of tables, which come from the caches.
    pub table_reads: u64,
    /// Barriers of blocks.
    pub barriers: u64,
    /// Shuffles.
    pub shuffles: u64,
    /// Cycles that reads and writes of shared memory would take if their words were spread over all banks.
    pub shared_least_cycles: u64,
}

/// A launch that was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The kernel's name.
    pub kernel: String,
    /// Its size.
    pub size: Size,
    /// What its warps did.
    pub counts: Counts,
}

thread_local! {
    static COUNTED: RefCell<Option<Vec<Counted>>> = const { RefCell::new(None) };
}

/// Runs `f` and counts what the kernels do that this thread launches meanwhile.
pub fn counted<R>(f: impl FnOnce() -> R) -> (R, Vec<Counted>) {
    COUNTED.set(Some(Vec::new()));
    // SAFETY: sets a flag of this thread.
    unsafe { ks_count(1) };
    let result = f();
    // SAFETY: as above.
    unsafe { ks_count(0) };
    (result, COUNTED.take().unwrap_or_default())
}

/// An argument of a kernel.
#[derive(Debug)]
pub enum Argument<'a> {
    /// Memory that is read: some values of a storage.
    Read(&'a CpuStorage, Range<usize>),
    /// Memory that is written, or read and written.
    Write(&'a mut CpuStorage),
    /// No memory.
    Absent,
    /// A structure of 32-bit words.
    Words(&'a [i32]),
}

/// The size of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Blocks.
    pub blocks: usize,
    /// Threads of a block.
    pub threads: usize,
    /// Bytes of dynamic shared memory of a block.
    pub shared: usize,
}

/// A pointer into a buffer, as the emulator's `Global`.
#[repr(C)]
struct Global {
    begin: *mut c_void,
    bytes: usize,
}

const UNKNOWN_TYPE: &str = "an argument has a type that kernels do not know";

fn read(storage: &CpuStorage, range: Range<usize>) -> Result<Global, String> {
    fn part<T>(values: &[T], range: Range<usize>) -> Result<Global, String> {
        let part = values.get(range).ok_or("an argument is beyond its storage")?;
        Ok(Global { begin: part.as_ptr().cast_mut().cast(), bytes: size_of_val(part) })
    }
    match storage {
        CpuStorage::F32(values) => part(values, range),
        CpuStorage::F16(values) => part(values, range),
        CpuStorage::BF16(values) => part(values, range),
        CpuStorage::I32(values) => part(values, range),
        CpuStorage::U32(values) => part(values, range),
        _ => Err(UNKNOWN_TYPE.into()),
    }
}

fn write(storage: &mut CpuStorage) -> Result<Global, String> {
    fn whole<T>(values: &mut [T]) -> Global {
        Global { begin: values.as_mut_ptr().cast(), bytes: size_of_val(values) }
    }
    Ok(match storage {
        CpuStorage::F32(values) => whole(values),
        CpuStorage::F16(values) => whole(values),
        CpuStorage::BF16(values) => whole(values),
        CpuStorage::I32(values) => whole(values),
        _ => return Err(UNKNOWN_TYPE.into()),
    })
}

/// Runs the kernel of a name. The threads of a block run in ascending order (0), in descending order (1), or mixed by the
/// number.
///
/// # Errors
/// What would be undefined on a GPU: access outside of memory, a race in shared memory, or a barrier that some threads do
/// not reach. The message names the kernel, the block and the thread.
pub fn run(kernel: &str, size: Size, arguments: &mut [Argument], order: u32) -> Result<(), String> {
    let mut memory = Vec::with_capacity(arguments.len());
    for argument in arguments.iter_mut() {
        memory.push(match argument {
            Argument::Read(storage, range) => read(storage, range.clone())?,
            Argument::Write(storage) => write(storage)?,
            Argument::Absent => Global { begin: std::ptr::null_mut(), bytes: 0 },
            Argument::Words(words) => Global { begin: words.as_ptr().cast_mut().cast(), bytes: 0 },
        });
    }
    // A kernel's parameter is a `Global` or a structure of words.
    let mut pointers: Vec<*mut c_void> = memory
        .iter_mut()
        .zip(arguments.iter())
        .map(|(memory, argument)| match argument {
            Argument::Words(_) => memory.begin,
            _ => std::ptr::from_mut(memory).cast(),
        })
        .collect();
    let name = CString::new(kernel).map_err(|error| error.to_string())?;
    let number = |number: usize| u32::try_from(number).map_err(|error| error.to_string());
    let (blocks, threads) = (number(size.blocks)?, number(size.threads)?);
    let mut message = [0 as c_char; 512];
    // SAFETY: every argument points to a structure that lives until the call returns. The emulator checks accesses to
    // the buffers against their sizes, and ends the message with a zero. That the arguments are those of the kernel is
    // what the callers are tested for.
    let failed = unsafe {
        let (arguments, message) = (pointers.as_mut_ptr(), message.as_mut_ptr());
        ks_emulate(name.as_ptr(), blocks, threads, size.shared, arguments, order, message, 512)
    };
    if failed == 0 {
        COUNTED.with_borrow_mut(|counted| {
            let Some(counted) = counted else { return };
            let mut counts = Counts::default();
            // SAFETY: the emulator writes the numbers of the structure, which has the same layout there.
            unsafe { ks_counts(&raw mut counts) };
            counted.push(Counted { kernel: kernel.to_string(), size, counts });
        });
        return Ok(());
    }
    // SAFETY: as above.
    let message = unsafe { CStr::from_ptr(message.as_ptr()) };
    Err(message.to_string_lossy().into_owned())
}
