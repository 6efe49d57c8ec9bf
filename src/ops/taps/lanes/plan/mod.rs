//! Decisions made once per shape: tiles of outputs, the taps each needs, and how much margin the sheets carry.

use crate::ops::taps::{Geometry, Tap};
use std::collections::BTreeSet;

/// Accumulators of a kernel. 14 of them, a weight and a value leave room in 16 registers, and 14 divides the sides of
/// feature maps of 224-pixel images; fewer where a narrower tile reads fewer taps beside the image.
const WIDTHS: [usize; 6] = [14, 8, 7, 4, 2, 1];

/// Widest tile of which two rows are computed at a time: sums of wider ones would leave no registers for what is read.
const PAIRED_WIDTH: usize = 7;

/// A tap of a tile takes at least as long as with so many sums, since fewer wait for each other and for their weights;
/// and the same where the loop goes through the pixels of whole rows.
const LEAST_SUMS: (usize, usize) = (6, 4);

/// What the taps of a slice read for one row of outputs, at most: with the weights and the sums it fits in 32 KiB.
const SLICE_BYTES: usize = 20 << 10;

/// The first-level cache in lines of 64 bytes: sets, and how much of it the source of a tile may fill beside weights and
/// sums. Margins may be this much wider than needed, so that lines fall into different sets.
const CACHE_SETS: usize = 64;
const CACHE_LINES: usize = 6 * CACHE_SETS;
const MOST_SPREAD: usize = 8;

/// Neighboring taps of a row that share their loads.
pub(super) const MAX_RUN: usize = 4;

/// Most taps that one pass of the weight gradient accumulates.
const MAX_CHUNK: usize = 14;

/// Rows that the weight gradient adds up in registers before it adds to memory: sums of sums round less.
const STRIP_ROWS: usize = 16;

/// Columns of a strip when its taps lie in many rows: 16 columns of 14 rows stay in the first-level cache.
const STRIP_COLS: usize = 16;

/// A tap and the index of its weight.
pub(super) type Numbered = (Tap, u32);

/// The pixels of one plane for a block of channels: a row-major grid of vectors with `halo` zeros between rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sheet {
    pub rows: usize,
    pub cols: usize,
    pub halo: usize,
}

impl Sheet {
    /// Without margins.
    pub fn bare((rows, cols): (usize, usize)) -> Self {
        Sheet { rows, cols, halo: 0 }
    }

    pub fn pitch(&self) -> usize {
        self.cols + self.halo
    }

    /// Vectors in all, margins included.
    pub fn len(&self) -> usize {
        self.halo + self.rows * self.pitch()
    }

    /// Floats in all, for vectors of `lanes` values. What does not fit into memory is never less than what does.
    pub fn floats(&self, lanes: usize) -> usize {
        let rows = self.cols.saturating_add(self.halo).saturating_mul(self.rows);
        rows.saturating_add(self.halo).saturating_mul(lanes)
    }

    /// Floats from a pixel to where a tap reads.
    pub fn offset(&self, tap: Tap, lanes: usize) -> isize {
        (tap.dh as isize * self.pitch() as isize + tap.dw as isize) * lanes as isize
    }

    /// Vectors before a pixel.
    pub fn index(&self, row: usize, col: usize) -> usize {
        self.halo + row * self.pitch() + col
    }
}

/// Neighboring taps of a row: where the first reads relative to a tile's first source pixel, and which weights they
/// have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// In floats.
    pub offset: isize,
    /// In floats from the first weight of the block.
    pub weight: u32,
    /// Floats from one tap's weight to the next one's.
    pub weight_step: i32,
}

/// A column of tiles: `width` outputs, in every row.
#[derive(Debug)]
pub(super) struct Tile {
    pub first: usize,
    pub width: usize,
    /// Whether the sums start here, or go on from an earlier tile of the same outputs with other taps.
    pub starts: bool,
    /// The taps that read inside the image for some output of the tile: single ones, runs of two, three and four.
    pub runs: [Runs; MAX_RUN],
    /// Rows of taps that read the whole row of the image for every output of the tile. Offset and weight are those of
    /// the first column for the first output; weights lie beside each other, in this order or backwards.
    pub whole: Runs,
    /// The same taps for two rows of outputs at a time, where these can share more loads.
    pub pairs: Option<Pairs>,
}

