//! MobileNetV3-small (Howard et al., ICCV 2019) and its oriented form (Kirchmeyer and Deng, ICCV 2023, section 5.2).
//!
//! Names follow timm. In the oriented form every depthwise convolution at stride 1 (7 of 11) is replaced; the paper
//! does not state the kernel, so the replaced size is kept, with 8 directions, no bias and no rotation: our reading.

use super::config::{
    Directions, KernelChoice, MAX_CHANNELS, MAX_CLASSES, check_count, check_eps, check_kernel, check_rate, norm_eps,
};
use super::padding::{AddedZeros, Padding};
use super::{Family, Features, Model, common_fields};
use crate::nn::{
    BatchNorm, DenseConv, DepthwiseConv, DropPath, FeatureShape, Linear, Mode, OrientedConv, Pass, Pointwise, Scope,
    Trace,
};
use crate::ops::{depthwise2d, oriented1d};
use crate::weights::TensorMap;
use crate::{Error, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Configuration of a MobileNetV3-small.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MobileNetV3Config {
    /// Whether the depthwise convolutions at stride 1 are oriented.
    pub oriented: bool,
    /// Taps of the oriented convolutions.
    pub kernel: KernelChoice,
    /// Number of directions of oriented convolutions.
    pub directions: Directions,
    /// Number of classes.
    pub classes: usize,
    /// Drop-path rate of the last block, of blocks with a shortcut.
    #[serde(default)]
    pub drop_path: f64,
    /// Added to the variance by batch norms: 1e-5 in timm's network, 1e-3 in torchvision's and in those that came from
    /// TensorFlow.
    #[serde(default = "norm_eps")]
    pub norm_eps: f64,
    /// Zeros around the images of convolutions that are not oriented, those of PyTorch or of TensorFlow.
    #[serde(default)]
    pub padding: Padding,
}

impl MobileNetV3Config {
    /// MobileNetV3-small at width 1.
    pub fn small(oriented: bool) -> Self {
        MobileNetV3Config {
            oriented,
            kernel: KernelChoice::Replaced,
            directions: Directions::Count(8),
            classes: 1000,
            drop_path: 0.0,
            norm_eps: norm_eps(),
            padding: Padding::Half,
        }
    }

    /// A batch norm of this network.
    fn norm(&self, scope: &Scope, channels: usize) -> Result<BatchNorm> {
        Ok(BatchNorm::new(scope, channels)?.with_eps(self.norm_eps))
    }

    /// Takes what a checkpoint's shapes tell.
    pub fn adapt(&mut self, tensors: &TensorMap) {
        if let Some(&classes) = tensors.get("classifier.weight").and_then(|t| t.dims().first()) {
            self.classes = classes;
        }
    }

    fn validate(&self) -> Result<()> {
        check_count("classes", self.classes, MAX_CLASSES)?;
        check_rate("drop_path", self.drop_path)?;
        check_eps(self.norm_eps)?;
        check_count("directions", self.directions.of(1), MAX_CHANNELS)?;
        check_kernel("kernel", self.kernel.of(1), true)
    }
}

/// One row of the architecture's table.
struct Row {
    kernel: usize,
    stride: usize,
    expanded: usize,
    out: usize,
    /// Channels inside squeeze-and-excite; 0 for none.
    squeeze: usize,
    hard_swish: bool,
}

const fn row(kernel: usize, stride: usize, expanded: usize, out: usize, squeeze: usize, hard_swish: bool) -> Row {
    Row { kernel, stride, expanded, out, squeeze, hard_swish }
}

/// Stages 0 to 4; stage 5 is the last pointwise convolution. The first block has no expansion.
const TABLE: [&[Row]; 5] = [
    &[row(3, 2, 16, 16, 8, false)],
    &[row(3, 2, 72, 24, 0, false), row(3, 1, 88, 24, 0, false)],
    &[row(5, 2, 96, 40, 24, true), row(5, 1, 240, 40, 64, true), row(5, 1, 240, 40, 64, true)],
    &[row(5, 1, 120, 48, 32, true), row(5, 1, 144, 48, 40, true)],
    &[row(5, 2, 288, 96, 72, true), row(5, 1, 576, 96, 144, true), row(5, 1, 576, 96, 144, true)],
];
const STEM: usize = 16;
const LAST: usize = 576;
const HEAD: usize = 1024;

/// `min(max(x + 3, 0), 6) / 6`.
fn hard_sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok(((x + 3.0)?.relu()?.minimum(6.0)? / 6.0)?)
}

fn hard_swish(x: &Tensor) -> Result<Tensor> {
    Ok((x * hard_sigmoid(x)?)?)
}

