//! Configuration of a ConvNeXt.

use crate::Result;
use crate::ops::Layout;
use crate::ops::oriented1d::{self, SizeMode};
use crate::weights::TensorMap;
use crate::zoo::config::{MAX_BLOCKS, MAX_CHANNELS, MAX_CLASSES, check_count, check_kernel, check_rate, check_scale};
use crate::zoo::{Directions, PerStage};
use serde::{Deserialize, Serialize};

/// The block of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Variant {
    /// One dense depthwise convolution.
    #[serde(rename = "2d")]
    TwoD,
    /// One oriented convolution.
    #[serde(rename = "1d")]
    OneD,
    /// Two oriented convolutions.
    #[serde(rename = "1dpp")]
    OneDPlus,
    /// A dense and an oriented convolution.
    #[serde(rename = "2dpp")]
    TwoDPlus,
}

impl Variant {
    pub(super) fn oriented_first(self) -> bool {
        matches!(self, Variant::OneD | Variant::OneDPlus)
    }

    pub(super) fn two_convs(self) -> bool {
        matches!(self, Variant::OneDPlus | Variant::TwoDPlus)
    }
}

/// The stem, which reduces the image four times. Table 6 of the paper compares all four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stem {
    /// One 4x4 convolution at stride 4.
    Patch,
    /// Two oriented depthwise convolutions at stride 2 between pointwise maps ("Depthwise 1D").
    #[serde(rename = "depthwise-1d")]
    Depthwise1d,
    /// The same with dense depthwise convolutions ("Depthwise 2D").
    #[serde(rename = "depthwise-2d")]
    Depthwise2d,
    /// One dense oriented convolution at stride 4 ("Oriented 1D").
    #[serde(rename = "oriented-1d")]
    Oriented1d,
}

/// Configuration of a ConvNeXt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvNextConfig {
    /// Block.
    pub variant: Variant,
    /// Stem.
    pub stem: Stem,
    /// Blocks per stage.
    pub depths: PerStage,
    /// Channels per stage.
    pub dims: PerStage,
    /// Size of the first convolution of a block, per stage: side (dense) or taps (oriented).
    pub kernel: PerStage,
    /// Taps of the second convolution of 1D++ and 2D++ blocks, per stage.
    pub kernel2: PerStage,
    /// Number of directions D.
    pub directions: Directions,
    /// Turns the kernels of every second block of a stage by 90 degrees.
    pub layerwise_rotation: bool,
    /// Size of the stem's convolutions: side (dense) or taps (oriented).
    pub stem_kernel: usize,
    /// Channels C0 between the stem's convolutions.
    pub stem_channels: usize,
    /// Accepts images whose sides are no multiples of the strides.
    pub arbitrary_size: bool,
    /// Number of classes.
    pub classes: usize,
    /// Drop-path rate of the last block.
    pub drop_path: f64,
    /// Initial layer scale; 0 leaves layer scale out.
    pub layer_scale: f64,
    /// Factor on the initial weights of the classifier.
    pub head_scale: f64,
    /// Initial weights of everything but the classifier.
    pub init: WeightInit,
    /// Normalization.
    pub norm: NormKind,
}

/// Normalization of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormKind {
    /// Layer norm over channels, as published.
    Layer,
    /// Batch norm: a short training of a small network gets much further with it, since what all images have in common
    /// does not hide what tells them apart.
    Batch,
}

impl NormKind {
    /// Whether a convolution directly before the norm has a bias. A batch norm takes any constant away again; the bias
    /// would get rounding errors for a gradient, and wander.
    pub(super) fn keeps_bias(self) -> bool {
        self == NormKind::Layer
    }
}

/// Initial weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightInit {
    /// Standard deviation 0.02 everywhere, as published: made for wide networks and long training.
    Published,
    /// Scaled to each layer's fan-in: small networks start to learn at once.
    FanIn,
}

impl Default for ConvNextConfig {
    /// ConvNeXt-T, 2D.
    fn default() -> Self {
        ConvNextConfig::tiny(Variant::TwoD)
    }
}