/// Taps of two neighboring rows of outputs: what the upper row reads with one tap, the lower one reads with another,
/// which lies one row higher and at most one column aside. Offsets lead from the source pixel of the upper row.
#[derive(Debug)]
pub(super) struct Pairs<R = Runs> {
    /// Both in the same column; the lower row's a column to the right; or to the left. The first weight is that of the
    /// upper row, and offsets are those of the left tap.
    pub shared: [R; 3],
    /// Taps that share nothing, of the upper and of the lower row.
    pub single: [R; 2],
}

/// A [`Run`] before the layout of its source is known: its first tap, the index of its weight and that of the next one.
type Unresolved = (Tap, u32, u32);

/// The runs of one length.
#[derive(Debug)]
pub(super) struct Runs {
    /// Sorted by rows.
    pub runs: Vec<Run>,
    /// For each row of outputs, the runs that read inside the image.
    pub rows: Vec<(u32, u32)>,
}

/// Sums over taps, on a grid of outputs:
/// `target[start + step * (p, q)] = sum_i w_i * source[stride * (p, q) + tap_i]`.
///
/// The forward pass is one of these; the input gradient is one per phase of the stride.
#[derive(Debug)]
pub(super) struct Gather {
    pub stride: (usize, usize),
    pub start: (usize, usize),
    pub step: (usize, usize),
    pub tiles: Vec<Tile>,
}

/// A [`Gather`] before the layout of its source is known.
pub(in crate::ops::taps) struct Outline {
    source: (usize, usize),
    grid: (usize, usize),
    stride: (usize, usize),
    start: (usize, usize),
    step: (usize, usize),
    /// Sorted by rows, then columns.
    taps: Vec<Numbered>,
    width: usize,
}

impl Outline {
    /// The forward pass of a geometry.
    pub fn forward(taps: &[Numbered], geometry: &Geometry) -> Self {
        Self::new(taps.to_vec(), geometry.input, geometry.output, geometry.stride, ((0, 0), (1, 1)))
    }

    /// The input gradient: for each phase of the stride, the taps that reach it, read backwards.
    pub fn backward(taps: &[Numbered], geometry: &Geometry) -> Vec<Self> {
        let (sh, sw) = (geometry.stride.0 as i32, geometry.stride.1 as i32);
        let (height, width) = geometry.input;
        let mut phases = Vec::new();
        for a in 0..sh.min(height as i32) {
            for b in 0..sw.min(width as i32) {
                let reaching = taps
                    .iter()
                    .filter(|(tap, _)| (a - tap.dh).rem_euclid(sh) == 0 && (b - tap.dw).rem_euclid(sw) == 0)
                    .map(|&(tap, index)| (Tap { dh: (a - tap.dh) / sh, dw: (b - tap.dw) / sw }, index))
                    .collect();
                let start = (a as usize, b as usize);
                let grid = ((height - start.0).div_ceil(sh as usize), (width - start.1).div_ceil(sw as usize));
                phases.push(Self::new(reaching, geometry.output, grid, (1, 1), (start, geometry.stride)));
            }
        }
        phases
    }

    fn new(
        mut taps: Vec<Numbered>,
        source: (usize, usize),
        grid: (usize, usize),
        stride: (usize, usize),
        (start, step): ((usize, usize), (usize, usize)),
    ) -> Self {
        taps.sort_unstable();
        let mut outline = Outline { source, grid, stride, start, step, taps, width: 1 };
        outline.width = outline.best_width(grid.1);
        outline
    }

    fn best_width(&self, widest: usize) -> usize {
        let fitting = WIDTHS.into_iter().filter(|&width| width <= widest.min(self.grid.1));
        fitting.min_by_key(|&width| self.cost(width)).unwrap_or(1)
    }

    /// The same with narrower tiles where instructions with many registers compute two rows at a time.
    pub(super) fn for_registers(mut self, many: bool) -> Self {
        if many && self.pair_up(&self.taps).is_some() {
            self.width = self.best_width(PAIRED_WIDTH);
        }
        self
    }

    fn tile_starts(&self, width: usize) -> impl Iterator<Item = usize> {
        let last = self.grid.1 - width;
        // The last tile overlaps its neighbor where the width does not divide the row.
        (0..self.grid.1).step_by(width).map(move |first| first.min(last))
    }

