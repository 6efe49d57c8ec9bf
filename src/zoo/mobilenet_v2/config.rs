//! Configuration of a MobileNetV2 with kernels of any size.

use crate::weights::TensorMap;
use crate::zoo::Padding;
use crate::zoo::config::{
    MAX_BLOCKS, MAX_CHANNELS, MAX_CLASSES, check_count, check_eps, check_kernel, check_rate, norm_eps,
};
use crate::zoo::conv_norm::Style;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Most channels of a block by those of its input, and largest dilation.
const MAX_FACTOR: usize = 64;

/// Which depthwise convolutions have the kernel of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Where {
    /// All of them.
    All,
    /// Those of the last stage: from the last block at stride 2 on. The others stay 3x3 (guideline 5 of the paper).
    Last,
}

/// Configuration of a MobileNetV2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MobileNetV2Config {
    /// Channels of the first convolution, which has stride 2.
    pub stem: usize,
    /// Rows of the architecture's table: expansion, channels, blocks, stride of the first block.
    pub rows: Vec<[usize; 4]>,
    /// Channels of the last pointwise convolution.
    pub last: usize,
    /// Side of the depthwise kernels.
    pub kernel: usize,
    /// Side of the kernel beside each of them in training; "none" in files and for `--set` where there is none.
    #[serde(with = "crate::zoo::config::number_or_none")]
    pub small_kernel: Option<usize>,
    /// Whether blocks that keep the shape add their input.
    pub shortcut: bool,
    /// Distance between the taps of the depthwise kernels.
    pub dilation: usize,
    /// Which depthwise convolutions `kernel`, `small_kernel` and `dilation` are about.
    #[serde(rename = "where")]
    pub place: Where,
    /// Number of classes.
    pub classes: usize,
    /// Share of the pooled features that are dropped in training.
    pub dropout: f64,
    /// Drop-path rate of the last block, of blocks with a shortcut.
    #[serde(default)]
    pub drop_path: f64,
    /// Added to the variance by batch norms: 1e-5 in PyTorch's networks, 1e-3 in those that came from TensorFlow.
    #[serde(default = "norm_eps")]
    pub norm_eps: f64,
    /// Zeros around the images of convolutions, those of PyTorch or of TensorFlow.
    #[serde(default)]
    pub padding: Padding,
    /// The form after [`merge`](super::merge()): one depthwise convolution with a bias in place of the branches with
    /// their norms.
    pub merged: bool,
    /// The form after [`fold`](super::fold): no batch norm at all. The depthwise kernels must be merged.
    pub folded: bool,
}

/// One inverted residual block, as the configuration describes it.
pub(super) struct Unit {
    /// Its place in `features`.
    pub index: usize,
    pub channels: usize,
    pub expanded: usize,
    pub outputs: usize,
    pub stride: usize,
    /// Whether there is a pointwise convolution before the depthwise one.
    pub expands: bool,
    /// Whether its depthwise convolution is one that the configuration is about.
    pub replaced: bool,
}

impl Unit {
    /// Path of the module with the depthwise convolution.
    pub fn depthwise(&self) -> String {
        format!("features.{}.conv.{}", self.index, usize::from(self.expands))
    }
}

/// How a depthwise convolution is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Branches,
    Merged,
}

impl MobileNetV2Config {
    /// MobileNetV2 at width 1, with depthwise kernels of side `kernel`, as plain convolutions.
    pub fn with_kernel(kernel: usize) -> Self {
        MobileNetV2Config {
            stem: 32,
            rows: vec![
                [1, 16, 1, 1],
                [6, 24, 2, 2],
                [6, 32, 3, 2],
                [6, 64, 4, 2],
                [6, 96, 3, 1],
                [6, 160, 3, 2],
                [6, 320, 1, 1],
            ],
            last: 1280,
            kernel,
            small_kernel: None,
            shortcut: true,
            dilation: 1,
            place: Where::All,
            classes: 1000,
            dropout: 0.2,
            drop_path: 0.0,
            norm_eps: norm_eps(),
            padding: Padding::Half,
            merged: false,
            folded: false,
        }
    }

    /// A small network for 64-pixel images and the built-in data, re-parameterized. The maps of its last stage have
    /// 8x8 pixels, about as many as the 7x7 of the large one at 224 pixels, so that kernels of 3 to 13 compare alike.
    pub fn nano() -> Self {
        MobileNetV2Config {
            stem: 16,
            rows: vec![[1, 8, 1, 1], [4, 16, 2, 2], [4, 24, 2, 2], [4, 32, 2, 1]],
            last: 128,
            small_kernel: Some(3),
            classes: 8,
            dropout: 0.0,
            ..MobileNetV2Config::with_kernel(7)
        }
    }

