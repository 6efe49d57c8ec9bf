//! How a pass is divided among blocks and threads: results per thread, size of the tiles, images of a block, and the
//! direction of every group, by a model of the time that a multiprocessor takes.

use super::cells::{Cell, Direction, Extent, MOST_CHUNK, Pass, Planes, chunks};
use crate::ops::gpu::{SHARED_BYTES, THREADS};
use std::collections::BTreeSet;

/// Results per thread that kernels are compiled for: sides of feature maps are multiples of 7 or 8.
const RESULTS: [usize; 4] = [7, 8, 14, 16];

/// Largest product of strides that kernels with tiles take.
pub(super) const MOST_PHASES: usize = 16;

/// Shared memory of a multiprocessor in words, which its blocks share.
const MULTIPROCESSOR_WORDS: usize = (160 << 10) / 4;

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
                let mut others = 6.0;
                if pass == Pass::WeightGrad {
                    reads += results as f64 / per_bundle(length) as f64;
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

/// Cells of a tile and where they lie in memory: the numbers of the kernels' `Area`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub rows: usize,
    pub cols: usize,
    pub pitch: usize,
    pub lines: usize,
    pub bias: usize,
}

/// Banks of shared memory, and lanes of a warp.
const BANKS: usize = 32;

/// How the positions of a group lie in shared memory, as far as banks see it: the next line is a pitch of words further,
/// the next strip Q words along the lines and, on a diagonal, Q lines back or ahead. Lanes meet in no bank if that is as
/// if the lines went on: `Q = steps * pitch` modulo the banks.
#[derive(Debug, Clone, Copy)]
struct Banks {
    direction: Direction,
    results: usize,
    strips: usize,
    lines: usize,
}

impl Banks {
    /// With a few lines of threads without work, if that lets a pitch be found: Q and the steps must have the same powers
    /// of two.
    fn of(direction: Direction, results: usize, strips: usize, live: usize) -> Self {
        let banks = |lines| Banks { direction, results, strips, lines };
        (live..live + 4).map(banks).find(Banks::fit).unwrap_or(banks(live))
    }

    /// Whether there is such a pitch.
    fn fit(&self) -> bool {
        self.strips == 1 || (self.steps() % BANKS).trailing_zeros() == self.results.trailing_zeros()
    }

    fn steps(&self) -> usize {
        match self.direction {
            Direction::AlongRows | Direction::AlongColumns => self.lines,
            Direction::DownRight => self.lines + self.results,
            Direction::DownLeft => self.lines - self.results,
        }
    }

    fn is_diagonal(&self) -> bool {
        matches!(self.direction, Direction::DownRight | Direction::DownLeft)
    }

    /// The smallest pitch for `along` words. It is odd, so that neighbouring lines are in different banks.
    fn pitch(&self, along: usize) -> usize {
        let pitches = (0..BANKS / 2).map(|i| (along | 1) + 2 * i);
        let fits = |pitch: &usize| self.strips == 1 || (self.steps() * pitch) % BANKS == self.results % BANKS;
        pitches.clone().find(fits).unwrap_or(along | 1)
    }

    /// `words` of an image, rounded up so that the next image goes on where this one's positions end.
    fn image(&self, words: usize, pitch: usize) -> usize {
        let positions = self.strips * self.lines * pitch;
        words + (positions % BANKS + BANKS - words % BANKS) % BANKS
    }
}

impl Area {
    fn new(banks: Banks, rows: usize, cols: usize) -> Self {
        let (along, lines) = if banks.direction == Direction::AlongRows { (cols, rows) } else { (rows, cols) };
        // A diagonal that leaves the last line goes on in the first, in the next bank if there are whole rounds of lines.
        let whole = lines.next_multiple_of(BANKS);
        let lines = if banks.is_diagonal() && 2 * whole <= 3 * lines { whole } else { lines };
        Area { rows, cols, pitch: banks.pitch(along), lines, bias: (rows + banks.results).next_multiple_of(lines) }
    }

    pub fn words(&self) -> usize {
        self.lines * self.pitch
    }
}

/// How a group's part of a tile is divided among threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Division {
    pub strips: usize,
    /// Lines of threads, of which those from `live` on have nothing to do.
    pub lines: usize,
    pub live: usize,
    pub source: Area,
    pub results: Area,
    /// Words of all phases of one image, and of its results' gradients.
    pub source_words: usize,
    pub result_words: usize,
    /// Cycles that a read of a warp takes, about.
    pub conflicts: f64,
}

impl Division {
    pub fn new(pattern: &Pattern, (rows, cols): (usize, usize), results: usize) -> Self {
        let direction = pattern.direction;
        let (strips, live) = match direction {
            Direction::AlongRows => (cols.div_ceil(results), rows),
            Direction::AlongColumns => (rows.div_ceil(results), cols),
            _ => (rows.div_ceil(results), cols + results - 1),
        };
        let whole = strips * results;
        let (rows, cols, lined) = match direction {
            Direction::AlongRows => (rows, whole, whole),
            Direction::AlongColumns => (whole, cols, cols),
            _ => (whole, cols, live),
        };
        let (down, across) = pattern.extent.margin();
        let banks = Banks::of(direction, results, strips, live);
        let source = Area::new(banks, rows + down, cols + across);
        let results = Area::new(banks, rows, lined);
        let source_words = banks.image(pattern.phases * source.words(), source.pitch);
        let result_words = banks.image(results.words(), results.pitch);
        let conflicts =
            if banks.fit() && (!banks.is_diagonal() || source.lines.is_multiple_of(BANKS)) { 1.0 } else { 1.6 };
        Division { strips, lines: banks.lines, live, source, results, source_words, result_words, conflicts }
    }

