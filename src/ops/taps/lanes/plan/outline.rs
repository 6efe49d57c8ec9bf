//! A gather before the layout of its source is known: register tiles and their width, estimated time, and halo.

use super::{BlockedLayout, IndexedTap, follows, same_row, valid_range};
use crate::ops::taps::{Geometry, Tap};
use std::collections::BTreeSet;

/// Accumulators of a kernel. 14 of them, a weight and a value leave space in 16 registers, and 14 divides the sides of
/// feature maps of 224-pixel images; fewer where a narrower tile reads fewer taps beside the image.
const WIDTHS: [usize; 6] = [14, 8, 7, 4, 2, 1];

/// Widest tile of which two rows are computed at a time: sums of wider ones would leave no registers for what is read.
const PAIRED_WIDTH: usize = 7;

/// A tap of a tile takes at least as long as with so many sums, since fewer wait for each other and for their weights;
/// and the same where the loop goes through the pixels of whole rows.
const LEAST_SUMS: (usize, usize) = (6, 4);

/// The first-level cache in lines of 64 bytes: sets, and how much of it the source of a tile may fill beside weights and
/// sums. Margins may be this much wider than needed, so that lines fall into different sets.
const CACHE_SETS: usize = 64;
const CACHE_LINES: usize = 6 * CACHE_SETS;
const MOST_SPREAD: usize = 8;

/// A [`GatherPlan`] before the layout of its source is known.
pub(in crate::ops::taps) struct GatherOutline {
    pub source: (usize, usize),
    pub grid: (usize, usize),
    pub stride: (usize, usize),
    pub start: (usize, usize),
    pub step: (usize, usize),
    /// Sorted by rows, then columns.
    pub taps: Vec<IndexedTap>,
    pub width: usize,
}

impl GatherOutline {
    /// The forward pass of a geometry.
    pub fn forward(taps: &[IndexedTap], geometry: &Geometry) -> Self {
        Self::new(taps.to_vec(), geometry.input, geometry.output, geometry.stride, ((0, 0), (1, 1)))
    }

    /// The input gradient: for each phase of the stride, the taps that reach it, read backwards.
    pub fn backward(taps: &[IndexedTap], geometry: &Geometry) -> Vec<Self> {
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

    pub fn new(
        mut taps: Vec<IndexedTap>,
        source: (usize, usize),
        grid: (usize, usize),
        stride: (usize, usize),
        (start, step): ((usize, usize), (usize, usize)),
    ) -> Self {
        taps.sort_unstable();
        let mut outline = GatherOutline { source, grid, stride, start, step, taps, width: 1 };
        outline.width = outline.best_width(grid.1);
        outline
    }

    pub fn best_width(&self, widest: usize) -> usize {
        let fitting = WIDTHS.into_iter().filter(|&width| width <= widest.min(self.grid.1));
        fitting.min_by_key(|&width| self.cost(width)).unwrap_or(1)
    }

    /// The same with narrower tiles where instructions with many registers compute two rows at a time.
    pub fn for_registers(mut self, many: bool) -> Self {
        if many && self.pair_up(&self.taps).is_some() {
            self.width = self.best_width(PAIRED_WIDTH);
        }
        self
    }

    pub fn tile_starts(&self, width: usize) -> impl Iterator<Item = usize> {
        let last = self.grid.1 - width;
        // The last tile overlaps its neighbor where the width does not divide the row.
        (0..self.grid.1).step_by(width).map(move |first| first.min(last))
    }

    /// First and last source column that a tap reads for a tile.
    pub fn columns(&self, tap: Tap, first: usize, width: usize) -> (i64, i64) {
        let start = (first * self.stride.1) as i64 + i64::from(tap.dw);
        (start, start + ((width - 1) * self.stride.1) as i64)
    }

    pub fn reads_inside(&self, tap: Tap, first: usize, width: usize) -> bool {
        let (start, end) = self.columns(tap, first, width);
        end >= 0 && start < self.source.1 as i64
    }

    /// Output rows for which a tap reads inside the image.
    pub fn valid_rows(&self, tap: Tap) -> usize {
        valid_range(tap.dh, self.source.0, self.stride.0, self.grid.0).len()
    }

    /// Whether the taps of a row read the whole row of the image for every output of a tile. Going through the image in
    /// place of the taps then computes no product with a halo.
    pub fn reads_whole_row(&self, row: &[IndexedTap], first: usize, width: usize) -> bool {
        let [(left, _), .., (right, _)] = row else { return false };
        let step = |pair: &[IndexedTap]| i64::from(pair[1].1) - i64::from(pair[0].1);
        self.stride.1 == 1
            && self.source.1 > 1
            && i64::from(left.dw) <= -((first + width - 1) as i64)
            && i64::from(right.dw) >= self.source.1 as i64 - 1 - first as i64
            && step(row).abs() == 1
            && row.windows(2).all(|pair| follows(pair) && step(pair) == step(row))
    }

    /// Time of one block with tiles of this width, in eighths of a fused multiply-add: a tap of a tile takes `width` of
    /// them and half a load more than these hide; a row of a tile takes about ten more, and its stores.
    pub fn cost(&self, width: usize) -> usize {
        let rows: Vec<_> = self.taps.chunk_by(same_row).map(|row| (row, self.valid_rows(row[0].0))).collect();
        self.tile_starts(width)
            .map(|first| {
                let of_row = |&(row, outputs): &(&[IndexedTap], usize)| {
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
    /// source: taps on a line step through the packed plane at equal distances, which can all fall into the same few sets.
    pub fn conflicts(&self, pitch: usize, lanes: usize) -> usize {
        if self.taps.len() > CACHE_LINES {
            // Slices of whole rows, which lie beside each other in the cache.
            return 0;
        }
        let line = |vector: i64| (vector * (lanes * size_of::<f32>()) as i64).div_euclid(64);
        let read = |&(tap, _): &IndexedTap| {
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

    /// The packed plane that some gathers read from, with the least halo that has the fewest conflicts.
    pub fn source_layout(outlines: &[&GatherOutline], (rows, cols): (usize, usize), lanes: usize) -> BlockedLayout {
        let least = outlines.iter().map(|outline| outline.halo()).max().unwrap_or(0);
        let conflicts = |halo: &usize| outlines.iter().map(|o| o.conflicts(cols + halo, lanes)).sum::<usize>();
        let halo = (least..=least + MOST_SPREAD).min_by_key(conflicts).unwrap_or(least);
        BlockedLayout { rows, cols, halo }
    }
}