    /// First and last source column that a tap reads for a tile.
    fn columns(&self, tap: Tap, first: usize, width: usize) -> (i64, i64) {
        let start = (first * self.stride.1) as i64 + i64::from(tap.dw);
        (start, start + ((width - 1) * self.stride.1) as i64)
    }

    fn reads_inside(&self, tap: Tap, first: usize, width: usize) -> bool {
        let (start, end) = self.columns(tap, first, width);
        end >= 0 && start < self.source.1 as i64
    }

    /// Output rows for which a tap reads inside the image.
    fn valid_rows(&self, tap: Tap) -> usize {
        valid_range(tap.dh, self.source.0, self.stride.0, self.grid.0).len()
    }

    /// Whether the taps of a row read the whole row of the image for every output of a tile. Going through the image in
    /// place of the taps then computes no product with a margin.
    fn reads_whole_row(&self, row: &[Numbered], first: usize, width: usize) -> bool {
        let [(left, _), .., (right, _)] = row else { return false };
        let step = |pair: &[Numbered]| i64::from(pair[1].1) - i64::from(pair[0].1);
        self.stride.1 == 1
            && self.source.1 > 1
            && i64::from(left.dw) <= -((first + width - 1) as i64)
            && i64::from(right.dw) >= self.source.1 as i64 - 1 - first as i64
            && step(row).abs() == 1
            && row.windows(2).all(|pair| follows(pair) && step(pair) == step(row))
    }

    /// Time of one block with tiles of this width, in eighths of a fused multiply-add: a tap of a tile takes `width` of
    /// them and half a load more than these hide; a row of a tile takes about ten more, and its stores.
    fn cost(&self, width: usize) -> usize {
        let rows: Vec<_> = self.taps.chunk_by(same_row).map(|row| (row, self.valid_rows(row[0].0))).collect();
        self.tile_starts(width)
            .map(|first| {
                let of_row = |&(row, outputs): &(&[Numbered], usize)| {
                    let (taps, least) = if self.reads_whole_row(row, first, width) {
                        (self.source.1, LEAST_SUMS.1)
                    } else {
                        let inside = row.iter().filter(|(tap, _)| self.reads_inside(*tap, first, width));
                        (inside.count(), LEAST_SUMS.0)
                    };
                    taps * outputs * (8 * width.max(least) + 4)
                };
                rows.iter().map(of_row).sum::<usize>() + self.grid.0 * 8 * (width + 10)
            })
            .sum()
    }

    /// Estimated time of one block, in multiply-adds of a vector.
    pub fn time(&self) -> f64 {
        self.cost(self.width) as f64 / 8.0
    }

    /// Margin that the tiles need left or right of the source.
    pub fn halo(&self) -> usize {
        let rows = || self.taps.chunk_by(same_row);
        let beside = self.tile_starts(self.width).flat_map(|first| {
            let by_taps = rows().filter(move |row| !self.reads_whole_row(row, first, self.width)).flatten();
            let kept = by_taps.filter(move |(tap, _)| self.reads_inside(*tap, first, self.width));
            kept.map(move |&(tap, _)| {
                let (start, end) = self.columns(tap, first, self.width);
                (-start).max(end - (self.source.1 as i64 - 1)).max(0) as usize
            })
        });
        beside.max().unwrap_or(0)
    }

    /// How many lines of cache the taps of a tile would evict that it reads again in the next row, with this pitch of the
    /// source: taps on a line step through the sheet at equal distances, which can all fall into the same few sets.
    fn conflicts(&self, pitch: usize, lanes: usize) -> usize {
        if self.taps.len() > CACHE_LINES {
            // Slices of whole rows, which lie beside each other in the cache.
            return 0;
        }
        let line = |vector: i64| (vector * (lanes * size_of::<f32>()) as i64).div_euclid(64);
        let read = |&(tap, _): &Numbered| {
            let first = i64::from(tap.dh) * pitch as i64 + i64::from(tap.dw);
            (0..self.width).map(move |j| line(first + (j * self.stride.1) as i64))
        };
        let lines: BTreeSet<i64> = self.taps.iter().flat_map(read).collect();
        let mut sets = [0usize; CACHE_SETS];
        for line in lines {
            sets[line.rem_euclid(CACHE_SETS as i64) as usize] += 1;
        }
        sets.iter().map(|&lines| lines.saturating_sub(CACHE_LINES / CACHE_SETS)).sum()
    }

