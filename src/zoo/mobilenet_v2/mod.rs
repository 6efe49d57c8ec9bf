//! MobileNetV2 (Sandler et al., CVPR 2018) with large depthwise kernels (Ding et al., *Scaling Up Your Kernels to
//! 31x31*, CVPR 2022, section 3).
//!
//! The paper on large kernels shows on this network what they need: a shortcut around them (Table 2), a small kernel
//! beside them in training (Table 3), and that they help on small feature maps too (Table 4). With `cb` a convolution
//! without bias and its batch norm:
//!
//! ```text
//! features.0     relu6(cb 3x3 / 2)
//! block          f = relu6(cb 1x1 (x))                          to t times the channels; left out where t = 1
//!                f = relu6(cb depthwise KxK / s (f))            K = 3 in the original
//!                y = cb 1x1 (f)                                 x + drop_path(y) where the shape stays
//! features.18    relu6(cb 1x1)
//! head           global mean, dropout, linear map
//! re-parameterized:   relu6(cb depthwise KxK (f) + cb depthwise kxk (f))      before the activation, strides kept
//! ```
//!
//! No code for the large kernels was published. Names are torchvision's; where there are two branches, they are called
//! as in RepLKNet, in the place of the convolution they replace: `features.i.conv.j.0.lkb_origin.{conv,bn}` and
//! `features.i.conv.j.0.small_conv.{conv,bn}`, with j = 0 in the first block and 1 in the others. The other forms are
//! those of [`merge`](merge()) and [`fold`].

mod config;
mod merge;

pub use config::{MobileNetV2Config, Where};
pub use merge::{fold, merge};

use super::conv_norm::{ConvNorm, Place};
use super::entry::{Entry, Preprocessing, Published};
use super::{Family, Features, Merge, Model, ModelConfig, common_fields};
use crate::nn::{DropPath, FeatureShape, Linear, Mode, Pass, Scope, Trace, global_mean};
use crate::ops::depthwise2d;
use crate::ops::relu6::relu6;
use crate::weights::TensorMap;
use crate::{Result, rng};
use candle_core::Tensor;
use config::Unit;
use rand::RngExt;
use std::sync::Arc;

/// In training, each value is dropped with probability `rate`, and those kept are divided by the probability of that.
fn dropout(x: &Tensor, rate: f64, mode: Mode) -> Result<Tensor> {
    let Mode::Train { seed } = mode else { return Ok(x.clone()) };
    if rate == 0.0 {
        return Ok(x.clone());
    }
    let mut rng = rng::stream(seed, &[rng::hash_name("classifier.0")]);
    let mut factor = || if rng.random::<f64>() < rate { 0.0 } else { 1.0 / (1.0 - rate) };
    let factors: Vec<f64> = (0..x.elem_count()).map(|_| factor()).collect();
    Ok((x * Tensor::from_vec(factors, x.shape(), x.device())?.to_dtype(x.dtype())?)?)
}

/// Two neighbors in a list of modules: a convolution and its norm, if that is not folded.
fn neighbors(list: &Scope, index: usize, config: &MobileNetV2Config) -> Place {
    Place::new(list.child(index), (!config.folded).then(|| list.child(index + 1))).styled(config.style())
}

/// The depthwise convolution of a block and, in training, the small one beside it.
struct Spatial {
    path: String,
    large: ConvNorm,
    small: Option<ConvNorm>,
}

impl Spatial {
    /// In the scope of the list that holds the convolution and its activation.
    fn new(scope: &Scope, config: &MobileNetV2Config, unit: &Unit) -> Result<Self> {
        let (path, channels) = (scope.path().to_string(), unit.expanded);
        let square = |side: usize| depthwise2d::Options::same(side, side).with_stride(unit.stride);
        if !unit.replaced {
            let large = ConvNorm::depthwise(&neighbors(scope, 0, config), channels, square(3))?;
            return Ok(Spatial { path, large, small: None });
        }
        let kernel = square(config.kernel).with_dilation(config.dilation);
        let branch = |name: &str, options| {
            let scope = scope.child(0).child(name);
            let place = Place::new(scope.child("conv"), Some(scope.child("bn"))).styled(config.style());
            ConvNorm::depthwise(&place, channels, options)
        };
        if config.merged {
            let place = Place::new(scope.child(0).child("lkb_reparam"), None).styled(config.style());
            let large = ConvNorm::depthwise(&place, channels, kernel)?;
            return Ok(Spatial { path, large, small: None });
        }
        match config.small_kernel {
            Some(side) => {
                let large = branch("lkb_origin", kernel)?;
                Ok(Spatial { path, large, small: Some(branch("small_conv", square(side))?) })
            }
            None => {
                let large = ConvNorm::depthwise(&neighbors(scope, 0, config), channels, kernel)?;
                Ok(Spatial { path, large, small: None })
            }
        }
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let y = self.large.forward(x, mode)?;
        match &self.small {
            Some(small) => Ok((y + small.forward(x, mode)?)?),
            None => Ok(y),
        }
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        let before = trace.shape;
        self.large.trace(trace)?;
        if let Some(small) = &self.small {
            trace.shape = before;
            small.trace(trace)?;
        }
        Ok(())
    }
}

