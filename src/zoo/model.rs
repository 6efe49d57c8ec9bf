//! What every network computes.

use crate::nn::{Pass, Trace};
use crate::{Error, Result};
use candle_core::Tensor;

/// Feature maps of a network, one per stage, coarser and coarser.
#[derive(Debug, Clone)]
pub struct Features {
    /// Outputs of the stages, (N, C, H, W) each.
    pub stages: Vec<Tensor>,
}

impl Features {
    /// The output of the last stage.
    ///
    /// # Errors
    /// If the network has no stage.
    pub fn last(&self) -> Result<&Tensor> {
        self.stages.last().ok_or_else(|| Error::argument("network", "no stages", "at least one stage"))
    }
}

/// What every family implements.
pub trait Model: Send + Sync {
    /// Feature maps of all stages for images (N, 3, H, W), normalized as the network expects.
    ///
    /// # Errors
    /// If the image size does not fit.
    fn forward_features(&self, x: &Tensor, pass: &mut Pass) -> Result<Features>;

    /// Logits (N, classes) from the last stage's feature maps.
    ///
    /// # Errors
    /// If the shape does not fit.
    fn forward_head(&self, last: &Tensor, pass: &mut Pass) -> Result<Tensor>;

    /// Shapes and costs of every layer for one image of the given size.
    ///
    /// # Errors
    /// If the image size does not fit.
    fn trace(&self, height: usize, width: usize) -> Result<Trace>;
}
