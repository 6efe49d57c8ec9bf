//! The work of the weight gradient: which taps are added up together, and over which rectangles of outputs.

use super::{BlockedLayout, IndexedTap, follows, same_row, valid_range};
use crate::ops::taps::{Geometry, Tap};

/// Most taps that one pass of the weight gradient accumulates.
pub(super) const MAX_CHUNK: usize = 14;

/// Rows that the weight gradient adds up in registers before it adds to memory: sums of sums round less.
const RECT_ROWS: usize = 16;

/// Columns of a rectangle when its taps lie in many rows: 16 columns of 14 rows stay in the first-level cache.
const RECT_COLS: usize = 16;

/// Some taps whose weight gradients are added up together.
#[derive(Debug)]
pub(in crate::ops::taps::lanes) struct TapChunk {
    /// Indices of the taps, in the order of `offsets`.
    pub taps: Vec<u32>,
    /// Where the taps read relative to the source pixel of an output, in floats.
    pub offsets: Vec<isize>,
    pub rects: Vec<OutputRect>,
}

/// A rectangle of outputs in which all of some taps of a chunk are added up.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops::taps::lanes) struct OutputRect {
    /// First tap of the chunk, and how many.
    pub first: usize,
    pub count: usize,
    pub rows: (usize, usize),
    pub cols: (usize, usize),
    /// Whether the taps are neighbors in one row.
    pub neighbors: bool,
}

/// The chunks of a weight gradient before the layout of the source is known.
pub(in crate::ops::taps::lanes) struct TapChunkOutlines<'a> {
    geometry: &'a Geometry,
    chunks: Vec<(Vec<IndexedTap>, Vec<OutputRect>)>,
}

impl<'a> TapChunkOutlines<'a> {
    pub fn new(taps: &[IndexedTap], geometry: &'a Geometry) -> Self {
        let mut sorted = taps.to_vec();
        sorted.sort_unstable();
        let mut chunks: Vec<Vec<IndexedTap>> = Vec::new();
        for row in sorted.chunk_by(same_row) {
            match chunks.last_mut() {
                Some(last) if last.len() + row.len() <= MAX_CHUNK => last.extend(row),
                // Evenly, so that no short chunk waits for its sums.
                _ => chunks.extend(row.chunks(row.len().div_ceil(row.len().div_ceil(MAX_CHUNK))).map(<[_]>::to_vec)),
            }
        }
        let chunks = chunks.into_iter().map(|taps| {
            let rects = rects(&taps, geometry);
            (taps, rects)
        });
        TapChunkOutlines { geometry, chunks: chunks.collect() }
    }

    pub fn halo(&self) -> usize {
        let (stride, width) = (self.geometry.stride.1 as i64, self.geometry.input.1 as i64);
        let beside = self.chunks.iter().flat_map(|(taps, rects)| {
            rects.iter().flat_map(move |rect| {
                taps[rect.first..rect.first + rect.count].iter().map(move |(tap, _)| {
                    let first = rect.cols.0 as i64 * stride + i64::from(tap.dw);
                    let last = (rect.cols.1 as i64 - 1) * stride + i64::from(tap.dw);
                    (-first).max(last - (width - 1)).max(0) as usize
                })
            })
        });
        beside.max().unwrap_or(0)
    }

    pub fn resolve(self, layout: &BlockedLayout, lanes: usize) -> Vec<TapChunk> {
        let resolve = |(taps, rects): (Vec<IndexedTap>, Vec<OutputRect>)| TapChunk {
            offsets: taps.iter().map(|&(tap, _)| layout.offset(tap, lanes)).collect(),
            taps: taps.into_iter().map(|(_, index)| index).collect(),
            rects,
        };
        self.chunks.into_iter().map(resolve).collect()
    }
}

/// The rectangles of a chunk: rows in which the same taps read inside the image, cut to the sizes above.
fn rects(taps: &[IndexedTap], geometry: &Geometry) -> Vec<OutputRect> {
    let rows_spanned = taps.last().map_or(0, |last| last.0.dh - taps[0].0.dh) as usize + 1;
    let most_cols = if rows_spanned > 3 { RECT_COLS } else { usize::MAX };
    let active = |p: usize| {
        let row = (p * geometry.stride.0) as i64;
        let first = taps.partition_point(|(tap, _)| i64::from(tap.dh) < -row);
        (first, taps.partition_point(|(tap, _)| i64::from(tap.dh) < geometry.input.0 as i64 - row).max(first))
    };
    let mut rects = Vec::new();
    let mut row = 0;
    while row < geometry.output.0 {
        let (first, end) = active(row);
        let same = (row..geometry.output.0).take(RECT_ROWS).take_while(|&p| active(p) == (first, end)).count();
        let rows = (row, row + same);
        row += same;
        let valid = |tap: &Tap| valid_range(tap.dw, geometry.input.1, geometry.stride.1, geometry.output.1);
        let valid: Vec<_> =
            taps[first..end].iter().map(|(tap, _)| valid(tap)).filter(|cols| !cols.is_empty()).collect();
        let from = valid.iter().map(|cols| cols.start).min().unwrap_or(0);
        let to = valid.iter().map(|cols| cols.end).max().unwrap_or(0);
        let tiles = (to - from).div_ceil(most_cols).max(1);
        let width = (to - from).div_ceil(tiles).max(1);
        let neighbors = taps[first..end].windows(2).all(follows);
        for start in (from..to).step_by(width) {
            let cols = (start, (start + width).min(to));
            rects.push(OutputRect { first, count: end - first, rows, cols, neighbors });
        }
    }
    rects
}
