//! One channel block through each pass: packed, through the micro-kernels, and unpacked.

use super::kernels::{self, Ahead, Buffers, Planes, Targets};
use super::plan::{Chunk, Gather, Sheet};
use super::vector::{Stored, Task, Vector};

/// The weights of one block, to taps by channels.
pub(super) struct TransposeTask<'a> {
    pub planes: Planes<f32>,
    pub sheet: Sheet,
    pub to: &'a mut [f32],
}

impl Task for TransposeTask<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: whoever made the task gave planes and room of the sheet's size.
        unsafe { kernels::copy_in::<V, f32>(&self.planes, &self.sheet, self.to.as_mut_ptr()) };
    }
}

/// One block through the forward pass.
pub(super) struct ForwardTask<'a, T> {
    pub gathers: &'a [Gather],
    pub source: &'a Sheet,
    pub target: &'a Sheet,
    pub buffers: Buffers,
    pub planes: Planes<T>,
    pub targets: Targets<T>,
    pub ahead: Ahead,
}

impl<T: Stored> Task for ForwardTask<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let ForwardTask { gathers, source, target, buffers, planes, targets, mut ahead } = self;
        // SAFETY: whoever made the task gave planes and buffers of the sheets' sizes, and gathers made for them.
        unsafe {
            kernels::copy_in::<V, T>(&planes, source, buffers.source.cast_mut());
            for gather in gathers {
                kernels::gather::<V>(gather, source, target, buffers, &mut ahead);
            }
            kernels::copy_out::<V, T>(buffers.target, target.rows * target.cols, &targets);
        }
    }
}

/// The input gradient of one block.
pub(super) struct InputGrad<'a> {
    pub gathers: &'a [Gather],
    pub target: &'a Sheet,
    pub buffers: Buffers,
    pub targets: Targets<f32>,
}

/// The weight and bias gradients of one block.
pub(super) struct WeightGrad<'a> {
    pub chunks: &'a [Chunk],
    pub stride: (usize, usize),
    pub x: (Planes<f32>, &'a Sheet, *mut f32),
    pub sums: &'a mut [f32],
}

/// One block through the gradients: dy is read once for both.
pub(super) struct BackwardTask<'a> {
    pub dy: (Planes<f32>, &'a Sheet, *mut f32),
    pub input: Option<InputGrad<'a>>,
    pub weight: Option<WeightGrad<'a>>,
}

impl Task for BackwardTask<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (dy_planes, dy_sheet, dy) = self.dy;
        // SAFETY: whoever made the task gave planes and buffers of the sheets' sizes, gathers and chunks made for them, and
        // sums with one vector per tap and one more.
        unsafe {
            kernels::copy_in::<V, f32>(&dy_planes, dy_sheet, dy);
            if let Some(InputGrad { gathers, target, buffers, targets }) = self.input {
                for gather in gathers {
                    kernels::gather::<V>(gather, dy_sheet, target, buffers, &mut Ahead::nothing());
                }
                kernels::copy_out::<V, f32>(buffers.target, target.rows * target.cols, &targets);
            }
            if let Some(WeightGrad { chunks, stride, x: (x_planes, x_sheet, x), sums }) = self.weight {
                kernels::copy_in::<V, f32>(&x_planes, x_sheet, x);
                kernels::correlate::<V>(chunks, stride, (x_sheet, x), (dy_sheet, dy), sums.as_mut_ptr());
                kernels::add_up::<V>(dy_sheet, dy, sums.as_mut_ptr().add(sums.len() - V::LANES));
            }
        }
    }
}
