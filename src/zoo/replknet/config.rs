//! Configuration of a RepLKNet.

use crate::weights::TensorMap;
use crate::zoo::PerStage;
use crate::zoo::config::{MAX_BLOCKS, MAX_CHANNELS, MAX_CLASSES, check_count, check_kernel, check_rate, scaled};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Most channels between the pointwise convolutions of a block.
const MAX_INNER: usize = 8 * MAX_CHANNELS;

/// Configuration of a RepLKNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepLkNetConfig {
    /// Pairs of a RepLK block and a ConvFFN per stage.
    pub depths: PerStage,
    /// Channels per stage.
    pub dims: PerStage,
    /// Side of the large kernel per stage.
    pub kernel: PerStage,
    /// Side of the kernel beside the large one in the training form; "none" in files and for `--set` where there is no
    /// such branch.
    #[serde(with = "crate::zoo::config::number_or_none")]
    pub small_kernel: Option<usize>,
    /// Channels of the large kernels by those of their stage; the product is rounded down.
    pub dw_ratio: f64,
    /// Channels inside a ConvFFN by those of its stage; the product is rounded down.
    pub ffn_ratio: f64,
    /// Number of classes.
    pub classes: usize,
    /// Drop-path rate of the last pair of blocks.
    pub drop_path: f64,
    /// The form after [`merge`](super::merge()): one convolution with a bias in place of the branches with their norms.
    pub merged: bool,
    /// The form after [`fold`](super::fold): no batch norm follows a convolution. The large kernels must be merged.
    pub folded: bool,
    /// The form for detection and segmentation: feature maps of four stages, neither final norm nor classifier.
    pub backbone: bool,
    /// A batch norm on every stage's feature map, as RepLKNet-XL has for detection and segmentation. Backbones only.
    pub stage_norms: bool,
}

impl Default for RepLkNetConfig {
    /// RepLKNet-31B.
    fn default() -> Self {
        RepLkNetConfig::base_31()
    }
}

impl RepLkNetConfig {
    /// RepLKNet-31B as published, with the drop-path rate of its 300 epochs on ImageNet-1K.
    pub fn base_31() -> Self {
        RepLkNetConfig {
            depths: PerStage([2, 2, 18, 2]),
            dims: PerStage([128, 256, 512, 1024]),
            kernel: PerStage([31, 29, 27, 13]),
            small_kernel: Some(5),
            dw_ratio: 1.0,
            ffn_ratio: 4.0,
            classes: 1000,
            drop_path: 0.5,
            merged: false,
            folded: false,
            backbone: false,
            stage_norms: false,
        }
    }

    /// RepLKNet-3, -7, -13 and -25: the base with other kernels (Table 5 of the paper), at the drop-path rate of their
    /// 120 epochs. A kernel that is not larger than 5x5 has no smaller one beside it: the paper does not say what
    /// RepLKNet-3 has, and the code refuses a small kernel that is larger than the other.
    pub fn base_with(kernel: PerStage) -> Self {
        let small_kernel = kernel.0.iter().all(|&k| k > 5).then_some(5);
        RepLkNetConfig { kernel, small_kernel, drop_path: 0.3, ..RepLkNetConfig::base_31() }
    }

    /// RepLKNet-31L as published, with the drop-path rate of its last training on ImageNet-1K.
    pub fn large_31() -> Self {
        RepLkNetConfig { dims: PerStage([192, 384, 768, 1536]), drop_path: 0.3, ..RepLkNetConfig::base_31() }
    }

    /// RepLKNet-XL as published. Its kernels are not in the paper's text, but in the code and in the appendix.
    pub fn extra_large() -> Self {
        RepLkNetConfig {
            dims: PerStage([256, 512, 1024, 2048]),
            kernel: PerStage([27, 27, 27, 13]),
            small_kernel: None,
            dw_ratio: 1.5,
            drop_path: 0.2,
            ..RepLkNetConfig::base_31()
        }
    }

