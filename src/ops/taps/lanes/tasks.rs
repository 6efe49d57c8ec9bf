//! One channel block through each pass: packed, through the micro-kernels, and unpacked.

use super::kernels::{self, BlockBuffers, Prefetcher, SourcePlanes, TargetPlanes};
use super::plan::{BlockedLayout, GatherPlan, TapChunk};
use super::vector::{Stored, Task, Vector};

/// The weights of one block, to taps by channels.
pub(super) struct TransposeTask<'a> {
    pub planes: SourcePlanes<f32>,
    pub layout: BlockedLayout,
    pub to: &'a mut [f32],
}

impl Task for TransposeTask<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: whoever made the task gave planes and space of the packed plane's size.
        unsafe { kernels::pack::<V, f32>(&self.planes, &self.layout, self.to.as_mut_ptr()) };
    }
}

/// One block through the forward pass.
pub(super) struct ForwardTask<'a, T> {
    pub gathers: &'a [GatherPlan],
    pub source: &'a BlockedLayout,
    pub target: &'a BlockedLayout,
    pub buffers: BlockBuffers,
    pub planes: SourcePlanes<T>,
    pub targets: TargetPlanes<T>,
    pub ahead: Prefetcher,
}

impl<T: Stored> Task for ForwardTask<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let ForwardTask { gathers, source, target, buffers, planes, targets, mut ahead } = self;
        // SAFETY: whoever made the task gave planes and buffers of the packed planes' sizes, and gathers made for them.
        unsafe {
            kernels::pack::<V, T>(&planes, source, buffers.source.cast_mut());
            for gather in gathers {
                kernels::gather::<V>(gather, source, target, buffers, &mut ahead);
            }
            kernels::unpack::<V, T>(buffers.target, target.rows * target.cols, &targets);
        }
    }
}

/// The input gradient of one block.
pub(super) struct InputGrad<'a> {
    pub gathers: &'a [GatherPlan],
    pub target: &'a BlockedLayout,
    pub buffers: BlockBuffers,
    pub targets: TargetPlanes<f32>,
}

/// The weight and bias gradients of one block.
pub(super) struct WeightGrad<'a> {
    pub chunks: &'a [TapChunk],
    pub stride: (usize, usize),
    pub x: (SourcePlanes<f32>, &'a BlockedLayout, *mut f32),
    pub sums: &'a mut [f32],
}

/// One block through the gradients: dy is read once for both.
pub(super) struct BackwardTask<'a> {
    pub dy: (SourcePlanes<f32>, &'a BlockedLayout, *mut f32),
    pub input: Option<InputGrad<'a>>,
    pub weight: Option<WeightGrad<'a>>,
}

impl Task for BackwardTask<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (dy_planes, dy_layout, dy) = self.dy;
        // SAFETY: whoever made the task gave planes and buffers of the packed planes' sizes, gathers and chunks made for them, and
        // sums with one vector per tap and one more.
        unsafe {
            kernels::pack::<V, f32>(&dy_planes, dy_layout, dy);
            if let Some(InputGrad { gathers, target, buffers, targets }) = self.input {
                for gather in gathers {
                    kernels::gather::<V>(gather, dy_layout, target, buffers, &mut Prefetcher::nothing());
                }
                kernels::unpack::<V, f32>(buffers.target, target.rows * target.cols, &targets);
            }
            if let Some(WeightGrad { chunks, stride, x: (x_planes, x_layout, x), sums }) = self.weight {
                kernels::pack::<V, f32>(&x_planes, x_layout, x);
                kernels::correlate::<V>(chunks, stride, (x_layout, x), (dy_layout, dy), sums.as_mut_ptr());
                kernels::add_up::<V>(dy_layout, dy, sums.as_mut_ptr().add(sums.len() - V::LANES));
            }
        }
    }
}
