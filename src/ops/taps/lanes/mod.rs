//! The engine with one lane per channel: forward pass, input gradient and weight gradient in f32.
//!
//! # From NCHW and back
//! 1. *Pack.* The planes of one channel block of one image are transposed from NCHW into the blocked layout
//!    (`kernels/packing.rs`).
//! 2. *Micro-kernel.* For each register tile and cache block, the taps go by while the sums stay in registers
//!    (`kernels/gather.rs`; `kernels/correlate.rs` for the weight gradient). What reads where was decided before, once per
//!    shape (`plan/`).
//! 3. *Unpack.* The results are transposed back into the planes of the output.
//!
//! Channels with taps of their own take the same way with bands of rows in place of channels (`bands/`).
//!
//! # Glossary
//! | term | meaning |
//! |---|---|
//! | channel block | channels that are computed together, one per lane of a vector |
//! | blocked layout | nChw16c or nChw8c: each pixel is one aligned vector with the block's channels |
//! | packed plane | the pixels of one channel block of one image in the blocked layout |
//! | halo | zeros between the rows of a packed plane, which taps read beside the image |
//! | micro-kernel | the innermost loop, compiled for each instruction set and tile width |
//! | register tile | neighboring outputs of a row whose sums stay in registers |
//! | cache block | taps of a tile that are added for all rows before the next ones, so that reads stay in cache |
//! | run | neighboring taps of a row that share their loads |
//! | gather | sums over taps, one per output: the forward pass and the input gradient |
//! | correlation | sums over outputs, one per tap: the weight gradient, by chunks of taps |
//! | sub-convolution | one of the shorter sums that the fast FIR algorithm computes (`split/`) |
//! | band | some rows of outputs of a plane, which have a lane of their own (`bands/`) |
//!
//! # How it works
//! Channels that share their taps are taken in *blocks* of as many as a vector has lanes. A block's planes are
//! transposed into a *packed plane*, in which a pixel is one aligned vector of channels. There, every tap of every output is
//! one fused multiply-add of a weight vector with an aligned vector of pixels, whatever the tap's direction:
//!
//! ```text
//! forward, input gradient    sum[j] += w[i] * source[offset[i] + j]       14 outputs j in registers, over taps i
//! weight gradient            sum[i] += dy[j] * x[offset[i] + j]           14 taps i in registers, over outputs j
//! ```
//!
//! The rows of an image never need a test: taps are sorted by rows, and each output row has its range of them. Columns
//! beside the image are read from zeros between the packed plane's rows, but only by tiles of outputs for which the tap reads
//! inside the image at least once. Results are transposed back. A block of one image is one unit of work: nothing
//! depends on the number of threads. Large kernels are computed in parts, with fewer products than taps (`split`).
//!
//! In rows of pixels instead of lanes of channels, nearly every load would straddle two cache lines, which costs twice
//! as much; so even oblique kernels run at the speed of horizontal ones.

mod aligned;
pub(super) mod bands;
mod kernels;
mod passes;
mod plan;
mod scratch;
mod split;
mod tasks;
#[cfg(test)]
mod tests;
mod vector;
mod weights;

pub use vector::InstructionSet;
pub(super) use vector::{Stored, Supported};

use super::bundle::Bundle;
use super::{Geometry, Tap, TapTable};
use aligned::{AlignedVec, StartVector};
use plan::{BlockedLayout, GatherOutline, GatherPlan, IndexedTap, TapChunk, TapChunkOutlines};
use scratch::BufferOwner;
use split::{SplitCorrelations, SplitSums};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use vector::MAX_LANES;

/// Results of at least this many bytes are written past the caches.
const STREAM_BYTES: usize = 16 << 20;

/// Channels that are computed together, as many as a vector has lanes or fewer.
#[derive(Debug)]
struct ChannelBlock {
    /// Whose taps the block computes: an index into the bundles.
    bundle: usize,
    channels: Vec<usize>,
    /// The channel in each lane; lanes that are left over repeat the first.
    lanes: [usize; MAX_LANES],
    /// For each channel, where its group's taps are among those of the bundle; none where they are the same.
    places: Option<Vec<Vec<u32>>>,
}

impl ChannelBlock {
    /// Where the tap `slot` of the group of the channel in a lane is among the taps of the block.
    fn place(&self, lane: usize, slot: usize) -> usize {
        self.places.as_ref().map_or(slot, |places| places[lane][slot] as usize)
    }
}

/// What the forward pass needs: the layout of x, and the work of each bundle.
#[derive(Debug)]
struct ForwardPlan {
    owner: BufferOwner,
    x: BlockedLayout,
    gathers: Vec<GatherPlan>,
    /// Of bundles whose sums are split.
    splits: Vec<Option<SplitSums>>,
}

/// What the gradients need: the layouts of dy and x, and the work of each bundle.
#[derive(Debug)]
struct BackwardPlan {
    owner: BufferOwner,
    dy: BlockedLayout,
    x: BlockedLayout,
    gathers: Vec<Vec<GatherPlan>>,
    chunks: Vec<Vec<TapChunk>>,
    /// Of bundles whose sums, or weight gradients, are split.
    split_gathers: Vec<Option<SplitSums>>,
    split_chunks: Vec<Option<SplitCorrelations>>,
}

