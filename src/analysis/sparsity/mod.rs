//! What is pruned in a network: from its weights, where zeros are the mask, or from masks beside them.
//!
//! ```text
//! density of a layer     d = kept units / units          unit: a weight, or a group of a shift-wise layer
//! density of a sum       d = units that at least one path keeps / units of the sum
//! effective parameters   = parameters - pruned weights
//! effective MACs         = sum over layers of MACs * kept weights / weights
//! ```
//!
//! SLaK (Liu et al., *More ConvNets in the 2020s*, ICLR 2023) prunes single weights, and its checkpoints hold no masks:
//! pruned weights are 0. Shift-wise networks (Li et al., *Shift-ConvNets*, 2024) prune *groups*: the n x n kernel of an
//! output channel of `large_kernel.LoRAs.{i}.weight` (out, 1, n, n). Output channel `c * k + j` is group j of channel c,
//! and the paths i are added up, so that a group is gone only where all of them prune it. A weight that training has
//! just grown is still 0: where masks are at hand, they decide, and not the zeros.
//!
//! SLaK's large kernel is the sum of a K x 5, a 5 x K and a 5 x 5 kernel with one center, RepLKNet's of K x K and a
//! small one. Their sum has a unit for every pixel that at least one of them covers.

mod history;
mod keep;
mod merged;
mod shifts;

pub use history::stage_means;
pub use keep::{check_masks, is_prunable};
pub use shifts::kept_shifts;

use super::report::{Granularity, GroupHistogram, KeptGroups, LayerSparsity, SparsityReport, SparsityTotal};
use crate::nn::Trace;
use crate::weights::TensorMap;
use crate::{Error, Result};
use keep::kept;
use std::collections::HashMap;

/// Name of the sums over everything that is in no stage.
const OUTSIDE: &str = "outside the stages";

/// Reports what is left of a network's weights, given by their names.
///
/// `masks` are those of [`check_masks`]; a layer without one is judged by its zeros. With a `trace` of the network,
/// multiply-adds are reported too. It must be that of the dense network: one whose layers already leave pruned taps out
/// ([`TapListConv::pruned`](crate::nn::TapListConv::pruned)) is built with
/// [`BuildOptions::shapes_only`](crate::nn::BuildOptions::shapes_only) for it.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use kernelscope::{analysis::sparsity::sparsity, weights::TensorMap};
/// // Two channels with two groups each; the first group of the first channel is pruned.
/// let weight = Tensor::new(&[0f32, 1.0, 1.0, 1.0], &Device::Cpu)?.reshape((4, 1, 1, 1))?.broadcast_as((4, 1, 3, 3))?;
/// let norm = Tensor::ones(2, DType::F32, &Device::Cpu)?;
/// let layer = "stages.0.0.large_kernel";
/// let tensors = TensorMap::from_iter([
///     (format!("{layer}.LoRAs.0.weight"), weight.contiguous()?),
///     (format!("{layer}.bn_lora1.weight"), norm),
/// ]);
/// let report = sparsity("example", &tensors, None, None)?;
/// assert_eq!(report.layers[0].density, 0.75);
/// assert_eq!(report.histograms[0].channels, [0, 1, 1]);
/// # Ok::<(), kernelscope::Error>(())
/// ```
///
/// # Errors
/// If there is no convolution or linear map, a weight is not finite, or parallel kernels do not fit together.
pub fn sparsity(
    model: &str,
    tensors: &TensorMap,
    masks: Option<&TensorMap>,
    trace: Option<&Trace>,
) -> Result<SparsityReport> {
    let macs: Option<HashMap<&str, u64>> = trace.map(|trace| {
        let mut macs = HashMap::new();
        trace.layers.iter().for_each(|layer| *macs.entry(layer.path.as_str()).or_insert(0) += layer.macs);
        macs
    });
    let mut layers = Vec::new();
    for (name, tensor) in tensors.iter().filter(|(name, tensor)| is_prunable(name, tensor)) {
        let kept = kept(name, tensor, masks)?;
        let shape = tensor.dims().to_vec();
        let kept_weights = kept.keep.iter().filter(|keep| **keep).count();
        let (granularity, units, kept_units) = match (merged::shiftwise_parent(name), shape.as_slice()) {
            (Some(_), &[out, input, height, width]) => {
                let groups = kept.keep.chunks(height * width).filter(|group| group.contains(&true)).count();
                (Granularity::Groups, out * input, groups)
            }
            _ => (Granularity::Entries, kept.keep.len(), kept_weights),
        };
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let macs = macs.as_ref().and_then(|macs| macs.get(module).copied());
        layers.push(LayerSparsity {
            name: name.clone(),
            stage: stage_of(name),
            shape,
            granularity,
            masked: kept.masked,
            units,
            kept: kept_units,
            density: share(kept_units, units),
            weights: kept.keep.len(),
            kept_weights,
            outside: kept.outside,
            macs,
            effective_macs: macs.map(|macs| effective(macs, kept_weights, kept.keep.len())),
        });
    }
    if layers.is_empty() {
        let given = format!("{} tensors without weights of a convolution or linear map", tensors.len());
        return Err(Error::argument(model, given, "the weights of a network"));
    }
    let found = merged::parallel(tensors, masks)?;
    Ok(SparsityReport {
        model: model.to_string(),
        totals: totals(tensors, &layers, trace),
        histograms: histograms(&found.groups),
        layers,
        merged: found.merged,
        groups: found.groups,
        shifts: Vec::new(),
        taps: found.taps,
    })
}

