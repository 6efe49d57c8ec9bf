//! Convolutions and linear maps.

use super::{BatchNorm, FeatureShape, Init, Kind, LayerNorm, LayerScale, Mode, Scope, Trace};
use crate::ops::depthwise2d::{self, Depthwise2d};
use crate::ops::oriented1d::{self, Oriented1d};
use crate::ops::{fused, layer_norm, pointwise};
use crate::{Error, Result};
use candle_core::{D, DType, Tensor};

/// Depthwise oriented 1-D convolution (see [`crate::ops::oriented1d`]) with weight, bias and angles.
#[derive(Debug, Clone)]
pub struct OrientedConv {
    path: String,
    weight: Tensor,
    bias: Option<Tensor>,
    op: Oriented1d,
    taps: usize,
}

impl OrientedConv {
    /// A layer with one filter of `taps` taps per channel at the angle `theta[c]` (radians). A checkpoint's angles
    /// replace `theta`.
    ///
    /// # Errors
    /// If the parameters cannot be made or the options are not allowed.
    pub fn new(scope: &Scope, theta: Vec<f32>, taps: usize, bias: bool, options: oriented1d::Options) -> Result<Self> {
        let channels = theta.len();
        let weight = scope.weight((channels, 1, 1, taps))?;
        let bias = bias.then(|| scope.bias(channels)).transpose()?;
        let theta = scope.param("theta", channels, Kind::Theta, Init::Values(theta))?;
        let theta = theta.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        Ok(OrientedConv {
            path: scope.path().to_string(),
            weight,
            bias,
            op: Oriented1d::new(&theta, taps, options)?,
            taps,
        })
    }

    /// Applies the layer to (N, C, H, W).
    ///
    /// # Errors
    /// As [`Oriented1d::forward`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.op.forward(x, &self.weight, self.bias.as_ref()).map_err(|error| in_layer(&self.path, error))
    }

    /// Adds this layer to a trace.
    ///
    /// # Errors
    /// If the size does not fit.
    pub fn trace(&self, trace: &mut Trace) -> Result<()> {
        let size = self.op.output_size(trace.shape.height, trace.shape.width);
        let (height, width) = size.map_err(|error| in_layer(&self.path, error))?;
        let output = FeatureShape { height, width, ..trace.shape };
        trace.push(&self.path, format!("oriented 1x{}", self.taps), output, output.values() * self.taps as u64);
        Ok(())
    }
}

/// An operator's refusal of a size in a layer: it names the layer, and the field of a network's configuration that
/// helps.
pub(super) fn in_layer(path: &str, error: Error) -> Error {
    match error {
        Error::Argument { name, given, allowed } if name == "input size" => {
            let allowed = allowed.replace(oriented1d::ANY_SIZE, "any size with arbitrary_size=true");
            Error::Argument { name: format!("{name} of {path}"), given, allowed }
        }
        other => other,
    }
}

/// Depthwise 2-D convolution (see [`crate::ops::depthwise2d`]) with weight and bias.
#[derive(Debug, Clone)]
pub struct DepthwiseConv {
    path: String,
    weight: Tensor,
    bias: Option<Tensor>,
    op: Depthwise2d,
    kernel: (usize, usize),
}

impl DepthwiseConv {
    /// A layer over `channels` channels.
    ///
    /// # Errors
    /// If the parameters cannot be made or the options are not allowed.
    pub fn new(scope: &Scope, channels: usize, bias: bool, options: depthwise2d::Options) -> Result<Self> {
        let kernel = options.kernel;
        Ok(DepthwiseConv {
            path: scope.path().to_string(),
            weight: scope.weight((channels, 1, kernel.0, kernel.1))?,
            bias: bias.then(|| scope.bias(channels)).transpose()?,
            op: Depthwise2d::new(channels, options)?,
            kernel,
        })
    }

    /// A layer with these weights (C, 1, rows, columns), at no place in a module tree.
    pub(super) fn of(op: Depthwise2d, weight: Tensor, bias: Option<Tensor>) -> Self {
        let kernel = op.options().kernel;
        DepthwiseConv { path: String::new(), weight, bias, op, kernel }
    }

