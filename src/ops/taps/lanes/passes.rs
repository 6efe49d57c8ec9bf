//! The forward pass and the gradients: all channel blocks of all images, in parallel.

use super::aligned::{AlignedVec, StartVector};
use super::kernels::{BlockBuffers, Prefetcher, SourcePlanes, TargetPlanes};
use super::plan::BlockedLayout;
use super::scratch::{with_buffers, with_scratch};
use super::split::{SplitBuffers, SplitCorrelateTask, SplitSums, SplitTask};
use super::tasks::{BackwardTask, ForwardTask, InputGrad, WeightGrad};
use super::vector::{MAX_LANES, Stored, dispatch};
use super::{ChannelBlock, LanesEngine, STREAM_BYTES};
use crate::ops::fill::Filled;
use crate::ops::taps::output::UnfilledPlanes;
use crate::{Error, Result};
use rayon::prelude::*;
use std::sync::OnceLock;

impl LanesEngine {
    fn planes<T: Stored>(&self, block: &ChannelBlock, image: usize, values: &[T], len: usize) -> SourcePlanes<T> {
        let size = self.table.channels() * len;
        let image = values[image * size..][..size].as_ptr();
        // Inside the image, since every channel is one of the table.
        block.lanes.map(|channel| image.wrapping_add(channel * len))
    }

    /// The planes of a block's results.
    ///
    /// # Panics
    /// If one of them is not among the `results`.
    fn targets<T: Stored>(
        &self,
        block: &ChannelBlock,
        image: usize,
        results: &UnfilledPlanes<T>,
        len: usize,
    ) -> TargetPlanes<T> {
        let plane = |channel: usize| results.plane(image, channel);
        let own = block.channels.iter().map(|&channel| plane(channel));
        assert!(own.clone().all(|plane| plane.is_some()));
        let mut planes = own.flatten();
        let width = self.set.lanes() * size_of::<T>();
        let aligned = results.start().addr().is_multiple_of(width) && len.is_multiple_of(self.set.lanes());
        TargetPlanes {
            planes: std::array::from_fn(|_| planes.next().unwrap_or(std::ptr::null_mut())),
            count: block.channels.len(),
            stream: T::STREAMS && aligned && results.total() * size_of::<T>() >= STREAM_BYTES,
        }
    }

    /// Calls `f(block, index of the block, image)` for all blocks of all images, in parallel.
    fn for_units(&self, images: usize, f: impl Fn(&ChannelBlock, usize, usize) + Sync) {
        (0..images * self.blocks.len()).into_par_iter().for_each(|unit| {
            let (image, index) = (unit / self.blocks.len(), unit % self.blocks.len());
            f(&self.blocks[index], index, image);
        });
    }