/// An inverted residual block.
struct Block {
    path: String,
    expand: Option<ConvNorm>,
    spatial: Spatial,
    project: ConvNorm,
    /// Of blocks with a shortcut.
    drop_path: Option<DropPath>,
}

impl Block {
    fn new(scope: &Scope, config: &MobileNetV2Config, unit: &Unit, drop_path: f64) -> Result<Self> {
        let shortcut = config.shortcut && unit.stride == 1 && unit.channels == unit.outputs;
        let (list, j) = (scope.child("conv"), usize::from(unit.expands));
        let expand = unit.expands.then(|| {
            let place = neighbors(&list.child(0), 0, config);
            ConvNorm::pointwise(&place, unit.channels, unit.expanded)
        });
        let expand = expand.transpose()?;
        let spatial = Spatial::new(&list.child(j), config, unit)?;
        let place = neighbors(&list, j + 1, config);
        Ok(Block {
            path: scope.path().to_string(),
            expand,
            spatial,
            project: ConvNorm::pointwise(&place, unit.expanded, unit.outputs)?,
            drop_path: shortcut.then(|| DropPath::new(scope.path(), drop_path)).transpose()?,
        })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut f = x.clone();
        if let Some(expand) = &self.expand {
            f = relu6(&expand.forward(&f, pass.mode)?)?;
        }
        f = relu6(&self.spatial.forward(&f, pass.mode)?)?;
        pass.report(&self.spatial.path, &f);
        f = self.project.forward(&f, pass.mode)?;
        let y = match &self.drop_path {
            Some(drop_path) => drop_path.add(x, &f, pass.mode)?,
            None => f,
        };
        pass.report(&self.path, &y);
        Ok(y)
    }

    fn trace(&self, trace: &mut Trace) -> Result<()> {
        self.expand.iter().try_for_each(|expand| expand.trace(trace))?;
        self.spatial.trace(trace)?;
        self.project.trace(trace)?;
        if self.drop_path.is_some() {
            trace.push_free(&self.path, "residual");
        }
        Ok(())
    }
}

/// The network. Its stages are the resolutions, from half the image's on; the last one ends with the pointwise
/// convolution before the pooling.
pub struct MobileNetV2 {
    stem: ConvNorm,
    blocks: Vec<Block>,
    last: ConvNorm,
    stage_ends: Vec<usize>,
    classifier: Linear,
    dropout: f64,
}

impl MobileNetV2 {
    /// Builds the network in the given scope.
    ///
    /// # Errors
    /// If the configuration is not allowed; the message names the field.
    pub fn new(config: &MobileNetV2Config, scope: &Scope) -> Result<Self> {
        config.validate()?;
        let features = scope.child("features");
        let stem = ConvNorm::dense(&neighbors(&features.child(0), 0, config), 3, config.stem, 3, 2)?;
        let (mut blocks, mut channels) = (Vec::new(), config.stem);
        let units = config.units();
        let rates = DropPath::linear_rates(config.drop_path, units.len());
        for (unit, rate) in units.iter().zip(rates) {
            channels = unit.outputs;
            blocks.push(Block::new(&features.child(unit.index), config, unit, rate)?);
        }
        let place = neighbors(&features.child(blocks.len() + 1), 0, config);
        Ok(MobileNetV2 {
            stem,
            blocks,
            last: ConvNorm::pointwise(&place, channels, config.last)?,
            stage_ends: config.stage_ends(),
            // Initial weights of standard deviation 0.01.
            classifier: Linear::new(&scope.child("classifier").child(1), config.last, config.classes, 0.5)?,
            dropout: config.dropout,
        })
    }
}

