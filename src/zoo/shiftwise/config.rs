//! Configuration of a shift-wise network.

use crate::ops::shiftwise::{Padding, Window};
use crate::weights::TensorMap;
use crate::zoo::PerStage;
use crate::zoo::config::{MAX_BLOCKS, MAX_CHANNELS, MAX_CLASSES, check_count, check_rate, check_scale};
use crate::zoo::convnext::{NormKind, WeightInit};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Most paths, and most shuffles.
const MAX_COPIES: usize = 64;

/// What surrounds the large kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// ConvNeXt's body, as in SLaK.
    V1,
    /// A body with batch norms, squeeze-and-excite and response norms, as in UniRepLKNet.
    V2,
}

/// How far the parallel parts of the large kernels are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Merged {
    /// Not at all: the training form.
    None,
    /// The paths are one: the official code's form for inference.
    Paths,
    /// Paths, branches, their norms and the identity are one cross-shaped kernel with a bias.
    Cross,
}

/// Configuration of a shift-wise network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShiftWiseConfig {
    /// What surrounds the large kernels.
    pub body: Body,
    /// Blocks per stage.
    pub depths: PerStage,
    /// Channels per stage, before `width`.
    pub dims: PerStage,
    /// Factor on the channels of every stage; the product is rounded down.
    pub width: f64,
    /// Length M of the large kernels per stage.
    pub kernel: PerStage,
    /// Side n of the small kernels that they are made of.
    pub small_kernel: usize,
    /// Share of the channels that pass the large kernels by.
    pub ghost_ratio: f64,
    /// Parallel paths of small kernels in training, whose results are added up.
    pub paths: usize,
    /// Shuffles of the small kernels G.
    pub reps: usize,
    /// Zeros around the image before the small convolutions.
    pub padding: Padding,
    /// Number of classes.
    pub classes: usize,
    /// Drop-path rate of the last block.
    pub drop_path: f64,
    /// Initial layer scale; 0 leaves layer scale out.
    pub layer_scale: f64,
    /// Initial weights of everything but the classifier.
    pub init: WeightInit,
    /// Normalization of the pooled features before the classifier: a layer norm, as published, or a batch norm, with
    /// which a small network starts to learn at once.
    pub head_norm: NormKind,
    /// The form of the large kernels; see [`merge_paths`](super::merge_paths) and [`merge_cross`](super::merge_cross).
    pub merged: Merged,
}

impl Default for ShiftWiseConfig {
    /// The tiny network of the second version.
    fn default() -> Self {
        ShiftWiseConfig::tiny_v2()
    }
}

impl ShiftWiseConfig {
    /// SW-T as the paper's experiments had it. Its section 4.1 prints 47 for the third stage; parameters and
    /// multiply-adds, and the number of groups in Table 2, are those of 45.
    pub fn tiny_v1() -> Self {
        ShiftWiseConfig {
            body: Body::V1,
            depths: PerStage([3, 3, 9, 3]),
            dims: PerStage([96, 192, 384, 768]),
            width: 1.3,
            kernel: PerStage([51, 49, 45, 13]),
            small_kernel: 5,
            ghost_ratio: 0.6,
            paths: 2,
            reps: 1,
            padding: Padding::Full,
            classes: 1000,
            drop_path: 0.1,
            layer_scale: 1e-6,
            init: WeightInit::Published,
            head_norm: NormKind::Layer,
            merged: Merged::None,
        }
    }

    /// SW-S of the first version, with the released code's defaults.
    pub fn small_v1() -> Self {
        ShiftWiseConfig {
            depths: PerStage([3, 3, 27, 3]),
            kernel: PerStage([51, 49, 47, 13]),
            ghost_ratio: 0.23,
            reps: 4,
            drop_path: 0.4,
            ..ShiftWiseConfig::tiny_v1()
        }
    }

