//! A convolution with strides as convolutions without: the polyphase decomposition.
//!
//! Read with strides S (forward pass, weight gradient), pixel (S r + a, S c + b) of the source is *cell* (r, c) of phase
//! (a, b), and every tap reads a single phase. Written with strides (input gradient), every phase of the result is a
//! convolution of its own of the same source, with the taps that reach it: an *output phase*. At stride 1 there is one
//! phase, whose cells are the pixels.

use crate::ops::taps::{Geometry, Tap, TapGroup};

/// Which of the three convolutions is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Forward,
    InputGrad,
    WeightGrad,
}

/// Rows and columns of a plane or a tile, or strides along them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub rows: usize,
    pub cols: usize,
}

impl Size {
    const ONE: Size = Size { rows: 1, cols: 1 };

    pub fn count(self) -> usize {
        self.rows * self.cols
    }

    /// How many times `by` this is, rounded up.
    pub fn div_ceil(self, by: Size) -> Size {
        Size { rows: self.rows.div_ceil(by.rows), cols: self.cols.div_ceil(by.cols) }
    }
}

impl From<(usize, usize)> for Size {
    fn from((rows, cols): (usize, usize)) -> Self {
        Size { rows, cols }
    }
}

/// The planes that a pass reads and writes, and their strides, of which one is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PassShape {
    pub source: Size,
    pub result: Size,
    pub source_stride: Size,
    pub result_stride: Size,
}

impl PassShape {
    pub fn of(geometry: &Geometry, pass: Pass) -> Self {
        let [input, output, stride] = [geometry.input, geometry.output, geometry.stride].map(Size::from);
        match pass {
            Pass::InputGrad => {
                PassShape { source: output, result: input, source_stride: Size::ONE, result_stride: stride }
            }
            Pass::Forward | Pass::WeightGrad => {
                PassShape { source: input, result: output, source_stride: stride, result_stride: Size::ONE }
            }
        }
    }

    /// Cells of one phase of the result.
    pub fn cells(&self) -> Size {
        self.result.div_ceil(self.result_stride)
    }

    /// Phases of the source.
    pub fn phases(&self) -> usize {
        self.source_stride.count()
    }

    /// Phases of the result.
    pub fn output_phases(&self) -> usize {
        self.result_stride.count()
    }
}

/// A tap between cells: for result cell (p, q) it reads cell (p + row, q + col) of a phase of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PhaseTap {
    pub phase: usize,
    pub row: i32,
    pub col: i32,
    /// Which of the group's distinct taps it is.
    pub slot: usize,
}

/// The taps of a group for each output phase, without those that never read inside the image.
pub(super) fn taps_by_output_phase(group: &TapGroup, geometry: &Geometry, pass: Pass) -> Vec<Vec<PhaseTap>> {
    let mut taps = vec![Vec::new(); PassShape::of(geometry, pass).output_phases()];
    let (down, across) = (geometry.stride.0 as i32, geometry.stride.1 as i32);
    for (slot, &tap) in group.taps().iter().enumerate() {
        if geometry.valid(tap).count() == 0 {
            continue;
        }
        let Tap { dh, dw } = tap;
        let phase = (dh.rem_euclid(down) * across + dw.rem_euclid(across)) as usize;
        let (row, col) = (dh.div_euclid(down), dw.div_euclid(across));
        match pass {
            Pass::InputGrad => taps[phase].push(PhaseTap { phase: 0, row: -row, col: -col, slot }),
            Pass::Forward | Pass::WeightGrad => taps[0].push(PhaseTap { phase, row, col, slot }),
        }
    }
    taps
}