    /// Applies the layer to (N, C, H, W).
    ///
    /// # Errors
    /// As [`Depthwise2d::forward`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.op.forward(x, &self.weight, self.bias.as_ref()).map_err(|error| in_layer(&self.path, error))
    }

    /// Adds this layer to a trace.
    ///
    /// # Errors
    /// If the size does not fit.
    pub fn trace(&self, trace: &mut Trace) -> Result<()> {
        let size = self.op.output_size(trace.shape.height, trace.shape.width);
        let (height, width) = size.map_err(|error| in_layer(&self.path, error))?;
        let output = FeatureShape { height, width, ..trace.shape };
        let (kh, kw) = self.kernel;
        trace.push(&self.path, format!("depthwise {kh}x{kw}"), output, output.values() * (kh * kw) as u64);
        Ok(())
    }
}

/// Pointwise convolution (see [`crate::ops::pointwise`]).
#[derive(Debug, Clone)]
pub struct Pointwise {
    path: String,
    weight: Tensor,
    bias: Option<Tensor>,
    outputs: usize,
}

impl Pointwise {
    /// A layer whose weight is stored as (outputs, channels), like a linear map's.
    ///
    /// # Errors
    /// If the parameters cannot be made.
    pub fn new(scope: &Scope, channels: usize, outputs: usize, bias: bool) -> Result<Self> {
        let weight = scope.weight((outputs, channels))?;
        let bias = bias.then(|| scope.bias(outputs)).transpose()?;
        Ok(Pointwise { path: scope.path().to_string(), weight, bias, outputs })
    }

    /// A layer whose weight is stored as (outputs, channels, 1, 1), like a convolution's.
    ///
    /// # Errors
    /// If the parameters cannot be made.
    pub fn conv(scope: &Scope, channels: usize, outputs: usize, bias: bool) -> Result<Self> {
        let weight = scope.weight((outputs, channels, 1, 1))?.reshape((outputs, channels))?;
        let bias = bias.then(|| scope.bias(outputs)).transpose()?;
        Ok(Pointwise { path: scope.path().to_string(), weight, bias, outputs })
    }

    /// Applies the layer to (N, C, H, W).
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        pointwise::pointwise(x, &self.weight, self.bias.as_ref())
    }

    /// Applies `norm`, of a layout with channels first, and then the layer, as one operator.
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn forward_normed(&self, norm: &LayerNorm, x: &Tensor) -> Result<Tensor> {
        fused::norm_pointwise(x, norm.parameters(), layer_norm::EPS, &self.weight, &self.bias()?)
    }

    /// Applies GELU, the layer and the factors of `scale`, as one operator.
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn forward_activated(&self, x: &Tensor, scale: &LayerScale) -> Result<Tensor> {
        fused::gelu_pointwise(x, &self.weight, &self.bias()?, scale.gamma())
    }

    /// Applies the batch norm `before`, the layer, and the batch norm `after`, where they are given. In evaluation both
    /// norms are linear and go into the weights, so that no feature map is written for them.
    ///
    /// # Errors
    /// If the shape does not fit, or a training batch has only one value per channel.
    pub fn forward_between(
        &self,
        before: Option<&BatchNorm>,
        x: &Tensor,
        after: Option<&BatchNorm>,
        mode: Mode,
    ) -> Result<Tensor> {
        if mode.is_train() {
            let y = match before {
                Some(norm) => self.forward(&norm.forward(x, mode)?)?,
                None => self.forward(x)?,
            };
            return match after {
                Some(norm) => norm.forward(&y, mode),
                None => Ok(y),
            };
        }
        let (mut weight, mut bias) = (self.weight.clone(), self.bias()?);
        if let Some(norm) = before {
            let (scale, shift) = norm.affine()?;
            bias = (bias + weight.matmul(&shift.unsqueeze(1)?)?.squeeze(1)?)?;
            weight = weight.broadcast_mul(&scale.unsqueeze(0)?)?;
        }
        if let Some(norm) = after {
            let (scale, shift) = norm.affine()?;
            bias = ((bias * &scale)? + shift)?;
            weight = weight.broadcast_mul(&scale.unsqueeze(1)?)?;
        }
        pointwise::pointwise(x, &weight, Some(&bias))
    }

    /// The bias, or zeros.
    fn bias(&self) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => Ok(bias.clone()),
            None => Ok(Tensor::zeros(self.outputs, self.weight.dtype(), self.weight.device())?),
        }
    }

    /// Adds this layer to a trace.
    pub fn trace(&self, trace: &mut Trace) {
        let macs = trace.shape.values() * self.outputs as u64;
        trace.push(&self.path, "pointwise", trace.shape.with_channels(self.outputs), macs);
    }
}