    /// A small network for 32- to 64-pixel images and the built-in data. Its kernels are about as large as its feature
    /// maps, as the published ones are at 224 pixels.
    pub fn nano() -> Self {
        RepLkNetConfig {
            depths: PerStage([1, 1, 2, 1]),
            dims: PerStage([32, 64, 96, 128]),
            kernel: PerStage([15, 15, 7, 7]),
            classes: 8,
            drop_path: 0.0,
            ..RepLkNetConfig::base_31()
        }
    }

    /// Takes what a checkpoint's names and shapes tell: kernels, number of classes, and the form (training, merged or
    /// folded; with a classifier or a backbone).
    pub fn adapt(&mut self, tensors: &TensorMap) {
        let dim = |name: &str, axis: usize| tensors.get(name).and_then(|t| t.dims().get(axis)).copied();
        let starts = |prefix: &str| tensors.keys().any(|name| name.starts_with(prefix));
        for stage in 0..4 {
            let layer = format!("stages.{stage}.blocks.0.large_kernel");
            let branch = dim(&format!("{layer}.lkb_origin.conv.weight"), 3);
            let merged = dim(&format!("{layer}.lkb_reparam.weight"), 3);
            if let Some(k) = branch.or(merged) {
                self.kernel.0[stage] = k;
                self.merged = branch.is_none();
            }
        }
        if starts("stages.0.blocks.0.large_kernel.lkb_origin.") {
            let found = dim("stages.0.blocks.0.large_kernel.small_conv.conv.weight", 3);
            // Where only this one is missing, the checkpoint is damaged, and building the network says so.
            let others = tensors.keys().any(|name| name.contains(".small_conv."));
            self.small_kernel = found.or(self.small_kernel.filter(|_| others));
        }
        // Only in a checkpoint of this family does it tell anything that the following are not there.
        if starts("stem.0.conv.") && starts("stages.0.blocks.0.pw1.conv.") {
            self.folded = starts("stem.0.conv.bias");
            self.backbone = !starts("head.") && !starts("norm.");
            self.stage_norms = starts("stages.0.norm.");
        }
        if let Some(classes) = dim("head.weight", 0) {
            self.classes = classes;
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        for stage in 0..4 {
            check_count("depths", self.depths.stage(stage), MAX_BLOCKS)?;
            check_count("dims", self.dims.stage(stage), MAX_CHANNELS)?;
            check_kernel("kernel", self.kernel.stage(stage), false)?;
            for (name, ratio) in [("dw_ratio", self.dw_ratio), ("ffn_ratio", self.ffn_ratio)] {
                if !(1..=MAX_INNER).contains(&scaled(self.dims.stage(stage), ratio)) {
                    let allowed = format!("a factor that gives every stage 1 to {MAX_INNER} channels");
                    return Err(Error::argument(name, ratio, allowed));
                }
            }
        }
        check_count("classes", self.classes, MAX_CLASSES)?;
        check_rate("drop_path", self.drop_path)?;
        if self.folded && !self.merged {
            return Err(Error::argument("folded", "true with merged = false", "true only with merged = true"));
        }
        if self.stage_norms && !self.backbone {
            return Err(Error::argument("stage_norms", "true with backbone = false", "true only with backbone = true"));
        }
        self.check_small_kernel()
    }

    /// The small kernel must fit into every large one; after merging its size says only what was merged.
    fn check_small_kernel(&self) -> Result<()> {
        let most = self.kernel.0.into_iter().min().unwrap_or_default();
        match self.small_kernel {
            Some(k) if !self.merged && (k > most || k.is_multiple_of(2)) => {
                let allowed = format!("an odd number from 1 to {most} (the smallest large kernel), or none");
                Err(Error::argument("small_kernel", k, allowed))
            }
            _ => Ok(()),
        }
    }

    /// Channels of the large kernels of a stage.
    pub(super) fn dw_channels(&self, stage: usize) -> usize {
        scaled(self.dims.stage(stage), self.dw_ratio)
    }

    /// Channels inside the ConvFFNs of a stage.
    pub(super) fn ffn_channels(&self, stage: usize) -> usize {
        scaled(self.dims.stage(stage), self.ffn_ratio)
    }
}
