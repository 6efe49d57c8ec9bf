//! The engine with one lane per channel: forward pass, input gradient and weight gradient in f32.
//!
//! # How it works
//! Channels that share their taps are taken in *blocks* of as many as a vector has lanes. A block's planes are
//! transposed into a *sheet*, in which a pixel is one aligned vector of channels. There, every tap of every output is
//! one fused multiply-add of a weight vector with an aligned vector of pixels, whatever the tap's direction:
//!
//! ```text
//! forward, input gradient    sum[j] += w[i] * source[offset[i] + j]       14 outputs j in registers, over taps i
//! weight gradient            sum[i] += dy[j] * x[offset[i] + j]           14 taps i in registers, over outputs j
//! ```
//!
//! The rows of an image never need a test: taps are sorted by rows, and each output row has its range of them. Columns
//! beside the image are read from zeros between the sheet's rows, but only by tiles of outputs for which the tap reads
//! inside the image at least once. Results are transposed back. A block of one image is one unit of work: nothing
//! depends on the number of threads.
//!
//! In rows of pixels instead of lanes of channels, nearly every load would straddle two cache lines, which costs twice
//! as much; so even oblique kernels run at the speed of horizontal ones.

mod kernels;
mod plan;
mod scratch;
mod vector;

pub use vector::InstructionSet;
pub(super) use vector::Stored;

use super::{Geometry, TapTable};
use kernels::{Buffers, Planes, Targets};
use plan::{Chunk, Chunks, Gather, Outline, Sheet};
use rayon::prelude::*;
use scratch::{Owner, with_buffers};
use std::sync::{Arc, OnceLock};
use vector::{MAX_LANES, Task, Vector, dispatch};

/// Results of at least this many bytes are written past the caches.
const STREAM_BYTES: usize = 16 << 20;

/// Channels with the same taps, as many as a vector has lanes or fewer.
#[derive(Debug)]
struct Block {
    group: usize,
    channels: Vec<usize>,
}

/// What one direction of one geometry needs: layouts, and work per group of the table.
#[derive(Debug)]
struct Direction<W> {
    owner: Owner,
    source: Sheet,
    work: Vec<W>,
}

/// The decisions for a table, a geometry and an instruction set.
#[derive(Debug)]
pub(super) struct Lanes {
    set: InstructionSet,
    table: Arc<TapTable>,
    geometry: Geometry,
    blocks: Vec<Block>,
    forward: OnceLock<Direction<Gather>>,
    input_grad: OnceLock<Direction<Vec<Gather>>>,
    weight_grad: OnceLock<Direction<Vec<Chunk>>>,
}

/// Planes of results, each written by the one unit of work that computes it.
#[derive(Clone, Copy)]
struct Results<T>(*mut T);

// SAFETY: every unit of work writes planes that no other unit touches, and the owner waits for all of them.
unsafe impl<T> Sync for Results<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Results<T> {}

impl Lanes {
    /// Plans for the channels of `groups` (indices into the table's groups).
    pub fn new(set: InstructionSet, table: Arc<TapTable>, geometry: Geometry, groups: &[usize]) -> Self {
        let lanes = set.lanes();
        let mut blocks = Vec::new();
        for &group in groups {
            let of_group = |&channel: &usize| table.group_of_channel()[channel] == group;
            let channels: Vec<usize> = (0..table.channels()).filter(of_group).collect();
            blocks.extend(channels.chunks(lanes).map(|channels| Block { group, channels: channels.to_vec() }));
        }
        let (forward, input_grad, weight_grad) = Default::default();
        Lanes { set, table, geometry, blocks, forward, input_grad, weight_grad }
    }

    /// The instructions of the plan.
    pub fn set(&self) -> InstructionSet {
        self.set
    }

    fn in_len(&self) -> usize {
        self.geometry.input.0 * self.geometry.input.1
    }

    fn out_len(&self) -> usize {
        self.geometry.output.0 * self.geometry.output.1
    }

    fn is_planned(&self, group: usize) -> bool {
        self.blocks.iter().any(|block| block.group == group)
    }