/// A convolution of K x K patches that do not overlap (kernel = stride): ConvNeXt's stem and downsampling. Rows and
/// columns that fill no patch are left out.
#[derive(Debug, Clone)]
pub struct PatchConv {
    path: String,
    weight: Tensor,
    bias: Option<Tensor>,
    channels: usize,
    outputs: usize,
    patch: usize,
}

impl PatchConv {
    /// A layer from `channels` to `outputs` channels with square patches of side `patch`.
    ///
    /// # Errors
    /// If the parameters cannot be made.
    pub fn new(scope: &Scope, channels: usize, outputs: usize, patch: usize, bias: bool) -> Result<Self> {
        Ok(PatchConv {
            path: scope.path().to_string(),
            weight: scope.weight((outputs, channels, patch, patch))?,
            bias: bias.then(|| scope.bias(outputs)).transpose()?,
            channels,
            outputs,
            patch,
        })
    }

    /// Applies the layer to (N, C, H, W).
    ///
    /// # Errors
    /// If the image is smaller than one patch.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (n, c, h, w) = crate::ops::dims4("input", x)?;
        let (k, (rows, cols)) = (self.patch, self.patches(h, w)?);
        let x = x.narrow(2, 0, rows * k)?.narrow(3, 0, cols * k)?.contiguous()?;
        let patches = x.reshape(&[n, c, rows, k, cols, k][..])?.permute([0, 1, 3, 5, 2, 4])?.contiguous()?;
        let patches = patches.reshape((n, c * k * k, rows, cols))?;
        let weight = self.weight.reshape((self.outputs, self.channels * k * k))?;
        pointwise::pointwise(&patches, &weight, self.bias.as_ref())
    }

    /// Rows and columns of whole patches in an image.
    fn patches(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        match (height / self.patch, width / self.patch) {
            (rows, cols) if rows > 0 && cols > 0 => Ok((rows, cols)),
            _ => Err(Error::argument(
                format!("input size of {}", self.path),
                format!("{height}x{width}"),
                format!("at least {0}x{0}, one patch", self.patch),
            )),
        }
    }

    /// Adds this layer to a trace.
    ///
    /// # Errors
    /// If the image is smaller than one patch.
    pub fn trace(&self, trace: &mut Trace) -> Result<()> {
        let (height, width) = self.patches(trace.shape.height, trace.shape.width)?;
        let output = FeatureShape { channels: self.outputs, height, width };
        let macs = output.values() * (self.channels * self.patch * self.patch) as u64;
        trace.push(&self.path, format!("conv {0}x{0} / {0}", self.patch), output, macs);
        Ok(())
    }
}

/// A linear map of vectors, `y = x W^T + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    path: String,
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// A map from `inputs` to `outputs` features; initial weights are multiplied by `scale`.
    ///
    /// # Errors
    /// If the parameters cannot be made.
    pub fn new(scope: &Scope, inputs: usize, outputs: usize, scale: f64) -> Result<Self> {
        let init = Init::TruncatedNormal { std: 0.02 * scale, bound: 2.0 * scale };
        Ok(Linear {
            path: scope.path().to_string(),
            weight: scope.param("weight", (outputs, inputs), Kind::Weight, init)?,
            bias: scope.bias(outputs)?,
        })
    }

    /// A map whose initial weights and biases are uniform between plus and minus `1 / sqrt(inputs)`, as PyTorch's are.
    ///
    /// # Errors
    /// If the parameters cannot be made.
    pub fn uniform(scope: &Scope, inputs: usize, outputs: usize) -> Result<Self> {
        let bias = Init::Uniform { bound: (inputs.max(1) as f64).sqrt().recip() };
        Ok(Linear {
            path: scope.path().to_string(),
            weight: scope.param("weight", (outputs, inputs), Kind::Weight, Init::UniformFanIn)?,
            bias: scope.param("bias", outputs, Kind::Bias, bias)?,
        })
    }

    /// Applies the map to (N, inputs).
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?)
    }

    /// Adds this layer to a trace.
    ///
    /// # Errors
    /// If the weight is not a matrix.
    pub fn trace(&self, trace: &mut Trace) -> Result<()> {
        let (outputs, inputs) = (self.weight.dim(0)?, self.weight.dim(D::Minus1)?);
        let output = FeatureShape { channels: outputs, height: 1, width: 1 };
        trace.push(&self.path, "linear", output, (outputs * inputs) as u64);
        Ok(())
    }
}
