//! Where the zeros around an image go: PyTorch's way, or TensorFlow's.

use crate::Result;
use crate::nn::Trace;
use crate::ops::depthwise2d::Options;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Zeros around the image of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// Half the kernel's side before and after, at any stride.
    #[default]
    Half,
    /// TensorFlow's: for a kernel of side k, stride s, and an image of side n,
    /// `max((ceil(n / s) - 1) * s + k - n, 0)` zeros in total, the smaller half of them before. At stride 1 that is the
    /// same; at stride 2, an even side has one zero less before.
    Same,
}

impl Padding {
    /// What a convolution with these options, made for [`Padding::Half`], becomes: its own options, and the zeros that
    /// are to be added to its input.
    pub(super) fn of(self, options: Options) -> (Options, Option<AddedZeros>) {
        if self == Padding::Half || options.stride == (1, 1) {
            return (options, None);
        }
        let extent = |side: usize, dilation: usize| dilation * (side - 1) + 1;
        let rows = Axis { extent: extent(options.kernel.0, options.dilation.0), stride: options.stride.0 };
        let cols = Axis { extent: extent(options.kernel.1, options.dilation.1), stride: options.stride.1 };
        (Options { padding: (0, 0), ..options }, Some(AddedZeros { rows, cols }))
    }
}

/// A kernel along one axis.
#[derive(Debug, Clone, Copy)]
struct Axis {
    extent: usize,
    stride: usize,
}

impl Axis {
    /// Zeros before and after a side of an image.
    fn zeros(self, side: usize) -> (usize, usize) {
        let needed = side.div_ceil(self.stride).saturating_sub(1) * self.stride + self.extent;
        let zeros = needed.saturating_sub(side);
        (zeros / 2, zeros - zeros / 2)
    }
}

/// Zeros that are added to the input of a convolution that adds none.
#[derive(Debug, Clone, Copy)]
pub(super) struct AddedZeros {
    rows: Axis,
    cols: Axis,
}

impl AddedZeros {
    /// Adds them to (N, C, H, W).
    pub(super) fn add(self, x: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let ((above, below), (left, right)) = (self.rows.zeros(height), self.cols.zeros(width));
        Ok(x.pad_with_zeros(2, above, below)?.pad_with_zeros(3, left, right)?)
    }

    /// The size that the convolution sees.
    pub(super) fn trace(self, trace: &mut Trace) {
        for (side, axis) in [(&mut trace.shape.height, self.rows), (&mut trace.shape.width, self.cols)] {
            let (before, after) = axis.zeros(*side);
            *side += before + after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_those_of_tensorflow() {
        let zeros = |extent, stride, side| Axis { extent, stride }.zeros(side);
        assert_eq!((zeros(3, 2, 224), zeros(3, 2, 7)), ((0, 1), (1, 1)));
        assert_eq!((zeros(5, 2, 28), zeros(5, 2, 7)), ((1, 2), (2, 2)));
        assert_eq!((zeros(3, 1, 9), zeros(1, 2, 8)), ((1, 1), (0, 0)));
    }

    #[test]
    fn convolutions_at_stride_1_pad_themselves() {
        let options = Options::same(5, 5).with_dilation(2);
        assert!(Padding::Same.of(options).1.is_none() && Padding::Half.of(options.with_stride(2)).1.is_none());
        let (own, added) = Padding::Same.of(options.with_stride(2));
        assert_eq!(own.padding, (0, 0));
        // The kernel extends over 9 pixels.
        assert_eq!(added.unwrap().rows.zeros(28), (3, 4));
    }
}
