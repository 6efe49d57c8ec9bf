//! Maps between the tensor names of different code bases.

use std::collections::HashSet;

use super::TensorMap;

/// Modules that training puts around others, of which no network has one of its own: distribution (`module`, FSDP),
/// compilation, and activation checkpointing. All but the first may also be around parts of a network.
const WRAPPERS: [&str; 4] = ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// Names without what training wrappers add, in the same order; `None` for what is no tensor of the network.
///
/// Wrappers around parts are removed wherever they are, those around everything if all names have them. The counter of
/// an averaged model (`n_averaged`), which stands outside of its wrapper, is no tensor of the network.
pub(crate) fn without_wrappers(names: &[&str]) -> Vec<Option<String>> {
    const COUNTER: &str = "n_averaged";
    let bare: Vec<String> = names.iter().map(|name| without_inner_wrappers(name)).collect();
    let different = bare.iter().collect::<HashSet<_>>().len();
    // Two names that would become one are left as they are.
    let bare = if different == names.len() { bare } else { names.iter().map(|name| name.to_string()).collect() };
    let wrapped = |name: &String| name.starts_with("module.");
    let averaged = bare.len() > 1
        && bare.iter().any(|name| name == COUNTER)
        && bare.iter().all(|name| name == COUNTER || wrapped(name));
    let mut bare: Vec<Option<String>> =
        bare.into_iter().map(|name| (!averaged || name != COUNTER).then_some(name)).collect();
    while strip_common(&mut bare, &WRAPPERS).is_some() {}
    bare
}

fn without_inner_wrappers(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('.').collect();
    let Some(leaf) = parts.pop() else { return name.to_owned() };
    parts.retain(|part| !WRAPPERS[1..].contains(part));
    parts.push(leaf);
    parts.join(".")
}

/// Takes one of these modules off all names, if all have it, and says which.
pub(super) fn strip_common<'a>(names: &mut [Option<String>], modules: &[&'a str]) -> Option<&'a str> {
    let common = |module: &str| {
        let inside = |name: &String| {
            let rest = name.strip_prefix(module).and_then(|rest| rest.strip_prefix('.'));
            rest.is_some_and(|rest| !rest.is_empty())
        };
        names.iter().flatten().count() > 0 && names.iter().flatten().all(inside)
    };
    let module = *modules.iter().find(|module| common(module))?;
    for name in names.iter_mut().flatten() {
        name.drain(..module.len() + 1);
    }
    Some(module)
}

/// Removes the prefixes that training wrappers put before every name: `module.` (data parallelism), `_orig_mod.`
/// (compilation), `_fsdp_wrapped_module.` and `_checkpoint_wrapped_module.`, in any combination; all but the first also
/// inside of names. A prefix that only some names have is part of the network and stays. The counter of an averaged model
/// is dropped.
pub fn strip_prefixes(tensors: TensorMap) -> TensorMap {
    let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
    let bare = without_wrappers(&names);
    tensors.into_values().zip(bare).filter_map(|(tensor, name)| Some((name?, tensor))).collect()
}

/// Turns the names of a detection or segmentation checkpoint of Oriented-1D networks into those of the classifier.
///
/// Where names start with `backbone.`, only those are kept, without the prefix: the others belong to the task's head.
/// Then the wrapper module `conv` inside the depthwise layers is removed, `stages.0.0.dwconv.conv.weight` becoming
/// `stages.0.0.dwconv.weight`; published backbones have some layers with the wrapper and some without. Other names
/// that contain `conv` stay as they are, and so does a wrapped name whose plain form is there too.
pub fn unwrap_downstream(tensors: TensorMap) -> TensorMap {
    const BACKBONE: &str = "backbone.";
    let tensors = if tensors.keys().any(|name| name.starts_with(BACKBONE)) {
        let inner = |(name, tensor): (String, _)| name.strip_prefix(BACKBONE).map(|rest| (rest.to_owned(), tensor));
        tensors.into_iter().filter_map(inner).collect()
    } else {
        tensors
    };
    let present: HashSet<String> = tensors.keys().cloned().collect();
    let rename = |name: String| unwrapped(&name).filter(|plain| !present.contains(plain)).unwrap_or(name);
    tensors.into_iter().map(|(name, tensor)| (rename(name), tensor)).collect()
}

/// The name without its `conv` wrapper, for the depthwise layers that have one.
fn unwrapped(name: &str) -> Option<String> {
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
