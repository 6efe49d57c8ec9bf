//! SLaK (Liu et al., *More ConvNets in the 2020s: Scaling up Kernels Beyond 51x51 using Sparsity*, ICLR 2023).
//!
//! A ConvNeXt whose kernels are decomposed into two rectangles, K x s and s x K, with a small square beside them
//! (the first step of its recipe), and whose channels are more by a factor, which makes up for the weights that sparse
//! training leaves out (the second step). With `cb` a depthwise convolution without bias and its batch norm:
//!
//! ```text
//! stem         conv 4x4 / 4, layer norm
//! block        x + drop_path(gamma * project(gelu(expand(norm(large(x))))))      expand: C to 4 C channels
//! downsample   layer norm, conv 2x2 / 2, before the second, third and fourth stage
//! head         global mean, layer norm, linear map
//! large(x)     cb KxS (x) + cb SxK (x) + cb SxS (x)         decomposed, in training
//!              cb KxK (x) + cb SxS (x)                      undivided, in training
//!              fewer convolutions and one bias              merged: the same values (`merge`)
//! ```
//!
//! The small square is there in the stages where it is smaller than K. With undivided kernels this is the ConvNeXt with
//! large kernels of RepLKNet's appendix D, and with 7x7 and no small kernel a ConvNeXt; but its depthwise convolutions
//! have a batch norm and no bias, so ConvNeXt's own checkpoints do not fit. Names, shapes and their order are those of
//! the official code's checkpoints; channels are rounded down after widening (124, 249, 499 and 998 in SLaK-T).
//!
//! Published counts of parameters and multiply-adds leave out the 40 % of the weights that are zero. What is counted
//! here is dense.

mod config;
mod merge;

pub use config::{MergeForm, SlakConfig};
pub use merge::merge;

use super::convnext::WeightInit;
use super::entry::{Entry, NO_WEIGHTS, Preprocessing, Published, nano};
use super::head_norm::HeadNorm;
use super::{Family, Features, Merge, Model, ModelConfig, common_fields};
use crate::nn::{
    BatchNorm, DepthwiseConv, DropPath, FeatureShape, Init, LayerNorm, LayerScale, Linear, Mode, Pass, PatchConv,
    Pointwise, Scope, Trace, global_mean,
};
use crate::ops::{Layout, depthwise2d};
use crate::weights::TensorMap;
use crate::{Error, Result};
use candle_core::Tensor;
use std::sync::Arc;

/// A depthwise convolution and its batch norm; when merged, without one.
struct Branch {
    path: String,
    conv: DepthwiseConv,
    norm: Option<BatchNorm>,
}

impl Branch {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let y = self.conv.forward(x)?;
        match &self.norm {
            Some(norm) => norm.forward(&y, mode),
            None => Ok(y),
        }
    }
}

/// Depthwise convolutions of the same input, whose outputs add up.
struct LargeKernel {
    path: String,
    first: Branch,
    others: Vec<Branch>,
}

impl LargeKernel {
    fn new(scope: &Scope, config: &SlakConfig, stage: usize) -> Result<Self> {
        let channels = config.channels(stage);
        let branch = |index: usize, (name, (height, width)): config::Branch| {
            let scope = scope.child(name);
            let options = depthwise2d::Options::same(height, width);
            let (path, bias) = (scope.path().to_string(), config.merged && index == 0);
            if config.merged {
                return Ok(Branch { path, conv: DepthwiseConv::new(&scope, channels, bias, options)?, norm: None });
            }
            let conv = DepthwiseConv::new(&scope.child("conv"), channels, bias, options)?;
            Ok(Branch { path, conv, norm: Some(BatchNorm::new(&scope.child("bn"), channels)?) })
        };
        let named = config.branches(stage).into_iter().enumerate();
        let mut branches = named.map(|(index, named)| branch(index, named)).collect::<Result<Vec<_>>>()?.into_iter();
        let Some(first) = branches.next() else {
            return Err(Error::argument("kernel", "no convolution", "at least one"));
        };
        Ok(LargeKernel { path: scope.path().to_string(), first, others: branches.collect() })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut sum = self.first.forward(x, pass.mode)?;
        pass.report(&self.first.path, &sum);
        for branch in &self.others {
            let y = branch.forward(x, pass.mode)?;
            pass.report(&branch.path, &y);
            sum = (sum + y)?;
        }
        pass.report(&self.path, &sum);
        Ok(sum)
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        for branch in std::iter::once(&self.first).chain(&self.others) {
            branch.conv.trace(trace)?;
            if let Some(norm) = &branch.norm {
                norm.trace(trace);
            }
        }
        Ok(())
    }
}

