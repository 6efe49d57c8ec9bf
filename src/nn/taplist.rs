//! Depthwise convolutions with lists of taps.

use super::{Scope, Trace};
use crate::ops::taplist::TapList;
use crate::ops::taps::Tap;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// Share of the taps up to which computing only those of each channel is faster than computing all for all channels,
/// which takes half the time per tap.
const SPARSE_SHARE: f64 = 0.5;

/// Depthwise convolution with lists of taps (see [`crate::ops::taplist`]), weight and bias.
#[derive(Debug, Clone)]
pub struct TapListConv {
    path: String,
    weight: Tensor,
    bias: Option<Tensor>,
    op: TapList,
    /// For each tap that is computed, the place of its weight; none where all are.
    kept: Option<Tensor>,
    /// Taps of all channels that are not left out.
    count: u64,
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
            op: TapList::new(taps)?,
            kept: None,
            count: taps.iter().map(|taps| taps.len() as u64).sum(),
        })
    }

    /// A layer whose weights (C, T) are stored for the same taps in every channel, but whose taps with a weight of zero
    /// are left out: what pruning has removed takes no time. Which these are is decided here, from the values that the
    /// layer starts with; they keep a weight of zero in training.
    ///
    /// Where most taps are left, all are computed, since channels with the same taps are computed together.
    ///
    /// # Errors
    /// As [`TapListConv::new`].
    pub fn pruned(scope: &Scope, channels: usize, taps: &[Tap], bias: bool) -> Result<Self> {
        let weight = scope.weight((channels, taps.len()))?;
        let bias = bias.then(|| scope.bias(channels)).transpose()?;
        let path = scope.path().to_string();
        let dense = (channels * taps.len()) as u64;
        // Where values do not matter, all are zero.
        if scope.shapes_only() {
            return Ok(TapListConv {
                path,
                weight,
                bias,
                op: TapList::shared(channels, taps)?,
                kept: None,
                count: dense,
            });
        }
        let values = weight.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let kept_of = |row: &Vec<f32>| {
            let kept = (0..taps.len() as u32).zip(row).filter(|(_, weight)| **weight != 0.0);
            kept.map(|(place, _)| place).collect::<Vec<_>>()
        };
        let kept: Vec<Vec<u32>> = values.iter().map(kept_of).collect();
        let count = kept.iter().map(|row| row.len() as u64).sum();
        let longest = kept.iter().map(Vec::len).max().unwrap_or(0);
        if longest == 0 || count as f64 > SPARSE_SHARE * dense as f64 {
            return Ok(TapListConv { path, weight, bias, op: TapList::shared(channels, taps)?, kept: None, count });
        }
        let lists: Vec<Vec<Tap>> = kept.iter().map(|row| row.iter().map(|&i| taps[i as usize]).collect()).collect();
        // Shorter lists are filled up with any weight: the operator does not use it.
        let filled = |row: &Vec<u32>| row.iter().copied().chain(std::iter::repeat(0)).take(longest).collect::<Vec<_>>();
        let places: Vec<u32> = kept.iter().flat_map(filled).collect();
        let kept = Some(Tensor::from_vec(places, (channels, longest), &Device::Cpu)?.to_device(weight.device())?);
        Ok(TapListConv { path, weight, bias, op: TapList::new(&lists)?, kept, count })
    }

    /// Applies the layer to (N, C, H, W).
    ///
    /// # Errors
    /// As [`TapList::forward`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.kept {
            Some(kept) => self.op.forward(x, &self.weight.gather(kept, 1)?, self.bias.as_ref()),
            None => self.op.forward(x, &self.weight, self.bias.as_ref()),
        }
    }

    /// Taps of all channels that are not left out.
    pub fn taps(&self) -> u64 {
        self.count
    }

    /// Adds this layer to a trace; taps that are left out cost nothing.
    ///
    /// # Errors
    /// If the layer has no channels.
    pub fn trace(&self, trace: &mut Trace) -> Result<()> {
        let (channels, taps) = self.weight.dims2().map_err(|_| Error::argument("weight", "no matrix", "[C, T]"))?;
        let share = 100.0 * self.count as f64 / (channels * taps).max(1) as f64;
        let kind = if share < 100.0 { format!("{taps} taps, {share:.0} %") } else { format!("{taps} taps") };
        let output = trace.shape.with_channels(channels);
        trace.push(&self.path, kind, output, self.count * output.positions());
        Ok(())
    }
}
