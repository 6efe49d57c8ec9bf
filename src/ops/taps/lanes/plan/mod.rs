//! Decisions made once per shape: tiles of outputs, the taps each needs, and how much halo the packed planes carry.

mod chunks;
mod gather;
mod layout;
mod outline;
#[cfg(test)]
mod tests;

pub(super) use chunks::{OutputRect, TapChunk, TapChunkOutlines};
pub(super) use gather::{GatherPlan, RowPairs, TapRun, TapRuns, TileColumn};
pub(super) use layout::BlockedLayout;
pub(super) use outline::GatherOutline;

use crate::ops::taps::Tap;

/// A tap and the index of its weight.
pub(super) type IndexedTap = (Tap, u32);

fn same_row(a: &IndexedTap, b: &IndexedTap) -> bool {
    a.0.dh == b.0.dh
}

/// Whether the second of two taps is the right neighbor of the first.
fn follows(pair: &[IndexedTap]) -> bool {
    pair[1].0 == Tap { dh: pair[0].0.dh, dw: pair[0].0.dw + 1 }
}

/// Outputs p for which `0 <= stride * p + offset < size`.
fn valid_range(offset: i32, size: usize, stride: usize, outputs: usize) -> std::ops::Range<usize> {
    let solve = |least: i64| (least.max(0) as usize).div_ceil(stride).min(outputs);
    let (first, end) = (solve(-i64::from(offset)), solve(size as i64 - i64::from(offset)));
    first..end.max(first)
}
