//! Depthwise 2-D convolution with rectangular, large and dilated kernels.
//!
//! ```text
//! y[n,c,p,q] = bias[c] + sum_ij w[c,0,i,j] * x[n, c, S_h*p + D_h*i - P_h, S_w*q + D_w*j - P_w]
//! ```
//!
//! with x = 0 outside the image, strides S, dilations D and paddings P per axis. This is the operator of ConvNeXt's
//! 7x7, of RepLKNet's 31x31 (Ding et al., CVPR 2022, section 4) and of SLaK's 51x5.

pub mod reference;

use super::dims4;
use super::taps::TapPlans;
use super::taps::{Geometry, Tap, TapConv, TapTable};
use crate::{Error, Result};
use candle_core::Tensor;

/// Longest side of a kernel that is accepted.
pub const MAX_SIDE: usize = 63;

/// Largest stride, dilation and padding that is accepted: no network comes near, and offsets stay far from overflow.
pub const MAX_DISTANCE: usize = 4096;

/// Geometry of the operator; pairs are (vertical, horizontal).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Rows and columns of the kernel, 1 to [`MAX_SIDE`].
    pub kernel: (usize, usize),
    /// Strides.
    pub stride: (usize, usize),
    /// Zero rows above and below, zero columns left and right.
    pub padding: (usize, usize),
    /// Distance between taps.
    pub dilation: (usize, usize),
}

impl Options {
    /// A kernel at stride 1 whose padding keeps the image size (for odd sides).
    pub fn same(height: usize, width: usize) -> Self {
        Options { kernel: (height, width), stride: (1, 1), padding: (height / 2, width / 2), dilation: (1, 1) }
    }

    /// The same with another stride in both directions.
    pub fn with_stride(self, stride: usize) -> Self {
        Options { stride: (stride, stride), ..self }
    }

    /// The same with another dilation in both directions, and the padding that keeps the image size.
    pub fn with_dilation(self, dilation: usize) -> Self {
        let padding = (dilation * (self.kernel.0 / 2), dilation * (self.kernel.1 / 2));
        Options { dilation: (dilation, dilation), padding, ..self }
    }
}

/// The operator for one layer.
#[derive(Debug, Clone)]
pub struct Depthwise2d {
    plans: TapPlans,
    options: Options,
}

impl Depthwise2d {
    /// The operator for `channels` channels.
    ///
    /// # Errors
    /// If a side of the kernel is 0 or above [`MAX_SIDE`], a stride or dilation is 0, or a distance is above
    /// [`MAX_DISTANCE`].
    pub fn new(channels: usize, options: Options) -> Result<Self> {
        let (kh, kw) = options.kernel;
        if kh == 0 || kw == 0 || kh > MAX_SIDE || kw > MAX_SIDE {
            return Err(Error::argument("kernel", format!("{kh}x{kw}"), format!("sides from 1 to {MAX_SIDE}")));
        }
        let distances =
            [("stride", options.stride, 1), ("dilation", options.dilation, 1), ("padding", options.padding, 0)];
        for (name, (a, b), least) in distances {
            if a.min(b) < least || a.max(b) > MAX_DISTANCE {
                return Err(Error::argument(name, format!("({a}, {b})"), format!("{least} to {MAX_DISTANCE}")));
            }
        }
        let offset = |index: usize, dilation: usize, padding: usize| (index * dilation) as i32 - padding as i32;
        let taps: Vec<Tap> = (0..kh * kw)
            .map(|index| Tap {
                dh: offset(index / kw, options.dilation.0, options.padding.0),
                dw: offset(index % kw, options.dilation.1, options.padding.1),
            })
            .collect();
        Ok(Depthwise2d { plans: TapPlans::new(TapTable::shared(channels, &taps)?), options })
    }

    /// The geometry.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The taps of every channel.
    pub fn table(&self) -> &TapTable {
        self.plans.table()
    }

    /// Output height and width: `(H + 2P - D(K-1) - 1) div S + 1`.
    ///
    /// # Errors
    /// If the padded image is smaller than the kernel's extent.
    pub fn output_size(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let side = |size: usize, kernel: usize, stride: usize, padding: usize, dilation: usize| {
            (size + 2 * padding).checked_sub(dilation * (kernel - 1) + 1).map(|free| free / stride + 1)
        };
        let o = &self.options;
        match (
            side(height, o.kernel.0, o.stride.0, o.padding.0, o.dilation.0),
            side(width, o.kernel.1, o.stride.1, o.padding.1, o.dilation.1),
        ) {
            (Some(h), Some(w)) => Ok((h, w)),
            _ => Err(Error::argument(
                "input size",
                format!("{height}x{width}"),
                format!("at least the extent of the {}x{} kernel minus its padding", o.kernel.0, o.kernel.1),
            )),
        }
    }

    /// Sizes and strides for an input of the given size.
    ///
    /// # Errors
    /// As [`Depthwise2d::output_size`].
    pub fn geometry(&self, height: usize, width: usize) -> Result<Geometry> {
        let output = self.output_size(height, width)?;
        Ok(Geometry { input: (height, width), output, stride: self.options.stride })
    }

    /// Applies the operator: `x` (N, C, H, W), `weight` (C, 1, kh, kw), `bias` (C). Differentiable in all three in
    /// f32 and f64; f16 and bf16, added up in f32, for inference.
    ///
    /// # Errors
    /// If shapes or dtypes do not fit; the message names the argument.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use kernelscope::ops::depthwise2d::{Depthwise2d, Options};
    /// let op = Depthwise2d::new(4, Options::same(31, 5))?;
    /// let x = Tensor::ones((2, 4, 20, 30), DType::F32, &Device::Cpu)?;
    /// let w = Tensor::ones((4, 1, 31, 5), DType::F32, &Device::Cpu)?;
    /// assert_eq!(op.forward(&x, &w, None)?.dims(), [2, 4, 20, 30]);
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (_, _, height, width) = dims4("input", x)?;
        super::check_kernel(weight, self.options.kernel.0, self.options.kernel.1)?;
        TapConv::with_plan(self.plans.get(self.geometry(height, width)?)?, false)?.apply(x, weight, bias)
    }
}
