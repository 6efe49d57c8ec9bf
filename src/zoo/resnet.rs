//! ResNet-50, -101 and -152 (He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016), in torchvision's
//! form: the stride of a block is in its 3x3 convolution. With `stride_in=1x1` it is in the first 1x1 convolution, as in
//! the original.
//!
//! They are here as the small-kernel networks that receptive fields of large kernels are compared with (Ding et al.,
//! CVPR 2022, Figure 1 and appendix B). With `cb` a convolution without bias and its batch norm:
//!
//! ```text
//! stem     relu(cb 7x7 / 2), max pool 3x3 / 2
//! block    f = relu(cb 1x1 (x));  f = relu(cb 3x3 / s (f));  f = cb 1x1 (f), to 4 times the channels
//!          y = relu(x + drop_path(f)), with cb 1x1 / s (x) for x where the shape changes
//! head     global mean, linear map
//! ```
//!
//! Names: `conv1`, `bn1`, `layer1.0.conv1`, `layer1.0.bn1`, ..., `layer1.0.downsample.{0,1}`, `fc`.

use super::config::{MAX_BLOCKS, MAX_CHANNELS, MAX_CLASSES, check_count, check_eps, check_rate, norm_eps};
use super::conv_norm::{ConvNorm, Place, Style};
use super::entry::{Entry, Preprocessing, Published};
use super::{Family, Features, Model, ModelConfig, PerStage, common_fields};
use crate::Result;
use crate::nn::{DropPath, FeatureShape, Linear, Mode, Pass, Scope, Trace, global_mean};
use crate::ops::max_pool::MaxPool;
use crate::weights::TensorMap;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Channels of a block by those of its 3x3 convolution.
const EXPANSION: usize = 4;

/// Which convolution of a block has its stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum StrideIn {
    /// The 3x3 convolution, as in torchvision and timm.
    #[default]
    #[serde(rename = "3x3")]
    Middle,
    /// The first 1x1 convolution, as in the original: the style "caffe" of some code.
    #[serde(rename = "1x1")]
    First,
}

/// Configuration of a ResNet with bottleneck blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNetConfig {
    /// Blocks per stage.
    pub depths: PerStage,
    /// Channels of the stem and of the 3x3 convolutions of the first stage; each later stage has twice as many.
    pub width: usize,
    /// Number of classes.
    pub classes: usize,
    /// Drop-path rate of the last block.
    #[serde(default)]
    pub drop_path: f64,
    /// Added to the variance by batch norms.
    #[serde(default = "norm_eps")]
    pub norm_eps: f64,
    /// Which convolution of a block has its stride.
    #[serde(default)]
    pub stride_in: StrideIn,
}

impl ResNetConfig {
    /// A ResNet of the published width with this many blocks per stage.
    pub fn with_depths(depths: [usize; 4]) -> Self {
        ResNetConfig {
            depths: PerStage(depths),
            width: 64,
            classes: 1000,
            drop_path: 0.0,
            norm_eps: norm_eps(),
            stride_in: StrideIn::Middle,
        }
    }

    fn style(&self) -> Style {
        Style { norm_eps: self.norm_eps, ..Style::default() }
    }

    /// Takes what a checkpoint's shapes tell.
    pub fn adapt(&mut self, tensors: &TensorMap) {
        if let Some(&classes) = tensors.get("fc.weight").and_then(|t| t.dims().first()) {
            self.classes = classes;
        }
    }

    fn validate(&self) -> Result<()> {
        self.depths.0.iter().try_for_each(|&depth| check_count("depths", depth, MAX_BLOCKS))?;
        check_count("width", self.width, MAX_CHANNELS)?;
        check_count("classes", self.classes, MAX_CLASSES)?;
        check_eps(self.norm_eps)?;
        check_rate("drop_path", self.drop_path)
    }
}

/// A convolution and its norm, called `convK` and `bnK`.
fn numbered(scope: &Scope, k: usize, style: Style) -> Place {
    Place::new(scope.child(format!("conv{k}")), Some(scope.child(format!("bn{k}")))).styled(style)
}

/// What tells a block from the others.
struct Unit {
    channels: usize,
    width: usize,
    stride: usize,
    drop_path: f64,
}

struct Bottleneck {
    path: String,
    convs: [ConvNorm; 3],
    downsample: Option<ConvNorm>,
    drop_path: DropPath,
}

impl Bottleneck {
    fn new(scope: &Scope, config: &ResNetConfig, unit: &Unit) -> Result<Self> {
        let &Unit { channels, width, stride, drop_path } = unit;
        let (style, outputs) = (config.style(), EXPANSION * width);
        let (first, middle) = match config.stride_in {
            StrideIn::First => (stride, 1),
            StrideIn::Middle => (1, stride),
        };
        let convs = [
            ConvNorm::dense(&numbered(scope, 1, style), channels, width, 1, first)?,
            ConvNorm::dense(&numbered(scope, 2, style), width, width, 3, middle)?,
            ConvNorm::pointwise(&numbered(scope, 3, style), width, outputs)?,
        ];
        let downsample = (stride > 1 || channels != outputs).then(|| {
            let scope = scope.child("downsample");
            let place = Place::new(scope.child(0), Some(scope.child(1))).styled(style);
            ConvNorm::dense(&place, channels, outputs, 1, stride)
        });
        let drop_path = DropPath::new(scope.path(), drop_path)?;
        Ok(Bottleneck { path: scope.path().to_string(), convs, downsample: downsample.transpose()?, drop_path })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let [first, second, third] = &self.convs;
        let f = first.forward(x, mode)?.relu()?;
        let f = second.forward(&f, mode)?.relu()?;
        let f = third.forward(&f, mode)?;
        let sum = match &self.downsample {
            Some(conv) => self.drop_path.add(&conv.forward(x, mode)?, &f, mode)?,
            None => self.drop_path.add(x, &f, mode)?,
        };
        Ok(sum.relu()?)
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        let before = trace.shape;
        self.convs.iter().try_for_each(|conv| conv.trace(trace))?;
        if let Some(conv) = &self.downsample {
            trace.shape = before;
            conv.trace(trace)?;
        }
        trace.push_free(&self.path, "residual");
        Ok(())
    }
}