struct Block {
    path: String,
    scale: LayerScale,
    large_kernel: LargeKernel,
    norm: LayerNorm,
    expand: Pointwise,
    project: Pointwise,
}

impl Block {
    fn new(scope: &Scope, config: &SlakConfig, stage: usize, drop_path: f64) -> Result<Self> {
        let dim = config.channels(stage);
        // The layer scale comes first in the official checkpoints.
        Ok(Block {
            path: scope.path().to_string(),
            scale: LayerScale::new(scope, dim, config.layer_scale, DropPath::new(scope.path(), drop_path)?)?,
            large_kernel: LargeKernel::new(&scope.child("large_kernel"), config, stage)?,
            norm: LayerNorm::new(&scope.child("norm"), dim, Layout::ChannelsFirst)?,
            expand: Pointwise::new(&scope.child("pwconv1"), dim, 4 * dim, true)?,
            project: Pointwise::new(&scope.child("pwconv2"), 4 * dim, dim, true)?,
        })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let f = self.large_kernel.forward(x, pass)?;
        let f = self.expand.forward_normed(&self.norm, &f)?;
        let f = self.project.forward_activated(&f, &self.scale)?;
        let y = self.scale.add_scaled(x, &f, pass.mode)?;
        pass.report(&self.path, &y);
        Ok(y)
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        self.large_kernel.trace(trace)?;
        self.norm.trace(trace);
        self.expand.trace(trace);
        trace.push_free(&format!("{}.act", self.path), "gelu");
        self.project.trace(trace);
        trace.push_free(&self.path, "residual");
        Ok(())
    }
}

/// What makes the input of a stage: the stem, or a norm and a convolution at stride 2.
struct Downsample {
    path: String,
    conv: PatchConv,
    norm: LayerNorm,
    norm_first: bool,
}

impl Downsample {
    fn new(scope: &Scope, config: &SlakConfig, stage: usize) -> Result<Self> {
        let (path, to) = (scope.path().to_string(), config.channels(stage));
        let norm = |name: usize, channels| LayerNorm::new(&scope.child(name), channels, Layout::ChannelsFirst);
        if stage == 0 {
            let conv = PatchConv::new(&scope.child(0), 3, to, 4, true)?;
            return Ok(Downsample { path, conv, norm: norm(1, to)?, norm_first: false });
        }
        let from = config.channels(stage - 1);
        let norm = norm(0, from)?;
        Ok(Downsample { path, conv: PatchConv::new(&scope.child(1), from, to, 2, true)?, norm, norm_first: true })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let y = if self.norm_first {
            self.conv.forward(&self.norm.forward(x)?)?
        } else {
            self.norm.forward(&self.conv.forward(x)?)?
        };
        pass.report(&self.path, &y);
        Ok(y)
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        if self.norm_first {
            self.norm.trace(trace);
            return self.conv.trace(trace);
        }
        self.conv.trace(trace)?;
        self.norm.trace(trace);
        Ok(())
    }
}

/// The network.
pub struct Slak {
    downsample: Vec<Downsample>,
    stages: Vec<(String, Vec<Block>)>,
    norm: HeadNorm,
    head: Linear,
}