fn activate(x: &Tensor, swish: bool) -> Result<Tensor> {
    if swish { hard_swish(x) } else { Ok(x.relu()?) }
}

struct SqueezeExcite {
    reduce: Pointwise,
    expand: Pointwise,
}

impl SqueezeExcite {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mean = x.mean_keepdim(3)?.mean_keepdim(2)?;
        let gate = hard_sigmoid(&self.expand.forward(&self.reduce.forward(&mean)?.relu()?)?)?;
        Ok(x.broadcast_mul(&gate)?)
    }

    fn trace(&self, trace: &mut Trace) {
        let before = trace.shape;
        trace.shape = FeatureShape { height: 1, width: 1, ..before };
        self.reduce.trace(trace);
        self.expand.trace(trace);
        trace.shape = before;
    }
}

enum Depthwise {
    Dense(DepthwiseConv),
    Oriented(OrientedConv),
}

struct Block {
    expand: Option<(Pointwise, BatchNorm)>,
    /// Before the depthwise convolution.
    zeros: Option<AddedZeros>,
    conv: Depthwise,
    conv_norm: BatchNorm,
    squeeze: Option<SqueezeExcite>,
    project: (Pointwise, BatchNorm),
    hard_swish: bool,
    /// Of blocks with a shortcut.
    drop_path: Option<DropPath>,
}

impl Block {
    fn new(scope: &Scope, config: &MobileNetV3Config, row: &Row, channels: usize, rate: f64) -> Result<Self> {
        // Without expansion the block is timm's depthwise-separable one, whose names differ.
        let expands = row.expanded != channels;
        let (dw_norm, project, project_norm) =
            if expands { ("bn2", "conv_pwl", "bn3") } else { ("bn1", "conv_pw", "bn2") };
        let expand = expands
            .then(|| {
                Ok::<_, Error>((
                    Pointwise::conv(&scope.child("conv_pw"), channels, row.expanded, false)?,
                    config.norm(&scope.child("bn1"), row.expanded)?,
                ))
            })
            .transpose()?;
        let conv_scope = scope.child("conv_dw");
        let square = depthwise2d::Options::same(row.kernel, row.kernel).with_stride(row.stride);
        let (options, zeros) = config.padding.of(square);
        let conv = if config.oriented && row.stride == 1 {
            let theta = oriented1d::channel_angles(row.expanded, config.directions.of(row.expanded), 0.0)?;
            let taps = config.kernel.of(row.kernel);
            Depthwise::Oriented(OrientedConv::new(&conv_scope, theta, taps, false, oriented1d::Options::default())?)
        } else {
            Depthwise::Dense(DepthwiseConv::new(&conv_scope, row.expanded, false, options)?)
        };
        let squeeze = (row.squeeze > 0)
            .then(|| {
                let scope = scope.child("se");
                Ok::<_, Error>(SqueezeExcite {
                    reduce: Pointwise::conv(&scope.child("conv_reduce"), row.expanded, row.squeeze, true)?,
                    expand: Pointwise::conv(&scope.child("conv_expand"), row.squeeze, row.expanded, true)?,
                })
            })
            .transpose()?;
        Ok(Block {
            expand,
            zeros,
            conv,
            conv_norm: config.norm(&scope.child(dw_norm), row.expanded)?,
            squeeze,
            project: (
                Pointwise::conv(&scope.child(project), row.expanded, row.out, false)?,
                config.norm(&scope.child(project_norm), row.out)?,
            ),
            hard_swish: row.hard_swish,
            drop_path: (row.stride == 1 && channels == row.out)
                .then(|| DropPath::new(scope.path(), rate))
                .transpose()?,
        })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let mut f = x.clone();
        if let Some((conv, norm)) = &self.expand {
            f = activate(&norm.forward(&conv.forward(&f)?, mode)?, self.hard_swish)?;
        }
        if let Some(zeros) = self.zeros {
            f = zeros.add(&f)?;
        }
        f = match &self.conv {
            Depthwise::Dense(conv) => conv.forward(&f)?,
            Depthwise::Oriented(conv) => conv.forward(&f)?,
        };
        f = activate(&self.conv_norm.forward(&f, mode)?, self.hard_swish)?;
        if let Some(squeeze) = &self.squeeze {
            f = squeeze.forward(&f)?;
        }
        f = self.project.1.forward(&self.project.0.forward(&f)?, mode)?;
        match &self.drop_path {
            Some(drop_path) => drop_path.add(x, &f, mode),
            None => Ok(f),
        }
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        if let Some((conv, norm)) = &self.expand {
            conv.trace(trace);
            norm.trace(trace);
        }
        if let Some(zeros) = self.zeros {
            zeros.trace(trace);
        }
        match &self.conv {
            Depthwise::Dense(conv) => conv.trace(trace)?,
            Depthwise::Oriented(conv) => conv.trace(trace)?,
        }
        self.conv_norm.trace(trace);
        if let Some(squeeze) = &self.squeeze {
            squeeze.trace(trace);
        }
        self.project.0.trace(trace);
        self.project.1.trace(trace);
        Ok(())
    }
}

