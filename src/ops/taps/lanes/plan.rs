//! Decisions made once per shape: tiles of outputs, the taps each needs, and how much margin the sheets carry.

use crate::ops::taps::{Geometry, Tap};

/// Accumulators of a kernel. 14 of them, a weight and a value leave room in 16 registers, and 14 divides the sides of
/// feature maps of 224-pixel images; fewer where a narrower tile reads fewer taps beside the image.
const WIDTHS: [usize; 8] = [14, 12, 10, 8, 7, 4, 2, 1];

/// Most taps that one pass of the weight gradient accumulates.
const MAX_CHUNK: usize = 14;

/// Rows that the weight gradient adds up in registers before it adds to memory: sums of sums round less.
const STRIP_ROWS: usize = 16;

/// Columns of a strip when its taps lie in many rows: 16 columns of 14 rows stay in the first-level cache.
const STRIP_COLS: usize = 16;

/// The pixels of one plane for a block of channels: a row-major grid of vectors with `halo` zeros between rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sheet {
    pub rows: usize,
    pub cols: usize,
    pub halo: usize,
}

impl Sheet {
    pub fn pitch(&self) -> usize {
        self.cols + self.halo
    }

    /// Vectors in all, margins included.
    pub fn len(&self) -> usize {
        self.halo + self.rows * self.pitch()
    }

    /// Vectors before a pixel.
    pub fn index(&self, row: usize, col: usize) -> usize {
        self.halo + row * self.pitch() + col
    }
}

/// One tap of a tile: where it reads relative to the tile's first source pixel, and which weight it has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// In floats.
    pub offset: i32,
    /// In floats from the first weight of the block.
    pub weight: u32,
}

/// A column of tiles: `width` outputs, in every row.
#[derive(Debug)]
pub(super) struct Tile {
    pub first: usize,
    pub width: usize,
    /// The taps that read inside the image for some output of the tile, by rows.
    pub entries: Vec<Entry>,
    /// For each output row, the entries that read inside the image.
    pub ranges: Vec<(u32, u32)>,
}

/// Sums over taps, on a grid of outputs:
/// `target[start + step * (p, q)] = sum_i w_i * source[stride * (p, q) + tap_i]`.
///
/// The forward pass is one of these; the input gradient is one per phase of the stride.
#[derive(Debug)]
pub(super) struct Gather {
    pub grid: (usize, usize),
    pub stride: (usize, usize),
    pub start: (usize, usize),
    pub step: (usize, usize),
    pub tiles: Vec<Tile>,
}

impl Gather {
    /// The gather of a group that has no blocks.
    pub fn nothing() -> Self {
        Gather { grid: (0, 0), stride: (1, 1), start: (0, 0), step: (1, 1), tiles: Vec::new() }
    }
}

/// A [`Gather`] before the layout of its source is known.
pub(super) struct Outline {
    source: (usize, usize),
    grid: (usize, usize),
    stride: (usize, usize),
    start: (usize, usize),
    step: (usize, usize),
    /// Sorted by rows, then columns; with the index of the weight.
    taps: Vec<(Tap, u32)>,
    width: usize,
}

impl Outline {
    /// The forward pass of a geometry.
    pub fn forward(taps: &[Tap], geometry: &Geometry) -> Self {
        let taps = taps.iter().copied().zip(0..).collect();
        Self::new(taps, geometry.input, geometry.output, geometry.stride, ((0, 0), (1, 1)))
    }

    /// The input gradient: for each phase of the stride, the taps that reach it, read backwards.
    pub fn backward(taps: &[Tap], geometry: &Geometry) -> Vec<Self> {
        let (sh, sw) = (geometry.stride.0 as i32, geometry.stride.1 as i32);
        let (height, width) = geometry.input;
        let mut phases = Vec::new();
        for a in 0..sh.min(height as i32) {
            for b in 0..sw.min(width as i32) {
                let reaching = taps
                    .iter()
                    .zip(0..)
                    .filter(|(tap, _)| (a - tap.dh).rem_euclid(sh) == 0 && (b - tap.dw).rem_euclid(sw) == 0)
                    .map(|(tap, index)| (Tap { dh: (a - tap.dh) / sh, dw: (b - tap.dw) / sw }, index))
                    .collect();
                let start = (a as usize, b as usize);
                let grid = ((height - start.0).div_ceil(sh as usize), (width - start.1).div_ceil(sw as usize));
                phases.push(Self::new(reaching, geometry.output, grid, (1, 1), (start, geometry.stride)));
            }
        }
        phases
    }

    fn new(
        mut taps: Vec<(Tap, u32)>,
        source: (usize, usize),
        grid: (usize, usize),
        stride: (usize, usize),
        (start, step): ((usize, usize), (usize, usize)),
    ) -> Self {
        taps.sort_unstable();
        let mut outline = Outline { source, grid, stride, start, step, taps, width: 1 };
        let fitting = WIDTHS.into_iter().filter(|&width| width <= grid.1);
        outline.width = fitting.min_by_key(|&width| outline.cost(width)).unwrap_or(1);
        outline
    }

