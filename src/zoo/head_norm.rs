//! The normalization of pooled features before a classifier, of either kind.

use super::convnext::NormKind;
use crate::Result;
use crate::nn::{BatchNorm, LayerNorm, Mode, Scope, Trace};
use crate::ops::Layout;
use candle_core::Tensor;

/// What normalizes the pooled features (N, C).
pub(super) enum HeadNorm {
    Layer(LayerNorm),
    Batch(BatchNorm),
}

impl HeadNorm {
    pub(super) fn new(scope: &Scope, kind: NormKind, channels: usize) -> Result<Self> {
        Ok(match kind {
            NormKind::Layer => HeadNorm::Layer(LayerNorm::new(scope, channels, Layout::ChannelsLast)?),
            NormKind::Batch => HeadNorm::Batch(BatchNorm::new(scope, channels)?),
        })
    }

    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        match self {
            HeadNorm::Layer(norm) => norm.forward(x),
            HeadNorm::Batch(norm) => Ok(norm.forward(&x.unsqueeze(2)?.unsqueeze(3)?, mode)?.flatten_from(1)?),
        }
    }

    pub fn trace(&self, trace: &mut Trace) {
        match self {
            HeadNorm::Layer(norm) => norm.trace(trace),
            HeadNorm::Batch(norm) => norm.trace(trace),
        }
    }
}
