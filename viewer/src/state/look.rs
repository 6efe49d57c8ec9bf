//! What is looked at, and how: everything that undo covers.

use super::id::EntryId;
use super::listed::listed;
use kernelscope::analysis::report::ChannelOrientation;
use kernelscope::analysis::tree::Address;
use kernelscope::plot::ErfScale;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Most networks side by side.
pub const MOST_COMPARED: usize = 6;

/// The choices of all views.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Look {
    /// The entry that is looked at.
    pub current: Option<EntryId>,
    /// Entries that are compared.
    pub compared: BTreeSet<EntryId>,
    /// Chosen epochs of runs; the newest where none is chosen.
    pub epochs: BTreeMap<EntryId, usize>,
    /// Layer or channel.
    pub address: Option<Address>,
    /// Modules whose insides are shown in the tree.
    pub expanded: BTreeSet<String>,
    /// Kernels.
    pub kernels: KernelLook,
    /// Receptive fields.
    pub erf: ErfLook,
    /// Shape bias.
    pub bias: BiasLook,
    /// Training curves.
    pub x_axis: XAxis,
}

listed! {
    /// Order of kernels.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
    pub enum KernelSort {
        /// As stored.
        #[default]
        Channel,
        /// Largest norm first.
        Norm,
        /// Most anisotropic first.
        Anisotropy,
        /// By dominant orientation.
        Orientation,
    }
}

impl KernelSort {
    /// Name.
    pub fn name(self) -> &'static str {
        match self {
            KernelSort::Channel => "channel",
            KernelSort::Norm => "norm",
            KernelSort::Anisotropy => "anisotropy",
            KernelSort::Orientation => "orientation",
        }
    }

    /// `count` channels in this order.
    pub fn order(self, count: usize, channels: &[ChannelOrientation]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        let value = |index: &usize| {
            let Some(channel) = channels.get(*index) else { return 0.0 };
            match self {
                KernelSort::Channel => *index as f64,
                KernelSort::Norm => -channel.energy,
                KernelSort::Anisotropy => -channel.anisotropy,
                // Kernels without an orientation come last.
                KernelSort::Orientation => channel.dominant.unwrap_or(180.0),
            }
        };
        order.sort_by(|a, b| value(a).total_cmp(&value(b)));
        order
    }
}

/// How kernels are shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelLook {
    /// Order.
    pub sort: KernelSort,
    /// Side of a kernel in points.
    pub side: f32,
    /// Whether the form for inference is shown.
    pub merged: bool,
    /// Whether each kernel has a colour range of its own.
    pub own_range: bool,
}

impl Default for KernelLook {
    fn default() -> Self {
        KernelLook { sort: KernelSort::Channel, side: 62.0, merged: false, own_range: false }
    }
}

listed! {
    /// How contributions become colours.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
    pub enum Transfer {
        /// `log10(A + 1)`.
        #[default]
        Log,
        /// A.
        Linear,
        /// A to a power.
        Power,
    }
}

listed! {
    /// How several maps are shown.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
    pub enum Arrangement {
        /// Beside each other.
        #[default]
        Side,
        /// The first two in one place, with a border to move.
        Swipe,
        /// The first minus the second.
        Difference,
    }
}

/// Which images are averaged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Images {
    /// Those of the run's data; built-in ones for weights without a run.
    #[default]
    Own,
    /// An image or a folder of images.
    Path(PathBuf),
}

/// The part of the image that is seen: its centre as a share of the image, and a magnification.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Camera {
    /// Column and row of the centre.
    pub centre: (f32, f32),
    /// 1: the whole image.
    pub zoom: f32,
}

impl Default for Camera {
    fn default() -> Self {
        Camera { centre: (0.5, 0.5), zoom: 1.0 }
    }
}

/// What a receptive field follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErfKey {
    /// Stage; the last if `None`.
    pub stage: Option<usize>,
    /// Position; the centre if `None`.
    pub position: Option<(usize, usize)>,
    /// Side of the images.
    pub size: usize,
    /// Number of images.
    pub images: usize,
    /// Which images.
    pub source: Images,
    /// Which weights of the entry.
    pub generation: u64,
}

/// How receptive fields are computed and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErfLook {
    /// Stage counted from 0; the last if `None`.
    pub stage: Option<usize>,
    /// Row and column in the stage's feature map; its centre if `None`.
    pub position: Option<(usize, usize)>,
    /// Side of the images in pixels.
    pub size: usize,
    /// Number of images.
    pub images: usize,
    /// Which images.
    pub source: Images,
    /// Colours.
    pub transfer: Transfer,
    /// Exponent of the power transfer.
    pub gamma: f64,
    /// Shares of the contribution whose squares are shown.
    pub thresholds: [f64; 4],
    /// Whether the squares are drawn.
    pub squares: bool,
    /// Whether contours are drawn, at the thresholds of the transferred values.
    pub contours: bool,
    /// Whether the input image is shown in place of the map.
    pub input: bool,
    /// Whether all maps share one colour range.
    pub shared_range: bool,
    /// How several maps are shown.
    pub arrangement: Arrangement,
    /// Where the border of the swipe is.
    pub swipe: f32,
    /// The part that is seen.
    pub camera: Camera,
    /// Whether fields are computed as soon as they are shown.
    pub live: bool,
}

impl Default for ErfLook {
    fn default() -> Self {
        ErfLook {
            stage: None,
            position: None,
            size: 256,
            images: 8,
            source: Images::Own,
            transfer: Transfer::Log,
            gamma: 0.4,
            thresholds: kernelscope::analysis::erf::THRESHOLDS,
            squares: true,
            contours: false,
            input: false,
            shared_range: false,
            arrangement: Arrangement::Side,
            swipe: 0.5,
            camera: Camera::default(),
            live: true,
        }
    }
}

impl ErfLook {
    /// The transfer as the library's scale.
    pub fn scale(&self) -> ErfScale {
        match self.transfer {
            Transfer::Log => ErfScale::Log,
            Transfer::Linear => ErfScale::Linear,
            Transfer::Power => ErfScale::Power(self.gamma),
        }
    }

    /// What is computed for an entry whose weights have this generation.
    pub fn key(&self, generation: u64) -> ErfKey {
        ErfKey {
            stage: self.stage,
            position: self.position,
            size: self.size,
            images: self.images,
            source: self.source.clone(),
            generation,
        }
    }
}

/// What answers about shape bias follow from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BiasKey {
    /// Number of built-in images.
    pub images: usize,
    /// Folder of stimuli; built-in images without.
    pub stimuli: Option<PathBuf>,
    /// Which weights of the entry.
    pub generation: u64,
}

/// What is chosen in the shape-bias view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BiasLook {
    /// Number of built-in images.
    pub images: usize,
    /// Folder of stimuli in the layout of Geirhos et al.; built-in images without.
    pub stimuli: Option<PathBuf>,
    /// Category whose images are shown; all without.
    pub category: Option<usize>,
    /// Image that is shown large.
    pub image: Option<usize>,
}

impl Default for BiasLook {
    fn default() -> Self {
        BiasLook { images: 224, stimuli: None, category: None, image: None }
    }
}

impl BiasLook {
    /// What is asked of an entry whose weights have this generation.
    pub fn key(&self, generation: u64) -> BiasKey {
        BiasKey { images: self.images, stimuli: self.stimuli.clone(), generation }
    }
}

listed! {
    /// What training curves are drawn over.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
    pub enum XAxis {
        /// Epochs.
        #[default]
        Epoch,
        /// Optimiser steps.
        Step,
    }
}
