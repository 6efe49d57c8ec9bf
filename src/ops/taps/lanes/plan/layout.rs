//! Where the pixels of a plane are in the blocked layout.

use crate::ops::taps::Tap;

/// The pixels of one plane for a block of channels: a row-major grid of vectors with `halo` zeros between rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops::taps::lanes) struct BlockedLayout {
    pub rows: usize,
    pub cols: usize,
    pub halo: usize,
}

impl BlockedLayout {
    /// Without halos.
    pub fn bare((rows, cols): (usize, usize)) -> Self {
        BlockedLayout { rows, cols, halo: 0 }
    }

    pub fn pitch(&self) -> usize {
        self.cols + self.halo
    }

    /// Vectors in all, halos included.
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