/// The decisions for a table, a geometry and an instruction set.
#[derive(Debug)]
pub(super) struct LanesEngine {
    set: Supported,
    table: Arc<TapTable>,
    geometry: Geometry,
    /// For each channel of the table, whether a block computes it.
    computed: Vec<bool>,
    /// The taps of each bundle.
    taps: Vec<Vec<Tap>>,
    blocks: Vec<ChannelBlock>,
    forward: OnceLock<ForwardPlan>,
    backward: OnceLock<BackwardPlan>,
}

impl LanesEngine {
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
                blocks.push(ChannelBlock { bundle, channels: channels.to_vec(), lanes, places });
            }
        }
        let taps = bundles.into_iter().map(|bundle| bundle.taps).collect();
        let (forward, backward) = Default::default();
        LanesEngine { set, table, geometry, computed, taps, blocks, forward, backward }
    }

    fn in_len(&self) -> usize {
        self.geometry.input.0 * self.geometry.input.1
    }

    fn out_len(&self) -> usize {
        self.geometry.output.0 * self.geometry.output.1
    }

    /// The taps of each bundle that ever read inside the image. The others, which a dilation may carry arbitrarily far,
    /// would only widen the halos.
    fn planned_taps(&self) -> Vec<Vec<IndexedTap>> {
        self.taps.iter().map(|taps| reading(taps, &self.geometry)).collect()
    }

    fn forward_plan(&self) -> &ForwardPlan {
        self.forward.get_or_init(|| {
            let taps = self.planned_taps();
            let many = self.set.has_many_registers();
            let outlines: Vec<_> =
                taps.iter().map(|taps| GatherOutline::forward(taps, &self.geometry).for_registers(many)).collect();
            let x = GatherOutline::source_layout(&outlines.iter().collect::<Vec<_>>(), self.geometry.input, self.set.lanes());
            let gathers: Vec<GatherPlan> =
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
            ForwardPlan { owner: BufferOwner::new(), x, gathers, splits }
        })
    }

    /// Channels whose sums are computed in parts in the forward pass.
    pub fn channels_in_parts(&self) -> usize {
        let splits = &self.forward_plan().splits;
        self.blocks.iter().filter(|block| splits[block.bundle].is_some()).map(|block| block.channels.len()).sum()
    }

    fn backward_plan(&self) -> &BackwardPlan {
        self.backward.get_or_init(|| {
            let taps = self.planned_taps();
            let many = self.set.has_many_registers();
            let outlines: Vec<Vec<_>> = taps
                .iter()
                .map(|taps| {
                    GatherOutline::backward(taps, &self.geometry).into_iter().map(|o| o.for_registers(many)).collect()
                })
                .collect();
            let chunks: Vec<_> = taps.iter().map(|taps| TapChunkOutlines::new(taps, &self.geometry)).collect();
            let lanes = self.set.lanes();
            let dy = GatherOutline::source_layout(
                &outlines.iter().flatten().collect::<Vec<_>>(),
                self.geometry.output,
                lanes,
            );
            let halo = chunks.iter().map(TapChunkOutlines::halo).max().unwrap_or(0);
            let x = BlockedLayout { halo, ..BlockedLayout::bare(self.geometry.input) };
            let gathers: Vec<Vec<GatherPlan>> =
                outlines.iter().map(|phases| phases.iter().map(|o| o.resolve(&dy, lanes, many)).collect()).collect();
            let chunks: Vec<Vec<TapChunk>> = chunks.into_iter().map(|chunks| chunks.resolve(&x, lanes)).collect();
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
            let backwards = |taps: &Vec<IndexedTap>| {
                let taps: Vec<_> = taps.iter().map(|&(tap, index)| (Tap { dh: -tap.dh, dw: -tap.dw }, index)).collect();
                SplitSums::new(self.set, &taps, &reversed)
            };
            let split_gathers = taps.iter().map(backwards).collect();
            let split_chunks = taps.iter().map(|taps| SplitCorrelations::new(self.set, taps, &self.geometry)).collect();
            BackwardPlan { owner: BufferOwner::new(), dy, x, gathers, chunks, split_gathers, split_chunks }
        })
    }
}

/// The taps that ever read inside the image, with their places in the list.
fn reading(taps: &[Tap], geometry: &Geometry) -> Vec<IndexedTap> {
    taps.iter().copied().zip(0..).filter(|&(tap, _)| geometry.valid(tap).count() > 0).collect()
}

/// Estimated time of the sums of one channel block with these taps, in multiply-adds of a vector.
pub(super) fn time_of_sums(taps: &[Tap], geometry: &Geometry) -> f64 {
    let numbered: Vec<_> = taps.iter().copied().zip(0..).collect();
    GatherOutline::forward(&numbered, geometry).time()
}