    fn tile_starts(&self, width: usize) -> impl Iterator<Item = usize> {
        let last = self.grid.1 - width;
        // The last tile overlaps its neighbour where the width does not divide the row.
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

    /// Loads of one block with tiles of this width: each tap of a tile loads one weight and `width` values (a fused
    /// multiply-add goes with each of these); a tile costs about ten more, and its stores.
    fn cost(&self, width: usize) -> usize {
        let rows_of_taps: Vec<usize> = self.taps.iter().map(|&(tap, _)| self.valid_rows(tap)).collect();
        self.tile_starts(width)
            .map(|first| {
                let taps: usize = self
                    .taps
                    .iter()
                    .zip(&rows_of_taps)
                    .filter(|((tap, _), _)| self.reads_inside(*tap, first, width))
                    .map(|(_, &rows)| rows)
                    .sum();
                taps * (width + 1) + self.grid.0 * (width + 10)
            })
            .sum()
    }

    /// Loads of one block with the chosen width.
    pub fn loads(&self) -> usize {
        self.cost(self.width)
    }

    /// Margin that the tiles need left or right of the source.
    pub fn halo(&self) -> usize {
        let beside = self.tile_starts(self.width).flat_map(|first| {
            let kept = self.taps.iter().filter(move |(tap, _)| self.reads_inside(*tap, first, self.width));
            kept.map(move |&(tap, _)| {
                let (start, end) = self.columns(tap, first, self.width);
                (-start).max(end - (self.source.1 as i64 - 1)).max(0) as usize
            })
        });
        beside.max().unwrap_or(0)
    }

    /// The gather for a source sheet.
    pub fn resolve(&self, sheet: &Sheet, lanes: usize) -> Gather {
        let (height, pitch) = (self.source.0 as i64, sheet.pitch() as i64);
        let tiles = self.tile_starts(self.width).map(|first| {
            let kept: Vec<_> =
                self.taps.iter().filter(|(tap, _)| self.reads_inside(*tap, first, self.width)).copied().collect();
            let entries = kept.iter().map(|&(tap, index)| Entry {
                offset: ((i64::from(tap.dh) * pitch + i64::from(tap.dw)) * lanes as i64) as i32,
                weight: index * lanes as u32,
            });
            let before = |row: i64| kept.partition_point(|(tap, _)| i64::from(tap.dh) < row) as u32;
            let ranges = (0..self.grid.0 as i64).map(|p| p * self.stride.0 as i64);
            let ranges = ranges.map(|row| (before(-row), before(height - row).max(before(-row)))).collect();
            Tile { first, width: self.width, entries: entries.collect(), ranges }
        });
        let tiles = tiles.collect();
        Gather { grid: self.grid, stride: self.stride, start: self.start, step: self.step, tiles }
    }
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
    pub offsets: Vec<i32>,
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
}

/// The chunks of a weight gradient before the layout of the source is known.
pub(super) struct Chunks<'a> {
    geometry: &'a Geometry,
    chunks: Vec<(Vec<(Tap, u32)>, Vec<Strip>)>,
}

impl<'a> Chunks<'a> {
    pub fn new(taps: &[Tap], geometry: &'a Geometry) -> Self {
        let mut sorted: Vec<(Tap, u32)> = taps.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        let mut chunks: Vec<Vec<(Tap, u32)>> = Vec::new();
        for row in sorted.chunk_by(|a, b| a.0.dh == b.0.dh) {
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
        let pitch = sheet.pitch() as i64;
        let offset = |tap: Tap| ((i64::from(tap.dh) * pitch + i64::from(tap.dw)) * lanes as i64) as i32;
        let resolve = |(taps, strips): (Vec<(Tap, u32)>, Vec<Strip>)| Chunk {
            offsets: taps.iter().map(|&(tap, _)| offset(tap)).collect(),
            taps: taps.into_iter().map(|(_, index)| index).collect(),
            strips,
        };
        self.chunks.into_iter().map(resolve).collect()
    }
}

/// The rectangles of a chunk: rows in which the same taps read inside the image, cut to the sizes above.
fn strips(taps: &[(Tap, u32)], geometry: &Geometry) -> Vec<Strip> {
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
        let valid: Vec<_> = taps[first..end].iter().map(|(tap, _)| valid(tap)).filter(|cols| !cols.is_empty()).collect();
        let from = valid.iter().map(|cols| cols.start).min().unwrap_or(0);
        let to = valid.iter().map(|cols| cols.end).max().unwrap_or(0);
        let tiles = (to - from).div_ceil(most_cols).max(1);
        let width = (to - from).div_ceil(tiles).max(1);
        for start in (from..to).step_by(width) {
            strips.push(Strip { first, count: end - first, rows, cols: (start, (start + width).min(to)) });
        }
    }
    strips
}