    pub(super) fn style(&self) -> Style {
        Style { norm_eps: self.norm_eps, padding: self.padding }
    }

    /// The blocks in their order.
    pub(super) fn units(&self) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::new();
        let mut channels = self.stem;
        for &[expansion, outputs, blocks, stride] in &self.rows {
            for block in 0..blocks {
                units.push(Unit {
                    index: units.len() + 1,
                    channels,
                    expanded: channels * expansion,
                    outputs,
                    stride: if block == 0 { stride } else { 1 },
                    expands: expansion != 1,
                    replaced: true,
                });
                channels = outputs;
            }
        }
        if self.place == Where::Last {
            let last = units.iter().rposition(|unit| unit.stride > 1).unwrap_or(0);
            units.iter_mut().take(last).for_each(|unit| unit.replaced = false);
        }
        units
    }

    /// The last module in `features` of every stage: stages end where the next block has a stride, and with the last
    /// pointwise convolution.
    pub fn stage_ends(&self) -> Vec<usize> {
        let units = self.units();
        let strided = units.iter().filter(|unit| unit.stride > 1);
        strided.map(|unit| unit.index - 1).chain([units.len() + 1]).collect()
    }

    /// Takes what a checkpoint's names and shapes tell: the kernel, where it is, its form, and the number of classes.
    /// Dilation, shortcuts, padding, and what batch norms add to the variance leave no trace in a checkpoint.
    pub fn adapt(&mut self, tensors: &TensorMap) {
        let dim = |name: &str, axis: usize| tensors.get(name).and_then(|t| t.dims().get(axis)).copied();
        if let Some(classes) = dim("classifier.1.weight", 0) {
            self.classes = classes;
        }
        let stored = |unit: &Unit| {
            let side = |leaf: &str| dim(&format!("{}.0.{leaf}", unit.depthwise()), 3);
            let branches = side("lkb_origin.conv.weight").map(|side| (side, Form::Branches));
            let merged = side("lkb_reparam.weight").map(|side| (side, Form::Merged));
            branches.or(merged).or(side("weight").map(|side| (side, Form::Plain)))
        };
        let units = self.units();
        let (Some(first), Some(last)) = (units.first(), units.last()) else { return };
        let (Some(before), Some((kernel, form))) = (stored(first), stored(last)) else { return };
        self.kernel = kernel;
        if before != (kernel, form) {
            self.place = Where::Last;
        } else if before != (3, Form::Plain) {
            self.place = Where::All;
        }
        self.merged = form == Form::Merged;
        self.folded = tensors.contains_key("features.0.0.bias");
        match form {
            Form::Plain => self.small_kernel = None,
            Form::Branches => {
                let found = dim(&format!("{}.0.small_conv.conv.weight", last.depthwise()), 3);
                // Where only this one is missing, the checkpoint is damaged, and building the network says so.
                self.small_kernel = found.or(self.small_kernel);
            }
            Form::Merged => {}
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        check_count("stem", self.stem, MAX_CHANNELS)?;
        check_count("last", self.last, MAX_CHANNELS)?;
        check_count("rows", self.rows.len(), MAX_FACTOR)?;
        for row in &self.rows {
            let most = [MAX_FACTOR, MAX_CHANNELS, MAX_BLOCKS, 2];
            if row.iter().zip(most).any(|(&value, most)| !(1..=most).contains(&value)) {
                let allowed = format!("[expansion, channels, blocks, stride], each from 1 to {most:?}");
                return Err(Error::argument("rows", format!("{row:?}"), allowed));
            }
        }
        check_kernel("kernel", self.kernel, false)?;
        check_count("dilation", self.dilation, MAX_FACTOR)?;
        check_count("classes", self.classes, MAX_CLASSES)?;
        check_rate("dropout", self.dropout)?;
        check_rate("drop_path", self.drop_path)?;
        check_eps(self.norm_eps)?;
        if self.folded && !self.merged {
            return Err(Error::argument("folded", "true with merged = false", "true only with merged = true"));
        }
        // After merging, the size of the small kernel says only what was merged.
        match self.small_kernel {
            Some(k) if !self.merged && (k > self.kernel || k.is_multiple_of(2)) => {
                let allowed = format!("an odd number from 1 to {} (the large kernel), or none", self.kernel);
                Err(Error::argument("small_kernel", k, allowed))
            }
            Some(k) if !self.merged && self.dilation > 1 => {
                let given = format!("{k} with dilation = {}", self.dilation);
                Err(Error::argument("small_kernel", given, "none, because no kernel can be merged into a dilated one"))
            }
            _ => Ok(()),
        }
    }
}
