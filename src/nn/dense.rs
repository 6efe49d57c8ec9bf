//! Dense convolutions: the first layer of a network, and the 3x3 layers of ResNets.

use super::layers::in_layer;
use super::{FeatureShape, Init, Kind, Scope, Trace};
use crate::ops::depthwise2d::{self, Depthwise2d};
use crate::ops::oriented1d::{self, Oriented1d};
use crate::ops::{dims4, pointwise};
use crate::{Error, Result};
use candle_core::{DType, Tensor};

/// How the taps of a dense convolution lie.
#[derive(Debug, Clone)]
enum DenseTaps {
    /// On a square. The operator is that of a single channel, for its sizes.
    Square(Depthwise2d, depthwise2d::Options),
    /// On one line per output channel.
    Line(Oriented1d),
}

/// A dense convolution. Both forms copy every pixel once per tap, so they are meant for few channels or small maps.
///
/// On a square, the pixels that every output reads are laid out as channels, and a pointwise map makes the outputs of
/// them. Along lines, which differ from output to output, every pair (output, input) is one depthwise filter on a
/// repeated input, summed over the inputs.
#[derive(Debug, Clone)]
pub struct DenseConv {
    path: String,
    weight: Tensor,
    bias: Option<Tensor>,
    taps: DenseTaps,
    channels: usize,
    outputs: usize,
    kernel: (usize, usize),
}

impl DenseConv {
    /// A square convolution with padding `kernel div 2`:
    /// `y[o,p,q] = bias[o] + sum_ijk w[o,i,j,k] * x[i, S*p + j - P, S*q + k - P]`.
    ///
    /// # Errors
    /// If the parameters cannot be made or the options are not allowed.
    pub fn square(
        scope: &Scope,
        channels: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        bias: bool,
    ) -> Result<Self> {
        let options = depthwise2d::Options::same(kernel, kernel).with_stride(stride);
        DenseConv::with_options(scope, channels, outputs, options, bias)
    }

    /// A square convolution with another stride or padding: `P` and `S` of [`DenseConv::square`] are those of `options`,
    /// the same in both directions.
    ///
    /// # Errors
    /// If the parameters cannot be made, or the options are not allowed: rectangles and dilated kernels are not.
    pub fn with_options(
        scope: &Scope,
        channels: usize,
        outputs: usize,
        options: depthwise2d::Options,
        bias: bool,
    ) -> Result<Self> {
        let kernel = options.kernel.0;
        let pairs = [options.kernel, options.stride, options.padding];
        if pairs.iter().any(|(rows, cols)| rows != cols) || options.dilation != (1, 1) {
            let allowed = "the same kernel, stride, and padding in both directions, and no dilation";
            return Err(Error::argument("options of a dense convolution", format!("{options:?}"), allowed));
        }
        Ok(DenseConv {
            path: scope.path().to_string(),
            weight: scope.weight((outputs, channels, kernel, kernel))?,
            bias: bias.then(|| scope.bias(outputs)).transpose()?,
            taps: DenseTaps::Square(Depthwise2d::new(1, options)?, options),
            channels,
            outputs,
            kernel: (kernel, kernel),
        })
    }

    /// A convolution along one line per output channel:
    /// `y[o,p,q] = bias[o] + sum_i sum_k w[o,i,k] * x[i, S*p + dh[o,k], S*q + dw[o,k]]`.
    ///
    /// # Errors
    /// If the parameters cannot be made or the options are not allowed.
    pub fn oriented(
        scope: &Scope,
        channels: usize,
        theta: Vec<f32>,
        taps: usize,
        bias: bool,
        options: oriented1d::Options,
    ) -> Result<Self> {
        let outputs = theta.len();
        let weight = scope.weight((outputs, channels, 1, taps))?;
        let bias = bias.then(|| scope.bias(outputs)).transpose()?;
        let theta = scope.param("theta", outputs, Kind::Theta, Init::Values(theta))?;
        let theta = theta.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        let repeated: Vec<f32> = theta.iter().flat_map(|&t| std::iter::repeat_n(t, channels)).collect();
        Ok(DenseConv {
            path: scope.path().to_string(),
            weight,
            bias,
            taps: DenseTaps::Line(Oriented1d::new(&repeated, taps, options)?),
            channels,
            outputs,
            kernel: (1, taps),
        })
    }