/// `part / whole`; 1 of nothing.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// `macs * kept / weights`, rounded.
fn effective(macs: u64, kept: usize, weights: usize) -> u64 {
    let (macs, kept, weights) = (u128::from(macs), kept as u128, weights.max(1) as u128);
    ((macs * kept + weights / 2) / weights) as u64
}

/// The stage that a name or module path belongs to: `stages.2.` is stage 2, and `layer3.` as well (ResNet's stages are
/// counted from 1).
pub fn stage_of(name: &str) -> Option<usize> {
    let mut parts = name.split('.');
    while let Some(part) = parts.next() {
        if part == "stages" {
            return parts.next()?.parse().ok();
        }
        if let Some(number) = part.strip_prefix("layer").and_then(|n| n.parse::<usize>().ok()) {
            return number.checked_sub(1);
        }
    }
    None
}

/// Whether a tensor counts as parameters of the network; statistics of batch norms do not.
fn is_counted(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    !["running_mean", "running_var", "num_batches_tracked"].contains(&last)
}

fn totals(tensors: &TensorMap, layers: &[LayerSparsity], trace: Option<&Trace>) -> Vec<SparsityTotal> {
    let counted = || tensors.iter().filter(|(name, _)| is_counted(name));
    let mut stages: Vec<Option<usize>> = counted().map(|(name, _)| stage_of(name)).collect();
    stages.sort_by_key(|stage| stage.unwrap_or(usize::MAX));
    stages.dedup();
    // Without any stage there is nothing to tell apart.
    let parts = if stages == [None] { Vec::new() } else { stages };
    let total = |name: String, inside: &dyn Fn(&str) -> bool| {
        let sum = |f: &dyn Fn(&LayerSparsity) -> usize| {
            layers.iter().filter(|layer| inside(&layer.name)).map(|layer| f(layer) as u64).sum::<u64>()
        };
        let (weights, kept_weights) = (sum(&|l| l.weights), sum(&|l| l.kept_weights));
        let parameters = counted().filter(|(name, _)| inside(name)).map(|(_, t)| t.elem_count() as u64).sum::<u64>();
        let macs = trace.map(|t| t.layers.iter().filter(|l| inside(&l.path)).map(|l| l.macs).sum::<u64>());
        let pruned: u64 = layers
            .iter()
            .filter(|layer| inside(&layer.name))
            .filter_map(|layer| Some(layer.macs?.saturating_sub(layer.effective_macs?)))
            .sum();
        SparsityTotal {
            name,
            weights,
            kept_weights,
            density: share(kept_weights as usize, weights as usize),
            parameters,
            effective_parameters: parameters.saturating_sub(weights - kept_weights),
            macs,
            effective_macs: macs.map(|macs| macs.saturating_sub(pruned)),
        }
    };
    let label = |stage: Option<usize>| stage.map_or(OUTSIDE.to_string(), |stage| format!("stage {stage}"));
    let mut all: Vec<SparsityTotal> =
        parts.into_iter().map(|stage| total(label(stage), &|name| stage_of(name) == stage)).collect();
    all.push(total("network".to_string(), &|_| true));
    all
}

fn histograms(maps: &[KeptGroups]) -> Vec<GroupHistogram> {
    let mut all: Vec<GroupHistogram> = Vec::new();
    for map in maps {
        let known = all.iter().position(|h| h.stage == map.stage && h.groups == map.groups);
        let index = known.unwrap_or_else(|| {
            let channels = vec![0; map.groups + 1];
            all.push(GroupHistogram { stage: map.stage, groups: map.groups, layers: 0, channels });
            all.len() - 1
        });
        let Some(histogram) = all.get_mut(index) else { continue };
        histogram.layers += 1;
        for channel in map.kept.chunks(map.groups) {
            let kept = channel.iter().filter(|&&paths| paths > 0).count();
            if let Some(count) = histogram.channels.get_mut(kept) {
                *count += 1;
            }
        }
    }
    all.sort_by_key(|h| (h.stage.unwrap_or(usize::MAX), h.groups));
    all
}
