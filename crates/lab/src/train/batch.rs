//! Batches as tensors.

use crate::Result;
use crate::data::Batch;
use candle_core::{Device, Tensor};

/// The images, (n, 3, size, size).
pub(crate) fn images(batch: &Batch, device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_slice(&batch.images, (batch.n, 3, batch.size, batch.size), device)?)
}

/// The soft targets, (n, classes).
pub(super) fn targets(batch: &Batch, device: &Device) -> Result<Tensor> {
    let classes = batch.targets.len() / batch.n.max(1);
    Ok(Tensor::from_slice(&batch.targets, (batch.n, classes), device)?)
}