    /// The sheet that some gathers read from, with the least margin that has the fewest conflicts.
    pub(super) fn source_sheet(outlines: &[&Outline], (rows, cols): (usize, usize), lanes: usize) -> Sheet {
        let least = outlines.iter().map(|outline| outline.halo()).max().unwrap_or(0);
        let conflicts = |halo: &usize| outlines.iter().map(|o| o.conflicts(cols + halo, lanes)).sum::<usize>();
        let halo = (least..=least + MOST_SPREAD).min_by_key(conflicts).unwrap_or(least);
        Sheet { rows, cols, halo }
    }

    /// Cuts the taps of a tile between rows, so that what a slice reads for one row of outputs is still in the
    /// first-level cache for the next.
    fn slices<'t>(&self, taps: &'t [Numbered], tile: usize, lanes: usize) -> Vec<&'t [Numbered]> {
        let pixels = |row: &[Numbered]| match row {
            // Here the weights fill more of the cache than the pixels.
            row if self.reads_whole_row(row, tile, self.width) => self.source.1 + row.len(),
            [(first, _), .., (last, _)] => (self.width - 1) * self.stride.1 + 1 + (last.dw - first.dw) as usize,
            _ => self.width,
        };
        let rows = || taps.chunk_by(same_row);
        let bytes = rows().map(pixels).sum::<usize>() * lanes * size_of::<f32>();
        let count = bytes.div_ceil(SLICE_BYTES).max(1);
        let share = (bytes / size_of::<f32>() / lanes).div_ceil(count);
        let (mut slices, mut start, mut end, mut filled) = (Vec::new(), 0, 0, 0);
        for row in rows() {
            filled += pixels(row);
            end += row.len();
            if filled >= share {
                slices.push(&taps[start..end]);
                (start, filled) = (end, 0);
            }
        }
        if start < end || slices.is_empty() {
            slices.push(&taps[start..end]);
        }
        slices
    }

    fn resolve_runs(&self, runs: &[Unresolved], sheet: &Sheet, lanes: usize) -> Runs {
        let resolve = |&(tap, index, next): &Unresolved| Run {
            offset: sheet.offset(tap, lanes),
            weight: index * lanes as u32,
            weight_step: (i64::from(next) - i64::from(index)) as i32 * lanes as i32,
        };
        let height = self.source.0 as i64;
        let before = |row: i64| runs.partition_point(|run| i64::from(run.0.dh) < row) as u32;
        let rows = (0..self.grid.0).map(|p| (p * self.stride.0) as i64);
        Runs {
            runs: runs.iter().map(resolve).collect(),
            rows: rows.map(|row| (before(-row), before(height - row).max(before(-row)))).collect(),
        }
    }

    /// Two rows at a time, if most taps then share their loads and neighbors in a row would not.
    fn pair_up(&self, taps: &[Numbered]) -> Option<Pairs<Vec<Unresolved>>> {
        if self.stride != (1, 1) || self.grid.0 < 2 {
            return None;
        }
        let (mut shared, mut single) = <([Vec<_>; 3], [Vec<_>; 2])>::default();
        let of_row = |dh: i32| {
            let first = taps.partition_point(|(tap, _)| tap.dh < dh);
            taps[first..].iter().take_while(move |(tap, _)| tap.dh == dh).copied().peekable()
        };
        let (first, last) = (taps.first()?.0.dh, taps.last()?.0.dh);
        for dh in first..=last + 1 {
            let (mut uppers, mut lowers) = (of_row(dh), of_row(dh - 1));
            loop {
                let at = |dw: i32| Tap { dh, dw };
                match (uppers.peek().copied(), lowers.peek().copied()) {
                    (Some((a, upper)), Some((b, lower))) if a.dw.abs_diff(b.dw) <= 1 => {
                        let aside = (b.dw - a.dw).rem_euclid(3) as usize;
                        shared[aside].push((at(a.dw.min(b.dw)), upper, lower));
                        uppers.next();
                        lowers.next();
                    }
                    (Some((a, upper)), lower) if lower.is_none_or(|(b, _)| a.dw < b.dw) => {
                        single[0].push((at(a.dw), upper, upper));
                        uppers.next();
                    }
                    (_, Some((b, lower))) => {
                        single[1].push((at(b.dw), lower, lower));
                        lowers.next();
                    }
                    _ => break,
                }
            }
        }
        let saved = shared.iter().map(Vec::len).sum::<usize>();
        let in_runs = taps.windows(2).filter(|pair| follows(pair)).count();
        (saved > 2 * in_runs && 2 * saved > taps.len()).then_some(Pairs { shared, single })
    }

    fn pairs(&self, taps: &[Numbered], sheet: &Sheet, lanes: usize) -> Option<Pairs> {
        let Pairs { shared, single } = self.pair_up(taps)?;
        Some(Pairs {
            shared: shared.map(|runs| self.resolve_runs(&runs, sheet, lanes)),
            single: single.map(|runs| self.resolve_runs(&runs, sheet, lanes)),
        })
    }

    /// The gather for a source sheet; with `runs`, neighboring taps share their loads.
    pub(super) fn resolve(&self, sheet: &Sheet, lanes: usize, runs: bool) -> Gather {
        let runs = runs && self.stride.1 == 1;
        let tiles = self.tile_starts(self.width).flat_map(|first| {
            let kept: Vec<_> =
                self.taps.iter().filter(|(tap, _)| self.reads_inside(*tap, first, self.width)).copied().collect();
            let slices = self.slices(&kept, first, lanes).into_iter().enumerate();
            let tile = |(index, taps): (usize, &[Numbered])| {
                let (whole, others): (Vec<&[Numbered]>, Vec<_>) =
                    taps.chunk_by(same_row).partition(|row| self.reads_whole_row(row, first, self.width));
                let others = others.concat();
                let pairs = if runs && whole.is_empty() { self.pairs(&others, sheet, lanes) } else { None };
                let runs = split_runs(&others, runs).map(|runs| self.resolve_runs(&runs, sheet, lanes));
                let whole: Vec<_> = whole.into_iter().map(|row| whole_row(row, first)).collect();
                let whole = self.resolve_runs(&whole, sheet, lanes);
                Tile { first, width: self.width, starts: index == 0, runs, whole, pairs }
            };
            slices.map(tile).collect::<Vec<_>>()
        });
        let tiles = tiles.collect();
        Gather { stride: self.stride, start: self.start, step: self.step, tiles }
    }
}

