//! The plain values that the analyses return and the figures draw. No tensors and no file formats here.

mod sparsity;

pub use sparsity::{
    Direction, Granularity, GroupHistogram, KeptGroups, KeptShifts, KeptTaps, LayerSparsity, MaskHistory, MaskPoint,
    MergedKernel, SparsityReport, SparsityTotal,
};

use serde::{Deserialize, Serialize};

/// An effective receptive field: how much every input pixel contributes to one output position, averaged over images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErfMap {
    /// Name of the network.
    pub model: String,
    /// Stage whose output was probed, counted from 0.
    pub stage: usize,
    /// Row and column of the probed position in that stage's feature map.
    pub position: (usize, usize),
    /// Height of the input in pixels.
    pub height: usize,
    /// Width of the input in pixels.
    pub width: usize,
    /// Number of images averaged.
    pub images: usize,
    /// Contribution of every input pixel, row-major, `height * width` values, not negative.
    pub contribution: Vec<f32>,
}

/// The smallest centered square that holds more than `threshold` of the log-scaled contribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AreaRatio {
    /// Share of the total contribution, between 0 and 1.
    pub threshold: f64,
    /// Side of the square in pixels; `None` when no square inside the image reaches the threshold.
    pub side: Option<usize>,
    /// Area of the square over the area of the image.
    pub ratio: Option<f64>,
}

/// How the taps of a depthwise kernel lie on the pixel grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum KernelShape {
    /// One line of `taps` taps per channel, at the angle `theta[channel]` in radians.
    Oriented {
        /// Number of taps K.
        taps: usize,
        /// Angle of every channel in radians.
        theta: Vec<f32>,
    },
    /// A dense `height x width` rectangle.
    Dense {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
}

/// The learned weights of one depthwise layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelLayer {
    /// Module path, for example `stages.2.5.dwconv`.
    pub path: String,
    /// Number of channels.
    pub channels: usize,
    /// Geometry of the kernel.
    pub shape: KernelShape,
    /// Weights, row-major: `channels` rows of K (oriented) or height*width (dense) values.
    pub weights: Vec<f32>,
}

/// One channel's kernel laid out on the pixel grid (coinciding taps added up).
#[derive(Debug, Clone, PartialEq)]
pub struct PixelKernel {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values, row-major.
    pub values: Vec<f32>,
    /// Which pixels carry a tap, row-major.
    pub tapped: Vec<bool>,
}

/// Orientation of one channel's kernel. Angles are in degrees in [0, 180), counter-clockwise from the horizontal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChannelOrientation {
    /// The angle the layer was built with; `None` for dense kernels and for channels without an angle.
    pub built: Option<f64>,
    /// The dominant orientation of the learned weights, from their second moments; `None` if all weights are zero.
    pub dominant: Option<f64>,
    /// `(l1 - l2) / (l1 + l2)` of the second moments' eigenvalues: 0 for a round kernel, 1 for a line.
    pub anisotropy: f64,
    /// Sum of squared weights.
    pub energy: f64,
}

/// Orientation of every channel of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerOrientation {
    /// Module path.
    pub path: String,
    /// One entry per channel.
    pub channels: Vec<ChannelOrientation>,
}

/// Shape bias of one network on a cue-conflict set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShapeBiasReport {
    /// Name of the network.
    pub model: String,
    /// Number of images, those with agreeing cues included.
    pub images: usize,
    /// Number of images whose cues conflict.
    pub conflicts: usize,
    /// Share of conflict decisions for the shape, over all images.
    pub fraction_shape: f64,
    /// Share of conflict decisions for the texture, over all images.
    pub fraction_texture: f64,
    /// `fraction_shape / (fraction_shape + fraction_texture)`; `None` if neither cue was ever chosen.
    pub shape_bias: Option<f64>,
    /// The same per shape category, in the order of the category names.
    pub categories: Vec<CategoryBias>,
}

/// Shape bias within one shape category.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CategoryBias {
    /// Name of the category.
    pub category: String,
    /// Conflict images of this shape.
    pub conflicts: usize,
    /// Decisions for the shape.
    pub shape_decisions: usize,
    /// Decisions for the texture.
    pub texture_decisions: usize,
    /// Shape bias in this category; `None` if neither cue was ever chosen.
    pub shape_bias: Option<f64>,
}

/// One point of a training run's history.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HistoryPoint {
    /// Epochs done (1.0 after the first).
    pub epoch: f64,
    /// Mean training loss since the last point.
    pub train_loss: f64,
    /// Validation loss, where it was measured.
    pub val_loss: Option<f64>,
    /// Validation accuracy in [0, 1], where it was measured.
    pub val_accuracy: Option<f64>,
}

/// The history of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHistory {
    /// Label of the run, usually the model's name.
    pub label: String,
    /// Points in order.
    pub points: Vec<HistoryPoint>,
}
