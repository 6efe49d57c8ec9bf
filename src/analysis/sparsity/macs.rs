//! Multiply-adds of every weight, from a trace whose layers may hold several weights.

use super::keep::is_prunable;
use crate::nn::Trace;
use crate::weights::TensorMap;
use std::collections::HashMap;

/// Multiply-adds by the names of the weights: those of the weight's own module. A layer that is traced as a whole, such
/// as the parallel paths of a shift-wise one, shares its multiply-adds out to the weights below it, by their numbers.
pub(super) fn of_weights<'a>(tensors: &'a TensorMap, trace: &Trace) -> HashMap<&'a str, u64> {
    let mut layers: HashMap<&str, u64> = HashMap::new();
    trace.layers.iter().for_each(|layer| *layers.entry(layer.path.as_str()).or_insert(0) += layer.macs);
    let weights =
        || tensors.iter().filter(|(name, tensor)| is_prunable(name, tensor)).map(|(name, t)| (module(name), name, t));
    let own: HashMap<&str, u64> = weights().filter_map(|(module, ..)| Some((module, *layers.get(module)?))).collect();
    let mut macs = HashMap::new();
    let mut shared: HashMap<&str, Vec<(&'a str, usize)>> = HashMap::new();
    for (module, name, tensor) in weights() {
        if let Some(&own) = own.get(module) {
            macs.insert(name.as_str(), own);
        } else if let Some(whole) = above(module).find(|path| layers.get(path).is_some_and(|&macs| macs > 0))
            && !own.contains_key(whole)
        {
            shared.entry(whole).or_default().push((name, tensor.elem_count()));
        }
    }
    for (whole, parts) in shared {
        let total: u128 = parts.iter().map(|(_, count)| *count as u128).sum();
        let all = u128::from(layers.get(whole).copied().unwrap_or(0));
        let mut before = 0;
        for (name, count) in parts {
            // Differences of rounded sums add up to the whole.
            let part = |count: u128| (all * count / total.max(1)) as u64;
            macs.insert(name, part(before + count as u128) - part(before));
            before += count as u128;
        }
    }
    macs
}

fn module(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

/// The modules above a path, the nearest first.
fn above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(path.rsplit_once('.').map(|(above, _)| above), |path| {
        path.rsplit_once('.').map(|(above, _)| above)
    })
}