    fn forward_plan(&self) -> &Direction<Gather> {
        self.forward.get_or_init(|| {
            let outline = |group: usize| Outline::forward(self.table.groups()[group].taps(), &self.geometry);
            let outlines: Vec<_> =
                (0..self.table.groups().len()).map(|g| self.is_planned(g).then(|| outline(g))).collect();
            let halo = outlines.iter().flatten().map(Outline::halo).max().unwrap_or(0);
            let source = Sheet { rows: self.geometry.input.0, cols: self.geometry.input.1, halo };
            let work = outlines.iter().map(|outline| match outline {
                Some(outline) => outline.resolve(&source, self.set.lanes()),
                None => Gather::nothing(),
            });
            let direction = Direction { owner: Owner::new(), source, work: work.collect() };
            tracing::debug!(
                target: "kernelscope::ops",
                "forward {}x{} to {}x{}, stride {:?}: {} blocks on {}, tiles of {}, {} taps, margin {halo}",
                self.geometry.input.0, self.geometry.input.1, self.geometry.output.0, self.geometry.output.1,
                self.geometry.stride, self.blocks.len(), self.set,
                direction.work.iter().filter_map(|g| g.tiles.first()).map(|tile| tile.width).max().unwrap_or(0),
                self.table.groups().iter().map(|group| group.taps().len()).max().unwrap_or(0),
            );
            direction
        })
    }

    fn input_grad_plan(&self) -> &Direction<Vec<Gather>> {
        self.input_grad.get_or_init(|| {
            let outline = |group: usize| {
                if self.is_planned(group) {
                    Outline::backward(self.table.groups()[group].taps(), &self.geometry)
                } else {
                    Vec::new()
                }
            };
            let outlines: Vec<_> = (0..self.table.groups().len()).map(outline).collect();
            let halo = outlines.iter().flatten().map(Outline::halo).max().unwrap_or(0);
            let source = Sheet { rows: self.geometry.output.0, cols: self.geometry.output.1, halo };
            let resolve = |outlines: &Vec<Outline>| {
                outlines.iter().map(|outline| outline.resolve(&source, self.set.lanes())).collect()
            };
            Direction { owner: Owner::new(), source, work: outlines.iter().map(resolve).collect() }
        })
    }

    fn weight_grad_plan(&self) -> &Direction<Vec<Chunk>> {
        self.weight_grad.get_or_init(|| {
            let chunks = |group: usize| {
                self.is_planned(group).then(|| Chunks::new(self.table.groups()[group].taps(), &self.geometry))
            };
            let chunks: Vec<_> = (0..self.table.groups().len()).map(chunks).collect();
            let halo = chunks.iter().flatten().map(Chunks::halo).max().unwrap_or(0);
            let source = Sheet { rows: self.geometry.input.0, cols: self.geometry.input.1, halo };
            let resolve =
                |chunks: Option<Chunks>| chunks.map_or(Vec::new(), |chunks| chunks.resolve(&source, self.set.lanes()));
            Direction { owner: Owner::new(), source, work: chunks.into_iter().map(resolve).collect() }
        })
    }

    /// The weights of each block: taps by channels, missing channels zero. `merged` has the weights of every channel,
    /// one per distinct tap.
    fn block_weights(&self, merged: &[&[f32]]) -> Vec<Aligned> {
        let lanes = self.set.lanes();
        let transposed = |block: &Block| {
            let mut weights = Aligned::zeros(self.table.groups()[block.group].taps().len() * lanes);
            for (lane, &channel) in block.channels.iter().enumerate() {
                for (tap, &w) in merged[channel].iter().enumerate() {
                    weights.as_mut()[tap * lanes + lane] = w;
                }
            }
            weights
        };
        self.blocks.par_iter().map(transposed).collect()
    }

    fn planes<T: Stored>(&self, block: &Block, image: usize, values: &[T], len: usize) -> Planes<T> {
        std::array::from_fn(|lane| {
            let channel = block.channels.get(lane).unwrap_or(&block.channels[0]);
            values[(image * self.table.channels() + channel) * len..][..len].as_ptr()
        })
    }

    /// The planes of results of one block, for `total` values in all.
    ///
    /// # Safety
    /// `results` is valid for writes of `total` values, which are whole images of planes of `len` values.
    unsafe fn targets<T: Stored>(
        &self,
        block: &Block,
        image: usize,
        (results, total): (Results<T>, usize),
        len: usize,
    ) -> Targets<T> {
        let plane = |lane: usize| {
            let channel = block.channels.get(lane).unwrap_or(&block.channels[0]);
            let start = (image * self.table.channels() + channel) * len;
            assert!(start + len <= total);
            // SAFETY: inside the results, by the assertion.
            unsafe { results.0.add(start) }
        };
        let width = self.set.lanes() * size_of::<T>();
        let aligned = results.0.addr().is_multiple_of(width) && len.is_multiple_of(self.set.lanes());
        Targets {
            planes: std::array::from_fn(plane),
            count: block.channels.len(),
            stream: T::STREAMS && aligned && total * size_of::<T>() >= STREAM_BYTES,
        }
    }

