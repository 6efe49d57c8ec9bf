//! How a pass is divided among blocks and threads: results of a register tile, size of the tiles, images of a block, and
//! the direction of every tap group, whatever is fastest by the model of [`cost`](super::cost).

use super::chunks::{ChunkedTaps, MOST_TAPS, TapExtent};
use super::cost::{chunk_cycles, toeplitz_cycles};
use super::layout::{GroupLayout, LaneOrder};
use super::phases::{Pass, PassShape, Size};
use super::toeplitz::{block_words, can_be_blocks, toeplitz_blocks};
use crate::ops::gpu::{SHARED_BYTES, THREADS};

/// Results of a register tile that kernels are compiled for: sides of feature maps are multiples of 7 or 8.
const RESULTS: [usize; 4] = [7, 8, 14, 16];

/// Largest product of strides that kernels with tiles take.
const MOST_PHASES: usize = 16;

/// Most images of a block.
const MOST_IMAGES: usize = 64;

/// Shared memory of a multiprocessor in words, which its blocks share.
const MULTIPROCESSOR_WORDS: usize = (160 << 10) / 4;

/// Words of global memory per cycle and multiprocessor: 3.35 TB/s by 132 of them at 1.98 GHz.
const WORDS_PER_CYCLE: f64 = 3.2;

/// Threads of a multiprocessor above which waiting for memory is hidden.
const ENOUGH_THREADS: f64 = 512.0;

/// Registers of a multiprocessor.
const MULTIPROCESSOR_REGISTERS: usize = 65_536;

/// Registers of a thread of the tiled kernels, about.
const THREAD_REGISTERS: usize = 112;

/// The decisions for a pass.
#[derive(Debug, Clone)]
pub(super) struct Tiling {
    /// Results of a register tile.
    pub results: usize,
    /// Cells of a tile.
    pub tile: Size,
    /// Images of a block, if there are as many.
    pub images: usize,
    pub threads: usize,
    pub order: LaneOrder,
    /// Warps that share the positions of a pack of chunks, in the weight gradient (split-K).
    pub warp_splits: usize,
    /// For each tap group, which of its directions.
    pub directions: Vec<usize>,
    pub regions: SharedRegions,
    /// Modeled cycles of a multiprocessor per plane.
    pub cycles: f64,
}

impl Tiling {
    /// Tiles of a plane.
    pub fn tiles(&self, shape: &PassShape) -> Size {
        shape.cells().div_ceil(self.tile)
    }

    /// Whether a block's pixels of a plane are whole rows, one below the other.
    pub fn has_whole_rows(&self, shape: &PassShape, plane: Size) -> bool {
        let tiles = self.tiles(shape);
        tiles.cols == 1 && (tiles.rows == 1 || self.images == 1) && plane.count() < 1 << 30
    }
}

/// Where the regions of shared memory start, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SharedRegions {
    /// Weights, or the sums of the weight gradient.
    pub weights: usize,
    pub chunks: usize,
    /// Places of the register tiles, in the weight gradient.
    pub places: usize,
    pub source: usize,
    pub results: usize,
    /// The end of the last region.
    pub words: usize,
    /// Words from one row of results to the next, and of one image's results, where they are on their way to memory.
    pub result_pitch: usize,
    pub result_image_words: usize,
}

/// A tap group to be tiled.
#[derive(Debug)]
pub(super) struct GroupTaps {
    /// Channels that have these taps.
    pub channels: usize,
    /// Its chunks along every direction.
    pub directions: Vec<ChunkedTaps>,
}

/// What is to be divided.
pub(super) struct TilingProblem<'a> {
    pub pass: Pass,
    pub shape: PassShape,
    pub groups: &'a [GroupTaps],
    /// Images that there are at least.
    pub images: usize,
}

/// A way to divide planes.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    results: usize,
    tile: Size,
    order: LaneOrder,
}

impl Candidate {
    fn has_blocks(&self) -> bool {
        matches!(self.order, LaneOrder::AcrossImages { .. })
    }
}

/// The best direction of a group, and what it takes.
struct GroupChoice {
    direction: usize,
    layout: GroupLayout,
    cycles: f64,
    /// Words of weights.
    weights: usize,
    /// Entries of the list of chunks, packed chunks or blocks.
    entries: usize,
    /// What the weight gradient divides among warps: packs of chunks, or blocks.
    packs: usize,
}

/// The largest shared memory that any group takes.
#[derive(Debug, Default)]
struct Demand {
    weights: usize,
    entries: usize,
    packs: usize,
    source_words: usize,
    result_words: usize,
}

/// A block of some images.
struct BlockPlan {
    threads: usize,
    warp_splits: usize,
    regions: SharedRegions,
}