    /// SW-B of the first version, with the released code's defaults.
    pub fn base_v1() -> Self {
        ShiftWiseConfig { dims: PerStage([128, 256, 512, 1024]), drop_path: 0.5, ..ShiftWiseConfig::small_v1() }
    }

    /// SW-T of the second version, as its published checkpoint has it.
    pub fn tiny_v2() -> Self {
        ShiftWiseConfig {
            body: Body::V2,
            depths: PerStage([3, 3, 18, 3]),
            dims: PerStage([80, 160, 320, 640]),
            width: 1.0,
            kernel: PerStage([51, 49, 47, 13]),
            small_kernel: 3,
            ghost_ratio: 0.23,
            reps: 4,
            drop_path: 0.2,
            ..ShiftWiseConfig::tiny_v1()
        }
    }

    /// SW-S of the second version.
    pub fn small_v2() -> Self {
        ShiftWiseConfig {
            depths: PerStage([3, 3, 27, 3]),
            dims: PerStage([96, 192, 384, 768]),
            ..ShiftWiseConfig::tiny_v2()
        }
    }

    /// SW-B of the second version.
    pub fn base_v2() -> Self {
        ShiftWiseConfig { dims: PerStage([128, 256, 512, 1024]), ..ShiftWiseConfig::small_v2() }
    }

    /// A small network for 32- to 64-pixel images and the built-in data. Its kernels are about as large as its feature
    /// maps, as the published ones are at 224 pixels. It has the second body and a batch norm before the classifier, with
    /// which a short training starts at once.
    pub fn nano() -> Self {
        ShiftWiseConfig {
            depths: PerStage([1, 1, 2, 1]),
            dims: PerStage([32, 64, 96, 128]),
            kernel: PerStage([15, 15, 7, 7]),
            reps: 2,
            classes: 8,
            drop_path: 0.0,
            layer_scale: 1.0,
            init: WeightInit::FanIn,
            head_norm: NormKind::Batch,
            ..ShiftWiseConfig::tiny_v2()
        }
    }

    /// Channels of a stage.
    pub(super) fn channels(&self, stage: usize) -> usize {
        (self.dims.stage(stage) as f64 * self.width) as usize
    }

    /// Channels of a stage that the large kernels have, rounded as the official code does: the first body rounds the
    /// others, the second makes these even.
    pub(super) fn rep_channels(&self, stage: usize) -> usize {
        let channels = self.channels(stage);
        match self.body {
            Body::V1 => channels.saturating_sub((channels as f64 * self.ghost_ratio) as usize),
            Body::V2 => (channels as f64 * (1.0 - self.ghost_ratio)) as usize / 2 * 2,
        }
    }

    /// Sizes of the large kernels of a stage, counted from 0.
    ///
    /// # Errors
    /// If they are not allowed.
    pub fn window(&self, stage: usize) -> Result<Window> {
        Window::new(self.kernel.stage(stage), self.small_kernel, self.padding)
    }

    pub(super) fn validate(&self) -> Result<()> {
        for stage in 0..4 {
            check_count("depths", self.depths.stage(stage), MAX_BLOCKS)?;
            check_count("dims", self.dims.stage(stage), MAX_CHANNELS)?;
            self.window(stage)?;
            if !(2..=MAX_CHANNELS).contains(&self.channels(stage)) {
                let allowed = format!("a factor that gives every stage 2 to {MAX_CHANNELS} channels");
                return Err(Error::argument("width", self.width, allowed));
            }
            if !(0.0..1.0).contains(&self.ghost_ratio) || self.rep_channels(stage) == 0 {
                let allowed = "at least 0, and far enough below 1 to leave channels in every stage";
                return Err(Error::argument("ghost_ratio", self.ghost_ratio, allowed));
            }
        }
        check_count("paths", self.paths, MAX_COPIES)?;
        check_count("reps", self.reps, MAX_COPIES)?;
        check_count("classes", self.classes, MAX_CLASSES)?;
        check_scale("layer_scale", self.layer_scale)?;
        check_rate("drop_path", self.drop_path)?;
        if self.merged == Merged::Cross && self.padding == Padding::Half {
            let allowed = "none or paths with padding = half, which drops windows at the border";
            return Err(Error::argument("merged", "cross", allowed));
        }
        Ok(())
    }

