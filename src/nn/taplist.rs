//! Depthwise convolutions with lists of taps.

use super::{Scope, Trace};
use crate::ops::taplist::{PrunedTaps, TapList};
use crate::ops::taps::Tap;
use crate::{Error, Result};
use candle_core::Tensor;

/// Depthwise convolution with lists of taps (see [`crate::ops::taplist`]), weight and bias.
#[derive(Debug, Clone)]
pub struct TapListConv {
    path: String,
    weight: Tensor,
    bias: Option<Tensor>,
    op: Op,
}

#[derive(Debug, Clone)]
enum Op {
    Lists(TapList, u64),
    Pruned(PrunedTaps),
}

impl TapListConv {
    /// A layer with a list of taps for each channel, and weights (C, longest list).
    ///
    /// # Errors
    /// If the parameters cannot be made or a list is not allowed.
    pub fn new(scope: &Scope, taps: &[Vec<Tap>], bias: bool) -> Result<Self> {
        let longest = taps.iter().map(Vec::len).max().unwrap_or(0);
        Ok(TapListConv {
            path: scope.path().to_string(),
            weight: scope.weight((taps.len(), longest))?,
            bias: bias.then(|| scope.bias(taps.len())).transpose()?,
            op: Op::Lists(TapList::new(taps)?, taps.iter().map(|taps| taps.len() as u64).sum()),
        })
    }

    /// A layer whose weights (C, T) are stored for the same taps in every channel, but whose taps with a weight of zero
    /// are left out (see [`PrunedTaps`]). Which these are is decided here, from the values that the layer starts with;
    /// they keep a weight of zero in training.
    ///
    /// # Errors
    /// As [`TapListConv::new`].
    pub fn pruned(scope: &Scope, channels: usize, taps: &[Tap], bias: bool) -> Result<Self> {
        let weight = scope.weight((channels, taps.len()))?;
        let bias = bias.then(|| scope.bias(channels)).transpose()?;
        // Where values do not matter, all are zero.
        let op = if scope.shapes_only() {
            PrunedTaps::all(channels, taps)?
        } else {
            PrunedTaps::new(taps, &weight.detach())?
        };
        Ok(TapListConv { path: scope.path().to_string(), weight, bias, op: Op::Pruned(op) })
    }

    /// Applies the layer to (N, C, H, W).
    ///
    /// # Errors
    /// As [`TapList::forward`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.op {
            Op::Lists(op, _) => op.forward(x, &self.weight, self.bias.as_ref()),
            Op::Pruned(op) => op.forward(x, &self.weight, self.bias.as_ref()),
        }
    }

    /// Taps of all channels that are not left out.
    pub fn taps(&self) -> u64 {
        match &self.op {
            Op::Lists(_, count) => *count,
            Op::Pruned(op) => op.count(),
        }
    }

    /// Adds this layer to a trace; taps that are left out cost nothing.
    ///
    /// # Errors
    /// If the layer has no channels.
    pub fn trace(&self, trace: &mut Trace) -> Result<()> {
        let (channels, taps) = self.weight.dims2().map_err(|_| Error::argument("weight", "no matrix", "[C, T]"))?;
        let share = 100.0 * self.taps() as f64 / (channels * taps).max(1) as f64;
        let kind = if share < 100.0 { format!("{taps} taps, {share:.0} %") } else { format!("{taps} taps") };
        let output = trace.shape.with_channels(channels);
        trace.push(&self.path, kind, output, self.taps() * output.positions());
        Ok(())
    }
}