impl Slak {
    /// Builds the network in the given scope.
    ///
    /// # Errors
    /// If the configuration is not allowed; the message names the field.
    pub fn new(config: &SlakConfig, scope: &Scope) -> Result<Self> {
        config.validate()?;
        let head = scope.child("head");
        let scope = &match config.init {
            WeightInit::Published => scope.clone(),
            WeightInit::FanIn => scope.with_init(Init::FanIn),
        };
        let layer = |stage: usize| Downsample::new(&scope.child("downsample_layers").child(stage), config, stage);
        let downsample = (0..4).map(layer).collect::<Result<_>>()?;
        let mut rates = DropPath::linear_rates(config.drop_path, config.depths.0.iter().sum()).into_iter();
        let mut stages = Vec::with_capacity(4);
        for stage in 0..4 {
            let scope = scope.child("stages").child(stage);
            let blocks = (0..config.depths.stage(stage))
                .map(|i| Block::new(&scope.child(i), config, stage, rates.next().unwrap_or_default()))
                .collect::<Result<_>>()?;
            stages.push((scope.path().to_string(), blocks));
        }
        let last = config.channels(3);
        Ok(Slak {
            downsample,
            stages,
            norm: HeadNorm::new(&scope.child("norm"), config.head_norm, last)?,
            head: Linear::new(&head, last, config.classes, config.head_scale)?,
        })
    }
}

impl Family for SlakConfig {
    const NAME: &'static str = "slak";

    common_fields!();

    fn build(&self, scope: &Scope) -> Result<Box<dyn Model>> {
        Ok(Box::new(Slak::new(self, scope)?))
    }

    fn is_merged(&self) -> bool {
        self.merged
    }

    fn for_inference(&self) -> Self {
        SlakConfig { merged: true, ..self.clone() }
    }

    fn merge(&self, tensors: &TensorMap, how: Merge) -> Result<(Self, TensorMap)> {
        if how == Merge::Norms {
            let given = "one whose convolutions, except the large kernels, are followed by layer norms";
            let allowed = "one with batch norms after other convolutions; of this one, only the kernels can be merged";
            return Err(Error::argument("network whose norms are to be folded", given, allowed));
        }
        let (config, tensors) = merge(self, tensors)?;
        Ok((config, tensors))
    }
}

impl Model for Slak {
    fn forward_features(&self, x: &Tensor, pass: &mut Pass) -> Result<Features> {
        let mut x = x.clone();
        let mut stages = Vec::with_capacity(self.stages.len());
        for (downsample, (path, blocks)) in self.downsample.iter().zip(&self.stages) {
            x = downsample.forward(&x, pass)?;
            for block in blocks {
                x = block.forward(&x, pass)?;
            }
            pass.report(path, &x);
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
        for (downsample, (_, blocks)) in self.downsample.iter().zip(&self.stages) {
            downsample.trace(&mut trace)?;
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

const PAPER: &str = "Liu et al., More ConvNets in the 2020s: Scaling up Kernels Beyond 51x51 using Sparsity (SLaK), \
                     ICLR 2023";

/// The registered networks of this family.
pub(super) fn entries() -> Vec<Entry> {
    let entry = |name, config: fn() -> ModelConfig, (params_m, gmacs, top1), remark| Entry {
        name,
        paper: PAPER,
        config: Arc::new(config),
        published: Published { params_m: Some(params_m), gmacs: Some(gmacs), top1, remark },
        preprocessing: Preprocessing::default(),
        weights: "links in the README of the VITA-Group/SLaK repository",
    };
    vec![
        entry(
            "slak-t",
            || SlakConfig::tiny().into(),
            (30.0, 5.0, Some(82.5)),
            "published counts are those of the 60% of the weights that sparse training keeps: 0.6 of the dense network \
             is 30.4M and 5.2 GMACs",
        ),
        entry(
            "slak-s",
            || SlakConfig::small().into(),
            (55.0, 9.8, Some(83.8)),
            "published counts are those of the 60% of the weights that sparse training keeps: 0.6 of the dense network \
             is 54.7M and 10.0 GMACs",
        ),
        entry(
            "slak-b",
            || SlakConfig::base().into(),
            (95.0, 17.1, Some(84.0)),
            "published counts are those of the 60% of the weights that sparse training keeps: 0.6 of the dense network \
             is 94.8M and 17.1 GMACs",
        ),
        Entry {
            paper: "Ding et al., Scaling Up Your Kernels to 31x31 (RepLKNet), CVPR 2022, appendix D",
            weights: NO_WEIGHTS,
            ..entry(
                "convnext-t-31",
                || SlakConfig::convnext_tiny_31().into(),
                (32.0, 6.1, None),
                "published counts are those of the merged form",
            )
        },
        nano("nano-slak", || SlakConfig::nano().into()),
    ]
}