/// The network. Its stages are `layer1` to `layer4`.
pub struct ResNet {
    stem: ConvNorm,
    pool: MaxPool,
    stages: Vec<Vec<Bottleneck>>,
    classifier: Linear,
}

impl ResNet {
    /// Builds the network in the given scope.
    ///
    /// # Errors
    /// If the configuration is not allowed; the message names the field.
    pub fn new(config: &ResNetConfig, scope: &Scope) -> Result<Self> {
        config.validate()?;
        let stem = ConvNorm::dense(&numbered(scope, 1, config.style()), 3, config.width, 7, 2)?;
        let (mut stages, mut channels) = (Vec::with_capacity(4), config.width);
        let mut rates = DropPath::linear_rates(config.drop_path, config.depths.0.iter().sum()).into_iter();
        for (stage, &depth) in config.depths.0.iter().enumerate() {
            let (scope, width) = (scope.child(format!("layer{}", stage + 1)), config.width << stage);
            let mut blocks = Vec::with_capacity(depth);
            for index in 0..depth {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let unit = Unit { channels, width, stride, drop_path: rates.next().unwrap_or_default() };
                blocks.push(Bottleneck::new(&scope.child(index), config, &unit)?);
                channels = EXPANSION * width;
            }
            stages.push(blocks);
        }
        let classifier = Linear::uniform(&scope.child("fc"), channels, config.classes)?;
        Ok(ResNet { stem, pool: MaxPool::new(3, 2, 1)?, stages, classifier })
    }
}

impl Family for ResNetConfig {
    const NAME: &'static str = "resnet";

    common_fields!();

    fn build(&self, scope: &Scope) -> Result<Box<dyn Model>> {
        Ok(Box::new(ResNet::new(self, scope)?))
    }
}

impl Model for ResNet {
    fn forward_features(&self, x: &Tensor, pass: &mut Pass) -> Result<Features> {
        let mut x = self.pool.forward(&self.stem.forward(x, pass.mode)?.relu()?)?;
        pass.report("maxpool", &x);
        let mut stages = Vec::with_capacity(self.stages.len());
        for (index, blocks) in self.stages.iter().enumerate() {
            for block in blocks {
                x = block.forward(&x, pass.mode)?;
                pass.report(&block.path, &x);
            }
            pass.report(&format!("layer{}", index + 1), &x);
            stages.push(x.clone());
        }
        Ok(Features { stages })
    }

    fn forward_head(&self, last: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let pooled = global_mean(last)?;
        pass.report("pooled", &pooled);
        self.classifier.forward(&pooled)
    }

    fn trace(&self, height: usize, width: usize) -> Result<Trace> {
        let mut trace = Trace::new(FeatureShape { channels: 3, height, width });
        self.stem.trace(&mut trace)?;
        let (height, width) = self.pool.output_size(trace.shape.height, trace.shape.width)?;
        trace.push("maxpool", "max pool 3x3 / 2", FeatureShape { height, width, ..trace.shape }, 0);
        for block in self.stages.iter().flatten() {
            block.trace(&mut trace)?;
        }
        let channels = trace.shape.channels;
        trace.push("pool", "global mean", FeatureShape { channels, height: 1, width: 1 }, 0);
        self.classifier.trace(&mut trace)?;
        Ok(trace)
    }
}

/// The registered networks. Accuracies are those of the first weights that torchvision published.
pub(super) fn entries() -> Vec<Entry> {
    let entry = |name, config: fn() -> ModelConfig, (params_m, gmacs, top1), weights| Entry {
        name,
        paper: "He et al., Deep Residual Learning for Image Recognition, CVPR 2016",
        config: Arc::new(config),
        published: Published { params_m: Some(params_m), gmacs: Some(gmacs), top1: Some(top1), remark: "" },
        preprocessing: Preprocessing::default(),
        weights,
    };
    vec![
        entry(
            "resnet-50",
            || ResNetConfig::with_depths([3, 4, 6, 3]).into(),
            (25.6, 4.09, 76.1),
            "torchvision (ResNet50_Weights)",
        ),
        entry(
            "resnet-101",
            || ResNetConfig::with_depths([3, 4, 23, 3]).into(),
            (44.5, 7.8, 77.4),
            "torchvision (ResNet101_Weights)",
        ),
        entry(
            "resnet-152",
            || ResNetConfig::with_depths([3, 8, 36, 3]).into(),
            (60.2, 11.51, 78.3),
            "torchvision (ResNet152_Weights)",
        ),
    ]
}
