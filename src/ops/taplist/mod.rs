//! Depthwise convolution with any list of taps per channel.
//!
//! ```text
//! y[n,c,p,q] = bias[c] + sum_i w[c,i] * x[n, c, p + dh[c,i], q + dw[c,i]]      (x = 0 outside the image)
//! ```
//!
//! Lists may be shared by all channels (a rectangle that is not centred, a cross) or differ from channel to channel, in
//! length too (what pruning leaves of a kernel). Where many channels share a list, they are computed together; a channel
//! with a list of its own costs only its own taps. See [`crate::ops::taps`] for the engines.

mod pruned;
pub mod reference;

pub use pruned::{PrunedTaps, kept_taps};

use super::depthwise2d::MAX_DISTANCE;
use super::dims4;
use super::taps::TapPlans;
use super::taps::{Geometry, Tap, TapConv, TapTable};
use crate::{Error, Result};
use candle_core::Tensor;

/// Most taps of a channel: those of a square of 127 pixels.
pub const MAX_TAPS: usize = 127 * 127;

/// The operator for one layer.
#[derive(Debug, Clone)]
pub struct TapList {
    plans: TapPlans,
}

impl TapList {
    /// The operator with a list of taps for every channel. Weights are stored as (C, T), T being the length of the
    /// longest list; a channel with a shorter list uses the first of them.
    ///
    /// # Errors
    /// If no channel has a tap, a list is longer than [`MAX_TAPS`], or a tap is further away than [`MAX_DISTANCE`].
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use kernelscope::ops::{taplist::TapList, taps::Tap};
    /// let left = Tap { dh: 0, dw: -1 };
    /// let op = TapList::new(&[vec![left], vec![left, Tap { dh: 2, dw: 0 }]])?;
    /// let x = Tensor::arange(0f32, 12., &Device::Cpu)?.reshape((1, 2, 2, 3))?;
    /// let y = op.forward(&x, &Tensor::ones((2, 2), DType::F32, &Device::Cpu)?, None)?;
    /// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [0., 0., 1., 0., 3., 4., 0., 6., 7., 0., 9., 10.]);
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn new(taps: &[Vec<Tap>]) -> Result<Self> {
        taps.iter().try_for_each(|taps| check(taps))?;
        Ok(TapList { plans: TapPlans::new(TapTable::ragged(taps)?) })
    }

    /// The operator with one list of taps for all `channels`.
    ///
    /// # Errors
    /// If there are no channels, or as [`TapList::new`].
    pub fn shared(channels: usize, taps: &[Tap]) -> Result<Self> {
        check(taps)?;
        Ok(TapList { plans: TapPlans::new(TapTable::shared(channels, taps)?) })
    }

    /// The taps of every channel.
    pub fn table(&self) -> &TapTable {
        self.plans.table()
    }

    /// Applies the operator: `x` (N, C, H, W), `weight` (C, T), `bias` (C); the result has the size of `x`.
    /// Differentiable in all three in f32 and f64; f16 and bf16, added up in f32, for inference.
    ///
    /// # Errors
    /// If shapes or dtypes do not fit; the message names the argument.
    pub fn forward(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (_, _, height, width) = dims4("input", x)?;
        self.forward_sized(x, weight, bias, (height, width))
    }

    /// The same for another number of outputs, (rows, columns): the first output is still that of pixel (0, 0).
    ///
    /// # Errors
    /// As [`TapList::forward`], or if a size is 0.
    pub fn forward_sized(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        output: (usize, usize),
    ) -> Result<Tensor> {
        let (_, _, height, width) = dims4("input", x)?;
        let expected = [self.table().channels(), self.table().weights_per_channel()];
        if weight.dims() != expected {
            return Err(Error::argument("weight", format!("shape {:?}", weight.dims()), format!("{expected:?}")));
        }
        if output.0 == 0 || output.1 == 0 {
            return Err(Error::argument("output size", format!("{}x{}", output.0, output.1), "at least 1x1"));
        }
        let geometry = Geometry { input: (height, width), output, stride: (1, 1) };
        TapConv::with_plan(self.plans.get(geometry)?, false)?.apply(x, weight, bias)
    }
}

/// Taps of a rectangle of `(rows, columns)`, row by row; the pixel of the output is at `centre` in it.
///
/// ```
/// use kernelscope::ops::{taplist::rectangle, taps::Tap};
/// assert_eq!(rectangle((1, 2), (0, 1)), [Tap { dh: 0, dw: -1 }, Tap { dh: 0, dw: 0 }]);
/// ```
pub fn rectangle((rows, cols): (usize, usize), centre: (usize, usize)) -> Vec<Tap> {
    let tap = |row: usize, col: usize| Tap { dh: row as i32 - centre.0 as i32, dw: col as i32 - centre.1 as i32 };
    (0..rows).flat_map(|row| (0..cols).map(move |col| tap(row, col))).collect()
}

fn check(taps: &[Tap]) -> Result<()> {
    if taps.len() > MAX_TAPS {
        return Err(Error::argument("taps", format!("{} of a channel", taps.len()), format!("at most {MAX_TAPS}")));
    }
    match taps.iter().find(|tap| tap.dh.unsigned_abs().max(tap.dw.unsigned_abs()) as usize > MAX_DISTANCE) {
        Some(Tap { dh, dw }) => {
            let allowed = format!("offsets from -{MAX_DISTANCE} to {MAX_DISTANCE}");
            Err(Error::argument("taps", format!("an offset of ({dh}, {dw})"), allowed))
        }
        None => Ok(()),
    }
}
