//! Shapes and costs of every layer, computed from sizes alone, without running the network.

use serde::{Deserialize, Serialize};

/// Shape of one image's feature map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureShape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl FeatureShape {
    /// Number of positions.
    pub fn positions(&self) -> u64 {
        self.height as u64 * self.width as u64
    }

    /// Number of values.
    pub fn values(&self) -> u64 {
        self.positions() * self.channels as u64
    }

    /// The same positions with another number of channels.
    pub fn with_channels(self, channels: usize) -> Self {
        FeatureShape { channels, ..self }
    }
}

/// What one layer produces and costs for one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerTrace {
    /// Module path.
    pub path: String,
    /// Kind of layer, for example `oriented 1x31`.
    pub kind: String,
    /// Output shape.
    pub output: FeatureShape,
    /// Multiply-adds, with every tap counted at every output (the convention of the papers: norms, activations and
    /// biases are free).
    pub macs: u64,
}

/// The layers of a network in order of execution, and the shape at the current point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Shape after the last layer.
    pub shape: FeatureShape,
    /// Layers so far.
    pub layers: Vec<LayerTrace>,
}

impl Trace {
    /// An empty trace for an image of the given shape.
    pub fn new(shape: FeatureShape) -> Self {
        Trace { shape, layers: Vec::new() }
    }

    /// Adds a layer; the current shape becomes its output.
    pub fn push(&mut self, path: &str, kind: impl Into<String>, output: FeatureShape, macs: u64) {
        self.layers.push(LayerTrace { path: path.to_string(), kind: kind.into(), output, macs });
        self.shape = output;
    }

    /// Adds a layer that keeps the shape and costs no multiply-adds.
    pub fn push_free(&mut self, path: &str, kind: &str) {
        self.push(path, kind, self.shape, 0);
    }

    /// Multiply-adds of all layers.
    pub fn macs(&self) -> u64 {
        self.layers.iter().map(|layer| layer.macs).sum()
    }
}
