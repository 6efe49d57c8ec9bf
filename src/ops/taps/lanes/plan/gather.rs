//! The register tiles of a gather, and which taps each of their cache blocks adds.

use super::{BlockedLayout, GatherOutline, IndexedTap, follows, same_row};
use crate::ops::taps::Tap;

/// What the taps of a cache block read for one row of outputs, at most: with the weights and the sums it fits in 32 KiB.
const CACHE_BLOCK_BYTES: usize = 20 << 10;

/// Neighboring taps of a row that share their loads.
pub(in crate::ops::taps::lanes) const MAX_RUN: usize = 4;

/// Neighboring taps of a row: where the first reads relative to a tile's first source pixel, and which weights they
/// have.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops::taps::lanes) struct TapRun {
    /// In floats.
    pub offset: isize,
    /// In floats from the first weight of the block.
    pub weight: u32,
    /// Floats from one tap's weight to the next one's.
    pub weight_step: i32,
}

/// A column of tiles: `width` outputs, in every row.
#[derive(Debug)]
pub(in crate::ops::taps::lanes) struct TileColumn {
    pub first: usize,
    pub width: usize,
    /// Whether the sums start here, or go on from an earlier tile of the same outputs with other taps.
    pub starts: bool,
    /// The taps that read inside the image for some output of the tile: single ones, runs of two, three and four.
    pub runs: [TapRuns; MAX_RUN],
    /// Rows of taps that read the whole row of the image for every output of the tile. Offset and weight are those of
    /// the first column for the first output; weights lie beside each other, in this order or backwards.
    pub whole: TapRuns,
    /// The same taps for two rows of outputs at a time, where these can share more loads.
    pub pairs: Option<RowPairs>,
}

/// Taps of two neighboring rows of outputs: what the upper row reads with one tap, the lower one reads with another,
/// which lies one row higher and at most one column aside. Offsets lead from the source pixel of the upper row.
#[derive(Debug)]
pub(in crate::ops::taps::lanes) struct RowPairs<R = TapRuns> {
    /// Both in the same column; the lower row's a column to the right; or to the left. The first weight is that of the
    /// upper row, and offsets are those of the left tap.
    pub shared: [R; 3],
    /// Taps that share nothing, of the upper and of the lower row.
    pub single: [R; 2],
}

/// A [`TapRun`] before the layout of its source is known.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops::taps::lanes) struct UnresolvedRun {
    pub first: Tap,
    /// Index of the first tap's weight.
    pub weight: u32,
    /// Index of the next tap's weight; that of the first again, if there is none.
    pub next_weight: u32,
}

/// The runs of one length.
#[derive(Debug)]
pub(in crate::ops::taps::lanes) struct TapRuns {
    /// Sorted by rows.
    pub runs: Vec<TapRun>,
    /// For each row of outputs, the runs that read inside the image.
    pub rows: Vec<(u32, u32)>,
}

/// Sums over taps, on a grid of outputs:
/// `target[start + step * (p, q)] = sum_i w_i * source[stride * (p, q) + tap_i]`.
///
/// The forward pass is one of these; the input gradient is one per phase of the stride.
#[derive(Debug)]
pub(in crate::ops::taps::lanes) struct GatherPlan {
    pub stride: (usize, usize),
    pub start: (usize, usize),
    pub step: (usize, usize),
    pub tiles: Vec<TileColumn>,
}

