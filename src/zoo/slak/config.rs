//! Configuration of a SLaK.

use crate::weights::TensorMap;
use crate::zoo::PerStage;
use crate::zoo::config::{
    MAX_BLOCKS, MAX_CHANNELS, MAX_CLASSES, check_count, check_kernel, check_rate, check_scale, number_or_none, scaled,
};
use crate::zoo::convnext::{NormKind, WeightInit};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// What [`merge`](super::merge()) makes of decomposed kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MergeForm {
    /// Two rectangles and one bias: the fewest multiply-adds.
    Rectangles,
    /// One square kernel and a bias, zero outside of a cross: what the official code calls `lkb_reparam`, and can load.
    Cross,
}

/// Configuration of a SLaK.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlakConfig {
    /// Blocks per stage.
    pub depths: PerStage,
    /// Channels per stage, before they are multiplied with `width`.
    pub dims: PerStage,
    /// Factor on the channels of every stage; the product is rounded down.
    pub width: f64,
    /// Long side of the large kernels per stage.
    pub kernel: PerStage,
    /// Short side of the decomposed kernels, and side of the kernel beside the large ones in the stages where it is
    /// smaller than `kernel`. "none" in files and for `--set` where there is neither.
    #[serde(with = "number_or_none")]
    pub small_kernel: Option<usize>,
    /// Whether two rectangles stand in place of every large square kernel.
    pub decompose: bool,
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
    /// Normalization of the pooled features before the classifier: a layer norm, as published, or a batch norm, with
    /// which a small network learns faster.
    pub head_norm: NormKind,
    /// The form after [`merge`](super::merge()): convolutions with one bias in place of the branches with their norms.
    pub merged: bool,
    /// Which form that is, or will be, for decomposed kernels. Others become one square kernel.
    pub merge_form: MergeForm,
}

