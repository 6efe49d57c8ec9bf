//! The inner loops. Everything is compiled into the task that calls it, with that task's instructions.

mod correlate;
mod gather;
mod packing;
mod prefetch;

pub(super) use correlate::{add_up, correlate};
pub(super) use gather::gather;
pub(super) use packing::{move_lanes, pack, unpack};
pub(super) use prefetch::Prefetcher;

use super::vector::MAX_LANES;

/// The planes of a block of channels in a tensor; missing channels repeat the first.
pub(super) type SourcePlanes<T> = [*const T; MAX_LANES];

/// The planes that a block's results go to: of the block's channels alone.
pub(super) struct TargetPlanes<T> {
    pub planes: [*mut T; MAX_LANES],
    pub count: usize,
    /// Whether to write past the caches.
    pub stream: bool,
}

/// What a gather reads and writes, in floats and aligned to vectors.
#[derive(Clone, Copy)]
pub(super) struct BlockBuffers {
    /// The source packed plane.
    pub source: *const f32,
    /// The target packed plane, without halos.
    pub target: *mut f32,
    /// The weights of the block: taps by channels.
    pub weights: *const f32,
    /// What the sums start from.
    pub bias: *const f32,
}