impl TilingProblem<'_> {
    /// The fastest tiling by the model, or none if no tile fits into shared memory.
    pub fn solve(&self) -> Option<Tiling> {
        if self.shape.phases().max(self.shape.output_phases()) > MOST_PHASES {
            return None;
        }
        let mut best: Option<Tiling> = None;
        for candidate in self.candidates() {
            best = match (best, self.divide(candidate)) {
                (Some(best), Some(found)) if found.cycles >= best.cycles => Some(best),
                (best, found) => found.or(best),
            };
        }
        best
    }

    fn candidates(&self) -> Vec<Candidate> {
        let cells = self.shape.cells();
        let mut candidates = Vec::new();
        for results in RESULTS {
            for rows in sides(cells.rows, results) {
                for cols in sides(cells.cols, results) {
                    for padded in [true, false] {
                        let order = LaneOrder::WithinImage { padded };
                        candidates.push(Candidate { results, tile: Size { rows, cols }, order });
                    }
                }
            }
            // Toeplitz blocks take whole planes of one size.
            let same = self.shape.source == self.shape.result && self.shape.phases() == 1;
            let orders = [0, 1, 2, 3].map(|lines_log2| LaneOrder::AcrossImages { lines_log2 });
            for order in orders.into_iter().filter(|order| same && order.images() <= self.images) {
                candidates.push(Candidate { results, tile: cells, order });
            }
        }
        candidates
    }

    /// The fastest direction of a group; none if no direction allows Toeplitz blocks that are asked for.
    fn choose(&self, group: &GroupTaps, candidate: Candidate) -> Option<GroupChoice> {
        let possible = |(_, taps): &(usize, &ChunkedTaps)| !candidate.has_blocks() || can_be_blocks(taps);
        let choices = group.directions.iter().enumerate().filter(possible);
        let choices = choices.map(|(direction, taps)| self.choice(direction, taps, candidate));
        choices.min_by(|a, b| a.cycles.total_cmp(&b.cycles))
    }

    fn choice(&self, direction: usize, taps: &ChunkedTaps, candidate: Candidate) -> GroupChoice {
        let Candidate { results, tile, order } = candidate;
        let (phases, layout) = (self.shape.phases(), GroupLayout::new(taps, tile, results, order));
        // Instructions per cell: two pixels at once, or one by one with strides.
        let per_cell = if phases == 1 { 8.0 } else { 30.0 };
        let staging = per_cell / 128.0 * (phases * layout.source.words()) as f64;
        let writing = |warps: f64| warps * 2.0 * results as f64;
        if candidate.has_blocks() {
            let blocks = toeplitz_blocks(taps, results, layout.strips);
            let warps = (layout.strips * layout.line_blocks().count()) as f64 / order.images() as f64;
            let computing = toeplitz_cycles(&blocks, &layout, results, self.pass);
            return GroupChoice {
                direction,
                layout,
                cycles: staging + computing + writing(warps),
                weights: blocks.len() * block_words(results),
                entries: blocks.len(),
                packs: blocks.len(),
            };
        }
        let warps = layout.positions(1) as f64 / 32.0;
        let computing = warps * chunk_cycles(taps, results, self.pass, layout.conflicts);
        GroupChoice {
            direction,
            layout,
            cycles: staging + computing + writing(warps),
            weights: taps.weight_words(),
            entries: taps.chunk_count().max(taps.packed_chunk_count()),
            packs: taps.pack_count(),
        }
    }

    fn divide(&self, candidate: Candidate) -> Option<Tiling> {
        let Candidate { results, tile, order } = candidate;
        let choices: Vec<GroupChoice> =
            self.groups.iter().map(|group| self.choose(group, candidate)).collect::<Option<_>>()?;
        let demand = choices.iter().fold(Demand::default(), |demand, choice| Demand {
            weights: demand.weights.max(choice.weights),
            entries: demand.entries.max(choice.entries),
            packs: demand.packs.max(choice.packs),
            source_words: demand.source_words.max(choice.layout.source_words),
            result_words: demand.result_words.max(choice.layout.result_words),
        });
        let positions =
            |images: usize| choices.iter().map(|choice| choice.layout.positions(images)).max().unwrap_or_default();
        let fit = |images: usize| self.block_plan(candidate, &demand, images, positions(images));

        // Small planes share a block until it has threads enough. The sums of Toeplitz blocks over a warp are for all
        // images of a block together, so that more images make them cheaper.
        let mut images = order.images();
        let mut plan = fit(images)?;
        let sums = candidate.has_blocks() && self.pass == Pass::WeightGrad;
        while images < MOST_IMAGES && (sums || positions(images) < THREADS / 2) {
            let more = fit(2 * images).filter(|plan| 4 * plan.regions.words <= SHARED_BYTES / 2);
            let Some(more) = more else { break };
            images *= 2;
            plan = more;
        }
        let BlockPlan { threads, warp_splits, regions } = plan;
        let computing = self.computing_cycles(&choices, &demand, images, &plan, positions(images));
        let tiles = self.shape.cells().div_ceil(tile);
        let computing = computing * tiles.count() as f64;
        let moving = self.moving_cycles(&choices, tiles);
        let cycles = computing.max(moving) + 0.1 * computing.min(moving);
        let directions = choices.iter().map(|choice| choice.direction).collect();
        Some(Tiling { results, tile, images, threads, order, warp_splits, directions, regions, cycles })
    }

    /// Threads and shared memory of a block with `positions` register tiles, if it fits.
    fn block_plan(&self, candidate: Candidate, demand: &Demand, images: usize, positions: usize) -> Option<BlockPlan> {
        let Candidate { results, tile, .. } = candidate;
        let threads = threads_for(positions);
        let warp_splits = splits_for(demand.packs, threads / 32);
        let result_pitch = (tile.cols * self.shape.result_stride.cols) | 1;
        let result_image_words = tile.rows * self.shape.result_stride.rows * result_pitch;
        let sums_of_pack = if candidate.has_blocks() { block_words(results) } else { MOST_TAPS };
        let (weight_words, place_words, result_words) = match self.pass {
            Pass::WeightGrad => {
                // At least as many as the sums over a block need.
                let sums = (demand.packs * warp_splits * sums_of_pack).max(32);
                (sums, 2 * positions, demand.result_words)
            }
            Pass::Forward | Pass::InputGrad => (demand.weights, 0, result_image_words),
        };
        let chunks = weight_words.next_multiple_of(4);
        let places = chunks + (2 * demand.entries).next_multiple_of(4);
        let source = places + place_words.next_multiple_of(4);
        let results = source + (images * demand.source_words).next_multiple_of(4);
        let words = results + (images * result_words).next_multiple_of(4);
        let regions =
            SharedRegions { weights: 0, chunks, places, source, results, words, result_pitch, result_image_words };
        (4 * words <= SHARED_BYTES).then_some(BlockPlan { threads, warp_splits, regions })
    }

    /// Cycles of a multiprocessor to compute a tile of a plane.
    fn computing_cycles(
        &self,
        choices: &[GroupChoice],
        demand: &Demand,
        images: usize,
        plan: &BlockPlan,
        positions: usize,
    ) -> f64 {
        let groups = choices.iter().zip(self.groups);
        let cycles: f64 = groups.map(|(choice, group)| choice.cycles * group.channels as f64).sum();
        // Threads without a position, and multiprocessors with too few threads to hide that memory is slow.
        let rounds = positions.div_ceil(plan.threads);
        let idle = (rounds * plan.threads) as f64 / positions as f64;
        let by_registers = MULTIPROCESSOR_REGISTERS / THREAD_REGISTERS / plan.threads;
        let blocks = (MULTIPROCESSOR_WORDS / plan.regions.words).min(by_registers).min(32);
        let waiting = (ENOUGH_THREADS / (blocks * plan.threads).max(1) as f64).max(1.0);
        let fixed = (demand.weights + 300) as f64 * 0.2 / images as f64;
        (cycles / self.channels() * idle + fixed) * waiting
    }

    /// Cycles of a multiprocessor's share of global memory for a plane: the source with what is read twice by tiles that
    /// meet, and what is written or, in the weight gradient, read beside it.
    fn moving_cycles(&self, choices: &[GroupChoice], tiles: Size) -> f64 {
        // Rows or columns that `seams` between tiles read twice, on average over the channels.
        let twice = |seams: usize, halo: fn(&TapExtent) -> usize| {
            let groups = choices.iter().zip(self.groups);
            let halos = groups.map(|(choice, group)| (halo(&choice.layout.extent) * group.channels) as f64);
            seams as f64 * halos.sum::<f64>() / self.channels()
        };
        let source = self.shape.source;
        let rows = source.rows as f64 + twice(tiles.rows - 1, |extent| extent.rows.halo());
        let cols = source.cols as f64 + twice(tiles.cols - 1, |extent| extent.cols.halo());
        (rows * cols + self.shape.result.count() as f64) / WORDS_PER_CYCLE
    }

    fn channels(&self) -> f64 {
        self.groups.iter().map(|group| group.channels).sum::<usize>().max(1) as f64
    }
}

