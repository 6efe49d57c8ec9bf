//! The exact decomposition of a rectangular kernel into small square ones: the released code's `ConvGroupShift`, of
//! which its network equ-SLaK-T consists.

use crate::ops::depthwise2d::{Depthwise2d, MAX_SIDE, Options};
use crate::ops::taplist::TapList;
use crate::ops::taps::Tap;
use crate::ops::{check_kernel, dims4};
use crate::{Error, Result};
use candle_core::Tensor;

/// A depthwise convolution with a rectangle of M x N pixels (or N x M), N <= M both odd, as k = ceil(M / N)
/// convolutions with N x N pixels whose results are shifted and added up.
///
/// ```text
/// mid = M div 2        L = mid mod N        R = (k N - mid - 1) mod N
/// P = L, then P += N while P < R, then P += N while P < N-1         zeros on each side of the long axis
/// start = ceil((mid + 1) / N) - (P - L) div N
/// y[o] = sum_i z_i[o - (start - 1 - i) N]        z_i = x * W_i, i = 0..k-1
/// ```
///
/// W is cut along its long side after `k N - M` zeros at the end. (The released code pads by a whole block where N
/// divides M, and then fails.) The result equals the convolution with the rectangle, padded by half its sides.
#[derive(Debug, Clone)]
pub struct GroupShift {
    kernel: (usize, usize),
    zeros: usize,
    start: i32,
}

impl GroupShift {
    /// The decomposition of kernels of the given rows and columns.
    ///
    /// # Errors
    /// If a side is even, 0 or above 63.
    pub fn new(kernel: (usize, usize)) -> Result<Self> {
        if [kernel.0, kernel.1].iter().any(|side| side.is_multiple_of(2) || *side > MAX_SIDE) {
            let allowed = format!("odd sides from 1 to {MAX_SIDE}");
            return Err(Error::argument("kernel", format!("{}x{}", kernel.0, kernel.1), allowed));
        }
        let (short, long) = (kernel.0.min(kernel.1), kernel.0.max(kernel.1));
        let middle = long / 2;
        let left = middle % short;
        let right = (long.div_ceil(short) * short - middle - 1) % short;
        let mut zeros = left;
        while zeros < right || zeros < short - 1 {
            zeros += short;
        }
        let start = (middle + 1).div_ceil(short) as i32 - ((zeros - left) / short) as i32;
        Ok(GroupShift { kernel, zeros, start })
    }

    /// Side N of the small kernels.
    pub fn small(&self) -> usize {
        self.kernel.0.min(self.kernel.1)
    }

    /// Small kernels per channel, k.
    pub fn groups(&self) -> usize {
        self.kernel.0.max(self.kernel.1).div_ceil(self.small())
    }

    /// Zeros of the small convolutions on each side, vertically and horizontally.
    pub fn padding(&self) -> (usize, usize) {
        let half = self.small() / 2;
        if self.vertical() { (self.zeros, half) } else { (half, self.zeros) }
    }

    /// By how many pixels the result of small kernel i is shifted along the long axis.
    pub fn shift(&self, i: usize) -> i32 {
        (self.start - 1 - i as i32) * self.small() as i32
    }

    /// Whether the long side is the vertical one.
    fn vertical(&self) -> bool {
        self.kernel.0 >= self.kernel.1
    }

    /// The small kernels (k C, 1, N, N), channel by channel, of `weight` (C, 1, rows, columns). Differentiable.
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn decompose(&self, weight: &Tensor) -> Result<Tensor> {
        check_kernel(weight, self.kernel.0, self.kernel.1)?;
        let (channels, n, k) = (weight.dim(0)?, self.small(), self.groups());
        let missing = k * n - self.kernel.0.max(self.kernel.1);
        let blocks = if self.vertical() {
            weight.pad_with_zeros(2, 0, missing)?.reshape((channels, k, n, n))?
        } else {
            let padded = weight.pad_with_zeros(3, 0, missing)?.reshape((channels, n, k, n))?;
            padded.transpose(1, 2)?.contiguous()?
        };
        Ok(blocks.reshape((channels * k, 1, n, n))?)
    }

    /// The inverse of [`GroupShift::decompose`]; what stands beyond the rectangle is cut off. Differentiable.
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn compose(&self, small: &Tensor) -> Result<Tensor> {
        let channels = self.channels(small)?;
        let (n, k) = (self.small(), self.groups());
        let blocks = small.reshape((channels, k, n, n))?;
        let (whole, axis) = if self.vertical() {
            (blocks.reshape((channels, 1, k * n, n))?, 2)
        } else {
            (blocks.transpose(1, 2)?.contiguous()?.reshape((channels, 1, n, k * n))?, 3)
        };
        Ok(whole.narrow(axis, 0, self.kernel.0.max(self.kernel.1))?.contiguous()?)
    }

    /// The convolution of `x` (N, C, H, W) by its definition, with the small kernels (k C, 1, N, N). Differentiable in
    /// both.
    ///
    /// # Errors
    /// If shapes or dtypes do not fit.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use kernelscope::ops::depthwise2d::{Depthwise2d, Options};
    /// use kernelscope::ops::shiftwise::GroupShift;
    /// let x = Tensor::arange(0f64, 72., &Device::Cpu)?.reshape((1, 2, 6, 6))?;
    /// let w = Tensor::arange(0f64, 42., &Device::Cpu)?.reshape((2, 1, 7, 3))?;
    /// let op = GroupShift::new((7, 3))?;
    /// let small = op.decompose(&w)?;
    /// assert_eq!(small.dims(), [6, 1, 3, 3]);
    /// let direct = Depthwise2d::new(2, Options::same(7, 3))?.forward(&x, &w, None)?;
    /// assert_eq!((op.forward(&x, &small)? - direct)?.abs()?.max_all()?.to_scalar::<f64>()?, 0.0);
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, small: &Tensor) -> Result<Tensor> {
        let (images, channels, height, width) = dims4("input", x)?;
        if self.channels(small)? != channels {
            let allowed = format!("{} small kernels", channels * self.groups());
            return Err(Error::argument("weight", format!("shape {:?}", small.dims()), allowed));
        }
        let (n, k) = (self.small(), self.groups());
        let repeated = x.unsqueeze(2)?.expand((images, channels, k, height, width))?.contiguous()?;
        let repeated = repeated.reshape((images, channels * k, height, width))?;
        let options = Options { padding: self.padding(), ..Options::same(n, n) };
        let z = Depthwise2d::new(channels * k, options)?.forward(&repeated, small, None)?;
        let tap = |i: usize| {
            let back = -self.shift(i);
            if self.vertical() { Tap { dh: back, dw: 0 } } else { Tap { dh: 0, dw: back } }
        };
        let taps: Vec<Vec<Tap>> = (0..channels * k).map(|i| vec![tap(i % k)]).collect();
        let ones = Tensor::ones((channels * k, 1), x.dtype(), x.device())?;
        let shifted = TapList::new(&taps)?.forward_sized(&z, &ones, None, (height, width))?;
        Ok(shifted.reshape((images, channels, k, height, width))?.sum(2)?)
    }

    /// Channels of the small kernels.
    fn channels(&self, small: &Tensor) -> Result<usize> {
        let (n, k) = (self.small(), self.groups());
        match small.dims() {
            &[count, 1, rows, cols] if count > 0 && count.is_multiple_of(k) && (rows, cols) == (n, n) => Ok(count / k),
            dims => Err(Error::argument("weight", format!("shape {dims:?}"), format!("[{k} C, 1, {n}, {n}]"))),
        }
    }
}
