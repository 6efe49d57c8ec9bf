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
//! depends on the number of threads. Large kernels are computed in parts, with fewer products than taps (`split`).
//!
//! In rows of pixels instead of lanes of channels, nearly every load would straddle two cache lines, which costs twice
//! as much; so even oblique kernels run at the speed of horizontal ones.

mod kernels;
mod plan;
mod scratch;
mod split;
pub(super) mod bands;
mod vector;

pub(super) use plan::Outline;
pub use vector::InstructionSet;
pub(super) use vector::{Stored, Supported};

use super::bundle::Bundle;
use super::output::UnfilledPlanes;
use super::{Geometry, Tap, TapTable};
use crate::ops::fill::Filled;
use crate::{Error, Result};
use kernels::{Ahead, Buffers, Planes, Targets};
use plan::{Chunk, Chunks, Gather, Numbered, Sheet};
use rayon::prelude::*;
use scratch::{Owner, with_buffers, with_room};
use split::{Places, SplitCorrelateTask, SplitCorrelations, SplitSums, SplitTask};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use vector::{MAX_LANES, Task, Vector, dispatch};

/// Results of at least this many bytes are written past the caches.
const STREAM_BYTES: usize = 16 << 20;

/// Weights from which on they are merged by all threads: below, waking them takes longer.
const PARALLEL_MERGE: usize = 4096;

/// Channels that are computed together, as many as a vector has lanes or fewer.
#[derive(Debug)]
struct Block {
    /// Whose taps the block computes: an index into the bundles.
    bundle: usize,
    channels: Vec<usize>,
    /// The channel in each lane; lanes that are left over repeat the first.
    lanes: [usize; MAX_LANES],
    /// For each channel, where its group's taps are among those of the bundle; none where they are the same.
    places: Option<Vec<Vec<u32>>>,
}

impl Block {
    /// Where the tap `slot` of the group of the channel in a lane is among the taps of the block.
    fn place(&self, lane: usize, slot: usize) -> usize {
        self.places.as_ref().map_or(slot, |places| places[lane][slot] as usize)
    }
}

/// What the forward pass needs: the layout of x, and the work of each bundle.
#[derive(Debug)]
struct Forward {
    owner: Owner,
    x: Sheet,
    gathers: Vec<Gather>,
    /// Of bundles whose sums are split.
    splits: Vec<Option<SplitSums>>,
}

/// What the gradients need: the layouts of dy and x, and the work of each bundle.
#[derive(Debug)]
struct Backward {
    owner: Owner,
    dy: Sheet,
    x: Sheet,
    gathers: Vec<Vec<Gather>>,
    chunks: Vec<Vec<Chunk>>,
    /// Of bundles whose sums, or weight gradients, are split.
    split_gathers: Vec<Option<SplitSums>>,
    split_chunks: Vec<Option<SplitCorrelations>>,
}

/// The decisions for a table, a geometry and an instruction set.
#[derive(Debug)]
pub(super) struct Lanes {
    set: Supported,
    table: Arc<TapTable>,
    geometry: Geometry,
    /// For each channel of the table, whether a block computes it.
    computed: Vec<bool>,
    /// The taps of each bundle.
    taps: Vec<Vec<Tap>>,
    blocks: Vec<Block>,
    forward: OnceLock<Forward>,
    backward: OnceLock<Backward>,
}