/// Sides of tiles to try: the whole side, and parts of it that are whole strips.
fn sides(side: usize, results: usize) -> Vec<usize> {
    let mut sides = vec![side];
    for parts in [2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256] {
        let part = side.div_ceil(parts).next_multiple_of(results);
        if part < *sides.last().unwrap_or(&0) {
            sides.push(part);
        }
    }
    // Where even one strip does not fit, a single line may.
    for small in [results, 1] {
        if small < *sides.last().unwrap_or(&0) {
            sides.push(small);
        }
    }
    sides
}

/// Threads for a number of register tiles: whole warps, with few left without one in the last round.
fn threads_for(positions: usize) -> usize {
    let rounds = positions.div_ceil(THREADS).max(1);
    positions.div_ceil(rounds).next_multiple_of(32).clamp(64, THREADS)
}

/// Warps that share a pack, so that all warps have about as much to do.
fn splits_for(packs: usize, warps: usize) -> usize {
    let rounds = |splits: usize| (packs * splits).div_ceil(warps) as f64 / splits as f64;
    let least = [1, 2, 4, 8].into_iter().map(rounds).fold(f64::INFINITY, f64::min);
    [1, 2, 4, 8].into_iter().find(|&splits| rounds(splits) <= 1.05 * least).unwrap_or(1)
}
