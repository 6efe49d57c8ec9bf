//! ConvNeXt (Liu et al., CVPR 2022) with 2-D and oriented 1-D kernels (Kirchmeyer and Deng, ICCV 2023, section 4).
//!
//! | variant | block |
//! |---|---|
//! | 2d | depthwise 7x7, norm, expand, GELU, project |
//! | 1d | oriented 31, norm, expand, GELU, project |
//! | 1dpp | oriented 15, norm, expand, GELU, oriented 31 with residual on the expanded channels, project |
//! | 2dpp | depthwise 7x7, norm, expand, GELU, oriented 31 with residual on the expanded channels, project |
//!
//! Every block adds `drop_path(gamma * f(x))` to its input. Names and values follow the official checkpoints.

mod config;

pub use config::{ConvNextConfig, NormKind, Stem, Variant, WeightInit};

use super::{Family, Features, Model, common_fields};
use crate::Result;
use crate::nn::{
    BatchNorm, DenseConv, DepthwiseConv, DropPath, FeatureShape, Init, LayerNorm, LayerScale, Linear, Mode,
    OrientedConv, Pass, PatchConv, Pointwise, Scope, Trace, global_mean,
};
use crate::ops::oriented1d::{self, channel_angles};
use crate::ops::{Layout, depthwise2d, gelu::gelu};
use crate::weights::TensorMap;
use candle_core::Tensor;

/// A normalization of either kind, for feature maps (N, C, H, W).
#[derive(Debug, Clone)]
enum Norm {
    Layer(LayerNorm),
    Batch(BatchNorm),
}

impl Norm {
    fn new(scope: &Scope, config: &ConvNextConfig, channels: usize) -> Result<Self> {
        Ok(match config.norm {
            NormKind::Layer => Norm::Layer(LayerNorm::new(scope, channels, Layout::ChannelsFirst)?),
            NormKind::Batch => Norm::Batch(BatchNorm::new(scope, channels)?),
        })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        match self {
            Norm::Layer(norm) => norm.forward(x),
            Norm::Batch(norm) => norm.forward(x, mode),
        }
    }

    fn trace(&self, trace: &mut Trace) {
        match self {
            Norm::Layer(norm) => norm.trace(trace),
            Norm::Batch(norm) => norm.trace(trace),
        }
    }
}

/// A depthwise convolution of either kind.
#[derive(Debug, Clone)]
enum Depthwise {
    Dense(DepthwiseConv),
    Oriented(OrientedConv),
}

impl Depthwise {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Depthwise::Dense(conv) => conv.forward(x),
            Depthwise::Oriented(conv) => conv.forward(x),
        }
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        match self {
            Depthwise::Dense(conv) => conv.trace(trace),
            Depthwise::Oriented(conv) => conv.trace(trace),
        }
    }
}

/// Builds the convolutions of one configuration.
struct Convs<'a> {
    config: &'a ConvNextConfig,
    /// Turn of all angles, as a fraction of 180 degrees.
    rotation: f64,
    /// Whether they have a bias.
    bias: bool,
}

impl Convs<'_> {
    fn oriented(&self, scope: &Scope, channels: usize, taps: usize, options: oriented1d::Options) -> Result<Depthwise> {
        let theta = channel_angles(channels, self.config.directions.of(channels), self.rotation)?;
        Ok(Depthwise::Oriented(OrientedConv::new(scope, theta, taps, self.bias, options)?))
    }

    fn dense(&self, scope: &Scope, channels: usize, side: usize, stride: usize) -> Result<Depthwise> {
        let options = depthwise2d::Options::same(side, side).with_stride(stride);
        Ok(Depthwise::Dense(DepthwiseConv::new(scope, channels, self.bias, options)?))
    }
}

struct Block {
    path: String,
    conv: Depthwise,
    norm: Norm,
    expand: Pointwise,
    second: Option<Depthwise>,
    project: Pointwise,
    scale: LayerScale,
}