impl Family for MobileNetV2Config {
    const NAME: &'static str = "mobilenetv2";

    common_fields!();

    fn build(&self, scope: &Scope) -> Result<Box<dyn Model>> {
        Ok(Box::new(MobileNetV2::new(self, scope)?))
    }

    fn is_merged(&self) -> bool {
        self.merged
    }

    fn for_inference(&self) -> Self {
        MobileNetV2Config { merged: true, ..self.clone() }
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

impl Model for MobileNetV2 {
    fn forward_features(&self, x: &Tensor, pass: &mut Pass) -> Result<Features> {
        let mut x = relu6(&self.stem.forward(x, pass.mode)?)?;
        pass.report("features.0", &x);
        let mut stages = Vec::with_capacity(self.stage_ends.len());
        if self.stage_ends.contains(&0) {
            stages.push(x.clone());
        }
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, pass)?;
            if self.stage_ends.contains(&(index + 1)) {
                stages.push(x.clone());
            }
        }
        x = relu6(&self.last.forward(&x, pass.mode)?)?;
        pass.report(&format!("features.{}", self.blocks.len() + 1), &x);
        stages.push(x);
        Ok(Features { stages })
    }

    fn forward_head(&self, last: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let pooled = global_mean(last)?;
        pass.report("pooled", &pooled);
        self.classifier.forward(&dropout(&pooled, self.dropout, pass.mode)?)
    }

    fn trace(&self, height: usize, width: usize) -> Result<Trace> {
        let mut trace = Trace::new(FeatureShape { channels: 3, height, width });
        self.stem.trace(&mut trace)?;
        for block in &self.blocks {
            block.trace(&mut trace)?;
        }
        self.last.trace(&mut trace)?;
        let channels = trace.shape.channels;
        trace.push("pool", "global mean", FeatureShape { channels, height: 1, width: 1 }, 0);
        self.classifier.trace(&mut trace)?;
        Ok(trace)
    }
}

/// The registered networks.
pub(super) fn entries() -> Vec<Entry> {
    const BASE: &str = "Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018";
    const LARGE: &str = "Ding et al., Scaling Up Your Kernels to 31x31 (RepLKNet), CVPR 2022";
    const UNKNOWN: Published = Published { params_m: None, gmacs: None, top1: None, remark: "" };
    let base = Published { params_m: Some(3.5), gmacs: Some(0.3), top1: Some(71.9), remark: "" };
    let entry = |name, paper, config: fn() -> ModelConfig, published, weights| Entry {
        name,
        paper,
        config: Arc::new(config),
        published,
        preprocessing: Preprocessing::default(),
        weights,
    };
    const NONE: &str = "none published";
    vec![
        entry(
            "mobilenetv2-k3",
            BASE,
            || MobileNetV2Config::with_kernel(3).into(),
            base,
            "torchvision (MobileNet_V2_Weights)",
        ),
        entry("mobilenetv2-k5", LARGE, || MobileNetV2Config::with_kernel(5).into(), UNKNOWN, NONE),
        entry("mobilenetv2-k7", LARGE, || MobileNetV2Config::with_kernel(7).into(), UNKNOWN, NONE),
        entry("mobilenetv2-k9", LARGE, || MobileNetV2Config::with_kernel(9).into(), UNKNOWN, NONE),
        entry("mobilenetv2-k13", LARGE, || MobileNetV2Config::with_kernel(13).into(), UNKNOWN, NONE),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn what_is_not_dropped_makes_up_for_the_rest() {
        let x = Tensor::ones((100, 100), DType::F32, &Device::Cpu).unwrap();
        let values = |rate, mode| dropout(&x, rate, mode).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let dropped = values(0.2, Mode::Train { seed: 3 });
        assert!(dropped.iter().all(|&v| v == 0.0 || v == 1.25), "{:?}", &dropped[..5]);
        let mean = dropped.iter().sum::<f32>() / 10_000.0;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert_ne!(dropped, values(0.2, Mode::Train { seed: 4 }));
        assert_eq!(values(0.2, Mode::Eval), [1.0; 10_000]);
    }
}