    pub fn positions(&self) -> usize {
        self.strips * self.lines
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
}

impl Problem<'_> {
    /// The fastest division by the model, or none if no tile fits into shared memory.
    pub fn solve(&self) -> Option<Tiling> {
        let (rows, cols) = self.planes.cells();
        let mut best: Option<Tiling> = None;
        for results in RESULTS {
            for tile_rows in sides(rows, results) {
                for tile_cols in sides(cols, results) {
                    let found = self.divide(results, (tile_rows, tile_cols));
                    best = match (best, found) {
                        (Some(best), Some(found)) if found.cycles >= best.cycles => Some(best),
                        (best, found) => found.or(best),
                    };
                }
            }
        }
        best
    }

    fn divide(&self, results: usize, tile: (usize, usize)) -> Option<Tiling> {
        let phases = self.planes.phases();
        let mut patterns = Vec::with_capacity(self.patterns.len());
        let (mut positions, mut source_words, mut result_words) = (0, 0, 0);
        let (mut weights, mut entries, mut bundles, mut cycles, mut channels) = (0, 0, 0, 0.0, 0);
        for (group, &count) in self.patterns.iter().zip(self.channels) {
            let time = |pattern: &Pattern| {
                let division = Division::new(pattern, tile, results);
                // Instructions per cell: two pixels at once, or one by one with strides.
                let per_cell = if phases == 1 { 8.0 } else { 30.0 };
                let staged = per_cell / 128.0 * (phases * division.source.words()) as f64;
                let warps = division.positions() as f64 / 32.0;
                (
                    staged + warps * (pattern.cycles(results, self.pass, division.conflicts) + 2.0 * results as f64),
                    division,
                )
            };
            let all = group.iter().enumerate().map(|(index, pattern)| (index, pattern, time(pattern)));
            let (index, pattern, (time, division)) = all.min_by(|a, b| a.2.0.total_cmp(&b.2.0))?;
            patterns.push(index);
            positions = positions.max(division.positions());
            source_words = source_words.max(division.source_words);
            result_words = result_words.max(division.result_words);
            weights = weights.max(pattern.weight_words());
            entries = entries.max(pattern.chunk_count().max(entry_count(pattern)));
            bundles = bundles.max(pattern.bundles().iter().sum::<usize>());
            cycles += time * count as f64;
            channels += count;
        }
        let (down, across) = self.planes.result_stride;
        let result_pitch = (tile.1 * across) | 1;
        let result_image = tile.0 * down * result_pitch;
        if self.pass != Pass::WeightGrad {
            result_words = result_image;
        }
        let fit = |images: usize| {
            let threads = threads(images * positions);
            let parts = parts(bundles, threads / 32);
            let first = match self.pass {
                Pass::WeightGrad => (bundles * parts * MOST_CHUNK).max(32),
                _ => weights,
            };
            let chunks = first.next_multiple_of(4);
            let source = chunks + (2 * entries).next_multiple_of(4);
            let results = source + (images * source_words).next_multiple_of(4);
            let words = results + (images * result_words).next_multiple_of(4);
            let layout = SharedLayout { weights: 0, chunks, source, results, words, result_pitch, result_image };
            (4 * words <= SHARED_BYTES).then_some((threads, parts, layout))
        };
        // Small planes share a block until it has threads enough.
        let mut images = 1;
        let (mut threads, mut parts, mut layout) = fit(1)?;
        while images < 64 && images * positions < THREADS / 2 {
            let Some(more) = fit(2 * images).filter(|(_, _, layout)| 4 * layout.words <= SHARED_BYTES / 2) else {
                break;
            };
            images *= 2;
            (threads, parts, layout) = more;
        }
        let (rows, cols) = self.planes.cells();
        let tiles = rows.div_ceil(tile.0) * cols.div_ceil(tile.1);
        // Threads without a position, and multiprocessors with too few threads to hide that memory is slow.
        let rounds = (images * positions).div_ceil(threads);
        let idle = (rounds * threads) as f64 / (images * positions) as f64;
        let resident = (MULTIPROCESSOR_WORDS / layout.words).min(REGISTERS.0 / REGISTERS.1 / threads).min(32) * threads;
        let waiting = (ENOUGH_THREADS / resident.max(1) as f64).max(1.0);
        let fixed = (weights + 300) as f64 * 0.2 / images as f64;
        let cycles = (cycles / channels.max(1) as f64 * idle + fixed) * waiting * tiles as f64;
        Some(Tiling { results, tile, images, threads, parts, patterns, layout, cycles })
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
