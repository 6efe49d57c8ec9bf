//! How a pass is divided among blocks and threads: results per thread, size of the tiles, images of a block, and the
//! direction of every group, by a model of the time that a multiprocessor takes.

use super::cells::{Cell, Direction, Extent, MOST_CHUNK, Pass, Planes, chunks};
use super::division::{Division, Order};
use super::squares;
use crate::ops::gpu::{SHARED_BYTES, THREADS};
use std::collections::BTreeSet;

/// Results per thread that kernels are compiled for: sides of feature maps are multiples of 7 or 8.
const RESULTS: [usize; 4] = [7, 8, 14, 16];

/// Largest product of strides that kernels with tiles take.
pub(super) const MOST_PHASES: usize = 16;

/// Shared memory of a multiprocessor in words, which its blocks share.
const MULTIPROCESSOR_WORDS: usize = (160 << 10) / 4;

/// Words of global memory per cycle and multiprocessor: 3.35 TB/s by 132 of them at 1.98 GHz.
const WORDS_PER_CYCLE: f64 = 3.2;

/// Threads of a multiprocessor above which waiting for memory is hidden.
const ENOUGH_THREADS: f64 = 512.0;

/// Registers of a multiprocessor, and of a thread of the tiled kernels, about.
const REGISTERS: (usize, usize) = (65_536, 112);

/// The chunks of one group along one direction.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub direction: Direction,
    pub chunks: Vec<Vec<Vec<Cell>>>,
    pub extent: Extent,
    /// Phases of the source that are read.
    pub phases: usize,
    /// Chunks of each length, over all programs.
    counts: [usize; MOST_CHUNK + 1],
}

impl Pattern {
    pub fn new(programs: &[Vec<Cell>], direction: Direction) -> Self {
        let chunks: Vec<_> = programs.iter().map(|program| chunks(program, direction)).collect();
        let mut counts = [0; MOST_CHUNK + 1];
        chunks.iter().flatten().for_each(|chunk| counts[chunk.len()] += 1);
        let phases: BTreeSet<usize> = programs.iter().flatten().map(|cell| cell.phase).collect();
        Pattern { direction, chunks, extent: Extent::of(programs), phases: phases.len().max(1), counts }
    }

    /// Words of weights, each chunk filled up to a multiple of four.
    pub fn weight_words(&self) -> usize {
        (1..=MOST_CHUNK).map(|length| self.counts[length] * length.next_multiple_of(4)).sum()
    }

    /// Number of chunks.
    pub fn chunk_count(&self) -> usize {
        self.counts.iter().sum()
    }

    /// For each length, the number of bundles of chunks with at most eight taps together.
    pub fn bundles(&self) -> [usize; MOST_CHUNK + 1] {
        std::array::from_fn(|length| if length == 0 { 0 } else { self.counts[length].div_ceil(per_bundle(length)) })
    }

    /// Cycles of a multiprocessor for the results of one warp: the slower of issuing (4 instructions per cycle) and
    /// reading shared memory (one access of a warp per cycle).
    fn cycles(&self, results: usize, pass: Pass, conflicts: f64) -> f64 {
        (1..=MOST_CHUNK)
            .map(|length| {
                let mut reads = (results + length - 1 + length.div_ceil(4) + 1) as f64;
                // Addresses and loops, as compiled.
                let mut others = 17.0;
                if pass == Pass::WeightGrad {
                    reads += (results as f64 + 2.0) / per_bundle(length) as f64;
                    // The sums over a warp, for some positions each.
                    others += 8.0;
                }
                let issued = (results * length) as f64 + reads + others;
                self.counts[length] as f64 * (issued / 4.0).max(conflicts * reads)
            })
            .sum()
    }
}

/// Chunks of a length that one bundle of the weight gradient has.
pub(super) fn per_bundle(length: usize) -> usize {
    match length {
        1 => 8,
        2 => 4,
        3 | 4 => 2,
        _ => 1,
    }
}

/// The decisions for a pass.
#[derive(Debug, Clone)]
pub(super) struct Tiling {
    /// Results per thread.
    pub results: usize,
    /// Cells of a tile.
    pub tile: (usize, usize),
    /// Images of a block, if there are as many.
    pub images: usize,
    pub threads: usize,
    pub order: Order,
    /// Parts of a bundle's positions, in the weight gradient.
    pub parts: usize,
    /// For each group, which of its patterns.
    pub patterns: Vec<usize>,
    pub layout: SharedLayout,
    /// Modelled cycles of a multiprocessor per plane.
    pub cycles: f64,
}

