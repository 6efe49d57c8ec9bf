//! Maps between the tensor names of different code bases.

use std::collections::HashSet;

use super::TensorMap;

/// Removes the prefixes that training wrappers put before every name: `module.` (data parallelism) and `_orig_mod.`
/// (compilation), in any combination. A prefix that only some names have is part of the network and stays.
pub fn strip_prefixes(tensors: TensorMap) -> TensorMap {
    let Some(first) = tensors.keys().next() else { return tensors };
    let mut cut = 0;
    while let Some(prefix) = ["module.", "_orig_mod."].into_iter().find(|p| first[cut..].starts_with(p)) {
        let next = cut + prefix.len();
        // All names agree up to `cut` already, so `get` on the others cannot split a character.
        let shared = |name: &String| name.len() > next && name.get(cut..).is_some_and(|rest| rest.starts_with(prefix));
        if !tensors.keys().all(shared) {
            break;
        }
        cut = next;
    }
    if cut == 0 {
        return tensors;
    }
    tensors.into_iter().map(|(name, tensor)| (name[cut..].to_owned(), tensor)).collect()
}

/// Before the names of a network inside a larger one.
const BACKBONE: &str = "backbone.";

/// Whether the names are those of a larger network that the network is the backbone of.
pub(crate) fn has_backbone<'a>(mut names: impl Iterator<Item = &'a String>) -> bool {
    names.any(|name| name.starts_with(BACKBONE))
}

/// What a tensor of a larger network is called in its backbone; a classifier, as mmpretrain names it beside the
/// backbone, keeps its name. `None` for the other parts, which belong to the larger network's task.
pub(crate) fn in_backbone(name: &str) -> Option<&str> {
    let classifier = ["head.fc.", "head.layers."].iter().any(|head| name.starts_with(head));
    name.strip_prefix(BACKBONE).or_else(|| classifier.then_some(name))
}

/// Turns the names of a detection or segmentation checkpoint of Oriented-1D networks into those of the classifier.
///
/// Where names start with `backbone.`, only those are kept, without the prefix, and a classifier (`head.fc`,
/// `head.layers`): the others belong to the task's head. Then the wrapper module `conv` inside the depthwise layers is
/// removed, `stages.0.0.dwconv.conv.weight` becoming `stages.0.0.dwconv.weight`; published backbones have some layers
/// with the wrapper and some without. Other names that contain `conv` stay as they are, and so does a wrapped name whose
/// plain form is there too.
pub fn unwrap_downstream(tensors: TensorMap) -> TensorMap {
    let tensors = if has_backbone(tensors.keys()) {
        let inner = |(name, tensor): (String, _)| in_backbone(&name).map(|inner| (inner.to_owned(), tensor));
        tensors.into_iter().filter_map(inner).collect()
    } else {
        tensors
    };
    let present: HashSet<String> = tensors.keys().cloned().collect();
    let rename = |name: String| unwrapped(&name).filter(|plain| !present.contains(plain)).unwrap_or(name);
    tensors.into_iter().map(|(name, tensor)| (rename(name), tensor)).collect()
}

/// The name without its `conv` wrapper, for the depthwise layers that have one.
pub(crate) fn unwrapped(name: &str) -> Option<String> {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = name.split('.').collect();
    let [module @ .., "conv", leaf @ ("weight" | "bias" | "theta")] = parts.as_slice() else { return None };
    let known = match module {
        ["stages", stage, block, "dwconv" | "dwconv1" | "dwconv2"] => number(stage) && number(block),
        ["downsample_layers", layer, "dw1" | "dw2"] => number(layer),
        _ => false,
    };
    known.then(|| format!("{}.{leaf}", module.join(".")))
}
