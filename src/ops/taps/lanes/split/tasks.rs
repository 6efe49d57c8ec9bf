//! One channel block through a split sum.

use super::{SplitBuffers, SplitCorrelations, SplitSums};
use crate::ops::taps::lanes::kernels::{self, Prefetcher, SourcePlanes, TargetPlanes};
use crate::ops::taps::lanes::vector::{Stored, Task, Vector};

/// One block through the forward pass or the input gradient, in parts.
pub(in crate::ops::taps::lanes) struct SplitTask<'a, T> {
    pub split: &'a SplitSums,
    /// The planes of the source and of the target.
    pub maps: (SourcePlanes<T>, TargetPlanes<T>),
    pub places: SplitBuffers,
    pub ahead: Prefetcher,
}

impl<T: Stored> Task for SplitTask<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let SplitTask { split, maps: (planes, targets), places, mut ahead } = self;
        let ([source, target, ..], (layout, start)) = (places.places, split.source(V::LANES));
        // SAFETY: whoever made the task gave planes and places of the plan's sizes.
        unsafe {
            split.clear_around::<V>(source);
            kernels::pack::<V, T>(&planes, layout, source.add(start));
            split.sums::<V>(places, &mut ahead);
            kernels::unpack::<V, T>(target, split.target().len(), &targets);
        }
    }
}

/// The weight and bias gradients of one block, in parts.
pub(in crate::ops::taps::lanes) struct SplitCorrelateTask<'a> {
    pub split: &'a SplitCorrelations,
    /// x and dy.
    pub maps: [SourcePlanes<f32>; 2],
    /// Room for [`SplitPlan::floats`] values each.
    pub places: [*mut f32; 4],
    /// One vector per weight, and one for the bias.
    pub sums: &'a mut [f32],
}

impl Task for SplitCorrelateTask<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let SplitCorrelateTask { split, maps: [x, dy], places, sums } = self;
        let (layout, start) = split.source(V::LANES);
        // SAFETY: whoever made the task gave planes and places of the plan's sizes, and sums with one vector per tap and one
        // more.
        unsafe {
            split.clear_around::<V>(places[0]);
            kernels::pack::<V, f32>(&x, layout, places[0].add(start));
            kernels::pack::<V, f32>(&dy, split.target(), places[1]);
            split.correlate::<V>(places, sums);
            kernels::add_up::<V>(split.target(), places[1], sums.as_mut_ptr().add(sums.len() - V::LANES));
        }
    }
}
