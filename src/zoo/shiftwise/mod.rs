//! Shift-wise networks (Li et al., *Shift-ConvNets: Small Convolutional Kernel with Large Kernel Effects*, 2024; the
//! second version at CVPR 2025): large kernels made of shifted small ones (see [`crate::ops::shiftwise`]).
//!
//! ```text
//! v1   stem        conv 4x4 / 4, layer norm                            downsampling: layer norm, conv 2x2 / 2
//!      block       x + drop_path(gamma * project(gelu(expand(layer_norm(large(x))))))
//! v2   stem        conv 3x3 / 2, layer norm, gelu, conv 3x3 / 2, layer norm      downsampling: conv 3x3 / 2, layer norm
//!      block       x + drop_path(gamma * bn(project(grn(gelu(expand(se(bn(large(x)))))))))
//! head             global mean, layer norm, linear map
//! large(x)         concat(bn(h) + bn(v) + bn(i) + x[rep], x[ghost])
//! ```
//!
//! The first body is ConvNeXt's, the second UniRepLKNet's. Names, shapes and their order are those of the official
//! code. Its checkpoints do not hold the index tables, and nothing in them tells the number of shuffles `reps`: for a
//! file of other origin the configured number is assumed, with a warning. Checkpoints of this program hold it, and a
//! checksum of the tables.
//!
//! Multiply-adds are counted as the official code computes: all small convolutions of all paths, and nothing for
//! shifting. The cross of the merged form counts its own taps.

mod block;
mod config;
mod entries;
mod large_kernel;
mod merge;

pub use config::{Body, Merged, ShiftWiseConfig};
pub(super) use entries::entries;
pub use merge::{merge_cross, merge_paths};

use super::convnext::WeightInit;
use super::head_norm::HeadNorm;
use super::{Family, Features, Merge, Model, common_fields};
use crate::nn::{
    DenseConv, DropPath, FeatureShape, Init, LayerNorm, Linear, Pass, PatchConv, Scope, Trace, global_mean,
};
use crate::ops::shiftwise::{IndexTables, Padding};
use crate::ops::{Layout, gelu::gelu};
use crate::weights::TensorMap;
use crate::{Result, rng};
use block::Block;
use candle_core::Tensor;

/// One layer of a stem or a downsampling.
enum Layer {
    Norm(LayerNorm),
    Patch(PatchConv),
    Conv(DenseConv),
    Gelu(String),
}

impl Layer {
    fn norm(scope: &Scope, channels: usize) -> Result<Self> {
        Ok(Layer::Norm(LayerNorm::new(scope, channels, Layout::ChannelsFirst)?))
    }

    fn conv(scope: &Scope, from: usize, to: usize) -> Result<Self> {
        Ok(Layer::Conv(DenseConv::square(scope, from, to, 3, 2, true)?))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Layer::Norm(norm) => norm.forward(x),
            Layer::Patch(conv) => conv.forward(x),
            Layer::Conv(conv) => conv.forward(x),
            Layer::Gelu(_) => gelu(x),
        }
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        match self {
            Layer::Norm(norm) => norm.trace(trace),
            Layer::Patch(conv) => conv.trace(trace)?,
            Layer::Conv(conv) => conv.trace(trace)?,
            Layer::Gelu(path) => trace.push_free(path, "gelu"),
        }
        Ok(())
    }
}

/// What comes before the blocks of a stage.
struct Downsample {
    path: String,
    layers: Vec<Layer>,
}

impl Downsample {
    fn new(scope: &Scope, config: &ShiftWiseConfig, stage: usize) -> Result<Self> {
        let at = |index: usize| scope.child(index);
        let to = config.channels(stage);
        let layers = match (config.body, stage.checked_sub(1).map(|last| config.channels(last))) {
            (Body::V1, None) => {
                vec![Layer::Patch(PatchConv::new(&at(0), 3, to, 4, true)?), Layer::norm(&at(1), to)?]
            }
            (Body::V1, Some(from)) => {
                vec![Layer::norm(&at(0), from)?, Layer::Patch(PatchConv::new(&at(1), from, to, 2, true)?)]
            }
            (Body::V2, None) => vec![
                Layer::conv(&at(0), 3, to / 2)?,
                Layer::norm(&at(1), to / 2)?,
                Layer::Gelu(at(2).path().to_string()),
                Layer::conv(&at(3), to / 2, to)?,
                Layer::norm(&at(4), to)?,
            ],
            (Body::V2, Some(from)) => vec![Layer::conv(&at(0), from, to)?, Layer::norm(&at(1), to)?],
        };
        Ok(Downsample { path: scope.path().to_string(), layers })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let y = self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x))?;
        pass.report(&self.path, &y);
        Ok(y)
    }
}

