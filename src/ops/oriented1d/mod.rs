//! Oriented 1-D depthwise convolution (Kirchmeyer and Deng, *Convolutional Networks with Oriented 1D Kernels*,
//! ICCV 2023, section 3 and equation 2; the released code is normative where the two differ).
//!
//! Every channel c has one filter of odd length K and one angle `theta_c`. With `r = K div 2`, `t = k - r` and all
//! arithmetic in IEEE single precision,
//!
//! ```text
//! dh[c,k] = trunc(-sin(theta_c) * t)        dw[c,k] = trunc(cos(theta_c) * t)        trunc: toward zero
//! y[n,c,p,q] = bias[c] + sum_k w[c,0,0,k] * x[n, c, S*p + dh[c,k], S*q + dw[c,k]]    x = 0 outside the image
//! ```
//!
//! The paper prints a floor; its published networks were trained with truncation, so truncation is what counts. At
//! `theta = 0` the filter is a row (k grows to the right); angles turn counter-clockwise, so at 90 degrees the last tap
//! reads the row above. For oblique angles several taps meet in one pixel near the center; they add up.

pub mod reference;

use super::taps::{Geometry, Tap, TapConv, TapPlans, TapTable};
use super::{Layout, dims4};
use crate::{Error, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// What accepts any size, as errors say it.
pub(crate) const ANY_SIZE: &str = "SizeMode::Arbitrary";

/// Longest filter that is accepted.
pub const MAX_TAPS: usize = 127;

/// What to do with images whose sides are no multiple of the stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SizeMode {
    /// Refuse them: `P = H / S` exactly. The mode of the classification networks.
    #[default]
    Strict,
    /// Extend them with zeros at the bottom and right: `P = ceil(H / S)`. The mode of the detection backbones.
    Arbitrary,
}

/// Options of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Stride S, the same in both directions.
    pub stride: usize,
    /// Treatment of sizes that are no multiple of the stride.
    pub sizes: SizeMode,
    /// Adds the input to the output (stride 1 only): the filter used is `w + delta`.
    pub residual: bool,
    /// Order of the axes of input and output.
    pub layout: Layout,
}

impl Default for Options {
    fn default() -> Self {
        Options { stride: 1, sizes: SizeMode::Strict, residual: false, layout: Layout::ChannelsFirst }
    }
}

/// Offsets of the K taps of a filter at angle `theta` (radians), in the order of the weights.
///
/// The sine and cosine are rounded to single precision before the product: with double precision a vertical filter
/// would lose its outermost row, because `sin(f32(pi/2)) = 0.999999999999999`.
///
/// ```
/// use kernelscope::ops::oriented1d::tap_offsets;
/// let taps: Vec<_> = tap_offsets(std::f32::consts::FRAC_PI_4, 7).iter().map(|t| (t.dh, t.dw)).collect();
/// assert_eq!(taps, [(2, -2), (1, -1), (0, 0), (0, 0), (0, 0), (-1, 1), (-2, 2)]);
/// ```
pub fn tap_offsets(theta: f32, taps: usize) -> Vec<Tap> {
    let sin = f64::from(theta).sin() as f32;
    let cos = f64::from(theta).cos() as f32;
    let radius = (taps / 2) as i32;
    (0..taps as i32)
        .map(|k| {
            let t = (k - radius) as f32;
            Tap { dh: (-sin * t) as i32, dw: (cos * t) as i32 }
        })
        .collect()
}

/// The angle of every channel: consecutive blocks of channels share one of `directions` equally spaced angles.
///
/// `g(c) = (D*(c+1) - 1) div C` and `theta_c = f32(pi * ((g(c)/D + offset) mod 1))`, in double precision with one
/// rounding; `offset` is a fraction of 180 degrees.
///
/// # Errors
/// If `channels` or `directions` is zero.
///
/// ```
/// let theta = kernelscope::ops::oriented1d::channel_angles(4, 2, 0.0)?;
/// assert_eq!(theta, [0.0, 0.0, std::f32::consts::FRAC_PI_2, std::f32::consts::FRAC_PI_2]);
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn channel_angles(channels: usize, directions: usize, offset: f64) -> Result<Vec<f32>> {
    if channels == 0 || directions == 0 {
        return Err(Error::argument(
            "directions",
            format!("{directions} for {channels} channels"),
            "at least one direction and one channel",
        ));
    }
    Ok((0..channels).map(|channel| channel_angle(channel, channels, directions, offset)).collect())
}

