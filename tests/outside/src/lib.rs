//! A network that kernelscope does not know: rings of a large depthwise convolution of kernelscope's and a 1x1 convolution
//! of candle's.

use candle_core::{Module, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear};
use kernelscope::nn::{BatchNorm, DepthwiseConv, FeatureShape, Init, Pass, PatchConv, Scope, Trace, global_mean};
use kernelscope::ops::depthwise2d::Options;
use kernelscope::weights::TensorMap;
use kernelscope::zoo::{Family, Features, Model};
use kernelscope::{Error, Result};
use serde::{Deserialize, Serialize};

/// Configuration of a [`RingNet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingConfig {
    /// Side of the depthwise kernels, odd.
    pub kernel: usize,
    /// Channels.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Classes.
    pub classes: usize,
}

impl Default for RingConfig {
    fn default() -> Self {
        RingConfig { kernel: 9, width: 24, depth: 2, classes: 8 }
    }
}

/// `x + gelu(pointwise(norm(depthwise(x))))`.
struct Ring {
    path: String,
    depthwise: DepthwiseConv,
    norm: BatchNorm,
    pointwise: Conv2d,
}

/// Patches, rings, mean, classifier.
pub struct RingNet {
    stem: PatchConv,
    rings: Vec<Ring>,
    head: Linear,
    config: RingConfig,
}

impl Ring {
    fn new(scope: &Scope, config: &RingConfig) -> Result<Self> {
        let width = config.width;
        let side = Options::same(config.kernel, config.kernel);
        let norm = BatchNorm::new(&scope.child("norm"), width)?;
        let at = scope.child("pointwise").with_init(Init::FanIn);
        let pointwise = Conv2d::new(at.weight((width, width, 1, 1))?, Some(at.bias(width)?), Conv2dConfig::default());
        let depthwise = DepthwiseConv::new(&scope.child("depthwise").with_init(Init::FanIn), width, true, side)?;
        Ok(Ring { path: scope.path().to_string(), depthwise, norm, pointwise })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let maps = self.norm.forward(&self.depthwise.forward(x)?, pass.mode)?;
        let y = (x + self.pointwise.forward(&maps)?.gelu_erf()?)?;
        pass.report(&self.path, &y);
        Ok(y)
    }
}

impl Family for RingConfig {
    const NAME: &'static str = "ring";

    fn classes(&self) -> usize {
        self.classes
    }

    fn set_classes(&mut self, classes: usize) {
        self.classes = classes;
    }

    fn adapt(&mut self, tensors: &TensorMap) {
        if let Some(&[_, 1, kernel, _]) = tensors.get("rings.0.depthwise.weight").map(|weight| weight.dims()) {
            self.kernel = kernel;
        }
        if let Some(&[classes, _]) = tensors.get("head.weight").map(|weight| weight.dims()) {
            self.classes = classes;
        }
    }

    fn build(&self, scope: &Scope) -> Result<Box<dyn Model>> {
        if self.kernel.is_multiple_of(2) {
            return Err(Error::argument("kernel", self.kernel, "an odd number"));
        }
        let rings = (0..self.depth).map(|index| Ring::new(&scope.child("rings").child(index), self));
        let head = scope.child("head");
        Ok(Box::new(RingNet {
            stem: PatchConv::new(&scope.child("stem").with_init(Init::FanIn), 3, self.width, 4, true)?,
            rings: rings.collect::<Result<_>>()?,
            head: Linear::new(head.weight((self.classes, self.width))?, Some(head.bias(self.classes)?)),
            config: self.clone(),
        }))
    }
}

impl Model for RingNet {
    fn forward_features(&self, x: &Tensor, pass: &mut Pass) -> Result<Features> {
        let mut x = self.stem.forward(x)?;
        let mut stages = Vec::new();
        for ring in &self.rings {
            x = ring.forward(&x, pass)?;
            stages.push(x.clone());
        }
        Ok(Features { stages })
    }

    fn forward_head(&self, last: &Tensor, _pass: &mut Pass) -> Result<Tensor> {
        Ok(self.head.forward(&global_mean(last)?)?)
    }

    fn trace(&self, height: usize, width: usize) -> Result<Trace> {
        let mut trace = Trace::new(FeatureShape { channels: 3, height, width });
        self.stem.trace(&mut trace)?;
        for ring in &self.rings {
            ring.depthwise.trace(&mut trace)?;
            let maps = trace.shape;
            let macs = maps.values() * self.config.width as u64;
            trace.push(&format!("{}.pointwise", ring.path), "pointwise", maps, macs);
        }
        let pooled = FeatureShape { channels: self.config.width, height: 1, width: 1 };
        trace.push("pool", "global mean", pooled, 0);
        let classes = self.config.classes;
        let logits = FeatureShape { channels: classes, height: 1, width: 1 };
        trace.push("head", "linear", logits, (classes * self.config.width) as u64);
        Ok(trace)
    }
}