/// The network.
pub struct ShiftWiseNet {
    stages: Vec<(Downsample, Vec<Block>)>,
    norm: HeadNorm,
    head: Linear,
}

impl ShiftWiseNet {
    /// Builds the network in the given scope.
    ///
    /// # Errors
    /// If the configuration is not allowed; the message names the field.
    pub fn new(config: &ShiftWiseConfig, scope: &Scope) -> Result<Self> {
        config.validate()?;
        let head = scope.child("head");
        let scope = &match config.init {
            WeightInit::Published => scope.clone(),
            WeightInit::FanIn => scope.with_init(Init::FanIn),
        };
        // All before the stages, as in the official code, so that the parameters have its order.
        let downsample = |stage: usize| Downsample::new(&scope.child("downsample_layers").child(stage), config, stage);
        let downsamples = (0..4).map(downsample).collect::<Result<Vec<_>>>()?;
        let mut rates = DropPath::linear_rates(config.drop_path, config.depths.0.iter().sum()).into_iter();
        let mut stages = Vec::with_capacity(4);
        for (stage, downsample) in downsamples.into_iter().enumerate() {
            let scope = scope.child("stages").child(stage);
            let blocks = (0..config.depths.stage(stage))
                .map(|i| Block::new(&scope.child(i), config, stage, rates.next().unwrap_or_default()))
                .collect::<Result<_>>()?;
            stages.push((downsample, blocks));
        }
        let last = config.channels(3);
        Ok(ShiftWiseNet {
            stages,
            norm: HeadNorm::new(&scope.child("norm"), config.head_norm, last)?,
            head: Linear::new(&head, last, config.classes, 1.0)?,
        })
    }
}

impl Family for ShiftWiseConfig {
    const NAME: &'static str = "shiftwise";

    common_fields!();

    fn build(&self, scope: &Scope) -> Result<Box<dyn Model>> {
        Ok(Box::new(ShiftWiseNet::new(self, scope)?))
    }

    fn is_merged(&self) -> bool {
        self.merged != Merged::None
    }

    fn for_inference(&self) -> Self {
        let merged = if self.padding == Padding::Full { Merged::Cross } else { Merged::Paths };
        ShiftWiseConfig { merged, ..self.clone() }
    }

    fn checksum(&self) -> Result<Option<u64>> {
        if self.merged == Merged::Cross {
            return Ok(None);
        }
        self.validate()?;
        let mut sums = Vec::with_capacity(4);
        for stage in 0..4 {
            let tables = IndexTables::new(self.rep_channels(stage), self.window(stage)?.groups(), self.reps)?;
            sums.push(tables.checksum());
        }
        Ok(Some(rng::hash_bytes(sums.into_iter().flat_map(u64::to_le_bytes))))
    }

    fn assumption(&self) -> Option<String> {
        (self.merged != Merged::Cross).then(|| {
            format!(
                "the file does not say with which index tables it was trained; reps = {} is assumed (another number is \
                 set in the configuration), and the tables of seed 123",
                self.reps
            )
        })
    }

    fn misfit(&self, tensors: &TensorMap) -> Option<String> {
        self.misfit(tensors)
    }

    fn merge(&self, tensors: &TensorMap, how: Merge) -> Result<(Self, TensorMap)> {
        let (config, tensors) = match how {
            Merge::Kernels => merge_paths(self, tensors)?,
            Merge::Norms => merge_cross(self, tensors)?,
        };
        Ok((config, tensors))
    }
}

impl Model for ShiftWiseNet {
    fn forward_features(&self, x: &Tensor, pass: &mut Pass) -> Result<Features> {
        let mut x = x.clone();
        let mut stages = Vec::with_capacity(self.stages.len());
        for (index, (downsample, blocks)) in self.stages.iter().enumerate() {
            x = downsample.forward(&x, pass)?;
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
        let normed = self.norm.forward(&pooled, pass.mode)?;
        pass.report("norm", &normed);
        self.head.forward(&normed)
    }

    fn trace(&self, height: usize, width: usize) -> Result<Trace> {
        let mut trace = Trace::new(FeatureShape { channels: 3, height, width });
        for (downsample, blocks) in &self.stages {
            downsample.layers.iter().try_for_each(|layer| layer.trace(&mut trace))?;
            blocks.iter().try_for_each(|block| block.trace(&mut trace))?;
        }
        let channels = trace.shape.channels;
        trace.push("pool", "global mean", FeatureShape { channels, height: 1, width: 1 }, 0);
        self.norm.trace(&mut trace);
        self.head.trace(&mut trace)?;
        Ok(trace)
    }
}
