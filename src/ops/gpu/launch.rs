//! What a launch consists of: its size, and the kernel's arguments.

use super::memory::{InPlaceTarget, Values};
use super::params::DeviceStruct;
use candle_core::Storage;

/// Threads of a block, unless a kernel has reasons for another number.
pub(crate) const THREADS: usize = 256;

/// Most shared memory of a block in bytes: all NVIDIA GPUs since compute capability 8.0 have it.
pub(crate) const SHARED_BYTES: usize = 96 << 10;

/// The size of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchSize {
    /// Blocks.
    pub blocks: usize,
    /// Threads of a block, whole warps.
    pub threads: usize,
    /// Dynamic shared memory of a block in bytes.
    pub shared_bytes: usize,
}

impl LaunchSize {
    /// Threads that go through `count` values in steps of the whole grid.
    pub(crate) fn over(count: usize) -> Self {
        LaunchSize { blocks: count.div_ceil(THREADS).clamp(1, 1 << 16), threads: THREADS, shared_bytes: 0 }
    }
}

/// One argument of a kernel.
pub(crate) enum KernelArg<'a> {
    /// Memory that is read.
    Read(Values<'a>),
    /// Memory that is written.
    Write(&'a mut Storage),
    /// A tensor's memory that is changed in place.
    Update(InPlaceTarget<'a>),
    /// No memory: a null pointer.
    Absent,
    /// A struct that is passed by value.
    Params {
        /// Its name.
        name: &'static str,
        /// All of it, aligned as it is.
        bytes: &'a [u8],
    },
}

impl<'a> KernelArg<'a> {
    /// A struct that is passed by value.
    pub(crate) fn params<S: DeviceStruct>(params: &'a S) -> Self {
        KernelArg::Params { name: S::NAME, bytes: bytemuck::bytes_of(params) }
    }

    /// Memory that is read, if there is any.
    pub(crate) fn read_if_any(values: Option<Values<'a>>) -> Self {
        values.map_or(KernelArg::Absent, KernelArg::Read)
    }
}