impl Lanes {
    /// Plans for the channels of `bundles`, of which each has the taps of its channels' groups.
    /// A channel is in one bundle at most.
    pub fn new(set: Supported, table: Arc<TapTable>, geometry: Geometry, bundles: Vec<Bundle>) -> Self {
        let mut blocks = Vec::new();
        let mut computed = vec![false; table.channels()];
        for (bundle, Bundle { taps, channels }) in bundles.iter().enumerate() {
            let index: HashMap<Tap, u32> = taps.iter().copied().zip(0..).collect();
            let places = |&channel: &usize| {
                let own = table.group_of(channel).taps();
                own.iter().filter_map(|tap| index.get(tap).copied()).collect::<Vec<_>>()
            };
            // Units of work write the planes of their channels, so no channel may be in two blocks.
            assert!(channels.iter().all(|&channel| !std::mem::replace(&mut computed[channel], true)));
            for channels in channels.chunks(set.lanes()) {
                let same = channels.iter().all(|&channel| table.group_of(channel).taps() == taps);
                let places = (!same).then(|| channels.iter().map(places).collect());
                let lanes = std::array::from_fn(|lane| *channels.get(lane).unwrap_or(&channels[0]));
                blocks.push(Block { bundle, channels: channels.to_vec(), lanes, places });
            }
        }
        let taps = bundles.into_iter().map(|bundle| bundle.taps).collect();
        let (forward, backward) = Default::default();
        Lanes { set, table, geometry, computed, taps, blocks, forward, backward }
    }

    fn in_len(&self) -> usize {
        self.geometry.input.0 * self.geometry.input.1
    }

    fn out_len(&self) -> usize {
        self.geometry.output.0 * self.geometry.output.1
    }

    /// The taps of each bundle that ever read inside the image. The others, which a dilation may carry arbitrarily far,
    /// would only widen the margins.
    fn planned_taps(&self) -> Vec<Vec<Numbered>> {
        self.taps.iter().map(|taps| reading(taps, &self.geometry)).collect()
    }

    fn forward_plan(&self) -> &Forward {
        self.forward.get_or_init(|| {
            let taps = self.planned_taps();
            let many = self.set.has_many_registers();
            let outlines: Vec<_> =
                taps.iter().map(|taps| Outline::forward(taps, &self.geometry).for_registers(many)).collect();
            let x = Outline::source_sheet(&outlines.iter().collect::<Vec<_>>(), self.geometry.input, self.set.lanes());
            let gathers: Vec<Gather> =
                outlines.iter().map(|o| o.resolve(&x, self.set.lanes(), many)).collect();
            let splits: Vec<_> = taps.iter().map(|taps| SplitSums::new(self.set, taps, &self.geometry)).collect();
            tracing::debug!(
                target: "kernelscope::ops",
                "forward {:?}: {} channels in {} blocks on {}; taps per bundle {:?}, tiles {:?} wide, margin {}; parts {:?}",
                self.geometry,
                self.blocks.iter().map(|block| block.channels.len()).sum::<usize>(),
                self.blocks.len(),
                self.set,
                taps.iter().map(Vec::len).collect::<Vec<_>>(),
                gathers.iter().filter_map(|gather| gather.tiles.first()).map(|tile| tile.width).collect::<Vec<_>>(),
                x.halo,
                splits.iter().map(|split| split.as_ref().map_or(1, |split| split.gathers().count())).collect::<Vec<_>>(),
            );
            Forward { owner: Owner::new(), x, gathers, splits }
        })
    }

    /// Channels whose sums are computed in parts in the forward pass.
    pub fn channels_in_parts(&self) -> usize {
        let splits = &self.forward_plan().splits;
        self.blocks.iter().filter(|block| splits[block.bundle].is_some()).map(|block| block.channels.len()).sum()
    }