/// Cuts sorted taps into runs of up to four neighbors whose weights are evenly spaced; lists by length.
fn split_runs(taps: &[Numbered], runs: bool) -> [Vec<Unresolved>; MAX_RUN] {
    let mut by_length: [Vec<_>; MAX_RUN] = Default::default();
    let mut rest = taps;
    while !rest.is_empty() {
        let continues = |&i: &usize| {
            let step = |i: usize| i64::from(rest[i].1) - i64::from(rest[i - 1].1);
            rest[i].0 == Tap { dh: rest[0].0.dh, dw: rest[0].0.dw + i as i32 } && step(i) == step(1)
        };
        let length = 1 + (1..rest.len().min(MAX_RUN)).take_while(|i| runs && continues(i)).count();
        let (run, after) = rest.split_at(length);
        by_length[length - 1].push((run[0].0, run[0].1, run[run.len().min(2) - 1].1));
        rest = after;
    }
    by_length
}

fn same_row(a: &Numbered, b: &Numbered) -> bool {
    a.0.dh == b.0.dh
}

/// A row of taps as a run that begins where its taps read the first column of the image for a tile's first output.
fn whole_row(row: &[Numbered], first: usize) -> Unresolved {
    let dw = -(first as i32);
    let index = |dw: i32| row[(dw - row[0].0.dw).clamp(0, row.len() as i32 - 1) as usize].1;
    (Tap { dh: row[0].0.dh, dw }, index(dw), index(dw + 1))
}

/// Whether the second of two taps is the right neighbor of the first.
fn follows(pair: &[Numbered]) -> bool {
    pair[1].0 == Tap { dh: pair[0].0.dh, dw: pair[0].0.dw + 1 }
}

/// Outputs p for which `0 <= stride * p + offset < size`.
fn valid_range(offset: i32, size: usize, stride: usize, outputs: usize) -> std::ops::Range<usize> {
    let solve = |least: i64| (least.max(0) as usize).div_ceil(stride).min(outputs);
    let (first, end) = (solve(-i64::from(offset)), solve(size as i64 - i64::from(offset)));
    first..end.max(first)
}

