//! A convolution and the batch norm after it, as torchvision's networks have them: the two are neighbors in the module
//! tree, and their initial weights follow He et al. (2015).

use super::padding::{AddedZeros, Padding};
use crate::Result;
use crate::nn::{BatchNorm, DenseConv, DepthwiseConv, Init, Mode, Pointwise, Scope, Trace};
use crate::ops::depthwise2d;
use candle_core::Tensor;

/// In what networks with the same parameters differ.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Added to the variance by batch norms.
    pub norm_eps: f64,
    /// Zeros around the images of convolutions.
    pub padding: Padding,
}

impl Default for Style {
    fn default() -> Self {
        Style { norm_eps: BatchNorm::EPS, padding: Padding::Half }
    }
}

/// Where a convolution has its parameters, and where its batch norm does.
pub(super) struct Place {
    conv: Scope,
    norm: Option<Scope>,
    style: Style,
}

impl Place {
    /// A convolution at `conv` with its norm at `norm`. Without a norm, which was folded into it, it has a bias.
    pub fn new(conv: Scope, norm: Option<Scope>) -> Self {
        Place { conv, norm, style: Style::default() }
    }

    /// The same place in a network of another style.
    pub fn styled(self, style: Style) -> Self {
        Place { style, ..self }
    }

    /// The convolution's scope, with normal weights of variance `2 / fan_out`. PyTorch's count of the values that one
    /// input of a depthwise convolution reaches is that of a dense one, so that it is `outputs * area` for both.
    fn conv(&self, outputs: usize, area: usize) -> Scope {
        let std = (2.0 / (outputs * area).max(1) as f64).sqrt();
        self.conv.with_init(Init::TruncatedNormal { std, bound: f64::INFINITY })
    }
}

/// A convolution of one of three kinds.
enum Conv {
    Dense(DenseConv),
    Pointwise(Pointwise),
    Depthwise(DepthwiseConv),
}

/// A convolution and its batch norm; once folded, a convolution with a bias.
pub(super) struct ConvNorm {
    zeros: Option<AddedZeros>,
    conv: Conv,
    norm: Option<BatchNorm>,
}

impl ConvNorm {
    fn new(place: &Place, conv: Conv, outputs: usize) -> Result<Self> {
        let norm = place.norm.as_ref().map(|scope| BatchNorm::new(scope, outputs)).transpose()?;
        Ok(ConvNorm { zeros: None, conv, norm: norm.map(|norm| norm.with_eps(place.style.norm_eps)) })
    }

    /// A square convolution that is not grouped, padded as the place says.
    pub(super) fn dense(place: &Place, channels: usize, outputs: usize, kernel: usize, stride: usize) -> Result<Self> {
        if (kernel, stride) == (1, 1) {
            return ConvNorm::pointwise(place, channels, outputs);
        }
        let scope = place.conv(outputs, kernel * kernel);
        let (options, zeros) = place.style.padding.of(depthwise2d::Options::same(kernel, kernel).with_stride(stride));
        let conv = DenseConv::with_options(&scope, channels, outputs, options, place.norm.is_none())?;
        Ok(ConvNorm { zeros, ..ConvNorm::new(place, Conv::Dense(conv), outputs)? })
    }

    /// A 1x1 convolution.
    pub(super) fn pointwise(place: &Place, channels: usize, outputs: usize) -> Result<Self> {
        let conv = Pointwise::conv(&place.conv(outputs, 1), channels, outputs, place.norm.is_none())?;
        ConvNorm::new(place, Conv::Pointwise(conv), outputs)
    }

    /// A depthwise convolution.
    pub(super) fn depthwise(place: &Place, channels: usize, options: depthwise2d::Options) -> Result<Self> {
        let scope = place.conv(channels, options.kernel.0 * options.kernel.1);
        let (options, zeros) = place.style.padding.of(options);
        let conv = DepthwiseConv::new(&scope, channels, place.norm.is_none(), options)?;
        Ok(ConvNorm { zeros, ..ConvNorm::new(place, Conv::Depthwise(conv), channels)? })
    }

    /// Applies both to (N, C, H, W).
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let padded = self.zeros.map(|zeros| zeros.add(x)).transpose()?;
        let x = padded.as_ref().unwrap_or(x);
        let y = match &self.conv {
            Conv::Dense(conv) => conv.forward(x)?,
            Conv::Pointwise(conv) => return conv.forward_between(None, x, self.norm.as_ref(), mode),
            Conv::Depthwise(conv) => conv.forward(x)?,
        };
        match &self.norm {
            Some(norm) => norm.forward(&y, mode),
            None => Ok(y),
        }
    }

    /// Adds both to a trace.
    pub(super) fn trace(&self, trace: &mut Trace) -> Result<()> {
        if let Some(zeros) = self.zeros {
            zeros.trace(trace);
        }
        match &self.conv {
            Conv::Dense(conv) => conv.trace(trace)?,
            Conv::Pointwise(conv) => conv.trace(trace),
            Conv::Depthwise(conv) => conv.trace(trace)?,
        }
        if let Some(norm) = &self.norm {
            norm.trace(trace);
        }
        Ok(())
    }
}