    fn backward_plan(&self) -> &Backward {
        self.backward.get_or_init(|| {
            let taps = self.planned_taps();
            let many = self.set.has_many_registers();
            let outlines: Vec<Vec<_>> = taps
                .iter()
                .map(|taps| {
                    Outline::backward(taps, &self.geometry).into_iter().map(|o| o.for_registers(many)).collect()
                })
                .collect();
            let chunks: Vec<_> = taps.iter().map(|taps| Chunks::new(taps, &self.geometry)).collect();
            let lanes = self.set.lanes();
            let dy = Outline::source_sheet(&outlines.iter().flatten().collect::<Vec<_>>(), self.geometry.output, lanes);
            let halo = chunks.iter().map(Chunks::halo).max().unwrap_or(0);
            let x = Sheet { halo, ..Sheet::bare(self.geometry.input) };
            let gathers: Vec<Vec<Gather>> =
                outlines.iter().map(|phases| phases.iter().map(|o| o.resolve(&dy, lanes, many)).collect()).collect();
            let chunks: Vec<Vec<Chunk>> = chunks.into_iter().map(|chunks| chunks.resolve(&x, lanes)).collect();
            tracing::debug!(
                target: "kernelscope::ops",
                "gradients {:?}: {} phases, {} chunks of taps, margins {} and {}",
                self.geometry,
                gathers.iter().map(Vec::len).max().unwrap_or(0),
                chunks.iter().map(Vec::len).sum::<usize>(),
                dy.halo,
                x.halo,
            );
            let Geometry { input, output, stride } = self.geometry;
            let reversed = Geometry { input: output, output: input, stride };
            let backwards = |taps: &Vec<Numbered>| {
                let taps: Vec<_> = taps.iter().map(|&(tap, index)| (Tap { dh: -tap.dh, dw: -tap.dw }, index)).collect();
                SplitSums::new(self.set, &taps, &reversed)
            };
            let split_gathers = taps.iter().map(backwards).collect();
            let split_chunks = taps.iter().map(|taps| SplitCorrelations::new(self.set, taps, &self.geometry)).collect();
            Backward { owner: Owner::new(), dy, x, gathers, chunks, split_gathers, split_chunks }
        })
    }

    /// Adds up the weights of a block's channels per distinct tap: taps by channels, missing channels zero. `residual`
    /// adds the identity at the center.
    fn merge(&self, block: &Block, weights: &[f32], residual: bool) -> Aligned {
        let (lanes, k) = (self.set.lanes(), self.table.weights_per_channel());
        let taps = &self.taps[block.bundle];
        let group = self.table.group_of(block.channels[0]);
        let mut merged = Aligned::zeros(taps.len() * lanes);
        if [taps.len(), group.slots().len()] == [k; 2] && block.channels.len() == lanes && block.places.is_none() {
            // Each tap has a weight of its own, so the weights are only transposed, like planes of one row.
            let planes = block.lanes.map(|channel| weights[channel * k..][..k].as_ptr());
            let task = TransposeTask { planes, sheet: Sheet { rows: 1, cols: k, halo: 0 }, to: merged.as_mut() };
            // SAFETY: each plane is a slice of k values, and `merged` has a vector for each of the k taps.
            unsafe { dispatch(self.set, task) };
        } else {
            let to = merged.as_mut();
            for (lane, &channel) in block.channels.iter().enumerate() {
                let slots = self.table.group_of(channel).slots();
                for (&slot, &w) in slots.iter().zip(&weights[channel * k..(channel + 1) * k]) {
                    to[block.place(lane, slot) * lanes + lane] += w;
                }
            }
        }
        let centre = taps.iter().position(|&tap| tap == Tap { dh: 0, dw: 0 });
        if let Some(centre) = centre.filter(|_| residual) {
            for one in &mut merged.as_mut()[centre * lanes..][..block.channels.len()] {
                *one += 1.0;
            }
        }
        merged
    }

    /// The weights of each block, as [`Lanes::merge`], or those of the parts of its sums.
    fn merged(&self, splits: &[Option<SplitSums>], weights: &[f32], residual: bool) -> Vec<Aligned> {
        let merge = |block: &Block| {
            let merged = self.merge(block, weights, residual);
            match &splits[block.bundle] {
                Some(split) => split.merge(self.set.lanes(), merged.as_ref()),
                None => merged,
            }
        };
        if self.blocks.len() * self.table.weights_per_channel() < PARALLEL_MERGE {
            self.blocks.iter().map(merge).collect()
        } else {
            self.blocks.par_iter().map(merge).collect()
        }
    }

    fn planes<T: Stored>(&self, block: &Block, image: usize, values: &[T], len: usize) -> Planes<T> {
        let size = self.table.channels() * len;
        let image = values[image * size..][..size].as_ptr();
        // Inside the image, since every channel is one of the table.
        block.lanes.map(|channel| image.wrapping_add(channel * len))
    }

