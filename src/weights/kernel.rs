//! Resizing of one-dimensional kernels.

use candle_core::{D, Tensor};

use crate::{Error, Result};

/// Centers a kernel on another odd number of taps: the last dimension is cropped, or padded with zeros, by the same
/// amount on both sides. Used to reuse the weights of an oriented kernel `[C, 1, 1, K]` at another length.
///
/// # Errors
/// An even number of taps, on either side, has no center to keep.
pub fn center_crop_kernel(weight: &Tensor, taps: usize) -> Result<Tensor> {
    let found = weight.dim(D::Minus1)?;
    for (name, given) in [("taps", taps), ("kernel length", found)] {
        if given % 2 == 0 {
            return Err(Error::argument(name, given, "an odd number"));
        }
    }
    if taps <= found {
        Ok(weight.narrow(D::Minus1, (found - taps) / 2, taps)?.contiguous()?)
    } else {
        let side = (taps - found) / 2;
        Ok(weight.pad_with_zeros(D::Minus1, side, side)?)
    }
}