impl ConvNextConfig {
    /// The tiny size of a variant, as published.
    pub fn tiny(variant: Variant) -> Self {
        let stem = if variant.oriented_first() { Stem::Depthwise1d } else { Stem::Patch };
        let kernel = match variant {
            Variant::TwoD | Variant::TwoDPlus => 7,
            Variant::OneD => 31,
            Variant::OneDPlus => 15,
        };
        ConvNextConfig {
            variant,
            stem,
            depths: PerStage([3, 3, 9, 3]),
            dims: PerStage([96, 192, 384, 768]),
            kernel: PerStage::all(kernel),
            kernel2: PerStage::all(31),
            directions: Directions::Count(8),
            layerwise_rotation: variant != Variant::TwoD,
            stem_kernel: if variant == Variant::OneDPlus { 15 } else { 31 },
            stem_channels: 64,
            arbitrary_size: false,
            classes: 1000,
            drop_path: 0.1,
            layer_scale: 1e-6,
            head_scale: 1.0,
            init: WeightInit::Published,
            norm: NormKind::Layer,
        }
    }

    /// The base size of a variant, as published.
    pub fn base(variant: Variant) -> Self {
        ConvNextConfig {
            depths: PerStage([3, 3, 27, 3]),
            dims: PerStage([128, 256, 512, 1024]),
            drop_path: 0.5,
            ..ConvNextConfig::tiny(variant)
        }
    }

    /// A small network for 32- to 64-pixel images and the built-in data. All variants have a depthwise stem, so that they
    /// differ in their kernels alone.
    pub fn nano(variant: Variant) -> Self {
        ConvNextConfig {
            stem: if variant.oriented_first() { Stem::Depthwise1d } else { Stem::Depthwise2d },
            depths: PerStage([1, 1, 2, 1]),
            dims: PerStage([32, 64, 96, 128]),
            kernel: match variant {
                Variant::TwoD | Variant::TwoDPlus => PerStage::all(7),
                Variant::OneD => PerStage([15, 15, 7, 7]),
                Variant::OneDPlus => PerStage([7, 7, 7, 7]),
            },
            kernel2: PerStage([15, 15, 7, 7]),
            stem_kernel: 7,
            stem_channels: 16,
            classes: 8,
            drop_path: 0.0,
            layer_scale: 1.0,
            init: WeightInit::FanIn,
            norm: NormKind::Batch,
            ..ConvNextConfig::tiny(variant)
        }
    }

    /// Takes what a checkpoint's shapes tell: kernel sizes, stem channels, number of classes.
    pub fn adapt(&mut self, tensors: &TensorMap) {
        let dim = |name: &str, axis: usize| tensors.get(name).and_then(|t| t.dims().get(axis)).copied();
        let first = if self.variant.two_convs() { "dwconv1" } else { "dwconv" };
        for stage in 0..4 {
            if let Some(k) = dim(&format!("stages.{stage}.0.{first}.weight"), 3) {
                self.kernel.0[stage] = k;
            }
            if let Some(k) = dim(&format!("stages.{stage}.0.dwconv2.weight"), 3) {
                self.kernel2.0[stage] = k;
            }
        }
        if let Some(k) = dim("downsample_layers.0.dw1.weight", 3) {
            self.stem_kernel = k;
        }
        if let Some(c) = dim("downsample_layers.0.pw1.weight", 0) {
            self.stem_channels = c;
        }
        if let Some(classes) = dim("head.weight", 0) {
            self.classes = classes;
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        for stage in 0..4 {
            check_count("depths", self.depths.stage(stage), MAX_BLOCKS)?;
            check_count("dims", self.dims.stage(stage), MAX_CHANNELS)?;
            check_kernel("kernel", self.kernel.stage(stage), self.variant.oriented_first())?;
            check_kernel("kernel2", self.kernel2.stage(stage), true)?;
        }
        check_kernel("stem_kernel", self.stem_kernel, self.stem != Stem::Depthwise2d)?;
        check_count("stem_channels", self.stem_channels, MAX_CHANNELS)?;
        check_count("directions", self.directions.of(1), MAX_CHANNELS)?;
        check_count("classes", self.classes, MAX_CLASSES)?;
        check_scale("layer_scale", self.layer_scale)?;
        check_scale("head_scale", self.head_scale)?;
        check_rate("drop_path", self.drop_path)?;
        Ok(())
    }

    pub(super) fn options(&self, stride: usize, residual: bool) -> oriented1d::Options {
        let sizes = if self.arbitrary_size { SizeMode::Arbitrary } else { SizeMode::Strict };
        oriented1d::Options { stride, sizes, residual, layout: Layout::ChannelsFirst }
    }
}
