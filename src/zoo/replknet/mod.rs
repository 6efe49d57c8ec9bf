//! RepLKNet (Ding et al., *Scaling Up Your Kernels to 31x31*, CVPR 2022, section 4.1).
//!
//! Large kernels work under five guidelines (section 3): they are depthwise, have a shortcut around them and, in
//! training, a small kernel beside them, and they pay in downstream tasks and on small feature maps too. With `cb` a
//! convolution without bias and its batch norm, and `cbr` the same and a ReLU:
//!
//! ```text
//! stem         cbr 3x3 / 2, cbr depthwise 3x3, cbr 1x1, cbr depthwise 3x3 / 2
//! stage        pairs of   RepLK block   x + drop_path(pw2(relu(large(relu(pw1(bn(x)))))))     pw1, pw2: cb 1x1
//!                         ConvFFN       x + drop_path(pw2(gelu(pw1(bn(x)))))                  1x1 to 4 C and back
//! transition   cbr 1x1, cbr depthwise 3x3 / 2
//! head         batch norm, global mean, linear map
//! large(x)     cb depthwise KxK (x) + cb depthwise kxk (x)          in training (section 3.1, guideline 3)
//!              depthwise KxK (x) + bias                             merged: the same values (`merge`)
//! ```
//!
//! Both blocks of a pair drop paths at the same rate, independently; the rate rises linearly over all pairs. Names,
//! shapes and their order are those of the official checkpoints, blocks counted through (`blocks.0` is the first RepLK
//! block, `blocks.1` the ConvFFN after it). The official code initializes nothing, so PyTorch's defaults hold: see
//! [`Init::UniformFanIn`].
//!
//! In training the biases of `prelkb_bn` and `preffn_bn` have no effect: the norm after the pointwise convolution takes
//! any constant away again. They are kept because the checkpoints have them.

mod config;
mod merge;

pub use config::RepLkNetConfig;
pub use merge::{fold, merge};

use super::{Family, Features, Merge, Model, common_fields};
use crate::nn::{
    BatchNorm, DenseConv, DepthwiseConv, DropPath, FeatureShape, Init, LayerScale, Linear, Mode, Pass, Pointwise,
    Scope, Trace, global_mean,
};
use crate::ops::{depthwise2d, gelu::gelu};
use crate::weights::TensorMap;
use crate::{Error, Result};
use candle_core::Tensor;

/// A convolution of one of the three kinds that the network has.
enum Conv {
    Dense(DenseConv),
    Pointwise(Pointwise),
    Depthwise(DepthwiseConv),
}

/// A convolution and its batch norm; once folded, a convolution with a bias.
struct ConvNorm {
    path: String,
    conv: Conv,
    norm: Option<BatchNorm>,
}

impl ConvNorm {
    fn new(scope: &Scope, conv: Conv, channels: usize, folded: bool) -> Result<Self> {
        let norm = (!folded).then(|| BatchNorm::new(&scope.child("bn"), channels)).transpose()?;
        Ok(ConvNorm { path: scope.path().to_string(), conv, norm })
    }

    /// The first convolution of the network: 3x3 at stride 2, from the colors to `outputs` channels.
    fn first(scope: &Scope, outputs: usize, folded: bool) -> Result<Self> {
        let conv = DenseConv::square(&scope.child("conv"), 3, outputs, 3, 2, folded)?;
        ConvNorm::new(scope, Conv::Dense(conv), outputs, folded)
    }

    fn pointwise(scope: &Scope, channels: usize, outputs: usize, folded: bool) -> Result<Self> {
        let conv = Pointwise::conv(&scope.child("conv"), channels, outputs, folded)?;
        ConvNorm::new(scope, Conv::Pointwise(conv), outputs, folded)
    }