impl Tiling {
    /// Tiles of a plane, downwards and across.
    pub fn tiles(&self, planes: &Planes) -> (usize, usize) {
        let (rows, cols) = planes.cells();
        (rows.div_ceil(self.tile.0), cols.div_ceil(self.tile.1))
    }

    /// Whether a block's pixels of a plane of `rows` and `cols` are whole rows, one below the other.
    pub fn whole_rows(&self, planes: &Planes, (rows, cols): (usize, usize)) -> bool {
        let (down, across) = self.tiles(planes);
        across == 1 && (down == 1 || self.images == 1) && rows * cols < 1 << 30
    }
}

/// Places in shared memory, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SharedLayout {
    pub weights: usize,
    pub chunks: usize,
    /// Of positions, in the weight gradient.
    pub places: usize,
    pub source: usize,
    pub results: usize,
    pub words: usize,
    /// Of the results of one image as the forward pass writes them.
    pub result_pitch: usize,
    pub result_image: usize,
}

/// What is to be divided.
pub(super) struct Problem<'a> {
    pub pass: Pass,
    pub planes: Planes,
    /// The patterns of every group, one per direction.
    pub patterns: &'a [Vec<Pattern>],
    /// Channels of every group.
    pub channels: &'a [usize],
    /// Images that there are at least.
    pub images: usize,
}

