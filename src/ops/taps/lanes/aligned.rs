//! Values that are aligned to vectors.

use super::vector::MAX_LANES;

/// What the sums of a block start from.
#[repr(align(64))]
pub(super) struct StartVector(pub [f32; MAX_LANES]);

/// Values that start at a vector's boundary.
pub(super) struct AlignedVec {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl AlignedVec {
    pub fn zeros(len: usize) -> Self {
        let values = vec![0.0; len + MAX_LANES];
        let start = values.as_ptr().align_offset(64);
        AlignedVec { values, start, len }
    }

    pub fn as_ref(&self) -> &[f32] {
        &self.values[self.start..self.start + self.len]
    }

    pub fn as_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..self.start + self.len]
    }

    pub fn as_ptr(&self) -> *const f32 {
        self.as_ref().as_ptr()
    }
}
