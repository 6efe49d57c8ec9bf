//! Prefetching of the next planes.

use super::SourcePlanes;
use crate::ops::taps::lanes::plan::GatherPlan;
use crate::ops::taps::lanes::vector::{MAX_LANES, Vector};

/// The planes that a thread reads next. They are brought into the second-level cache while this block is computed:
/// otherwise memory waits for sums and sums for memory.
pub(in crate::ops::taps::lanes) struct Prefetcher {
    planes: Option<SourcePlanes<u8>>,
    /// Cache lines per plane, and how many to fetch before each row of a tile.
    lines: usize,
    per_row: usize,
    plane: usize,
    line: usize,
}

impl Prefetcher {
    const LINE: usize = 64;

    /// Fetches planes of `len` values during the given gathers.
    pub fn new<'a, T>(
        planes: Option<SourcePlanes<T>>,
        len: usize,
        gathers: impl Iterator<Item = &'a GatherPlan>,
    ) -> Self {
        let lines = (len * size_of::<T>()).div_ceil(Self::LINE);
        let planes = planes.map(|planes| planes.map(<*const T>::cast));
        let rows: usize = gathers.flat_map(|gather| &gather.tiles).map(|tile| tile.runs[0].rows.len()).sum();
        Prefetcher { planes, lines, per_row: (lines * MAX_LANES).div_ceil(rows.max(1)), plane: 0, line: 0 }
    }

    /// Fetches nothing.
    pub fn nothing() -> Self {
        Prefetcher { planes: None, lines: 0, per_row: 0, plane: 0, line: 0 }
    }

    /// Fetches what belongs to one row of a tile.
    ///
    /// # Safety
    /// The machine has the instructions.
    #[inline(always)]
    pub unsafe fn advance<V: Vector>(&mut self) {
        let Some(planes) = &self.planes else { return };
        for _ in 0..self.per_row {
            if self.plane == V::LANES {
                return;
            }
            // SAFETY: the caller answers for the instructions. Nothing is read: a fetch of any address is allowed.
            unsafe { V::fetch(planes[self.plane].wrapping_add(self.line * Self::LINE)) };
            self.line += 1;
            if self.line == self.lines {
                (self.line, self.plane) = (0, self.plane + 1);
            }
        }
    }
}
