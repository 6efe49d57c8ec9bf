//! The weights of channel blocks, per distinct tap.

use super::aligned::AlignedVec;
use super::plan::BlockedLayout;
use super::split::SplitSums;
use super::tasks::TransposeTask;
use super::vector::dispatch;
use super::{ChannelBlock, LanesEngine};
use crate::ops::taps::Tap;
use rayon::prelude::*;

/// Weights from which on they are merged by all threads: below, waking them takes longer.
const PARALLEL_MERGE: usize = 4096;

impl LanesEngine {
    /// Adds up the weights of a block's channels per distinct tap: taps by channels, missing channels zero. `residual`
    /// adds the identity at the center.
    pub(super) fn merge(&self, block: &ChannelBlock, weights: &[f32], residual: bool) -> AlignedVec {
        let (lanes, k) = (self.set.lanes(), self.table.weights_per_channel());
        let taps = &self.taps[block.bundle];
        let group = self.table.group_of(block.channels[0]);
        let mut merged = AlignedVec::zeros(taps.len() * lanes);
        if [taps.len(), group.slots().len()] == [k; 2] && block.channels.len() == lanes && block.places.is_none() {
            // Each tap has a weight of its own, so the weights are only transposed, like planes of one row.
            let planes = block.lanes.map(|channel| weights[channel * k..][..k].as_ptr());
            let task =
                TransposeTask { planes, layout: BlockedLayout { rows: 1, cols: k, halo: 0 }, to: merged.as_mut() };
            // SAFETY: each plane is a cache block of k values, and `merged` has a vector for each of the k taps.
            unsafe { dispatch(self.set, task) };
        } else {
            let to = merged.as_mut();
            for (lane, &channel) in block.channels.iter().enumerate() {
                let slots = self.table.group_of(channel).slots();
                for (&slot, &w) in slots.iter().zip(&weights[channel * k..(channel + 1) * k]) {
                    to[block.place(lane, slot) * lanes + lane] += w;
                }
            }
        }
        let center = taps.iter().position(|&tap| tap == Tap { dh: 0, dw: 0 });
        if let Some(center) = center.filter(|_| residual) {
            for one in &mut merged.as_mut()[center * lanes..][..block.channels.len()] {
                *one += 1.0;
            }
        }
        merged
    }

    /// The weights of each block, as [`LanesEngine::merge`], or those of the parts of its sums.
    pub(super) fn merged(&self, splits: &[Option<SplitSums>], weights: &[f32], residual: bool) -> Vec<AlignedVec> {
        let merge = |block: &ChannelBlock| {
            let merged = self.merge(block, weights, residual);
            match &splits[block.bundle] {
                Some(split) => split.merge(self.set.lanes(), merged.as_ref()),
                None => merged,
            }
        };
        if self.blocks.len() * self.table.weights_per_channel() < PARALLEL_MERGE {
            self.blocks.iter().map(merge).collect()
        } else {
            self.blocks.par_iter().map(merge).collect()
        }
    }
}