    /// The forward pass: writes the planes of the plan's channels, which `y` must be. With `residual`, every channel has a
    /// tap at its center.
    ///
    /// # Errors
    /// If a buffer has another size.
    pub fn forward<'a, T: Stored>(
        &self,
        x: &[T],
        (weights, residual): (&[f32], bool),
        bias: &[f32],
        y: UnfilledPlanes<'a, '_, T>,
    ) -> Result<Filled<'a>> {
        let plan = self.forward_plan();
        let lanes = self.set.lanes();
        let images = self.images(x, self.in_len())?;
        y.check(images, &self.computed, self.out_len())?;
        let weights = self.merged(&plan.splits, weights, residual);
        let target = BlockedLayout::bare(self.geometry.output);
        self.for_units(images, |block, index, image| {
            let mut start = StartVector([0.0; MAX_LANES]);
            for (to, &channel) in start.0.iter_mut().zip(&block.channels) {
                *to = bias[channel];
            }
            let planes = self.planes(block, image, x, self.in_len());
            let targets = self.targets(block, image, &y, self.out_len());
            let next =
                self.next_unit(index, image, images).map(|(block, image)| self.planes(block, image, x, self.in_len()));
            if let Some(split) = &plan.splits[block.bundle] {
                let ahead = Prefetcher::new(next, self.in_len(), split.gathers());
                let weights = [weights[index].as_ptr(), start.0.as_ptr()];
                // SAFETY: the maps are this block's planes of x and of the result, which no other unit writes; the weights
                // were merged for these parts, and the start is a vector.
                return unsafe { self.split_sums(split, (planes, targets), weights, ahead) };
            }
            with_buffers(plan.owner, [plan.x.floats(lanes), target.floats(lanes), 0, 0], |[source, sums, ..]| {
                let buffers =
                    BlockBuffers { source, target: sums, weights: weights[index].as_ptr(), bias: start.0.as_ptr() };
                let gathers = std::slice::from_ref(&plan.gathers[block.bundle]);
                let ahead = Prefetcher::new(next, self.in_len(), gathers.iter());
                let task = ForwardTask { gathers, source: &plan.x, target: &target, buffers, planes, targets, ahead };
                // SAFETY: the gathers were made for the packed plane of x, and read and write the first two buffers inside of
                // their packed planes; outside of these, the owner's first buffer stays zero. The weights have a vector for each
                // tap of the bundle. The planes are this block's planes of x and of the result, which no other unit writes.
                unsafe { dispatch(self.set, task) };
            });
        });
        // SAFETY: there was a unit for every block of every image, and each has written all values of its channels' planes.
        // The blocks' channels are those that were checked to be `y`'s.
        Ok(unsafe { y.assume_filled() })
    }

    /// The number of images in some maps, which must be whole.
    fn images<T>(&self, maps: &[T], len: usize) -> Result<usize> {
        match self.table.channels().checked_mul(len) {
            Some(image) if maps.len().is_multiple_of(image) => Ok(maps.len() / image),
            _ => {
                let allowed = format!("whole images of {} planes of {len}", self.table.channels());
                Err(Error::argument("maps", format!("{} values", maps.len()), allowed))
            }
        }
    }

    /// Computes a block's sums in parts, from its planes to its targets, with its weights and what the sums start from.
    ///
    /// # Safety
    /// The planes of the maps have the sizes that the sums were made for, and nothing else uses the targets. The weights
    /// are those of [`SplitSums::merge`] and a vector, aligned.
    unsafe fn split_sums<T: Stored>(
        &self,
        split: &SplitSums,
        maps: (SourcePlanes<T>, TargetPlanes<T>),
        [weights, start]: [*const f32; 2],
        ahead: Prefetcher,
    ) {
        let zeros = StartVector([0.0; MAX_LANES]);
        with_scratch(split.floats(self.set.lanes()), |places| {
            let places = SplitBuffers { places, weights, starts: [start, zeros.0.as_ptr()] };
            // SAFETY: the places have the sizes that the sums ask for; the caller answers for maps and weights.
            unsafe { dispatch(self.set, SplitTask { split, maps, places, ahead }) };
        });
    }

    /// The gradients of the plan's channels: writes the planes of the input's, which `dx` must be if it is given, and calls
    /// `f(channel, gradients of its distinct taps, gradient of its bias)` for each channel, if it is given.
    ///
    /// # Errors
    /// If a buffer has another size.
    pub fn gradients<'a>(
        &self,
        [x, dy]: [&[f32]; 2],
        (weights, residual): (&[f32], bool),
        dx: Option<UnfilledPlanes<'a, '_, f32>>,
        f: Option<impl FnMut(usize, &[f32], f32)>,
    ) -> Result<Filled<'a>> {
        let plan = self.backward_plan();
        let lanes = self.set.lanes();
        let images = self.images(x, self.in_len())?;
        if self.images(dy, self.out_len())? != images {
            return Err(Error::argument(
                "gradient",
                format!("{} values", dy.len()),
                format!("those of {images} images"),
            ));
        }
        if let Some(dx) = &dx {
            dx.check(images, &self.computed, self.in_len())?;
        }
        let wants_sums = f.is_some();
        let merged = if dx.is_some() { self.merged(&plan.split_gathers, weights, residual) } else { Vec::new() };
        let sums: Vec<OnceLock<AlignedVec>> = (0..images * self.blocks.len()).map(|_| OnceLock::new()).collect();
        let (start, target) = (StartVector([0.0; MAX_LANES]), BlockedLayout::bare(self.geometry.input));
        let floats = [plan.dy.floats(lanes), plan.x.floats(lanes), target.floats(lanes), 0];
        self.for_units(images, |block, index, image| {
            let (x, dy) = (self.planes(block, image, x, self.in_len()), self.planes(block, image, dy, self.out_len()));
            // One vector per tap, and one for the bias.
            let mut unit_sums = wants_sums.then(|| AlignedVec::zeros((self.taps[block.bundle].len() + 1) * lanes));
            let mut targets = dx.as_ref().map(|dx| self.targets(block, image, dx, self.in_len()));
            let mut wanted_sums = unit_sums.as_mut().map(AlignedVec::as_mut);
            if let Some(split) = &plan.split_gathers[block.bundle]
                && let Some(targets) = targets.take()
            {
                let weights = [merged[index].as_ptr(), start.0.as_ptr()];
                // SAFETY: the maps are this block's planes of dy and of the gradient, which no other unit writes; the
                // weights were merged for these parts, and the start is a vector.
                unsafe { self.split_sums(split, (dy, targets), weights, Prefetcher::nothing()) };
            }
            if let Some(split) = &plan.split_chunks[block.bundle]
                && let Some(sums) = wanted_sums.take()
            {
                with_scratch(split.floats(lanes), |places| {
                    // SAFETY: the maps are this block's planes of x and dy, the places have the sizes that the sums ask for,
                    // and there is a vector for each tap of the bundle and one for the bias.
                    unsafe { dispatch(self.set, SplitCorrelateTask { split, maps: [x, dy], places, sums }) };
                });
            }
            if targets.is_some() || wanted_sums.is_some() {
                with_buffers(plan.owner, floats, |[dy_layout, x_layout, dx_layout, _]| {
                    let input = targets.map(|targets| InputGrad {
                        gathers: &plan.gathers[block.bundle],
                        target: &target,
                        buffers: BlockBuffers {
                            source: dy_layout,
                            target: dx_layout,
                            weights: merged[index].as_ptr(),
                            bias: start.0.as_ptr(),
                        },
                        targets,
                    });
                    let weight = wanted_sums.map(|sums| WeightGrad {
                        chunks: &plan.chunks[block.bundle],
                        stride: self.geometry.stride,
                        x: (x, &plan.x, x_layout),
                        sums,
                    });
                    let dy = (dy, &plan.dy, dy_layout);
                    // SAFETY: gathers and chunks were made for the packed planes of dy and x, and read and write the buffers
                    // inside of their packed planes; outside of these, the owner's buffers stay zero. There is a vector of weights
                    // and of sums for each tap of the bundle, and one more of the sums. The planes are this block's planes
                    // of x, of dy and of the gradient, which no other unit writes.
                    unsafe { dispatch(self.set, BackwardTask { dy, input, weight }) };
                });
            }
            if let Some(values) = unit_sums {
                // Each unit has its own place.
                let _ = sums[image * self.blocks.len() + index].set(values);
            }
        });
        if let Some(f) = f {
            self.spread(&sums, images, f);
        }
        // SAFETY: there was a unit for every block of every image, and each has written all values of its channels' planes,
        // either in parts or at once. The blocks' channels are those that were checked to be `dx`'s.
        Ok(dx.map_or(Filled::none(), |dx| unsafe { dx.assume_filled() }))
    }

    /// Adds up the sums of the images, in their order, and hands them out by channels.
    fn spread(&self, sums: &[OnceLock<AlignedVec>], images: usize, mut f: impl FnMut(usize, &[f32], f32)) {
        let lanes = self.set.lanes();
        for (index, block) in self.blocks.iter().enumerate() {
            let taps = self.taps[block.bundle].len();
            let mut total = vec![0f32; (taps + 1) * lanes];
            for sums in (0..images).filter_map(|image| sums[image * self.blocks.len() + index].get()) {
                for (to, &from) in total.iter_mut().zip(sums.as_ref()) {
                    *to += from;
                }
            }
            for (lane, &channel) in block.channels.iter().enumerate() {
                let own = self.table.group_of(channel).taps().len();
                let sums: Vec<f32> = (0..own).map(|slot| total[block.place(lane, slot) * lanes + lane]).collect();
                f(channel, &sums, total[taps * lanes + lane]);
            }
        }
    }

    /// The unit that a thread most likely takes after this one.
    fn next_unit(&self, index: usize, image: usize, images: usize) -> Option<(&ChannelBlock, usize)> {
        match self.blocks.get(index + 1) {
            Some(block) => Some((block, image)),
            None => (image + 1 < images).then(|| (&self.blocks[0], image + 1)),
        }
    }
}