impl Problem<'_> {
    /// The fastest division by the model, or none if no tile fits into shared memory.
    pub fn solve(&self) -> Option<Tiling> {
        let (rows, cols) = self.planes.cells();
        let mut best: Option<Tiling> = None;
        let mut consider = |found: Option<Tiling>| {
            best = match (best.take(), found) {
                (Some(best), Some(found)) if found.cycles >= best.cycles => Some(best),
                (best, found) => found.or(best),
            };
        };
        for results in RESULTS {
            for tile_rows in sides(rows, results) {
                for tile_cols in sides(cols, results) {
                    for filled in [true, false] {
                        consider(self.divide(results, (tile_rows, tile_cols), Order::Lines { filled }));
                    }
                }
            }
            let squares = self.planes.source == self.planes.result && self.planes.phases() == 1;
            let bands = [0, 1, 2, 3].map(|band| Order::Bands { band });
            for order in bands.into_iter().filter(|order| squares && order.images() <= self.images) {
                consider(self.divide(results, (rows, cols), order));
            }
        }
        best
    }

    fn divide(&self, results: usize, tile: (usize, usize), order: Order) -> Option<Tiling> {
        let (phases, in_bands) = (self.planes.phases(), order.images() > 1);
        let mut patterns = Vec::with_capacity(self.patterns.len());
        let (mut divisions, mut source_words, mut result_words) = (Vec::with_capacity(self.patterns.len()), 0, 0);
        let (mut weights, mut entries, mut bundles, mut cycles, mut channels) = (0, 0, 0, 0.0, 0);
        let mut margins = [0.0; 2];
        for (group, &count) in self.patterns.iter().zip(self.channels) {
            let time = |pattern: &Pattern| {
                let division = Division::new(pattern, tile, results, order);
                // Instructions per cell: two pixels at once, or one by one with strides.
                let per_cell = if phases == 1 { 8.0 } else { 30.0 };
                let staged = per_cell / 128.0 * (phases * division.source.words()) as f64;
                let squares = if in_bands { pattern.squares(results, division.strips) } else { Vec::new() };
                let (computed, warps) = if in_bands {
                    let warps = division.strips * division.bands().count();
                    let warps = warps as f64 / order.images() as f64;
                    (pattern.square_cycles(&squares, &division, results, self.pass), warps)
                } else {
                    let warps = division.positions(1) as f64 / 32.0;
                    (warps * pattern.cycles(results, self.pass, division.conflicts), warps)
                };
                (staged + computed + warps * 2.0 * results as f64, division, squares.len())
            };
            let fit = |pattern: &&Pattern| !in_bands || pattern.can_be_squares();
            let all = group.iter().enumerate().filter(|(_, pattern)| fit(pattern));
            let all = all.map(|(index, pattern)| (index, pattern, time(pattern)));
            let (index, pattern, (time, division, squares)) = all.min_by(|a, b| a.2.0.total_cmp(&b.2.0))?;
            patterns.push(index);
            let (down, across) = division.extent.margin();
            margins = [margins[0] + (down * count) as f64, margins[1] + (across * count) as f64];
            source_words = source_words.max(division.source_words);
            result_words = result_words.max(division.result_words);
            if in_bands {
                weights = weights.max(squares * squares::words(results));
                entries = entries.max(squares);
                bundles = bundles.max(squares);
            } else {
                weights = weights.max(pattern.weight_words());
                entries = entries.max(pattern.chunk_count().max(entry_count(pattern)));
                bundles = bundles.max(pattern.bundles().iter().sum::<usize>());
            }
            divisions.push(division);
            cycles += time * count as f64;
            channels += count;
        }
        let (down, across) = self.planes.result_stride;
        let result_pitch = (tile.1 * across) | 1;
        let result_image = tile.0 * down * result_pitch;
        if self.pass != Pass::WeightGrad {
            result_words = result_image;
        }
        let positions =
            |images: usize| divisions.iter().map(|division| division.positions(images)).max().unwrap_or_default();
        let sums_each = if in_bands { squares::words(results) } else { MOST_CHUNK };
        let fit = |images: usize| {
            let threads = threads(positions(images));
            let parts = parts(bundles, threads / 32);
            let (first, listed) = match self.pass {
                Pass::WeightGrad => ((bundles * parts * sums_each).max(32), 2 * positions(images)),
                _ => (weights, 0),
            };
            let chunks = first.next_multiple_of(4);
            let places = chunks + (2 * entries).next_multiple_of(4);
            let source = places + listed.next_multiple_of(4);
            let results = source + (images * source_words).next_multiple_of(4);
            let words = results + (images * result_words).next_multiple_of(4);
            let layout =
                SharedLayout { weights: 0, chunks, places, source, results, words, result_pitch, result_image };
            (4 * words <= SHARED_BYTES).then_some((threads, parts, layout))
        };
        // Small planes share a block until it has threads enough.
        let mut images = order.images();
        let (mut threads, mut parts, mut layout) = fit(images)?;
        // The sums of squares over a warp are for the images of a block together.
        let sums = in_bands && self.pass == Pass::WeightGrad;
        while images < 64 && (sums || positions(images) < THREADS / 2) {
            let Some(more) = fit(2 * images).filter(|(_, _, layout)| 4 * layout.words <= SHARED_BYTES / 2) else {
                break;
            };
            images *= 2;
            (threads, parts, layout) = more;
        }
        let (rows, cols) = self.planes.cells();
        let tiles = rows.div_ceil(tile.0) * cols.div_ceil(tile.1);
        // Threads without a position, and multiprocessors with too few threads to hide that memory is slow.
        let rounds = positions(images).div_ceil(threads);
        let idle = (rounds * threads) as f64 / positions(images) as f64;
        let resident = (MULTIPROCESSOR_WORDS / layout.words).min(REGISTERS.0 / REGISTERS.1 / threads).min(32) * threads;
        let waiting = (ENOUGH_THREADS / resident.max(1) as f64).max(1.0);
        let fixed = (weights + 300) as f64 * 0.2 / images as f64;
        let channels = channels.max(1) as f64;
        let computing = (cycles / channels * idle + fixed) * waiting * tiles as f64;
        // What is read twice by tiles that meet, and what is written or, in the weight gradient, read beside it.
        let (down, across) = (rows.div_ceil(tile.0) - 1, cols.div_ceil(tile.1) - 1);
        let source = self.planes.source;
        let read = (source.0 as f64 + down as f64 * margins[0] / channels)
            * (source.1 as f64 + across as f64 * margins[1] / channels);
        let moving = (read + (self.planes.result.0 * self.planes.result.1) as f64) / WORDS_PER_CYCLE;
        let cycles = computing.max(moving) + 0.1 * computing.min(moving);
        Some(Tiling { results, tile, images, threads, order, parts, patterns, layout, cycles })
    }
}

/// Entries of the weight gradient's bundles, filled up.
fn entry_count(pattern: &Pattern) -> usize {
    pattern.bundles().iter().enumerate().map(|(length, count)| count * per_bundle(length)).sum()
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

/// Threads for a number of positions: whole warps, with few left without a position in the last round.
fn threads(positions: usize) -> usize {
    let rounds = positions.div_ceil(THREADS).max(1);
    positions.div_ceil(rounds).next_multiple_of(32).clamp(64, THREADS)
}

/// Parts of every bundle's positions so that all warps have about as much to do.
fn parts(bundles: usize, warps: usize) -> usize {
    let rounds = |parts: usize| (bundles * parts).div_ceil(warps) as f64 / parts as f64;
    let least = [1, 2, 4, 8].into_iter().map(rounds).fold(f64::INFINITY, f64::min);
    [1, 2, 4, 8].into_iter().find(|&parts| rounds(parts) <= 1.05 * least).unwrap_or(1)
}
