//! What is being looked at, and how: everything that undo covers.

use super::id::EntryId;
use super::listed::listed;
use kernelscope::analysis::report::ChannelOrientation;
use kernelscope::analysis::tree::Address;
use kernelscope_lab::plot::ErfScale;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Maximum number of networks that are compared.
pub const MOST_COMPARED: usize = 6;

/// The choices of all views.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Look {
    /// The current entry.
    pub current: Option<EntryId>,
    /// Entries that are compared.
    pub compared: BTreeSet<EntryId>,
    /// Chosen epochs of runs; the newest where none is chosen.
    pub epochs: BTreeMap<EntryId, usize>,
    /// The current layer or channel; the whole network if `None`.
    pub address: Option<Address>,
    /// Modules that are expanded in the tree.
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
    /// Whether each kernel has its own color range.
    pub own_range: bool,
}

impl Default for KernelLook {
    fn default() -> Self {
        KernelLook { sort: KernelSort::Channel, side: 62.0, merged: false, own_range: false }
    }
}

listed! {
    /// How contributions become colors.
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
        /// Side by side.
        #[default]
        Side,
        /// The first two on top of each other, with a movable border.
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

/// The visible part of the image: its center as a share of the image, and a magnification.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Camera {
    /// Column and row of the center.
    // The name in settings of earlier versions.
    #[serde(alias = "centre")]
    pub center: (f32, f32),
    /// Magnification; 1 shows the whole image.
    pub zoom: f32,
}

impl Default for Camera {
    fn default() -> Self {
        Camera { center: (0.5, 0.5), zoom: 1.0 }
    }
}

/// Everything that determines a receptive field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErfKey {
    /// Stage; the last if `None`.
    pub stage: Option<usize>,
    /// Position; the center if `None`.
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
    /// Row and column in the stage's feature map; its center if `None`.
    pub position: Option<(usize, usize)>,
    /// Side of the images in pixels.
    pub size: usize,
    /// Number of images.
    pub images: usize,
    /// Which images.
    pub source: Images,
    /// Colors.
    pub transfer: Transfer,
    /// Exponent of the power transfer.
    pub gamma: f64,
    /// Shares of the contribution whose squares are shown.
    pub thresholds: [f64; 4],
    /// Whether the squares are drawn.
    pub squares: bool,
    /// Whether contours are drawn, at the thresholds of the transferred values.
    pub contours: bool,
    /// Whether the input image is shown instead of the map.
    pub input: bool,
    /// Whether all maps share one color range.
    pub shared_range: bool,
    /// How several maps are shown.
    pub arrangement: Arrangement,
    /// Position of the swipe border, from 0 to 1.
    pub swipe: f32,
    /// The visible part of the image.
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

    /// What to compute for an entry whose weights have this generation.
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

/// Everything that determines the answers about shape bias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BiasKey {
    /// Number of built-in images.
    pub images: usize,
    /// Folder of stimuli; built-in images if `None`.
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
    /// Folder of stimuli in the layout of Geirhos et al.; built-in images if `None`.
    pub stimuli: Option<PathBuf>,
    /// Category whose images are shown; all if `None`.
    pub category: Option<usize>,
    /// Image that is shown enlarged.
    pub image: Option<usize>,
}

impl Default for BiasLook {
    fn default() -> Self {
        BiasLook { images: 224, stimuli: None, category: None, image: None }
    }
}

impl BiasLook {
    /// What to ask an entry whose weights have this generation.
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
        /// Optimizer steps.
        Step,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_earlier_versions_are_read() {
        let camera: Camera = serde_json::from_str(r#"{"center":[0.25,0.5],"zoom":2.0}"#).unwrap();
        assert_eq!(camera, Camera { center: (0.25, 0.5), zoom: 2.0 });
        let text = serde_json::to_string(&camera).unwrap();
        assert_eq!(serde_json::from_str::<Camera>(&text).unwrap(), camera);
    }
}