/// Some taps whose weight gradients are added up together.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Indices of the taps, in the order of `offsets`.
    pub taps: Vec<u32>,
    /// Where the taps read relative to the source pixel of an output, in floats.
    pub offsets: Vec<isize>,
    pub strips: Vec<Strip>,
}

/// A rectangle of outputs in which all of some taps of a chunk are added up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strip {
    /// First tap of the chunk, and how many.
    pub first: usize,
    pub count: usize,
    pub rows: (usize, usize),
    pub cols: (usize, usize),
    /// Whether the taps are neighbors in one row.
    pub neighbours: bool,
}

/// The chunks of a weight gradient before the layout of the source is known.
pub(super) struct Chunks<'a> {
    geometry: &'a Geometry,
    chunks: Vec<(Vec<Numbered>, Vec<Strip>)>,
}

impl<'a> Chunks<'a> {
    pub fn new(taps: &[Numbered], geometry: &'a Geometry) -> Self {
        let mut sorted = taps.to_vec();
        sorted.sort_unstable();
        let mut chunks: Vec<Vec<Numbered>> = Vec::new();
        for row in sorted.chunk_by(same_row) {
            match chunks.last_mut() {
                Some(last) if last.len() + row.len() <= MAX_CHUNK => last.extend(row),
                // Evenly, so that no short chunk waits for its sums.
                _ => chunks.extend(row.chunks(row.len().div_ceil(row.len().div_ceil(MAX_CHUNK))).map(<[_]>::to_vec)),
            }
        }
        let chunks = chunks.into_iter().map(|taps| {
            let strips = strips(&taps, geometry);
            (taps, strips)
        });
        Chunks { geometry, chunks: chunks.collect() }
    }

    pub fn halo(&self) -> usize {
        let (stride, width) = (self.geometry.stride.1 as i64, self.geometry.input.1 as i64);
        let beside = self.chunks.iter().flat_map(|(taps, strips)| {
            strips.iter().flat_map(move |strip| {
                taps[strip.first..strip.first + strip.count].iter().map(move |(tap, _)| {
                    let first = strip.cols.0 as i64 * stride + i64::from(tap.dw);
                    let last = (strip.cols.1 as i64 - 1) * stride + i64::from(tap.dw);
                    (-first).max(last - (width - 1)).max(0) as usize
                })
            })
        });
        beside.max().unwrap_or(0)
    }

    pub fn resolve(self, sheet: &Sheet, lanes: usize) -> Vec<Chunk> {
        let resolve = |(taps, strips): (Vec<Numbered>, Vec<Strip>)| Chunk {
            offsets: taps.iter().map(|&(tap, _)| sheet.offset(tap, lanes)).collect(),
            taps: taps.into_iter().map(|(_, index)| index).collect(),
            strips,
        };
        self.chunks.into_iter().map(resolve).collect()
    }
}