/// A depthwise convolution of a block: the name of its module, and its rows and columns.
pub(super) type Branch = (&'static str, (usize, usize));

impl Default for SlakConfig {
    /// SLaK-T.
    fn default() -> Self {
        SlakConfig::tiny()
    }
}

impl SlakConfig {
    /// SLaK-T as published.
    pub fn tiny() -> Self {
        SlakConfig {
            depths: PerStage([3, 3, 9, 3]),
            dims: PerStage([96, 192, 384, 768]),
            width: 1.3,
            kernel: PerStage([51, 49, 47, 13]),
            small_kernel: Some(5),
            decompose: true,
            classes: 1000,
            drop_path: 0.1,
            layer_scale: 1e-6,
            head_scale: 1.0,
            init: WeightInit::Published,
            head_norm: NormKind::Layer,
            merged: false,
            merge_form: MergeForm::Rectangles,
        }
    }

    /// SLaK-S as published.
    pub fn small() -> Self {
        SlakConfig { depths: PerStage([3, 3, 27, 3]), drop_path: 0.4, ..SlakConfig::tiny() }
    }

    /// SLaK-B as published.
    pub fn base() -> Self {
        SlakConfig { dims: PerStage([128, 256, 512, 1024]), drop_path: 0.5, ..SlakConfig::small() }
    }

    /// ConvNeXt-T with RepLKNet's kernels (appendix D of RepLKNet's paper): undivided ones, at the original width.
    pub fn convnext_tiny_31() -> Self {
        SlakConfig { kernel: PerStage([31, 29, 27, 13]), decompose: false, width: 1.0, ..SlakConfig::tiny() }
    }

    /// A small network for 32- to 64-pixel images and the built-in data. Its kernels are about as long as its feature
    /// maps, as the published ones are at 224 pixels.
    pub fn nano() -> Self {
        SlakConfig {
            depths: PerStage([1, 1, 2, 1]),
            dims: PerStage([32, 64, 96, 128]),
            width: 1.0,
            kernel: PerStage([15, 15, 7, 7]),
            small_kernel: Some(3),
            classes: 8,
            drop_path: 0.0,
            layer_scale: 1.0,
            init: WeightInit::FanIn,
            head_norm: NormKind::Batch,
            ..SlakConfig::tiny()
        }
    }

    /// Takes what a checkpoint's names and shapes tell: kernels, width, number of classes, and the form (training or
    /// merged; decomposed or not).
    pub fn adapt(&mut self, tensors: &TensorMap) {
        let dim = |name: &str, axis: usize| tensors.get(name).and_then(|t| t.dims().get(axis)).copied();
        for stage in 0..4 {
            let of = |name: &str, axis: usize| dim(&format!("stages.{stage}.0.large_kernel.{name}.weight"), axis);
            let (pair, merged_pair) = (of("LoRA1.conv", 2), of("LoRA1", 2));
            let (whole, merged_whole) = (of("lkb_origin.conv", 2), of("lkb_reparam", 2));
            let Some(kernel) = pair.or(merged_pair).or(whole).or(merged_whole) else { continue };
            self.kernel.0[stage] = kernel;
            self.merged = pair.or(whole).is_none();
            if pair.or(merged_pair).is_some() {
                self.decompose = true;
                self.small_kernel = of("LoRA1.conv", 3).or(of("LoRA1", 3)).or(self.small_kernel);
                self.merge_form = if self.merged { MergeForm::Rectangles } else { self.merge_form };
            } else if whole.is_some() {
                self.decompose = false;
            } else if self.decompose {
                // A cross and a kernel that was square from the start have the same names.
                self.merge_form = MergeForm::Cross;
            }
        }
        self.adapt_small_kernel(tensors);
        let channels = [0, 1, 2, 3].map(|stage| dim(&format!("stages.{stage}.0.norm.weight"), 0));
        if let [Some(a), Some(b), Some(c), Some(d)] = channels {
            self.adapt_width([a, b, c, d]);
        }
        if let Some(classes) = dim("head.weight", 0) {
            self.classes = classes;
        }
    }

    /// The kernel beside an undivided one; of decomposed ones it is the short side.
    fn adapt_small_kernel(&mut self, tensors: &TensorMap) {
        if self.decompose || self.merged {
            return;
        }
        let side = |stage| tensors.get(&format!("stages.{stage}.0.large_kernel.small_conv.conv.weight"));
        if let Some(&side) = (0..4).find_map(|stage| side(stage)?.dims().get(2)) {
            self.small_kernel = Some(side);
        } else if !tensors.keys().any(|name| name.contains(".small_conv.")) && (0..4).any(|s| self.has_small(s)) {
            // Where only some are missing, the checkpoint is damaged, and building the network says so.
            self.small_kernel = None;
        }
    }

    /// The width, or the channels themselves where no factor makes them of `dims`.
    fn adapt_width(&mut self, channels: [usize; 4]) {
        let fits = |config: &Self| (0..4).all(|stage| config.channels(stage) == channels[stage]);
        if fits(self) {
            return;
        }
        // Many factors round to the same channels. That with the fewest decimals is what somebody has chosen.
        let least = (0..4).map(|s| channels[s] as f64 / self.dims.stage(s) as f64).fold(0.0, f64::max);
        let widths = (0..5).map(|decimals| {
            let unit = 10f64.powi(decimals);
            (least * unit - 1e-9).ceil() / unit
        });
        let found = widths.map(|width| SlakConfig { width, ..self.clone() }).find(fits);
        *self = found.unwrap_or_else(|| SlakConfig { dims: PerStage(channels), width: 1.0, ..self.clone() });
    }

    pub(super) fn validate(&self) -> Result<()> {
        for stage in 0..4 {
            check_count("depths", self.depths.stage(stage), MAX_BLOCKS)?;
            check_count("dims", self.dims.stage(stage), MAX_CHANNELS)?;
            check_kernel("kernel", self.kernel.stage(stage), false)?;
            if !(1..=MAX_CHANNELS).contains(&self.channels(stage)) {
                let allowed = format!("a factor that gives every stage 1 to {MAX_CHANNELS} channels");
                return Err(Error::argument("width", self.width, allowed));
            }
        }
        check_count("classes", self.classes, MAX_CLASSES)?;
        check_scale("layer_scale", self.layer_scale)?;
        check_scale("head_scale", self.head_scale)?;
        check_rate("drop_path", self.drop_path)?;
        self.check_small_kernel()
    }

    /// Decomposed kernels need a short side that is not longer than the long one. Beside undivided ones, a kernel that
    /// is not smaller is left out, so that it may be any. A square made by merging has none.
    fn check_small_kernel(&self) -> Result<()> {
        let given = self.small_kernel.map_or("none".to_string(), |side| side.to_string());
        let even = self.small_kernel.is_some_and(|side| side.is_multiple_of(2));
        let most = self.kernel.0.into_iter().min().unwrap_or_default();
        match self.form() {
            Form::Square => Ok(()),
            Form::Pairs | Form::Rectangles if even || self.small_kernel.is_none_or(|side| side > most) => {
                let allowed =
                    format!("an odd number from 1 to {most} (the smallest large kernel, with decompose = true)");
                Err(Error::argument("small_kernel", given, allowed))
            }
            Form::Whole if even && (0..4).any(|stage| self.has_small(stage)) => {
                let allowed = "an odd number, a number that is not smaller than any large kernel, or none";
                Err(Error::argument("small_kernel", given, allowed))
            }
            _ => Ok(()),
        }
    }

    /// Channels of a stage.
    pub(super) fn channels(&self, stage: usize) -> usize {
        scaled(self.dims.stage(stage), self.width)
    }

    /// Whether the training form has a small square kernel in this stage.
    fn has_small(&self, stage: usize) -> bool {
        self.small_kernel.is_some_and(|side| side < self.kernel.stage(stage))
    }

    fn form(&self) -> Form {
        match (self.merged, self.decompose) {
            (false, true) => Form::Pairs,
            (false, false) => Form::Whole,
            (true, true) if self.merge_form == MergeForm::Rectangles => Form::Rectangles,
            (true, _) => Form::Square,
        }
    }

    /// The convolutions whose outputs add up in the blocks of a stage, in the order of the checkpoints. When merged,
    /// the first has the bias.
    pub(super) fn branches(&self, stage: usize) -> Vec<Branch> {
        let (long, short) = (self.kernel.stage(stage), self.small_kernel.unwrap_or_default());
        let mut branches = match self.form() {
            Form::Pairs | Form::Rectangles => vec![("LoRA1", (long, short)), ("LoRA2", (short, long))],
            Form::Whole => vec![("lkb_origin", (long, long))],
            Form::Square => vec![("lkb_reparam", (long, long))],
        };
        if !self.merged && self.has_small(stage) {
            branches.push(("small_conv", (short, short)));
        }
        branches
    }
}

/// What large kernels consist of.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// Two rectangles and a small square, each with its norm.
    Pairs,
    /// A large square and a small one, each with its norm.
    Whole,
    /// Two rectangles and a bias.
    Rectangles,
    /// A square and a bias.
    Square,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(channels: [usize; 4]) -> SlakConfig {
        let mut config = SlakConfig { width: 0.5, ..SlakConfig::tiny() };
        config.adapt_width(channels);
        assert_eq!([0, 1, 2, 3].map(|stage| config.channels(stage)), channels);
        config
    }

    #[test]
    fn the_width_is_the_shortest_number_that_makes_the_channels() {
        for (channels, width) in [
            ([124, 249, 499, 998], 1.3),
            ([96, 192, 384, 768], 1.0),
            ([288, 576, 1152, 2304], 3.0),
            ([120, 240, 480, 960], 1.25),
            ([48, 96, 192, 384], 0.5),
            ([126, 252, 504, 1009], 1.314),
        ] {
            let config = adapted(channels);
            assert_eq!((config.width, config.dims), (width, SlakConfig::tiny().dims), "{channels:?}");
        }
        // No factor makes these.
        let config = adapted([100, 192, 384, 768]);
        assert_eq!((config.width, config.dims), (1.0, PerStage([100, 192, 384, 768])));
        // What the network is called for stays, although 1.3 would be shorter.
        let mut config = SlakConfig { width: 1.3001, ..SlakConfig::tiny() };
        config.adapt_width([124, 249, 499, 998]);
        assert_eq!(config.width, 1.3001);
    }

    #[test]
    fn shapes_that_no_network_has_are_refused_later() {
        for channels in [[0; 4], [usize::MAX; 4], [1, 0, usize::MAX, 7]] {
            let mut config = SlakConfig { dims: PerStage([0, 1, 2, 3]), ..SlakConfig::tiny() };
            config.adapt_width(channels);
            assert!(config.validate().is_err(), "{channels:?}: {config:?}");
        }
    }
}