    /// Calls `f(block, index of the block, image)` for all blocks of all images, in parallel.
    fn for_units(&self, images: usize, f: impl Fn(&Block, usize, usize) + Sync) {
        (0..images * self.blocks.len()).into_par_iter().for_each(|unit| {
            let (image, index) = (unit / self.blocks.len(), unit % self.blocks.len());
            f(&self.blocks[index], index, image);
        });
    }

    /// The forward pass: writes the planes of the plan's channels into `y`, which has room for all channels.
    ///
    /// # Panics
    /// If a buffer is too short.
    pub fn forward<T: Stored>(&self, x: &[T], merged: &[&[f32]], bias: &[f32], y: &mut [std::mem::MaybeUninit<T>]) {
        let plan = self.forward_plan();
        let lanes = self.set.lanes();
        let images = x.len() / (self.table.channels() * self.in_len());
        let weights = self.block_weights(merged);
        let target = Sheet { rows: self.geometry.output.0, cols: self.geometry.output.1, halo: 0 };
        let results = (Results(y.as_mut_ptr().cast::<T>()), y.len());
        self.for_units(images, |block, index, image| {
            let mut start = Aligned::zeros(lanes);
            for (to, &channel) in start.as_mut().iter_mut().zip(&block.channels) {
                *to = bias[channel];
            }
            let planes = self.planes(block, image, x, self.in_len());
            // SAFETY: y has room for the results, and no other unit has this block and image.
            let targets = unsafe { self.targets(block, image, results, self.out_len()) };
            with_buffers(plan.owner, [plan.source.len() * lanes, target.len() * lanes, 0], |[source, sums, _]| {
                let buffers = Buffers { source, target: sums, weights: weights[index].as_ptr(), bias: start.as_ptr() };
                let gathers = std::slice::from_ref(&plan.work[block.group]);
                let task = GatherTask { gathers, source: &plan.source, target: &target, buffers, planes, targets };
                // SAFETY: the instruction set is available; the buffers have the sizes of the sheets, and the plan was
                // made for them.
                unsafe { dispatch(self.set, task) };
            });
        });
    }

    /// Adds this plan's channels to the gradients: `dx` and `dw`, `db` have room for all channels.
    ///
    /// # Panics
    /// If a buffer is too short.
    pub fn input_grad(&self, dy: &[f32], merged: &[&[f32]], dx: &mut [std::mem::MaybeUninit<f32>]) {
        let plan = self.input_grad_plan();
        let lanes = self.set.lanes();
        let images = dy.len() / (self.table.channels() * self.out_len());
        let weights = self.block_weights(merged);
        let start = Aligned::zeros(lanes);
        let target = Sheet { rows: self.geometry.input.0, cols: self.geometry.input.1, halo: 0 };
        let results = (Results(dx.as_mut_ptr().cast::<f32>()), dx.len());
        self.for_units(images, |block, index, image| {
            let planes = self.planes(block, image, dy, self.out_len());
            // SAFETY: as in the forward pass.
            let targets = unsafe { self.targets(block, image, results, self.in_len()) };
            with_buffers(plan.owner, [plan.source.len() * lanes, target.len() * lanes, 0], |[source, sums, _]| {
                let buffers = Buffers { source, target: sums, weights: weights[index].as_ptr(), bias: start.as_ptr() };
                let gathers = &plan.work[block.group][..];
                let task = GatherTask { gathers, source: &plan.source, target: &target, buffers, planes, targets };
                // SAFETY: as in the forward pass.
                unsafe { dispatch(self.set, task) };
            });
        });
    }

