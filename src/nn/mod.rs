//! Layers on the operators, the named parameters that they share, and seeded initialization.
//!
//! A network is built against a [`Scope`], which hands out parameters by name: fresh ones from a seed, or those of a
//! checkpoint. So constructors always see final values (the angles of an oriented layer decide its taps), and what a
//! checkpoint lacks, or has too much, is reported once, at the end, with all names.

mod builder;
mod candle;
mod dense;
mod init;
mod layers;
mod norms;
mod params;
mod reparam;
mod residual;
mod taplist;
mod trace;

pub use self::candle::depthwise_conv2d;
pub use builder::{BuildOptions, Builder, Scope};
pub use dense::DenseConv;
pub use init::Init;
pub use layers::{DepthwiseConv, Linear, OrientedConv, PatchConv, Pointwise};
pub use norms::{BatchNorm, LayerNorm, ResponseNorm};
pub(crate) use params::fits;
pub use params::{Kind, Param, Params};
pub use reparam::FoldedConv;
pub use residual::{DropPath, LayerScale};
pub use taplist::TapListConv;
pub use trace::{FeatureShape, LayerTrace, Trace};

use crate::Result;
use candle_core::Tensor;

/// How a forward pass runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Deterministic: running statistics, nothing dropped.
    Eval,
    /// Training: batch statistics, paths dropped at random from this seed (one per step).
    Train {
        /// Seed of this step's random choices.
        seed: u64,
    },
}

impl Mode {
    /// Whether this is a training pass.
    pub fn is_train(self) -> bool {
        matches!(self, Mode::Train { .. })
    }
}

/// Somebody who is told the name and value of intermediate results.
type Watcher<'a> = &'a mut dyn FnMut(&str, &Tensor);

/// What accompanies a forward pass: its mode, and somebody who may watch intermediate results.
pub struct Pass<'a> {
    /// The mode.
    pub mode: Mode,
    watch: Option<Watcher<'a>>,
}

impl<'a> Pass<'a> {
    /// A pass that nobody watches.
    pub fn new(mode: Mode) -> Self {
        Pass { mode, watch: None }
    }

    /// A pass in which `watch` is called with the name and value of every module output that the network reports
    /// (its stem, blocks, stages, pooled features).
    pub fn watched(mode: Mode, watch: Watcher<'a>) -> Self {
        Pass { mode, watch: Some(watch) }
    }

    /// Reports a module's output.
    pub fn report(&mut self, name: &str, value: &Tensor) {
        if let Some(watch) = &mut self.watch {
            watch(name, value);
        }
    }
}

/// Mean over height and width: (N, C, H, W) to (N, C).
///
/// # Errors
/// If the tensor is not 4-D.
pub fn global_mean(x: &Tensor) -> Result<Tensor> {
    Ok(x.flatten_from(2)?.mean(2)?)
}