impl Block {
    fn new(scope: &Scope, config: &ConvNextConfig, stage: usize, index: usize, drop_path: f64) -> Result<Self> {
        let dim = config.dims.stage(stage);
        let rotated = config.layerwise_rotation && index % 2 == 1;
        let rotation = if rotated { 0.5 } else { 0.0 };
        let convs = Convs { config, rotation, bias: config.norm.keeps_bias() };
        let name = if config.variant.two_convs() { "dwconv1" } else { "dwconv" };
        let conv = if config.variant.oriented_first() {
            convs.oriented(&scope.child(name), dim, config.kernel.stage(stage), config.options(1, false))?
        } else {
            convs.dense(&scope.child(name), dim, config.kernel.stage(stage), 1)?
        };
        let second = config
            .variant
            .two_convs()
            .then(|| {
                let taps = config.kernel2.stage(stage);
                let convs = Convs { bias: true, ..convs };
                convs.oriented(&scope.child("dwconv2"), 4 * dim, taps, config.options(1, true))
            })
            .transpose()?;
        Ok(Block {
            path: scope.path().to_string(),
            conv,
            norm: Norm::new(&scope.child("norm"), config, dim)?,
            expand: Pointwise::new(&scope.child("pwconv1"), dim, 4 * dim, true)?,
            second,
            project: Pointwise::new(&scope.child("pwconv2"), 4 * dim, dim, true)?,
            scale: LayerScale::new(scope, dim, config.layer_scale, DropPath::new(scope.path(), drop_path)?)?,
        })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let f = self.conv.forward(x)?;
        let hidden = match &self.norm {
            Norm::Layer(norm) => self.expand.forward_normed(norm, &f)?,
            Norm::Batch(norm) => self.expand.forward(&norm.forward(&f, pass.mode)?)?,
        };
        let y = match (&self.norm, &self.second) {
            (Norm::Layer(_), None) => {
                let f = self.project.forward_activated(&hidden, &self.scale)?;
                self.scale.add_scaled(x, &f, pass.mode)?
            }
            (_, second) => {
                let mut f = gelu(&hidden)?;
                if let Some(second) = second {
                    f = second.forward(&f)?;
                }
                self.scale.forward(x, &self.project.forward(&f)?, pass.mode)?
            }
        };
        pass.report(&self.path, &y);
        Ok(y)
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        self.conv.trace(trace)?;
        self.norm.trace(trace);
        self.expand.trace(trace);
        trace.push_free(&format!("{}.act", self.path), "gelu");
        if let Some(second) = &self.second {
            second.trace(trace)?;
        }
        self.project.trace(trace);
        trace.push_free(&self.path, "residual");
        Ok(())
    }
}

/// One of the stems with two depthwise convolutions.
struct DepthwiseStem {
    enter: Pointwise,
    convs: [(Depthwise, Norm); 2],
    leave: Pointwise,
    norm: Norm,
}

enum StemLayers {
    Patch(PatchConv, Norm),
    Line(DenseConv, Norm),
    Depthwise(Box<DepthwiseStem>),
}

impl StemLayers {
    fn new(scope: &Scope, config: &ConvNextConfig) -> Result<Self> {
        let dim = config.dims.stage(0);
        let bias = config.norm.keeps_bias();
        let norm = |name: &str, channels| Norm::new(&scope.child(name), config, channels);
        match config.stem {
            Stem::Patch => Ok(StemLayers::Patch(PatchConv::new(&scope.child(0), 3, dim, 4, bias)?, norm("1", dim)?)),
            Stem::Oriented1d => {
                // The paper gives this baseline five taps; its kernel is not the depthwise stems'.
                let theta = channel_angles(dim, config.directions.of(dim), 0.0)?;
                let conv = DenseConv::oriented(&scope.child(0), 3, theta, 5, bias, config.options(4, false))?;
                Ok(StemLayers::Line(conv, norm("1", dim)?))
            }
            Stem::Depthwise1d | Stem::Depthwise2d => {
                let c0 = config.stem_channels;
                let conv = |name: &str, rotation: f64| {
                    let (convs, scope) = (Convs { config, rotation, bias }, scope.child(name));
                    if config.stem == Stem::Depthwise1d {
                        convs.oriented(&scope, c0, config.stem_kernel, config.options(2, false))
                    } else {
                        convs.dense(&scope, c0, config.stem_kernel, 2)
                    }
                };
                let enter = Pointwise::new(&scope.child("pw1"), 3, c0, true)?;
                let leave = Pointwise::new(&scope.child("pw2"), c0, dim, bias)?;
                let convs = [(conv("dw1", 0.0)?, norm("norm1", c0)?), (conv("dw2", 0.5)?, norm("norm2", c0)?)];
                let norm = norm("norm3", dim)?;
                Ok(StemLayers::Depthwise(Box::new(DepthwiseStem { enter, convs, leave, norm })))
            }
        }
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        match self {
            StemLayers::Patch(conv, norm) => norm.forward(&conv.forward(x)?, mode),
            StemLayers::Line(conv, norm) => norm.forward(&conv.forward(x)?, mode),
            StemLayers::Depthwise(stem) => {
                let mut x = stem.enter.forward(x)?;
                for (conv, norm) in &stem.convs {
                    x = gelu(&norm.forward(&conv.forward(&x)?, mode)?)?;
                }
                stem.norm.forward(&stem.leave.forward(&x)?, mode)
            }
        }
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        match self {
            StemLayers::Patch(conv, norm) => {
                conv.trace(trace)?;
                norm.trace(trace);
            }
            StemLayers::Line(conv, norm) => {
                conv.trace(trace)?;
                norm.trace(trace);
            }
            StemLayers::Depthwise(stem) => {
                stem.enter.trace(trace);
                for (conv, norm) in &stem.convs {
                    conv.trace(trace)?;
                    norm.trace(trace);
                    trace.push_free("downsample_layers.0.act", "gelu");
                }
                stem.leave.trace(trace);
                stem.norm.trace(trace);
            }
        }
        Ok(())
    }
}

