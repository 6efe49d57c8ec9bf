//! What a sub-convolution takes along one axis.

/// What a part of the sums takes along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    /// Everything: the axis is not split.
    Whole,
    /// All taps on odd pixels, for all outputs.
    Sum,
    /// Even taps, on even pixels less their successors, for even outputs.
    Even,
    /// Odd taps, on even pixels less their predecessors, for odd outputs.
    Odd,
}

impl Half {
    pub fn all(split: bool) -> &'static [Half] {
        if split { &[Half::Sum, Half::Even, Half::Odd] } else { &[Half::Whole] }
    }

    /// Pixels from one to the next, and the same for outputs.
    pub fn step(self) -> usize {
        if self == Half::Whole { 1 } else { 2 }
    }

    /// Pixels of the part's source, of `size` pixels.
    pub fn pixels(self, size: usize) -> usize {
        match self {
            Half::Whole => size,
            Half::Sum => size / 2,
            Half::Even => size.div_ceil(2),
            Half::Odd => size / 2 + 1,
        }
    }

    /// Where the part's first pixel is, and where the pixel that is taken from it.
    pub fn first(self) -> (isize, Option<isize>) {
        match self {
            Half::Whole => (0, None),
            Half::Sum => (1, None),
            Half::Even => (0, Some(1)),
            Half::Odd => (0, Some(-1)),
        }
    }

    /// The offset of a tap in the part's source, if it belongs to the part.
    pub fn offset(self, offset: i32) -> Option<i32> {
        let half = offset.div_euclid(2);
        let odd = offset.rem_euclid(2) == 1;
        match self {
            Half::Whole => Some(offset),
            Half::Sum => Some(half),
            Half::Even => (!odd).then_some(half),
            Half::Odd => odd.then_some(half + 1),
        }
    }

    /// The first outputs that the part is added to.
    pub fn outputs(self) -> &'static [usize] {
        match self {
            Half::Whole | Half::Even => &[0],
            Half::Sum => &[0, 1],
            Half::Odd => &[1],
        }
    }
}
