//! ConvMixer (Trockman and Kolter, 2022) and its oriented form (Kirchmeyer and Deng, ICCV 2023, section 5.2).
//!
//! Names follow timm. The paper says that every non-strided depthwise convolution is replaced and gives the kernel
//! (15); that the replacement keeps its bias, has 8 directions and is not rotated from layer to layer is our reading.

use super::config::{
    Directions, MAX_BLOCKS, MAX_CHANNELS, MAX_CLASSES, MAX_PATCH, check_count, check_kernel, check_rate,
};
use super::{Family, Features, Model, common_fields};
use crate::Result;
use crate::nn::{
    BatchNorm, DepthwiseConv, DropPath, FeatureShape, Linear, OrientedConv, Pass, PatchConv, Pointwise, Scope, Trace,
    global_mean,
};
use crate::ops::{depthwise2d, oriented1d};
use crate::weights::TensorMap;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Configuration of a ConvMixer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvMixerConfig {
    /// Channels.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Side of the dense kernels, or taps of the oriented ones.
    pub kernel: usize,
    /// Side of a patch.
    pub patch: usize,
    /// Whether the depthwise convolutions are oriented.
    pub oriented: bool,
    /// Number of directions of oriented convolutions.
    pub directions: Directions,
    /// Number of classes.
    pub classes: usize,
    /// Drop-path rate of the last block.
    #[serde(default)]
    pub drop_path: f64,
}

impl ConvMixerConfig {
    /// ConvMixer-768/32: patch 7, dense kernels 7x7 or oriented kernels with 15 taps, ReLU.
    pub fn large(oriented: bool) -> Self {
        ConvMixerConfig {
            dim: 768,
            depth: 32,
            kernel: if oriented { 15 } else { 7 },
            patch: 7,
            oriented,
            directions: Directions::Count(8),
            classes: 1000,
            drop_path: 0.0,
        }
    }

    /// Takes what a checkpoint's shapes tell.
    pub fn adapt(&mut self, tensors: &TensorMap) {
        let dim = |name: &str, axis: usize| tensors.get(name).and_then(|t| t.dims().get(axis)).copied();
        if let Some(k) = dim("blocks.0.0.fn.0.weight", 3) {
            self.kernel = k;
        }
        if let Some(classes) = dim("head.weight", 0) {
            self.classes = classes;
        }
    }

    fn validate(&self) -> Result<()> {
        check_count("dim", self.dim, MAX_CHANNELS)?;
        check_count("depth", self.depth, MAX_BLOCKS)?;
        check_count("patch", self.patch, MAX_PATCH)?;
        check_count("classes", self.classes, MAX_CLASSES)?;
        check_rate("drop_path", self.drop_path)?;
        check_count("directions", self.directions.of(1), MAX_CHANNELS)?;
        check_kernel("kernel", self.kernel, self.oriented)
    }
}

enum Mixer {
    Dense(DepthwiseConv),
    Oriented(OrientedConv),
}

struct Block {
    path: String,
    mix: Mixer,
    mix_norm: BatchNorm,
    map: Pointwise,
    map_norm: BatchNorm,
    drop_path: DropPath,
}

impl Block {
    fn new(scope: &Scope, config: &ConvMixerConfig, drop_path: f64) -> Result<Self> {
        let mix = scope.child("0.fn.0");
        let mix = if config.oriented {
            let theta = oriented1d::channel_angles(config.dim, config.directions.of(config.dim), 0.0)?;
            Mixer::Oriented(OrientedConv::new(&mix, theta, config.kernel, true, oriented1d::Options::default())?)
        } else {
            let options = depthwise2d::Options::same(config.kernel, config.kernel);
            Mixer::Dense(DepthwiseConv::new(&mix, config.dim, true, options)?)
        };
        Ok(Block {
            path: scope.path().to_string(),
            mix,
            mix_norm: BatchNorm::new(&scope.child("0.fn.2"), config.dim)?,
            map: Pointwise::conv(&scope.child(1), config.dim, config.dim, true)?,
            map_norm: BatchNorm::new(&scope.child(3), config.dim)?,
            drop_path: DropPath::new(scope.path(), drop_path)?,
        })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let f = match &self.mix {
            Mixer::Dense(conv) => conv.forward(x)?,
            Mixer::Oriented(conv) => conv.forward(x)?,
        };
        let x = self.drop_path.add(x, &self.mix_norm.forward(&f.relu()?, pass.mode)?, pass.mode)?;
        let x = self.map_norm.forward(&self.map.forward(&x)?.relu()?, pass.mode)?;
        pass.report(&self.path, &x);
        Ok(x)
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        match &self.mix {
            Mixer::Dense(conv) => conv.trace(trace)?,
            Mixer::Oriented(conv) => conv.trace(trace)?,
        }
        self.mix_norm.trace(trace);
        self.map.trace(trace);
        self.map_norm.trace(trace);
        Ok(())
    }
}

/// The network. Its four stages are the quarters of its blocks.
pub struct ConvMixer {
    stem: PatchConv,
    stem_norm: BatchNorm,
    blocks: Vec<Block>,
    head: Linear,
}

impl ConvMixer {
    /// Builds the network in the given scope.
    ///
    /// # Errors
    /// If the configuration is not allowed.
    pub fn new(config: &ConvMixerConfig, scope: &Scope) -> Result<Self> {
        config.validate()?;
        Ok(ConvMixer {
            stem: PatchConv::new(&scope.child("stem.0"), 3, config.dim, config.patch, true)?,
            stem_norm: BatchNorm::new(&scope.child("stem.2"), config.dim)?,
            blocks: (DropPath::linear_rates(config.drop_path, config.depth).into_iter().enumerate())
                .map(|(i, rate)| Block::new(&scope.child("blocks").child(i), config, rate))
                .collect::<Result<_>>()?,
            head: Linear::new(&scope.child("head"), config.dim, config.classes, 1.0)?,
        })
    }
}

impl Family for ConvMixerConfig {
    const NAME: &'static str = "convmixer";

    common_fields!();

    fn build(&self, scope: &Scope) -> Result<Box<dyn Model>> {
        Ok(Box::new(ConvMixer::new(self, scope)?))
    }
}

impl Model for ConvMixer {
    fn forward_features(&self, x: &Tensor, pass: &mut Pass) -> Result<Features> {
        let mut x = self.stem_norm.forward(&self.stem.forward(x)?.relu()?, pass.mode)?;
        pass.report("stem", &x);
        let mut stages = Vec::new();
        let count = self.blocks.len();
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, pass)?;
            if (1..=4).any(|quarter| index + 1 == (count * quarter).div_ceil(4)) {
                stages.push(x.clone());
            }
        }
        Ok(Features { stages })
    }

    fn forward_head(&self, last: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let pooled = global_mean(last)?;
        pass.report("pooled", &pooled);
        self.head.forward(&pooled)
    }

    fn trace(&self, height: usize, width: usize) -> Result<Trace> {
        let mut trace = Trace::new(FeatureShape { channels: 3, height, width });
        self.stem.trace(&mut trace)?;
        self.stem_norm.trace(&mut trace);
        for block in &self.blocks {
            block.trace(&mut trace)?;
        }
        let channels = trace.shape.channels;
        trace.push("pool", "global mean", FeatureShape { channels, height: 1, width: 1 }, 0);
        self.head.trace(&mut trace)?;
        Ok(trace)
    }
}