impl GatherOutline {
    /// Cuts the taps of a tile between rows, so that what a cache block reads for one row of outputs is still in the
    /// first-level cache for the next.
    fn cache_blocks<'t>(&self, taps: &'t [IndexedTap], tile: usize, lanes: usize) -> Vec<&'t [IndexedTap]> {
        let pixels = |row: &[IndexedTap]| match row {
            // Here the weights fill more of the cache than the pixels.
            row if self.reads_whole_row(row, tile, self.width) => self.source.1 + row.len(),
            [(first, _), .., (last, _)] => (self.width - 1) * self.stride.1 + 1 + (last.dw - first.dw) as usize,
            _ => self.width,
        };
        let rows = || taps.chunk_by(same_row);
        let bytes = rows().map(pixels).sum::<usize>() * lanes * size_of::<f32>();
        let count = bytes.div_ceil(CACHE_BLOCK_BYTES).max(1);
        let share = (bytes / size_of::<f32>() / lanes).div_ceil(count);
        let (mut cache_blocks, mut start, mut end, mut filled) = (Vec::new(), 0, 0, 0);
        for row in rows() {
            filled += pixels(row);
            end += row.len();
            if filled >= share {
                cache_blocks.push(&taps[start..end]);
                (start, filled) = (end, 0);
            }
        }
        if start < end || cache_blocks.is_empty() {
            cache_blocks.push(&taps[start..end]);
        }
        cache_blocks
    }

    fn resolve_runs(&self, runs: &[UnresolvedRun], layout: &BlockedLayout, lanes: usize) -> TapRuns {
        let resolve = |run: &UnresolvedRun| TapRun {
            offset: layout.offset(run.first, lanes),
            weight: run.weight * lanes as u32,
            weight_step: (i64::from(run.next_weight) - i64::from(run.weight)) as i32 * lanes as i32,
        };
        let height = self.source.0 as i64;
        let before = |row: i64| runs.partition_point(|run| i64::from(run.first.dh) < row) as u32;
        let rows = (0..self.grid.0).map(|p| (p * self.stride.0) as i64);
        TapRuns {
            runs: runs.iter().map(resolve).collect(),
            rows: rows.map(|row| (before(-row), before(height - row).max(before(-row)))).collect(),
        }
    }

    /// Two rows at a time, if most taps then share their loads and neighbors in a row would not.
    pub fn pair_up(&self, taps: &[IndexedTap]) -> Option<RowPairs<Vec<UnresolvedRun>>> {
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
                let at = |dw: i32, weight: u32, next_weight: u32| UnresolvedRun {
                    first: Tap { dh, dw },
                    weight,
                    next_weight,
                };
                match (uppers.peek().copied(), lowers.peek().copied()) {
                    (Some((a, upper)), Some((b, lower))) if a.dw.abs_diff(b.dw) <= 1 => {
                        let aside = (b.dw - a.dw).rem_euclid(3) as usize;
                        shared[aside].push(at(a.dw.min(b.dw), upper, lower));
                        uppers.next();
                        lowers.next();
                    }
                    (Some((a, upper)), lower) if lower.is_none_or(|(b, _)| a.dw < b.dw) => {
                        single[0].push(at(a.dw, upper, upper));
                        uppers.next();
                    }
                    (_, Some((b, lower))) => {
                        single[1].push(at(b.dw, lower, lower));
                        lowers.next();
                    }
                    _ => break,
                }
            }
        }
        let saved = shared.iter().map(Vec::len).sum::<usize>();
        let in_runs = taps.windows(2).filter(|pair| follows(pair)).count();
        (saved > 2 * in_runs && 2 * saved > taps.len()).then_some(RowPairs { shared, single })
    }

    fn pairs(&self, taps: &[IndexedTap], layout: &BlockedLayout, lanes: usize) -> Option<RowPairs> {
        let RowPairs { shared, single } = self.pair_up(taps)?;
        Some(RowPairs {
            shared: shared.map(|runs| self.resolve_runs(&runs, layout, lanes)),
            single: single.map(|runs| self.resolve_runs(&runs, layout, lanes)),
        })
    }

    /// The gather for a source packed plane; with `runs`, neighboring taps share their loads.
    pub fn resolve(&self, layout: &BlockedLayout, lanes: usize, runs: bool) -> GatherPlan {
        let runs = runs && self.stride.1 == 1;
        let tiles = self.tile_starts(self.width).flat_map(|first| {
            let kept: Vec<_> =
                self.taps.iter().filter(|(tap, _)| self.reads_inside(*tap, first, self.width)).copied().collect();
            let cache_blocks = self.cache_blocks(&kept, first, lanes).into_iter().enumerate();
            let tile = |(index, taps): (usize, &[IndexedTap])| {
                let (whole, others): (Vec<&[IndexedTap]>, Vec<_>) =
                    taps.chunk_by(same_row).partition(|row| self.reads_whole_row(row, first, self.width));
                let others = others.concat();
                let pairs = if runs && whole.is_empty() { self.pairs(&others, layout, lanes) } else { None };
                let runs = split_runs(&others, runs).map(|runs| self.resolve_runs(&runs, layout, lanes));
                let whole: Vec<_> = whole.into_iter().map(|row| whole_row(row, first)).collect();
                let whole = self.resolve_runs(&whole, layout, lanes);
                TileColumn { first, width: self.width, starts: index == 0, runs, whole, pairs }
            };
            cache_blocks.map(tile).collect::<Vec<_>>()
        });
        let tiles = tiles.collect();
        GatherPlan { stride: self.stride, start: self.start, step: self.step, tiles }
    }
}

/// Cuts sorted taps into runs of up to four neighbors whose weights are evenly spaced; lists by length.
fn split_runs(taps: &[IndexedTap], runs: bool) -> [Vec<UnresolvedRun>; MAX_RUN] {
    let mut by_length: [Vec<_>; MAX_RUN] = Default::default();
    let mut rest = taps;
    while !rest.is_empty() {
        let continues = |&i: &usize| {
            let step = |i: usize| i64::from(rest[i].1) - i64::from(rest[i - 1].1);
            rest[i].0 == Tap { dh: rest[0].0.dh, dw: rest[0].0.dw + i as i32 } && step(i) == step(1)
        };
        let length = 1 + (1..rest.len().min(MAX_RUN)).take_while(|i| runs && continues(i)).count();
        let (run, after) = rest.split_at(length);
        let (first, weight) = run[0];
        by_length[length - 1].push(UnresolvedRun { first, weight, next_weight: run[run.len().min(2) - 1].1 });
        rest = after;
    }
    by_length
}

/// A row of taps as a run that begins where its taps read the first column of the image for a tile's first output.
fn whole_row(row: &[IndexedTap], first: usize) -> UnresolvedRun {
    let dw = -(first as i32);
    let index = |dw: i32| row[(dw - row[0].0.dw).clamp(0, row.len() as i32 - 1) as usize].1;
    UnresolvedRun { first: Tap { dh: row[0].0.dh, dw }, weight: index(dw), next_weight: index(dw + 1) }
}
