//! One vector of planes through the passes.

use super::source::Source;
use crate::ops::taps::lanes::kernels::{self, Ahead, Buffers, Targets};
use crate::ops::taps::lanes::plan::{Chunk, Gather, Sheet};
use crate::ops::taps::lanes::vector::{Task, Vector};

/// One vector of planes through the forward pass or the input gradient.
pub(super) struct SumsTask<'a> {
    pub from: Source<'a>,
    pub gather: &'a Gather,
    pub target: &'a Sheet,
    pub buffers: Buffers,
    pub targets: Targets<f32>,
}

impl Task for SumsTask<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let SumsTask { from, gather, target, buffers, targets } = self;
        // SAFETY: whoever made the task gave strips, buffers and targets of the sheets' sizes, and a gather made for them.
        unsafe {
            from.copy_in::<V>();
            kernels::gather::<V>(gather, from.sheet, target, buffers, &mut Ahead::nothing());
            kernels::copy_out::<V, f32>(buffers.target, target.rows * target.cols, &targets);
        }
    }
}

/// One vector of planes through the weight gradient.
pub(super) struct CorrelateTask<'a> {
    pub chunks: &'a [Chunk],
    pub x: Source<'a>,
    pub dy: Source<'a>,
    pub sums: &'a mut [f32],
}

impl Task for CorrelateTask<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let CorrelateTask { chunks, x, dy, sums } = self;
        // SAFETY: whoever made the task gave strips and buffers of the sheets' sizes, chunks made for them, and one vector
        // of sums per tap.
        unsafe {
            dy.copy_in::<V>();
            x.copy_in::<V>();
            kernels::correlate::<V>(chunks, (1, 1), (x.sheet, x.to), (dy.sheet, dy.to), sums.as_mut_ptr());
        }
    }
}