    /// The gradients of the weights, one vector of distinct taps per channel, and of the bias, for this plan's
    /// channels: calls `f(channel, gradients of its taps, gradient of its bias)` for each.
    pub fn weight_grad(&self, x: &[f32], dy: &[f32], mut f: impl FnMut(usize, &[f32], f32)) {
        let plan = self.weight_grad_plan();
        let lanes = self.set.lanes();
        let images = x.len() / (self.table.channels() * self.in_len());
        let dy_sheet = Sheet { rows: self.geometry.output.0, cols: self.geometry.output.1, halo: 0 };
        let unit = |unit: usize| {
            let (image, block) = (unit / self.blocks.len(), &self.blocks[unit % self.blocks.len()]);
            // One vector per tap, and one for the bias.
            let mut sums = Aligned::zeros((self.table.groups()[block.group].taps().len() + 1) * lanes);
            let x_planes = self.planes(block, image, x, self.in_len());
            let dy_planes = self.planes(block, image, dy, self.out_len());
            with_buffers(plan.owner, [plan.source.len() * lanes, dy_sheet.len() * lanes, 0], |[x, dy, _]| {
                let task = CorrelateTask {
                    chunks: &plan.work[block.group],
                    stride: self.geometry.stride,
                    x: (x_planes, &plan.source, x),
                    dy: (dy_planes, &dy_sheet, dy),
                    sums: sums.as_mut(),
                };
                // SAFETY: as in the forward pass.
                unsafe { dispatch(self.set, task) };
            });
            sums
        };
        let sums: Vec<Aligned> = (0..images * self.blocks.len()).into_par_iter().map(unit).collect();
        for (index, block) in self.blocks.iter().enumerate() {
            let taps = self.table.groups()[block.group].taps().len();
            let mut total = vec![0f32; (taps + 1) * lanes];
            for image in 0..images {
                // Images in their order, so that the sum does not depend on threads.
                for (to, &from) in total.iter_mut().zip(sums[image * self.blocks.len() + index].as_ref()) {
                    *to += from;
                }
            }
            for (lane, &channel) in block.channels.iter().enumerate() {
                let of_channel: Vec<f32> = total.iter().skip(lane).step_by(lanes).copied().collect();
                f(channel, &of_channel[..taps], of_channel[taps]);
            }
        }
    }
}

/// Values that start at a vector's boundary.
struct Aligned {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn zeros(len: usize) -> Self {
        let values = vec![0.0; len + MAX_LANES];
        let start = values.as_ptr().align_offset(64);
        Aligned { values, start, len }
    }

    fn as_ref(&self) -> &[f32] {
        &self.values[self.start..self.start + self.len]
    }

    fn as_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..self.start + self.len]
    }

    fn as_ptr(&self) -> *const f32 {
        self.as_ref().as_ptr()
    }
}

/// One block through some gathers.
struct GatherTask<'a, T> {
    gathers: &'a [Gather],
    source: &'a Sheet,
    target: &'a Sheet,
    buffers: Buffers,
    planes: Planes<T>,
    targets: Targets<T>,
}

impl<T: Stored> Task for GatherTask<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let GatherTask { gathers, source, target, buffers, planes, targets } = self;
        // SAFETY: whoever made the task gave planes and buffers of the sheets' sizes, and gathers made for them.
        unsafe {
            kernels::copy_in::<V, T>(&planes, source, buffers.source.cast_mut());
            for gather in gathers {
                kernels::gather::<V>(gather, source, target, buffers);
            }
            let pixels = target.rows * target.cols;
            if targets.stream {
                kernels::copy_out::<V, T, true>(buffers.target, pixels, &targets);
                V::fence();
            } else {
                kernels::copy_out::<V, T, false>(buffers.target, pixels, &targets);
            }
        }
    }
}

/// One block of x and of dy to the sums of its weight and bias gradients.
struct CorrelateTask<'a> {
    chunks: &'a [Chunk],
    stride: (usize, usize),
    x: (Planes<f32>, &'a Sheet, *mut f32),
    dy: (Planes<f32>, &'a Sheet, *mut f32),
    sums: &'a mut [f32],
}

impl Task for CorrelateTask<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let CorrelateTask { chunks, stride, x: (x_planes, x_sheet, x), dy: (dy_planes, dy_sheet, dy), sums } = self;
        // SAFETY: as for a gather; the sums have one vector per tap and one more.
        unsafe {
            kernels::copy_in::<V, f32>(&x_planes, x_sheet, x);
            kernels::copy_in::<V, f32>(&dy_planes, dy_sheet, dy);
            kernels::correlate::<V>(chunks, stride, (x_sheet, x), (dy_sheet, dy), sums.as_mut_ptr());
            kernels::add_up::<V>(dy_sheet, dy, sums.as_mut_ptr().add(sums.len() - V::LANES));
        }
    }
}