    /// Applies the layer to (N, C, H, W).
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, h, w) = dims4("input", x)?;
        match &self.taps {
            DenseTaps::Square(op, options) => {
                let size = op.output_size(h, w).map_err(|error| in_layer(&self.path, error))?;
                let pixels = unfold(x, *options, size)?;
                let per_output = self.channels * self.kernel.0 * self.kernel.1;
                let weight = self.weight.reshape((self.outputs, per_output))?;
                pointwise::pointwise(&pixels, &weight, self.bias.as_ref())
            }
            DenseTaps::Line(op) => self.along_lines(x, op),
        }
    }

    fn along_lines(&self, x: &Tensor, op: &Oriented1d) -> Result<Tensor> {
        let (n, _, h, w) = dims4("input", x)?;
        let (inputs, outputs) = (self.channels, self.outputs);
        let repeated = x.unsqueeze(1)?.expand((n, outputs, inputs, h, w))?.contiguous()?;
        let repeated = repeated.reshape((n, outputs * inputs, h, w))?;
        let weight = self.weight.reshape((outputs * inputs, 1, self.kernel.0, self.kernel.1))?;
        let y = op.forward(&repeated, &weight, None).map_err(|error| in_layer(&self.path, error))?;
        let (_, _, p, q) = dims4("output", &y)?;
        let y = y.reshape((n, outputs, inputs, p, q))?.sum(2)?;
        match &self.bias {
            Some(bias) => Ok(y.broadcast_add(&bias.reshape((1, outputs, 1, 1))?)?),
            None => Ok(y),
        }
    }

    /// Adds this layer to a trace.
    ///
    /// # Errors
    /// If the size does not fit.
    pub fn trace(&self, trace: &mut Trace) -> Result<()> {
        let size = (trace.shape.height, trace.shape.width);
        let (kind, size) = match &self.taps {
            DenseTaps::Square(op, _) => ("conv", op.output_size(size.0, size.1)),
            DenseTaps::Line(op) => ("dense oriented", op.output_size(size.0, size.1)),
        };
        let (height, width) = size.map_err(|error| in_layer(&self.path, error))?;
        let output = FeatureShape { channels: self.outputs, height, width };
        let per_output = (self.channels * self.kernel.0 * self.kernel.1) as u64;
        trace.push(
            &self.path,
            format!("{kind} {}x{}", self.kernel.0, self.kernel.1),
            output,
            output.values() * per_output,
        );
        Ok(())
    }
}

/// The pixels that every output of a square kernel reads: (N, C, H, W) to (N, C * k * k, P, Q), by channel, row and
/// column of the kernel, zero outside the image.
fn unfold(x: &Tensor, options: depthwise2d::Options, (rows, cols): (usize, usize)) -> Result<Tensor> {
    let (n, c, _, _) = dims4("input", x)?;
    let (k, s, padding) = (options.kernel.0, options.stride.0, options.padding.0);
    // Split into S x S phases, every tap is a rectangle of one of them.
    let (height, width) = (rows + (k - 1) / s, cols + (k - 1) / s);
    let x = fit(&fit(x, 2, padding, s * height)?, 3, padding, s * width)?;
    let phases = x.contiguous()?.reshape(&[n, c, height, s, width, s][..])?;
    let mut taps = Vec::with_capacity(k * k);
    for i in 0..k {
        let row = phases.narrow(3, i % s, 1)?.narrow(2, i / s, rows)?;
        for j in 0..k {
            let tap = row.narrow(5, j % s, 1)?.narrow(4, j / s, cols)?;
            taps.push(tap.reshape((n, c, 1, rows, cols))?);
        }
    }
    Ok(Tensor::cat(&taps, 2)?.reshape((n, c * k * k, rows, cols))?)
}

/// Puts `before` zeros in front, and zeros at the end or nothing of the end, for a side of `length`.
fn fit(x: &Tensor, axis: usize, before: usize, length: usize) -> Result<Tensor> {
    let kept = x.dim(axis)?.min(length - before);
    Ok(x.narrow(axis, 0, kept)?.pad_with_zeros(axis, before, length - before - kept)?)
}
