//! What a sub-convolution takes along one axis.

/// What a part of the sums takes along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Everything: the axis is not split.
    Whole,
    /// All taps on odd pixels, for all outputs.
    Sum,
    /// Even taps, on even pixels less their successors, for even outputs.
    Even,
    /// Odd taps, on even pixels less their predecessors, for odd outputs.
    Odd,
}

impl Phase {
    pub fn all(split: bool) -> &'static [Phase] {
        if split { &[Phase::Sum, Phase::Even, Phase::Odd] } else { &[Phase::Whole] }
    }

    /// Pixels from one to the next, and the same for outputs.
    pub fn step(self) -> usize {
        if self == Phase::Whole { 1 } else { 2 }
    }

    /// Pixels of the part's source, of `size` pixels.
    pub fn pixels(self, size: usize) -> usize {
        match self {
            Phase::Whole => size,
            Phase::Sum => size / 2,
            Phase::Even => size.div_ceil(2),
            Phase::Odd => size / 2 + 1,
        }
    }

    /// Where the part's first pixel is, and where the pixel that is taken from it.
    pub fn first(self) -> (isize, Option<isize>) {
        match self {
            Phase::Whole => (0, None),
            Phase::Sum => (1, None),
            Phase::Even => (0, Some(1)),
            Phase::Odd => (0, Some(-1)),
        }
    }

    /// The offset of a tap in the part's source, if it belongs to the part.
    pub fn offset(self, offset: i32) -> Option<i32> {
        let half = offset.div_euclid(2);
        let odd = offset.rem_euclid(2) == 1;
        match self {
            Phase::Whole => Some(offset),
            Phase::Sum => Some(half),
            Phase::Even => (!odd).then_some(half),
            Phase::Odd => odd.then_some(half + 1),
        }
    }

    /// The first outputs that the part is added to.
    pub fn outputs(self) -> &'static [usize] {
        match self {
            Phase::Whole | Phase::Even => &[0],
            Phase::Sum => &[0, 1],
            Phase::Odd => &[1],
        }
    }
}
