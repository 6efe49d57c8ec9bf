//! One vector of planes through the passes.

use super::source::BandSource;
use crate::ops::taps::lanes::kernels::{self, BlockBuffers, Prefetcher, TargetPlanes};
use crate::ops::taps::lanes::plan::{BlockedLayout, GatherPlan, TapChunk};
use crate::ops::taps::lanes::vector::{Task, Vector};

/// One vector of planes through the forward pass or the input gradient.
pub(super) struct SumsTask<'a> {
    pub from: BandSource<'a>,
    pub gather: &'a GatherPlan,
    pub target: &'a BlockedLayout,
    pub buffers: BlockBuffers,
    pub targets: TargetPlanes<f32>,
}

impl Task for SumsTask<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let SumsTask { from, gather, target, buffers, targets } = self;
        // SAFETY: whoever made the task gave bands, buffers and targets of the packed planes' sizes, and a gather made for them.
        unsafe {
            from.pack::<V>();
            kernels::gather::<V>(gather, from.layout, target, buffers, &mut Prefetcher::nothing());
            kernels::unpack::<V, f32>(buffers.target, target.rows * target.cols, &targets);
        }
    }
}

/// One vector of planes through the weight gradient.
pub(super) struct CorrelateTask<'a> {
    pub chunks: &'a [TapChunk],
    pub x: BandSource<'a>,
    pub dy: BandSource<'a>,
    pub sums: &'a mut [f32],
}

impl Task for CorrelateTask<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let CorrelateTask { chunks, x, dy, sums } = self;
        // SAFETY: whoever made the task gave bands and buffers of the packed planes' sizes, chunks made for them, and one vector
        // of sums per tap.
        unsafe {
            dy.pack::<V>();
            x.pack::<V>();
            kernels::correlate::<V>(chunks, (1, 1), (x.layout, x.to), (dy.layout, dy.to), sums.as_mut_ptr());
        }
    }
}