/// One of [`channel_angles`], where `channels` and `directions` are not zero.
pub(crate) fn channel_angle(channel: usize, channels: usize, directions: usize, offset: f64) -> f32 {
    let group = (directions * (channel + 1) - 1) / channels;
    let turn = (group as f64 / directions as f64 + offset) % 1.0;
    (std::f64::consts::PI * turn) as f32
}

/// The operator for one layer: angles resolved to a tap table, once.
#[derive(Debug, Clone)]
pub struct Oriented1d {
    plans: TapPlans,
    options: Options,
}

impl Oriented1d {
    /// Builds the tap table for the given angles (radians, one per channel) and filter length.
    ///
    /// # Errors
    /// If the filter length is even or above [`MAX_TAPS`], the stride is zero, an angle is not finite, or `residual`
    /// comes with a stride.
    pub fn new(theta: &[f32], taps: usize, options: Options) -> Result<Self> {
        if taps.is_multiple_of(2) || taps > MAX_TAPS {
            return Err(Error::argument("kernel", taps, format!("an odd number from 1 to {MAX_TAPS}")));
        }
        if options.stride == 0 {
            return Err(Error::argument("stride", 0, "at least 1"));
        }
        if options.residual && options.stride != 1 {
            return Err(Error::argument("residual", format!("stride {}", options.stride), "stride 1"));
        }
        if theta.is_empty() {
            return Err(Error::argument("theta", "no angles", "one angle per channel"));
        }
        if let Some(bad) = theta.iter().find(|t| !t.is_finite()) {
            return Err(Error::argument("theta", bad, "finite angles in radians"));
        }
        let offsets: Vec<_> = theta.iter().map(|&t| tap_offsets(t, taps)).collect();
        Ok(Oriented1d { plans: TapPlans::new(TapTable::from_offsets(&offsets)?), options })
    }

    /// The taps of every channel.
    pub fn table(&self) -> &TapTable {
        self.plans.table()
    }

    /// Output height and width for an input of the given size.
    ///
    /// # Errors
    /// In strict mode, if a side is no multiple of the stride.
    pub fn output_size(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let s = self.options.stride;
        let sides = match (height.is_multiple_of(s), width.is_multiple_of(s)) {
            _ if self.options.sizes == SizeMode::Arbitrary => None,
            (true, true) => None,
            (false, true) => Some("a height that is a multiple"),
            (true, false) => Some("a width that is a multiple"),
            (false, false) => Some("a height and a width that are multiples"),
        };
        match sides {
            None => Ok((height.div_ceil(s), width.div_ceil(s))),
            Some(sides) => {
                let allowed = format!("{sides} of the stride {s}, or {ANY_SIZE}");
                Err(Error::argument("input size", format!("{height}x{width}"), allowed))
            }
        }
    }

    /// Sizes and strides for an input of the given size.
    ///
    /// # Errors
    /// As [`Oriented1d::output_size`].
    pub fn geometry(&self, height: usize, width: usize) -> Result<Geometry> {
        let output = self.output_size(height, width)?;
        Ok(Geometry { input: (height, width), output, stride: (self.options.stride, self.options.stride) })
    }

    /// Applies the operator: `x` (N, C, H, W), or (N, H, W, C) with [`Layout::ChannelsLast`]; `weight` (C, 1, 1, K);
    /// `bias` (C). Differentiable in all three in f32 and f64; f16 and bf16,
    /// added up in f32, for inference.
    ///
    /// # Errors
    /// If shapes, dtypes or sizes do not fit; the message names the argument.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use kernelscope::ops::oriented1d::{Options, Oriented1d, channel_angles};
    /// let op = Oriented1d::new(&channel_angles(8, 8, 0.0)?, 7, Options::default())?;
    /// let x = Tensor::ones((1, 8, 16, 16), candle_core::DType::F32, &Device::Cpu)?;
    /// let w = Tensor::ones((8, 1, 1, 7), candle_core::DType::F32, &Device::Cpu)?;
    /// let y = op.forward(&x, &w, None)?;
    /// assert_eq!(y.dims(), [1, 8, 16, 16]);
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        super::check_kernel(weight, 1, self.table().weights_per_channel())?;
        let last = self.options.layout == Layout::ChannelsLast;
        let planes = if last {
            dims4("input", x)?;
            x.permute((0, 3, 1, 2))?.contiguous()?
        } else {
            x.clone()
        };
        let (_, _, height, width) = dims4("input", &planes)?;
        let conv = TapConv::with_plan(self.plans.get(self.geometry(height, width)?)?, self.options.residual)?;
        let y = conv.apply(&planes, weight, bias)?;
        if last { Ok(y.permute((0, 2, 3, 1))?.contiguous()?) } else { Ok(y) }
    }
}