    /// The planes of a block's results.
    ///
    /// # Panics
    /// If one of them is not among the `results`.
    fn targets<T: Stored>(&self, block: &Block, image: usize, results: &UnfilledPlanes<T>, len: usize) -> Targets<T> {
        let plane = |channel: usize| results.plane(image, channel);
        let own = block.channels.iter().map(|&channel| plane(channel));
        assert!(own.clone().all(|plane| plane.is_some()));
        let mut planes = own.flatten();
        let width = self.set.lanes() * size_of::<T>();
        let aligned = results.start().addr().is_multiple_of(width) && len.is_multiple_of(self.set.lanes());
        Targets {
            planes: std::array::from_fn(|_| planes.next().unwrap_or(std::ptr::null_mut())),
            count: block.channels.len(),
            stream: T::STREAMS && aligned && results.total() * size_of::<T>() >= STREAM_BYTES,
        }
    }

    /// Calls `f(block, index of the block, image)` for all blocks of all images, in parallel.
    fn for_units(&self, images: usize, f: impl Fn(&Block, usize, usize) + Sync) {
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
        let target = Sheet::bare(self.geometry.output);
        self.for_units(images, |block, index, image| {
            let mut start = Start([0.0; MAX_LANES]);
            for (to, &channel) in start.0.iter_mut().zip(&block.channels) {
                *to = bias[channel];
            }
            let planes = self.planes(block, image, x, self.in_len());
            let targets = self.targets(block, image, &y, self.out_len());
            let next =
                self.next_unit(index, image, images).map(|(block, image)| self.planes(block, image, x, self.in_len()));
            if let Some(split) = &plan.splits[block.bundle] {
                let ahead = Ahead::new(next, self.in_len(), split.gathers());
                let weights = [weights[index].as_ptr(), start.0.as_ptr()];
                // SAFETY: the maps are this block's planes of x and of the result, which no other unit writes; the weights
                // were merged for these parts, and the start is a vector.
                return unsafe { self.split_sums(split, (planes, targets), weights, ahead) };
            }
            with_buffers(plan.owner, [plan.x.floats(lanes), target.floats(lanes), 0, 0], |[source, sums, ..]| {
                let buffers =
                    Buffers { source, target: sums, weights: weights[index].as_ptr(), bias: start.0.as_ptr() };
                let gathers = std::slice::from_ref(&plan.gathers[block.bundle]);
                let ahead = Ahead::new(next, self.in_len(), gathers.iter());
                let task = ForwardTask { gathers, source: &plan.x, target: &target, buffers, planes, targets, ahead };
                // SAFETY: the gathers were made for the sheet of x, and read and write the first two buffers inside of
                // their sheets; outside of these, the owner's first buffer stays zero. The weights have a vector for each
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
        maps: (Planes<T>, Targets<T>),
        [weights, start]: [*const f32; 2],
        ahead: Ahead,
    ) {
        let zeros = Start([0.0; MAX_LANES]);
        with_room(split.floats(self.set.lanes()), |places| {
            let places = Places { places, weights, starts: [start, zeros.0.as_ptr()] };
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
        let sums: Vec<OnceLock<Aligned>> = (0..images * self.blocks.len()).map(|_| OnceLock::new()).collect();
        let (start, target) = (Start([0.0; MAX_LANES]), Sheet::bare(self.geometry.input));
        let floats = [plan.dy.floats(lanes), plan.x.floats(lanes), target.floats(lanes), 0];
        self.for_units(images, |block, index, image| {
            let (x, dy) = (self.planes(block, image, x, self.in_len()), self.planes(block, image, dy, self.out_len()));
            // One vector per tap, and one for the bias.
            let mut unit_sums = wants_sums.then(|| Aligned::zeros((self.taps[block.bundle].len() + 1) * lanes));
            let mut targets = dx.as_ref().map(|dx| self.targets(block, image, dx, self.in_len()));
            let mut wanted_sums = unit_sums.as_mut().map(Aligned::as_mut);
            if let Some(split) = &plan.split_gathers[block.bundle]
                && let Some(targets) = targets.take()
            {
                let weights = [merged[index].as_ptr(), start.0.as_ptr()];
                // SAFETY: the maps are this block's planes of dy and of the gradient, which no other unit writes; the
                // weights were merged for these parts, and the start is a vector.
                unsafe { self.split_sums(split, (dy, targets), weights, Ahead::nothing()) };
            }
            if let Some(split) = &plan.split_chunks[block.bundle]
                && let Some(sums) = wanted_sums.take()
            {
                with_room(split.floats(lanes), |places| {
                    // SAFETY: the maps are this block's planes of x and dy, the places have the sizes that the sums ask for,
                    // and there is a vector for each tap of the bundle and one for the bias.
                    unsafe { dispatch(self.set, SplitCorrelateTask { split, maps: [x, dy], places, sums }) };
                });
            }
            if targets.is_some() || wanted_sums.is_some() {
                with_buffers(plan.owner, floats, |[dy_sheet, x_sheet, dx_sheet, _]| {
                    let input = targets.map(|targets| InputGrad {
                        gathers: &plan.gathers[block.bundle],
                        target: &target,
                        buffers: Buffers {
                            source: dy_sheet,
                            target: dx_sheet,
                            weights: merged[index].as_ptr(),
                            bias: start.0.as_ptr(),
                        },
                        targets,
                    });
                    let weight = wanted_sums.map(|sums| WeightGrad {
                        chunks: &plan.chunks[block.bundle],
                        stride: self.geometry.stride,
                        x: (x, &plan.x, x_sheet),
                        sums,
                    });
                    let dy = (dy, &plan.dy, dy_sheet);
                    // SAFETY: gathers and chunks were made for the sheets of dy and x, and read and write the buffers
                    // inside of their sheets; outside of these, the owner's buffers stay zero. There is a vector of weights
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
    fn spread(&self, sums: &[OnceLock<Aligned>], images: usize, mut f: impl FnMut(usize, &[f32], f32)) {
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
    fn next_unit(&self, index: usize, image: usize, images: usize) -> Option<(&Block, usize)> {
        match self.blocks.get(index + 1) {
            Some(block) => Some((block, image)),
            None => (image + 1 < images).then(|| (&self.blocks[0], image + 1)),
        }
    }
}

/// The taps that ever read inside the image, with their places in the list.
fn reading(taps: &[Tap], geometry: &Geometry) -> Vec<Numbered> {
    taps.iter().copied().zip(0..).filter(|&(tap, _)| geometry.valid(tap).count() > 0).collect()
}

/// What the sums of a block start from.
#[repr(align(64))]
struct Start([f32; MAX_LANES]);

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

/// The weights of one block, to taps by channels.
struct TransposeTask<'a> {
    planes: Planes<f32>,
    sheet: Sheet,
    to: &'a mut [f32],
}

impl Task for TransposeTask<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: whoever made the task gave planes and room of the sheet's size.
        unsafe { kernels::copy_in::<V, f32>(&self.planes, &self.sheet, self.to.as_mut_ptr()) };
    }
}

/// One block through the forward pass.
struct ForwardTask<'a, T> {
    gathers: &'a [Gather],
    source: &'a Sheet,
    target: &'a Sheet,
    buffers: Buffers,
    planes: Planes<T>,
    targets: Targets<T>,
    ahead: Ahead,
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
struct InputGrad<'a> {
    gathers: &'a [Gather],
    target: &'a Sheet,
    buffers: Buffers,
    targets: Targets<f32>,
}

/// The weight and bias gradients of one block.
struct WeightGrad<'a> {
    chunks: &'a [Chunk],
    stride: (usize, usize),
    x: (Planes<f32>, &'a Sheet, *mut f32),
    sums: &'a mut [f32],
}

/// One block through the gradients: dy is read once for both.
struct BackwardTask<'a> {
    dy: (Planes<f32>, &'a Sheet, *mut f32),
    input: Option<InputGrad<'a>>,
    weight: Option<WeightGrad<'a>>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::fill::{Unfilled, try_results};

    /// Runs `f` on memory for `len` values that starts at a cache line, or one value behind it.
    fn placed(
        len: usize,
        aligned: bool,
        f: &dyn for<'a> Fn(Unfilled<'a, f32>) -> Result<Filled<'a>>,
    ) -> Result<Vec<f32>> {
        let mut skipped = 0;
        let values = try_results(len + 2 * MAX_LANES, |all| {
            skipped = all.addr().next_multiple_of(64).abs_diff(all.addr()) / size_of::<f32>() + usize::from(!aligned);
            let (before, others) = all.split_at(skipped);
            let (values, after) = others.split_at(len);
            Ok(before.fill(f32::NAN).1 + f(values)? + after.fill(f32::NAN).1)
        })?;
        Ok(values[skipped..][..len].to_vec())
    }

    /// Results are written past the caches where planes are aligned to vectors, which 57x55 ones are not.
    #[test]
    fn streamed_results_are_the_same() -> Result<()> {
        let offsets: Vec<Tap> = (-2..=2).map(|t| Tap { dh: -t, dw: 2 * t }).collect();
        for (height, width) in [(56, 56), (57, 55)] {
            let pixels = height * width;
            let channels = STREAM_BYTES / 4 / pixels + 3;
            let table = Arc::new(TapTable::shared(channels, &offsets)?);
            let geometry = Geometry { input: (height, width), output: (height, width), stride: (1, 1) };
            let bundle = vec![Bundle { taps: offsets.clone(), channels: (0..channels).collect() }];
            let value = |i: usize, period: usize| (i % period) as f32 / period as f32 - 0.5;
            let x: Vec<f32> = (0..channels * pixels).map(|i| value(i, 1009)).collect();
            let weights: Vec<f32> = (0..channels * offsets.len()).map(|i| value(i, 31)).collect();
            let bias: Vec<f32> = (0..channels).map(|i| value(i, 17)).collect();
            let none = vec![false; channels];
            for set in Supported::all() {
                let lanes = Lanes::new(set, table.clone(), geometry, bundle.clone());
                let run = |aligned: bool, backward: bool| {
                    placed(x.len(), aligned, &|y| {
                        let [y, _] = UnfilledPlanes::divide(y, pixels, &none);
                        if backward {
                            lanes.gradients([&x, &x], (&weights, false), Some(y), None::<fn(usize, &[f32], f32)>)
                        } else {
                            lanes.forward(&x, (&weights, false), &bias, y)
                        }
                    })
                };
                for (sign, bias) in [(1, &bias), (-1, &vec![0.0; channels])] {
                    let (streamed, plain) = (run(true, sign < 0)?, run(false, sign < 0)?);
                    assert!(streamed.iter().zip(&plain).all(|(a, b)| a.to_bits() == b.to_bits()), "{set}");
                    for channel in (0..channels).step_by(101).chain([channels - 1]) {
                        for pixel in 0..pixels {
                            let mut sum = f64::from(bias[channel]);
                            for (k, tap) in offsets.iter().enumerate() {
                                let row = (pixel / width) as i64 + i64::from(sign * tap.dh);
                                let col = (pixel % width) as i64 + i64::from(sign * tap.dw);
                                if (0..height as i64).contains(&row) && (0..width as i64).contains(&col) {
                                    let from = channel * pixels + row as usize * width + col as usize;
                                    sum += f64::from(weights[channel * offsets.len() + k]) * f64::from(x[from]);
                                }
                            }
                            let y = f64::from(streamed[channel * pixels + pixel]);
                            assert!((y - sum).abs() < 1e-6, "{set}: channel {channel}, pixel {pixel}: {y} for {sum}");
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
