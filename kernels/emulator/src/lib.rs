//! Runs the kernels of `kernels/*.cu` on the CPU, one thread of a block after the other. `emulator.h` says what is checked.

use candle_core::CpuStorage;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ops::Range;
use std::sync::OnceLock;

unsafe extern "C" {
    fn ks_emulate(
        name: *const c_char,
        grid: u32,
        threads: u32,
        shared: usize,
        arguments: *mut *mut c_void,
        types: *const *const c_char,
        count: usize,
        order: u32,
        message: *mut c_char,
        room: usize,
    ) -> i32;
    fn ks_count(wanted: i32);
    fn ks_counts(numbers: *mut Counts);
    fn ks_field(index: usize, to: *mut FieldView) -> i32;
    fn ks_read_field(index: usize, structure: *const c_void, to: *mut c_void);
}

/// What the warps of a launch did. An access counts once for a warp, however many of its lanes take part.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Instructions that multiply and add.
    pub multiply_adds: u64,
    /// The same, counted for every lane that takes part.
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
    // SAFETY: the function takes a number and sets a thread-local flag; it has no other effect and no precondition.
    unsafe { ks_count(1) };
    let result = f();
    // SAFETY: the same function, which clears the flag.
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
    /// A parameter struct: its name, and its bytes.
    Params(&'static str, &'a [u8]),
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

impl Global {
    const ABSENT: Global = Global { begin: std::ptr::null_mut(), bytes: 0 };
}

/// An argument in the emulator's memory, and what it calls its type.
struct Passed {
    memory: Memory,
    type_name: String,
}

enum Memory {
    Global(Global),
    /// A copy of a parameter struct, in words so that it is aligned.
    Params(Vec<u64>),
}

impl Memory {
    fn address(&mut self) -> *mut c_void {
        match self {
            Memory::Global(global) => std::ptr::from_mut(global).cast(),
            Memory::Params(words) => words.as_mut_ptr().cast(),
        }
    }
}

const UNKNOWN_TYPE: &str = "an argument has a type that kernels do not know";

fn read(storage: &CpuStorage, range: Range<usize>) -> Result<Passed, String> {
    fn part<T>(values: &[T], range: Range<usize>, name: &str) -> Result<Passed, String> {
        let part = values.get(range).ok_or("an argument is beyond its storage")?;
        let global = Global { begin: part.as_ptr().cast_mut().cast(), bytes: size_of_val(part) };
        Ok(Passed { memory: Memory::Global(global), type_name: format!("{name} const*") })
    }
    match storage {
        CpuStorage::F32(values) => part(values, range, "f32"),
        CpuStorage::F16(values) => part(values, range, "f16"),
        CpuStorage::BF16(values) => part(values, range, "bf16"),
        CpuStorage::I32(values) => part(values, range, "i32"),
        _ => Err(UNKNOWN_TYPE.into()),
    }
}

fn write(storage: &mut CpuStorage) -> Result<Passed, String> {
    fn whole<T>(values: &mut [T], name: &str) -> Passed {
        let global = Global { begin: values.as_mut_ptr().cast(), bytes: size_of_val(values) };
        Passed { memory: Memory::Global(global), type_name: format!("{name}*") }
    }
    Ok(match storage {
        CpuStorage::F32(values) => whole(values, "f32"),
        CpuStorage::F16(values) => whole(values, "f16"),
        CpuStorage::BF16(values) => whole(values, "bf16"),
        CpuStorage::I32(values) => whole(values, "i32"),
        _ => return Err(UNKNOWN_TYPE.into()),
    })
}

/// A copy of a struct's bytes that begins at a multiple of eight and ends with zeros.
fn aligned(bytes: &[u8]) -> Vec<u64> {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    };
    bytes.chunks(8).map(word).collect()
}

/// Checks a parameter struct's name and size.
fn params(name: &'static str, bytes: &[u8]) -> Result<Passed, String> {
    match fields().iter().find(|field| field.structure == name) {
        Some(field) if field.structure_bytes == bytes.len() => {
            Ok(Passed { memory: Memory::Params(aligned(bytes)), type_name: name.to_string() })
        }
        Some(field) => Err(format!("{name} has {} bytes in kernels, but {} here", field.structure_bytes, bytes.len())),
        None => Err(format!("kernels have no struct {name}")),
    }
}