    /// Takes what a checkpoint's names and shapes tell: the small kernels, the number of paths and of classes, and the
    /// form.
    pub fn adapt(&mut self, tensors: &TensorMap) {
        let has = |end: &str| tensors.keys().any(|name| name.ends_with(end));
        let small = tensors.iter().find(|(name, _)| name.contains(".large_kernel.LoRA"));
        if let Some(&side) = small.and_then(|(_, tensor)| tensor.dims().get(2)) {
            self.small_kernel = side;
        }
        if has(".large_kernel.LoRAs.0.weight") {
            self.merged = Merged::None;
            // A path that only some blocks lack is missing, and building the network says so.
            self.paths = (1..MAX_COPIES).take_while(|i| has(&format!(".large_kernel.LoRAs.{i}.weight"))).count() + 1;
        } else if has(".large_kernel.LoRA.weight") {
            self.merged = Merged::Paths;
        } else if has(".large_kernel.cross.weight") {
            self.merged = Merged::Cross;
        }
        if let Some(&classes) = tensors.get("head.weight").and_then(|t| t.dims().first()) {
            self.classes = classes;
        }
    }

    /// See [`Family::misfit`](crate::zoo::Family::misfit).
    pub(super) fn misfit(&self, tensors: &TensorMap) -> Option<String> {
        let dim = |name: &str, axis: usize| tensors.get(name).and_then(|t| t.dims().get(axis)).copied();
        if !tensors.keys().any(|name| name.contains(".large_kernel.bn_lora1.") || name.contains(".large_kernel.cross."))
        {
            return Some("it has no shift-wise kernels".into());
        }
        let body = if tensors.contains_key("stages.0.0.se.down.weight") { Body::V2 } else { Body::V1 };
        if body != self.body {
            return Some(format!("it has the body {body:?} (body = {:?})", self.body).to_lowercase());
        }
        for stage in 0..4 {
            let layer = layer(stage);
            let differs = |found: Option<usize>, ours: usize| found.filter(|&found| found != ours);
            let ours = self.channels(stage);
            if let Some(found) = differs(dim(&format!("stages.{stage}.0.norm.weight"), 0), ours) {
                return Some(format!("stage {stage} has {found} channels, not {ours} (dims, width = {})", self.width));
            }
            let rep = self.rep_channels(stage);
            let found = dim(&format!("{layer}.bn_lora1.weight"), 0).or(dim(&format!("{layer}.cross.weight"), 0));
            if let Some(found) = differs(found, rep) {
                return Some(format!(
                    "{found} of {ours} channels of stage {stage} have large kernels, not {rep} (ghost_ratio = {})",
                    self.ghost_ratio
                ));
            }
            let groups = self.kernel.stage(stage).div_ceil(self.small_kernel.max(1));
            let small = dim(&format!("{layer}.LoRAs.0.weight"), 0).or(dim(&format!("{layer}.LoRA.weight"), 0));
            if let Some(found) = differs(small, rep * groups) {
                return Some(format!(
                    "stage {stage} has {found} small kernels, not {groups} for each of {rep} channels (kernel = {}, \
                     small_kernel = {})",
                    self.kernel.stage(stage),
                    self.small_kernel
                ));
            }
        }
        let found = (0..MAX_COPIES).take_while(|i| tensors.contains_key(&format!("{}.LoRAs.{i}.weight", layer(0))));
        match found.count() {
            paths if self.merged == Merged::None && paths > 0 && paths != self.paths => {
                Some(format!("it has {paths} paths, not {} (paths)", self.paths))
            }
            _ => None,
        }
    }
}

/// Path of the first large kernel of a stage.
fn layer(stage: usize) -> String {
    format!("stages.{stage}.0.large_kernel")
}
