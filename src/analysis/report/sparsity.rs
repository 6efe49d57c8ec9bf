//! Values of the sparsity analysis.

use serde::{Deserialize, Serialize};

/// What is pruned as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// Single weights.
    Entries,
    /// The n x n kernel of an output channel of a shift-wise layer.
    Groups,
}

/// What is left of the weights of one convolution or linear map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerSparsity {
    /// Name of the parameter, for example `stages.2.5.large_kernel.LoRAs.0.weight`.
    pub name: String,
    /// Stage counted from 0; `None` for stem, downsampling and head.
    pub stage: Option<usize>,
    /// Shape of the weights.
    pub shape: Vec<usize>,
    /// What is pruned as one.
    pub granularity: Granularity,
    /// Whether the density is that of a mask file; otherwise weights that are exactly 0 are pruned.
    pub masked: bool,
    /// Number of units: entries, or groups.
    pub units: usize,
    /// Units that are kept.
    pub kept: usize,
    /// `kept / units`.
    pub density: f64,
    /// Number of weights.
    pub weights: usize,
    /// Weights that are kept.
    pub kept_weights: usize,
    /// Weights that are not 0 although the mask file prunes them.
    pub outside: usize,
    /// Multiply-adds of the dense layer for one image; `None` if no network was given.
    pub macs: Option<u64>,
    /// Multiply-adds of the kept weights: `macs * kept_weights / weights`.
    pub effective_macs: Option<u64>,
}

/// Which groups of a shift-wise layer are kept by how many paths: output channel `c * k + j` is group j of channel c.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptGroups {
    /// Module path of the layer.
    pub path: String,
    /// Stage counted from 0.
    pub stage: Option<usize>,
    /// Number of paths that are added up.
    pub paths: usize,
    /// Channels C.
    pub channels: usize,
    /// Groups k of each channel.
    pub groups: usize,
    /// For every channel its k groups: how many paths keep each. `channels * groups` values, 0 to `paths`.
    pub kept: Vec<u16>,
}

/// The axis along which small kernels are shifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Along rows, to the left and right.
    Horizontal,
    /// Along columns, up and down.
    Vertical,
}

impl Direction {
    /// "along rows" or "along columns".
    pub fn along(self) -> &'static str {
        match self {
            Direction::Horizontal => "along rows",
            Direction::Vertical => "along columns",
        }
    }
}

/// Which shifts of a shift-wise layer are kept along one axis: at how many of the G places of the same shift a channel
/// has a small kernel that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptShifts {
    /// Module path of the layer.
    pub path: String,
    /// Stage counted from 0.
    pub stage: Option<usize>,
    /// The axis.
    pub direction: Direction,
    /// Shuffles G.
    pub shuffles: usize,
    /// Channels C.
    pub channels: usize,
    /// By how many pixels the center of each of the k small kernels is away from the output, to the right or down.
    pub offsets: Vec<i32>,
    /// For every channel its k shifts: in how many shuffles the kernel there is kept by at least one path. C * k values,
    /// 0 to G.
    pub kept: Vec<u16>,
}

/// Which taps of parallel square or rectangular kernels are kept, over all channels; the kernels have a common center.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptTaps {
    /// Module path of the layer.
    pub path: String,
    /// Stage counted from 0.
    pub stage: Option<usize>,
    /// Rows of the sum of the kernels.
    pub height: usize,
    /// Columns of the sum of the kernels.
    pub width: usize,
    /// Share of the channels in which at least one kernel keeps the tap, row-major; `None` where no kernel has a tap.
    pub share: Vec<Option<f32>>,
}

/// The sum of parallel kernels: a unit is pruned only where every path prunes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MergedKernel {
    /// Module path, for example `stages.2.5.large_kernel`.
    pub path: String,
    /// Stage counted from 0.
    pub stage: Option<usize>,
    /// Names of the paths' weights.
    pub paths: Vec<String>,
    /// What is pruned as one.
    pub granularity: Granularity,
    /// Units of the sum.
    pub units: usize,
    /// Units that at least one path keeps.
    pub kept: usize,
    /// `kept / units`.
    pub density: f64,
}

/// How many of a channel's k groups are kept by at least one path, over the channels of all layers of a stage (Table 2
/// of the Shift-wise paper).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupHistogram {
    /// Stage counted from 0.
    pub stage: Option<usize>,
    /// Groups k of a channel.
    pub groups: usize,
    /// Layers added up.
    pub layers: usize,
    /// `channels[i]` is the number of channels that keep i groups; k + 1 values.
    pub channels: Vec<u64>,
}

/// Sums over a stage or the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SparsityTotal {
    /// `stage 0` and so on, `outside the stages`, `network`.
    pub name: String,
    /// Weights of convolutions and linear maps.
    pub weights: u64,
    /// Those that are kept.
    pub kept_weights: u64,
    /// `kept_weights / weights`; 1 if there are none.
    pub density: f64,
    /// All parameters, biases and norms included.
    pub parameters: u64,
    /// Parameters without the pruned weights.
    pub effective_parameters: u64,
    /// Multiply-adds for one image; `None` if no network was given.
    pub macs: Option<u64>,
    /// Multiply-adds of the kept weights.
    pub effective_macs: Option<u64>,
}

/// What is left of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SparsityReport {
    /// Name of the network or of its file.
    pub model: String,
    /// Every convolution and linear map.
    pub layers: Vec<LayerSparsity>,
    /// Sums of parallel kernels.
    pub merged: Vec<MergedKernel>,
    /// Histograms of kept groups, per stage; empty without shift-wise layers.
    pub histograms: Vec<GroupHistogram>,
    /// Sums per stage, and last of the network.
    pub totals: Vec<SparsityTotal>,
    /// Maps of kept groups, for figures.
    #[serde(skip)]
    pub groups: Vec<KeptGroups>,
    /// Maps of kept shifts, for figures; empty unless the network is known
    /// ([`kept_shifts`](crate::analysis::sparsity::kept_shifts)).
    #[serde(skip)]
    pub shifts: Vec<KeptShifts>,
    /// Maps of kept taps of the parallel kernels, for figures.
    #[serde(skip)]
    pub taps: Vec<KeptTaps>,
}

/// One layer's mask at one step of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaskPoint {
    /// Optimizer steps done.
    pub step: u64,
    /// Name of the layer.
    pub layer: String,
    /// Share of units that are kept.
    pub density: f64,
    /// Share of units of the sum of the paths that at least one of them keeps.
    pub merged_density: Option<f64>,
    /// Share of units that were kept at least once so far.
    pub explored: Option<f64>,
}

/// The masks of a run over its training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaskHistory {
    /// Label of the run.
    pub label: String,
    /// Points in the order of the file.
    pub points: Vec<MaskPoint>,
}