/// Runs the kernel of a name. The threads of a block run in ascending order (0), in descending order (1), or mixed by the
/// number.
///
/// # Errors
/// If the arguments are not those of the kernel, and what would be undefined on a GPU: access outside of memory, a race in
/// shared memory, or a barrier that some threads do not reach. The message names the kernel, the block and the thread.
pub fn run(kernel: &str, size: Size, arguments: &mut [Argument], order: u32) -> Result<(), String> {
    let mut passed = Vec::with_capacity(arguments.len());
    for argument in arguments.iter_mut() {
        passed.push(match argument {
            Argument::Read(storage, range) => read(storage, range.clone())?,
            Argument::Write(storage) => write(storage)?,
            Argument::Absent => Passed { memory: Memory::Global(Global::ABSENT), type_name: "absent".to_string() },
            Argument::Params(name, bytes) => params(name, bytes)?,
        });
    }
    let c_string = |text: &str| CString::new(text).map_err(|error| error.to_string());
    let name = c_string(kernel)?;
    let type_names = passed.iter().map(|argument| c_string(&argument.type_name)).collect::<Result<Vec<_>, _>>()?;
    let types: Vec<*const c_char> = type_names.iter().map(|name| name.as_ptr()).collect();
    let mut addresses: Vec<*mut c_void> = passed.iter_mut().map(|argument| argument.memory.address()).collect();
    let number = |number: usize| u32::try_from(number).map_err(|error| error.to_string());
    let (blocks, threads) = (number(size.blocks)?, number(size.threads)?);
    let mut message = [0 as c_char; 512];
    // SAFETY: `addresses` and `types` have as many elements as is said, and every element points to memory that lives until
    // the call returns: `passed`, the buffers of `arguments`, which are borrowed, mutably if they are written, and
    // `type_names`. The emulator runs the kernel only if its parameters have these types, and struct sizes were compared
    // above; it compares every access to a buffer with the buffer's size. It ends the message, for which there are 512
    // bytes, with a zero.
    let failed = unsafe {
        ks_emulate(
            name.as_ptr(),
            blocks,
            threads,
            size.shared,
            addresses.as_mut_ptr(),
            types.as_ptr(),
            types.len(),
            order,
            message.as_mut_ptr(),
            message.len(),
        )
    };
    if failed == 0 {
        COUNTED.with_borrow_mut(|counted| {
            let Some(counted) = counted else { return };
            let mut counts = Counts::default();
            // SAFETY: the emulator writes as many numbers of 64 bits as `Counts` has, which is `repr(C)` and has the
            // fields of the emulator's struct in its order.
            unsafe { ks_counts(&raw mut counts) };
            counted.push(Counted { kernel: kernel.to_string(), size, counts });
        });
        return Ok(());
    }
    // SAFETY: a call that failed has written a message that a zero ends, within the array.
    let message = unsafe { CStr::from_ptr(message.as_ptr()) };
    Err(message.to_string_lossy().into_owned())
}

#[repr(C)]
struct FieldView {
    structure: *const c_char,
    name: *const c_char,
    type_name: *const c_char,
    structure_bytes: usize,
    bytes: usize,
}

/// A field of a parameter struct, as the kernels declare it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    index: usize,
    /// The struct's name.
    pub structure: String,
    /// The struct's size.
    pub structure_bytes: usize,
    /// The field's name.
    pub name: String,
    /// The field's type as Rust calls it: a number's, or a struct's name.
    pub type_name: String,
    /// The field's size.
    pub bytes: usize,
}

/// The fields of all parameter structs.
pub fn fields() -> &'static [Field] {
    static FIELDS: OnceLock<Vec<Field>> = OnceLock::new();
    FIELDS.get_or_init(|| (0..).map_while(field).collect())
}

/// The field of an index, unless there are fewer.
fn field(index: usize) -> Option<Field> {
    let null = std::ptr::null();
    let mut view = FieldView { structure: null, name: null, type_name: null, structure_bytes: 0, bytes: 0 };
    // SAFETY: `view` has the layout of the emulator's struct, and the emulator writes nothing else.
    if unsafe { ks_field(index, &raw mut view) } == 0 {
        return None;
    }
    // SAFETY: the emulator takes these names from string literals, which live as long as the program.
    let text = |text: *const c_char| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    Some(Field {
        index,
        structure: text(view.structure),
        structure_bytes: view.structure_bytes,
        name: text(view.name),
        type_name: text(view.type_name),
        bytes: view.bytes,
    })
}

impl Field {
    /// The bytes of the field that has this name in the kernels' struct, from the bytes of a whole struct.
    ///
    /// # Errors
    /// If the struct has another size in the kernels.
    pub fn read(&self, structure: &[u8]) -> Result<Vec<u8>, String> {
        if structure.len() != self.structure_bytes {
            let (name, bytes) = (&self.structure, self.structure_bytes);
            return Err(format!("{name} has {bytes} bytes in kernels, but {} here", structure.len()));
        }
        let mut value = vec![0; self.bytes];
        // SAFETY: the emulator copies `structure_bytes` bytes from the first address and writes `bytes` bytes to the
        // second; both have as many.
        unsafe { ks_read_field(self.index, structure.as_ptr().cast(), value.as_mut_ptr().cast()) };
        Ok(value)
    }
}
