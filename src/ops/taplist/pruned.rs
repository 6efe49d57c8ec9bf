//! Kernels of which pruning has left a part.

use super::TapList;
use crate::ops::taps::{Tap, TapTable};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// The taps of each channel whose weight is not zero.
///
/// `weight` (C, T) has a weight for each of `taps` in every channel.
///
/// # Errors
/// If the shape does not fit.
pub fn kept_taps(taps: &[Tap], weight: &Tensor) -> Result<Vec<Vec<Tap>>> {
    let of = |row: Vec<u32>| row.into_iter().filter_map(|place| taps.get(place as usize).copied()).collect();
    Ok(kept_places(taps, weight)?.into_iter().map(of).collect())
}

/// For each channel, the places of the taps whose weight is not zero.
fn kept_places(taps: &[Tap], weight: &Tensor) -> Result<Vec<Vec<u32>>> {
    match weight.dims() {
        &[channels, count] if channels > 0 && count == taps.len() => {}
        dims => return Err(Error::argument("weight", format!("shape {dims:?}"), format!("[C, {}]", taps.len()))),
    }
    let kept = |row: &Vec<f64>| {
        let kept = (0u32..).zip(row).filter(|(_, weight)| **weight != 0.0);
        kept.map(|(place, _)| place).collect()
    };
    Ok(weight.to_dtype(DType::F64)?.to_vec2::<f64>()?.iter().map(kept).collect())
}

/// A [`TapList`] whose weights are stored for the same taps in every channel, but which computes only those that were
/// not zero when it was made: what is pruned takes no time.
///
/// Where it is faster to compute all taps of some channels together, as complete kernels, that is done (see
/// [`CpuPlan`](crate::ops::taps::cpu::CpuPlan)).
#[derive(Debug, Clone)]
pub struct PrunedTaps {
    op: TapList,
    /// For each tap that is computed, the place of its weight; none where all are.
    kept: Option<Tensor>,
    count: u64,
}

impl PrunedTaps {
    /// The operator for weights (C, T) with zeros.
    ///
    /// # Errors
    /// If the shape does not fit, or as [`TapList::new`].
    pub fn new(taps: &[Tap], weight: &Tensor) -> Result<Self> {
        let kept = kept_places(taps, weight)?;
        let (channels, longest) = (kept.len(), kept.iter().map(Vec::len).max().unwrap_or(0));
        let count = kept.iter().map(|row| row.len() as u64).sum();
        if longest == 0 || count == (channels * taps.len()) as u64 {
            return Ok(PrunedTaps { count, ..PrunedTaps::all(channels, taps)? });
        }
        let of = |row: &Vec<u32>| row.iter().filter_map(|&place| taps.get(place as usize).copied()).collect();
        let lists: Vec<Vec<Tap>> = kept.iter().map(of).collect();
        // Shorter lists are filled up with any weight: the operator does not use it.
        let filled = |row: &Vec<u32>| row.iter().copied().chain(std::iter::repeat(0)).take(longest).collect::<Vec<_>>();
        let places: Vec<u32> = kept.iter().flat_map(filled).collect();
        let places = Tensor::from_vec(places, (channels, longest), &Device::Cpu)?.to_device(weight.device())?;
        Ok(PrunedTaps { op: TapList::new(&lists)?, kept: Some(places), count })
    }

    /// The operator that computes all taps.
    ///
    /// # Errors
    /// As [`TapList::shared`].
    pub fn all(channels: usize, taps: &[Tap]) -> Result<Self> {
        Ok(PrunedTaps { op: TapList::shared(channels, taps)?, kept: None, count: (channels * taps.len()) as u64 })
    }

    /// Taps of all channels that are not left out.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The taps that are computed.
    pub fn table(&self) -> &TapTable {
        self.op.table()
    }

    /// Applies the operator: `x` (N, C, H, W), `weight` (C, T), `bias` (C). Weights of taps that are left out count as
    /// zero and get no gradient.
    ///
    /// # Errors
    /// As [`TapList::forward`].
    pub fn forward(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match &self.kept {
            Some(kept) => self.op.forward(x, &weight.contiguous()?.gather(kept, 1)?, bias),
            None => self.op.forward(x, weight, bias),
        }
    }
}