/// The rectangles of a chunk: rows in which the same taps read inside the image, cut to the sizes above.
fn strips(taps: &[Numbered], geometry: &Geometry) -> Vec<Strip> {
    let rows_spanned = taps.last().map_or(0, |last| last.0.dh - taps[0].0.dh) as usize + 1;
    let most_cols = if rows_spanned > 3 { STRIP_COLS } else { usize::MAX };
    let active = |p: usize| {
        let row = (p * geometry.stride.0) as i64;
        let first = taps.partition_point(|(tap, _)| i64::from(tap.dh) < -row);
        (first, taps.partition_point(|(tap, _)| i64::from(tap.dh) < geometry.input.0 as i64 - row).max(first))
    };
    let mut strips = Vec::new();
    let mut row = 0;
    while row < geometry.output.0 {
        let (first, end) = active(row);
        let same = (row..geometry.output.0).take(STRIP_ROWS).take_while(|&p| active(p) == (first, end)).count();
        let rows = (row, row + same);
        row += same;
        let valid = |tap: &Tap| valid_range(tap.dw, geometry.input.1, geometry.stride.1, geometry.output.1);
        let valid: Vec<_> =
            taps[first..end].iter().map(|(tap, _)| valid(tap)).filter(|cols| !cols.is_empty()).collect();
        let from = valid.iter().map(|cols| cols.start).min().unwrap_or(0);
        let to = valid.iter().map(|cols| cols.end).max().unwrap_or(0);
        let tiles = (to - from).div_ceil(most_cols).max(1);
        let width = (to - from).div_ceil(tiles).max(1);
        let neighbours = taps[first..end].windows(2).all(follows);
        for start in (from..to).step_by(width) {
            let cols = (start, (start + width).min(to));
            strips.push(Strip { first, count: end - first, rows, cols, neighbours });
        }
    }
    strips
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANES: usize = 8;

    /// Reads are unchecked, so this is what makes them sound: each stays in its sheet, and reads there the pixel that
    /// its tap means, or a margin if that is beside the image.
    fn check_read(sheet: &Sheet, pixel: (usize, usize), offset: isize, column: i64, what: &str) {
        let at = (sheet.index(pixel.0, pixel.1) * LANES) as isize + offset;
        assert!(at >= 0 && at < (sheet.len() * LANES) as isize, "{what} reads {at} of {sheet:?}");
        assert_eq!(at % LANES as isize, 0, "{what}");
        let from_row = at / LANES as isize - sheet.halo as isize;
        let (row, col) = (from_row.div_euclid(sheet.pitch() as isize), from_row.rem_euclid(sheet.pitch() as isize));
        if (0..sheet.cols as i64).contains(&column) {
            assert!(row >= 0 && col as i64 == column, "{what} reads column {col} for {column}");
        } else {
            assert!(row < 0 || col >= sheet.cols as isize, "{what} reads a pixel for column {column}");
        }
    }

    fn check_gather(outline: &Outline, sheet: &Sheet) -> bool {
        let tap = |weight: i64| {
            let index = weight as u32 / LANES as u32;
            outline.taps.iter().find(|tap| tap.1 == index).map_or(Tap { dh: i32::MIN, dw: i32::MIN }, |tap| tap.0)
        };
        let mut paired = false;
        for tile in outline.resolve(sheet, LANES, true).tiles {
            if let Some(Pairs { shared: [below, right, left], single: [upper, lower] }) = &tile.pairs {
                paired = true;
                // Row of outputs, column of the run's pixels and whether its second weight is meant, for each read.
                let lists = [
                    (below, vec![(0, 0, false), (1, 0, true)]),
                    (right, vec![(0, 0, false), (1, 1, true)]),
                    (left, vec![(0, 1, false), (1, 0, true)]),
                    (upper, vec![(0, 0, false)]),
                    (lower, vec![(1, 0, false)]),
                ];
                for p in (0..outline.grid.0 - 1).step_by(2) {
                    let mut read = BTreeSet::new();
                    for (runs, reads) in &lists {
                        let (first, end) = runs.rows[p];
                        for run in &runs.runs[first as usize..end as usize] {
                            for &(below, aside, second) in reads {
                                let step = if second { i64::from(run.weight_step) } else { 0 };
                                let tap = tap(i64::from(run.weight) + step);
                                assert!(read.insert((below, tap)), "{tap:?} is added twice");
                                for j in 0..tile.width {
                                    let column = (tile.first + j) as i64 + i64::from(tap.dw);
                                    let offset = run.offset + (aside * LANES) as isize;
                                    check_read(sheet, (p, tile.first + j), offset, column, "a pair");
                                }
                            }
                        }
                    }
                    // Each row has as many taps as it has without pairs.
                    let counts = [0, 1].map(|below| {
                        let of_row = |(length, runs): (usize, &Runs)| {
                            length * (runs.rows[p + below].1 - runs.rows[p + below].0) as usize
                        };
                        (1..).zip(&tile.runs).map(of_row).sum::<usize>()
                    });
                    assert_eq!([0, 1].map(|row| read.iter().filter(|tap| tap.0 == row).count()), counts);
                }
            }
            for (p, &(first, end)) in tile.whole.rows.iter().enumerate() {
                for run in &tile.whole.runs[first as usize..end as usize] {
                    assert_eq!(run.weight_step.unsigned_abs() as usize, LANES);
                    for (column, j) in
                        (0..sheet.cols as i64).flat_map(|column| (0..tile.width).map(move |j| (column, j)))
                    {
                        let steps = (column - j as i64) * i64::from(run.weight_step);
                        let read = tap(i64::from(run.weight) + steps);
                        assert_eq!(i64::from(read.dw), column - (tile.first + j) as i64);
                        check_read(
                            sheet,
                            (p * outline.stride.0, tile.first),
                            run.offset + column as isize * LANES as isize,
                            column,
                            "a row",
                        );
                    }
                }
            }
            for (length, runs) in (1..).zip(&tile.runs) {
                for (p, &(first, end)) in runs.rows.iter().enumerate() {
                    for run in &runs.runs[first as usize..end as usize] {
                        for (i, j) in (0..length).flat_map(|i| (0..tile.width).map(move |j| (i, j))) {
                            let pixel = (p * outline.stride.0, (tile.first + j) * outline.stride.1);
                            let tap = tap(i64::from(run.weight) + i as i64 * i64::from(run.weight_step));
                            let column = pixel.1 as i64 + i64::from(tap.dw);
                            check_read(sheet, pixel, run.offset + (i * LANES) as isize, column, "a gather");
                        }
                    }
                }
            }
        }
        paired
    }

    fn check_chunks(taps: &[Numbered], geometry: &Geometry) {
        let chunks = Chunks::new(taps, geometry);
        let sheet = Sheet { rows: geometry.input.0, cols: geometry.input.1, halo: chunks.halo() };
        let chunks = chunks.resolve(&sheet, LANES);
        for chunk in &chunks {
            for strip in &chunk.strips {
                assert!(strip.count <= MAX_CHUNK && strip.first + strip.count <= chunk.taps.len());
                for (p, q) in
                    (strip.rows.0..strip.rows.1).flat_map(|p| (strip.cols.0..strip.cols.1).map(move |q| (p, q)))
                {
                    let pixel = (p * geometry.stride.0, q * geometry.stride.1);
                    for i in strip.first..strip.first + strip.count {
                        let tap = taps.iter().find(|tap| tap.1 == chunk.taps[i]).map(|tap| tap.0);
                        let column = pixel.1 as i64 + i64::from(tap.map_or(i32::MIN, |tap| tap.dw));
                        check_read(&sheet, pixel, chunk.offsets[i], column, "a chunk");
                    }
                }
            }
        }
    }

    #[test]
    fn every_read_is_the_pixel_of_its_tap_or_a_margin() {
        let line = |dh: i32, dw: i32| (-15..=15).map(move |t| Tap { dh: dh * t / 2, dw: dw * t / 2 });
        let rectangle = (0..35).map(|i| Tap { dh: i / 5 - 3, dw: i % 5 - 2 });
        let scattered = (0..20).map(|i| Tap { dh: i * 37 % 23 - 11, dw: i * 59 % 41 - 20 });
        let lists: [Vec<Tap>; 9] = [
            line(0, 2).collect(),
            line(-2, 0).collect(),
            line(-1, 2).collect(),
            line(2, 1).collect(),
            line(2, -2).collect(),
            rectangle.clone().collect(),
            rectangle.map(|tap| Tap { dh: 3 * tap.dh, dw: 1000 * tap.dw }).collect(),
            scattered.collect(),
            (0..15 * 5).map(|i| Tap { dh: i / 15 - 2, dw: i % 15 - 7 }).collect(),
        ];
        let mut paired = 0;
        for (taps, stride) in
            lists.iter().flat_map(|taps| [(1, 1), (2, 1), (1, 2), (3, 3)].map(|stride| (taps, stride)))
        {
            for input in [(1usize, 1usize), (3, 60), (17, 9), (20, 29), (5, 7)] {
                for beyond in [0, 4] {
                    let output = (input.0.div_ceil(stride.0) + beyond, input.1.div_ceil(stride.1) + beyond);
                    let geometry = Geometry { input, output, stride };
                    let reads = |&(tap, _): &Numbered| geometry.valid(tap).count() > 0;
                    let mut seen = std::collections::HashSet::new();
                    let distinct = taps.iter().copied().filter(|&tap| seen.insert(tap));
                    let taps: Vec<Numbered> = distinct.zip(0..).filter(reads).collect();
                    let forward = Outline::forward(&taps, &geometry);
                    let sheet = Sheet { halo: forward.halo(), ..Sheet::bare(input) };
                    paired += usize::from(check_gather(&forward, &sheet));
                    check_gather(&forward.for_registers(true), &sheet);
                    for outline in Outline::backward(&taps, &geometry) {
                        check_gather(&outline, &Outline::source_sheet(&[&outline], output, LANES));
                    }
                    check_chunks(&taps, &geometry);
                }
            }
        }
        assert!(paired > 10, "{paired} gathers in pairs");
    }
}