/// The network.
pub struct ConvNext {
    stem: StemLayers,
    downsample: Vec<(Norm, PatchConv)>,
    stages: Vec<Vec<Block>>,
    norm: Norm,
    head: Linear,
}

impl ConvNext {
    /// Builds the network in the given scope.
    ///
    /// # Errors
    /// If the configuration is not allowed; the message names the field.
    pub fn new(config: &ConvNextConfig, scope: &Scope) -> Result<Self> {
        config.validate()?;
        let head = scope.child("head");
        let scope = &match config.init {
            WeightInit::Published => scope.clone(),
            WeightInit::FanIn => scope.with_init(Init::FanIn),
        };
        let layers = scope.child("downsample_layers");
        let stem = StemLayers::new(&layers.child(0), config)?;
        let mut downsample = Vec::new();
        for i in 1..4 {
            let (from, to) = (config.dims.stage(i - 1), config.dims.stage(i));
            let scope = layers.child(i);
            let norm = Norm::new(&scope.child(0), config, from)?;
            downsample.push((norm, PatchConv::new(&scope.child(1), from, to, 2, true)?));
        }
        let mut rates = DropPath::linear_rates(config.drop_path, config.depths.0.iter().sum()).into_iter();
        let mut stages = Vec::new();
        for stage in 0..4 {
            let scope = scope.child("stages").child(stage);
            let blocks = (0..config.depths.stage(stage))
                .map(|i| Block::new(&scope.child(i), config, stage, i, rates.next().unwrap_or_default()))
                .collect::<Result<Vec<_>>>()?;
            stages.push(blocks);
        }
        let last = config.dims.stage(3);
        Ok(ConvNext {
            stem,
            downsample,
            stages,
            norm: Norm::new(&scope.child("norm"), config, last)?,
            head: Linear::new(&head, last, config.classes, config.head_scale)?,
        })
    }
}

impl Family for ConvNextConfig {
    const NAME: &'static str = "convnext";

    common_fields!();

    fn build(&self, scope: &Scope) -> Result<Box<dyn Model>> {
        Ok(Box::new(ConvNext::new(self, scope)?))
    }
}

impl Model for ConvNext {
    fn forward_features(&self, x: &Tensor, pass: &mut Pass) -> Result<Features> {
        let mut x = self.stem.forward(x, pass.mode)?;
        pass.report("stem", &x);
        let mut stages = Vec::new();
        for (index, blocks) in self.stages.iter().enumerate() {
            if index > 0 {
                let (norm, conv) = &self.downsample[index - 1];
                x = conv.forward(&norm.forward(&x, pass.mode)?)?;
            }
            for block in blocks {
                x = block.forward(&x, pass)?;
            }
            pass.report(&format!("stages.{index}"), &x);
            stages.push(x.clone());
        }
        Ok(Features { stages })
    }

    fn forward_head(&self, last: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let pooled = global_mean(last)?;
        pass.report("pooled", &pooled);
        let as_map = pooled.unsqueeze(2)?.unsqueeze(3)?;
        let normed = self.norm.forward(&as_map, pass.mode)?.flatten_from(1)?;
        pass.report("normed", &normed);
        self.head.forward(&normed)
    }

    fn trace(&self, height: usize, width: usize) -> Result<Trace> {
        let mut trace = Trace::new(FeatureShape { channels: 3, height, width });
        self.stem.trace(&mut trace)?;
        for (index, blocks) in self.stages.iter().enumerate() {
            if index > 0 {
                let (norm, conv) = &self.downsample[index - 1];
                norm.trace(&mut trace);
                conv.trace(&mut trace)?;
            }
            for block in blocks {
                block.trace(&mut trace)?;
            }
        }
        let channels = trace.shape.channels;
        trace.push("pool", "global mean", FeatureShape { channels, height: 1, width: 1 }, 0);
        self.norm.trace(&mut trace);
        self.head.trace(&mut trace)?;
        Ok(trace)
    }
}