    fn depthwise(scope: &Scope, channels: usize, options: depthwise2d::Options, folded: bool) -> Result<Self> {
        let conv = DepthwiseConv::new(&scope.child("conv"), channels, folded, options)?;
        ConvNorm::new(scope, Conv::Depthwise(conv), channels, folded)
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
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

    /// The same behind a batch norm.
    fn forward_normed(&self, before: &BatchNorm, x: &Tensor, mode: Mode) -> Result<Tensor> {
        match &self.conv {
            Conv::Pointwise(conv) => conv.forward_between(Some(before), x, self.norm.as_ref(), mode),
            _ => self.forward(&before.forward(x, mode)?, mode),
        }
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
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

    /// The layer with a ReLU, in a trace.
    fn trace_relu(&self, trace: &mut Trace) -> Result<()> {
        self.trace(trace)?;
        trace.push_free(&format!("{}.nonlinear", self.path), "relu");
        Ok(())
    }
}

/// The large kernel and, in training, the small one beside it.
struct LargeKernel {
    large: ConvNorm,
    small: Option<ConvNorm>,
}

impl LargeKernel {
    fn new(scope: &Scope, config: &RepLkNetConfig, stage: usize) -> Result<Self> {
        let channels = config.dw_channels(stage);
        let square = |side: usize| depthwise2d::Options::same(side, side);
        let kernel = square(config.kernel.stage(stage));
        if config.merged {
            let scope = scope.child("lkb_reparam");
            let conv = Conv::Depthwise(DepthwiseConv::new(&scope, channels, true, kernel)?);
            return Ok(LargeKernel { large: ConvNorm::new(&scope, conv, channels, true)?, small: None });
        }
        let large = ConvNorm::depthwise(&scope.child("lkb_origin"), channels, kernel, false)?;
        let small = config.small_kernel.map(|side| {
            let scope = scope.child("small_conv");
            ConvNorm::depthwise(&scope, channels, square(side), false)
        });
        Ok(LargeKernel { large, small: small.transpose()? })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let y = self.large.forward(x, mode)?;
        match &self.small {
            Some(small) => Ok((y + small.forward(x, mode)?)?),
            None => Ok(y),
        }
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        self.large.trace(trace)?;
        self.small.iter().try_for_each(|small| small.trace(trace))
    }
}

/// The block with the large kernel.
struct RepLkBlock {
    path: String,
    pw1: ConvNorm,
    pw2: ConvNorm,
    large_kernel: LargeKernel,
    norm: BatchNorm,
    residual: LayerScale,
}

impl RepLkBlock {
    fn new(scope: &Scope, config: &RepLkNetConfig, stage: usize, drop_path: f64) -> Result<Self> {
        let (dim, inner) = (config.dims.stage(stage), config.dw_channels(stage));
        Ok(RepLkBlock {
            path: scope.path().to_string(),
            pw1: ConvNorm::pointwise(&scope.child("pw1"), dim, inner, config.folded)?,
            pw2: ConvNorm::pointwise(&scope.child("pw2"), inner, dim, config.folded)?,
            large_kernel: LargeKernel::new(&scope.child("large_kernel"), config, stage)?,
            norm: BatchNorm::new(&scope.child("prelkb_bn"), dim)?,
            residual: residual(scope, dim, drop_path)?,
        })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let f = self.pw1.forward_normed(&self.norm, x, pass.mode)?.relu()?;
        let f = self.large_kernel.forward(&f, pass.mode)?;
        pass.report(&format!("{}.large_kernel", self.path), &f);
        let f = self.pw2.forward(&f.relu()?, pass.mode)?;
        let y = self.residual.forward(x, &f, pass.mode)?;
        pass.report(&self.path, &y);
        Ok(y)
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        self.norm.trace(trace);
        self.pw1.trace_relu(trace)?;
        self.large_kernel.trace(trace)?;
        trace.push_free(&format!("{}.lk_nonlinear", self.path), "relu");
        self.pw2.trace(trace)?;
        trace.push_free(&self.path, "residual");
        Ok(())
    }
}

/// The block without one: a network over the channels of every position.
struct ConvFfn {
    path: String,
    norm: BatchNorm,
    pw1: ConvNorm,
    pw2: ConvNorm,
    residual: LayerScale,
}

impl ConvFfn {
    fn new(scope: &Scope, config: &RepLkNetConfig, stage: usize, drop_path: f64) -> Result<Self> {
        let (dim, inner) = (config.dims.stage(stage), config.ffn_channels(stage));
        Ok(ConvFfn {
            path: scope.path().to_string(),
            norm: BatchNorm::new(&scope.child("preffn_bn"), dim)?,
            pw1: ConvNorm::pointwise(&scope.child("pw1"), dim, inner, config.folded)?,
            pw2: ConvNorm::pointwise(&scope.child("pw2"), inner, dim, config.folded)?,
            residual: residual(scope, dim, drop_path)?,
        })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let f = gelu(&self.pw1.forward_normed(&self.norm, x, pass.mode)?)?;
        let y = self.residual.forward(x, &self.pw2.forward(&f, pass.mode)?, pass.mode)?;
        pass.report(&self.path, &y);
        Ok(y)
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        self.norm.trace(trace);
        self.pw1.trace(trace)?;
        trace.push_free(&format!("{}.nonlinear", self.path), "gelu");
        self.pw2.trace(trace)?;
        trace.push_free(&self.path, "residual");
        Ok(())
    }
}

/// `x + drop_path(f)`, without a layer scale.
fn residual(scope: &Scope, channels: usize, drop_path: f64) -> Result<LayerScale> {
    LayerScale::new(scope, channels, 0.0, DropPath::new(scope.path(), drop_path)?)
}

struct Stage {
    path: String,
    pairs: Vec<(RepLkBlock, ConvFfn)>,
    norm: Option<BatchNorm>,
}

impl Stage {
    /// A stage with one pair of blocks per drop-path rate.
    fn new(scope: &Scope, config: &RepLkNetConfig, stage: usize, rates: &[f64]) -> Result<Self> {
        let block = |index: usize| scope.child("blocks").child(index);
        let mut pairs = Vec::with_capacity(rates.len());
        for (i, &rate) in rates.iter().enumerate() {
            let large = RepLkBlock::new(&block(2 * i), config, stage, rate)?;
            pairs.push((large, ConvFfn::new(&block(2 * i + 1), config, stage, rate)?));
        }
        let norm = config.stage_norms.then(|| BatchNorm::new(&scope.child("norm"), config.dims.stage(stage)));
        Ok(Stage { path: scope.path().to_string(), pairs, norm: norm.transpose()? })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut x = x.clone();
        for (large, ffn) in &self.pairs {
            x = ffn.forward(&large.forward(&x, pass)?, pass)?;
        }
        pass.report(&self.path, &x);
        Ok(x)
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        for (large, ffn) in &self.pairs {
            large.trace(trace)?;
            ffn.trace(trace)?;
        }
        if let Some(norm) = &self.norm {
            norm.trace(trace);
        }
        Ok(())
    }
}

/// The network.
pub struct RepLkNet {
    stem: Vec<ConvNorm>,
    stages: Vec<Stage>,
    transitions: Vec<(String, [ConvNorm; 2])>,
    /// The final norm and the classifier; none for a backbone.
    head: Option<(BatchNorm, Linear)>,
}

impl RepLkNet {
    /// Builds the network in the given scope.
    ///
    /// # Errors
    /// If the configuration is not allowed; the message names the field.
    pub fn new(config: &RepLkNetConfig, scope: &Scope) -> Result<Self> {
        config.validate()?;
        let scope = &scope.with_init(Init::UniformFanIn);
        let (folded, dim) = (config.folded, |stage: usize| config.dims.stage(stage));
        let small = |stride: usize| depthwise2d::Options::same(3, 3).with_stride(stride);
        let layer = |index: usize| scope.child("stem").child(index);
        let stem = vec![
            ConvNorm::first(&layer(0), dim(0), folded)?,
            ConvNorm::depthwise(&layer(1), dim(0), small(1), folded)?,
            ConvNorm::pointwise(&layer(2), dim(0), dim(0), folded)?,
            ConvNorm::depthwise(&layer(3), dim(0), small(2), folded)?,
        ];
        let rates = DropPath::linear_rates(config.drop_path, config.depths.0.iter().sum());
        let mut rates = rates.as_slice();
        let mut stages = Vec::with_capacity(4);
        for stage in 0..4 {
            let (own, later) = rates.split_at(config.depths.stage(stage));
            stages.push(Stage::new(&scope.child("stages").child(stage), config, stage, own)?);
            rates = later;
        }
        // After all stages, as in the official code, so that the parameters have its order.
        let mut transitions = Vec::with_capacity(3);
        for i in 0..3 {
            let scope = scope.child("transitions").child(i);
            let layers = [
                ConvNorm::pointwise(&scope.child(0), dim(i), dim(i + 1), folded)?,
                ConvNorm::depthwise(&scope.child(1), dim(i + 1), small(2), folded)?,
            ];
            transitions.push((scope.path().to_string(), layers));
        }
        let head = (!config.backbone).then(|| {
            let norm = BatchNorm::new(&scope.child("norm"), dim(3))?;
            Ok::<_, Error>((norm, Linear::uniform(&scope.child("head"), dim(3), config.classes)?))
        });
        Ok(RepLkNet { stem, stages, transitions, head: head.transpose()? })
    }
}

impl Family for RepLkNetConfig {
    const NAME: &'static str = "replknet";

    common_fields!();

    fn build(&self, scope: &Scope) -> Result<Box<dyn Model>> {
        Ok(Box::new(RepLkNet::new(self, scope)?))
    }

    fn has_classifier(&self) -> bool {
        !self.backbone
    }

    fn is_merged(&self) -> bool {
        self.merged
    }

    fn for_inference(&self) -> Self {
        RepLkNetConfig { merged: true, ..self.clone() }
    }

    fn merge(&self, tensors: &TensorMap, how: Merge) -> Result<(Self, TensorMap)> {
        let (config, tensors) = match how {
            Merge::Kernels => merge(self, tensors)?,
            Merge::Norms if self.merged => fold(self, tensors)?,
            Merge::Norms => {
                let (config, tensors) = merge(self, tensors)?;
                fold(&config, &tensors)?
            }
        };
        Ok((config, tensors))
    }
}

impl Model for RepLkNet {
    fn forward_features(&self, x: &Tensor, pass: &mut Pass) -> Result<Features> {
        let mut x = x.clone();
        for layer in &self.stem {
            x = layer.forward(&x, pass.mode)?.relu()?;
            pass.report(&layer.path, &x);
        }
        let mut stages = Vec::with_capacity(self.stages.len());
        for (index, stage) in self.stages.iter().enumerate() {
            x = stage.forward(&x, pass)?;
            // The next stage goes on from the map as it is before this norm.
            stages.push(match &stage.norm {
                Some(norm) => norm.forward(&x, pass.mode)?,
                None => x.clone(),
            });
            if let Some((path, layers)) = self.transitions.get(index) {
                for layer in layers {
                    x = layer.forward(&x, pass.mode)?.relu()?;
                }
                pass.report(path, &x);
            }
        }
        Ok(Features { stages })
    }

    fn forward_head(&self, last: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let Some((norm, linear)) = &self.head else {
            let allowed = "a network with a classifier (backbone = false), or only the feature maps of this one";
            return Err(Error::argument("network", "a backbone, which has no logits", allowed));
        };
        let normed = norm.forward(last, pass.mode)?;
        pass.report("norm", &normed);
        let pooled = global_mean(&normed)?;
        pass.report("pooled", &pooled);
        linear.forward(&pooled)
    }

    fn trace(&self, height: usize, width: usize) -> Result<Trace> {
        let mut trace = Trace::new(FeatureShape { channels: 3, height, width });
        for layer in &self.stem {
            layer.trace_relu(&mut trace)?;
        }
        for (index, stage) in self.stages.iter().enumerate() {
            stage.trace(&mut trace)?;
            if let Some((_, layers)) = self.transitions.get(index) {
                for layer in layers {
                    layer.trace_relu(&mut trace)?;
                }
            }
        }
        if let Some((norm, linear)) = &self.head {
            norm.trace(&mut trace);
            let channels = trace.shape.channels;
            trace.push("pool", "global mean", FeatureShape { channels, height: 1, width: 1 }, 0);
            linear.trace(&mut trace)?;
        }
        Ok(trace)
    }
}