struct Stem {
    zeros: Option<AddedZeros>,
    conv: DenseConv,
    norm: BatchNorm,
}

/// The network. Its stages are timm's `blocks.0` to `blocks.5`.
pub struct MobileNetV3 {
    stem: Stem,
    stages: Vec<Vec<Block>>,
    last: (Pointwise, BatchNorm),
    head: Pointwise,
    classifier: Linear,
}

impl MobileNetV3 {
    /// Builds the network in the given scope.
    ///
    /// # Errors
    /// If the configuration is not allowed.
    pub fn new(config: &MobileNetV3Config, scope: &Scope) -> Result<Self> {
        config.validate()?;
        let (options, zeros) = config.padding.of(depthwise2d::Options::same(3, 3).with_stride(2));
        let stem = Stem {
            zeros,
            conv: DenseConv::with_options(&scope.child("conv_stem"), 3, STEM, options, false)?,
            norm: config.norm(&scope.child("bn1"), STEM)?,
        };
        let blocks = scope.child("blocks");
        let mut channels = STEM;
        let mut stages = Vec::new();
        let mut rates = DropPath::linear_rates(config.drop_path, TABLE.iter().map(|rows| rows.len()).sum()).into_iter();
        for (stage, rows) in TABLE.iter().enumerate() {
            let mut built = Vec::new();
            for (index, row) in rows.iter().enumerate() {
                let rate = rates.next().unwrap_or_default();
                built.push(Block::new(&blocks.child(stage).child(index), config, row, channels, rate)?);
                channels = row.out;
            }
            stages.push(built);
        }
        let last = blocks.child(TABLE.len()).child(0);
        Ok(MobileNetV3 {
            stem,
            stages,
            last: (
                Pointwise::conv(&last.child("conv"), channels, LAST, false)?,
                config.norm(&last.child("bn1"), LAST)?,
            ),
            head: Pointwise::conv(&scope.child("conv_head"), LAST, HEAD, true)?,
            classifier: Linear::new(&scope.child("classifier"), HEAD, config.classes, 1.0)?,
        })
    }
}

impl Family for MobileNetV3Config {
    const NAME: &'static str = "mobilenetv3";

    common_fields!();

    fn build(&self, scope: &Scope) -> Result<Box<dyn Model>> {
        Ok(Box::new(MobileNetV3::new(self, scope)?))
    }
}

impl Model for MobileNetV3 {
    fn forward_features(&self, x: &Tensor, pass: &mut Pass) -> Result<Features> {
        let padded = self.stem.zeros.map(|zeros| zeros.add(x)).transpose()?;
        let x = self.stem.conv.forward(padded.as_ref().unwrap_or(x))?;
        let mut x = hard_swish(&self.stem.norm.forward(&x, pass.mode)?)?;
        pass.report("stem", &x);
        let mut stages = Vec::new();
        for blocks in &self.stages {
            for block in blocks {
                x = block.forward(&x, pass.mode)?;
            }
            pass.report(&format!("blocks.{}", stages.len()), &x);
            stages.push(x.clone());
        }
        x = hard_swish(&self.last.1.forward(&self.last.0.forward(&x)?, pass.mode)?)?;
        pass.report(&format!("blocks.{}", stages.len()), &x);
        stages.push(x);
        Ok(Features { stages })
    }

    fn forward_head(&self, last: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mean = last.mean_keepdim(3)?.mean_keepdim(2)?;
        let x = hard_swish(&self.head.forward(&mean)?)?.flatten_from(1)?;
        pass.report("pooled_conv_head", &x);
        self.classifier.forward(&x)
    }

    fn trace(&self, height: usize, width: usize) -> Result<Trace> {
        let mut trace = Trace::new(FeatureShape { channels: 3, height, width });
        if let Some(zeros) = self.stem.zeros {
            zeros.trace(&mut trace);
        }
        self.stem.conv.trace(&mut trace)?;
        self.stem.norm.trace(&mut trace);
        for block in self.stages.iter().flatten() {
            block.trace(&mut trace)?;
        }
        self.last.0.trace(&mut trace);
        self.last.1.trace(&mut trace);
        let channels = trace.shape.channels;
        trace.push("pool", "global mean", FeatureShape { channels, height: 1, width: 1 }, 0);
        self.head.trace(&mut trace);
        self.classifier.trace(&mut trace)?;
        Ok(trace)
    }
}
