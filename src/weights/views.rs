//! Ways to read the names of a file as those of a network: a checkpoint of a training often has the network behind a
//! prefix, and something else beside it.

use indexmap::IndexMap;

use super::TensorMap;
use super::keys::{strip_common, without_wrappers};
use super::sets::Rank;

/// Modules that hold a network in the modules of trainers, such as Lightning's.
const MODULES: [&str; 3] = ["model", "net", "network"];
/// Counters that profilers leave among the weights.
const COUNTERS: [&str; 2] = ["total_ops", "total_params"];
/// Of a set, at least this part is the network.
const SMALLEST_PART: usize = 8;

/// One way to read the names of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// The part of the set that this is, by the prefix of its names; empty for all of it.
    pub(crate) prefix: String,
    /// The names, in the order of the set; `None` for tensors that are not seen.
    pub(crate) names: Vec<Option<String>>,
    /// Tensors that are not seen because they are no weights, as places in the set.
    pub(crate) aside: Vec<usize>,
    /// Tensors that are not seen because they have another prefix, as places in the set.
    pub(crate) outside: Vec<usize>,
}

impl View {
    /// The tensors of the set under the names of this view.
    pub(crate) fn of(&self, set: TensorMap) -> TensorMap {
        set.into_values().zip(&self.names).filter_map(|(tensor, name)| Some((name.clone()?, tensor))).collect()
    }

    /// What the prefix says of the view.
    pub(crate) fn rank(&self) -> Rank {
        Rank::of(&self.prefix)
    }
}

/// The views of all tensors of a set: as they are, then without what trainings put around a network.
pub(crate) fn whole(names: &[&str]) -> Vec<View> {
    let plain = names.iter().map(|name| Some(name.to_string())).collect();
    let mut views = vec![View { prefix: String::new(), names: plain, aside: Vec::new(), outside: Vec::new() }];
    let bare = bare(names);
    if bare.names != views[0].names {
        views.push(bare.clone());
    }
    views.extend(inner(bare));
    views
}

/// The views of parts of a set: the tensors of one prefix, the preferred prefix first.
pub(crate) fn parts(names: &[&str]) -> Vec<View> {
    let all = bare(names);
    // Behind what all tensors have in common.
    let all = inner(all.clone()).pop().unwrap_or(all);
    let mut groups: IndexMap<&str, Vec<usize>> = IndexMap::new();
    for (index, name) in all.names.iter().enumerate() {
        if let Some((module, _)) = name.as_deref().and_then(|name| name.split_once('.')) {
            groups.entry(module).or_default().push(index);
        }
    }
    let seen = all.names.iter().flatten().count();
    // A wrapper is around all of a network or none of it, so that one around some tensors is no part.
    groups.retain(|module, inside| {
        *module != "module" && inside.len() < seen && inside.len() > 1 && inside.len() * SMALLEST_PART >= seen
    });
    let mut views: Vec<View> = groups.iter().flat_map(|(module, inside)| part(names, &all, module, inside)).collect();
    views.sort_by_key(View::rank);
    views
}

/// The part of a set behind one prefix, without what is around it.
fn part(names: &[&str], all: &View, module: &str, inside: &[usize]) -> Vec<View> {
    let rest = |&index: &usize| all.names[index].as_deref().map_or("", |name| &name[module.len() + 1..]);
    let bare = without_wrappers(&inside.iter().map(rest).collect::<Vec<_>>());
    let mut part = vec![None; names.len()];
    let mut is_outside: Vec<bool> = all.names.iter().map(Option::is_some).collect();
    for (&index, name) in inside.iter().zip(bare) {
        part[index] = name;
        is_outside[index] = false;
    }
    let outside = (0..names.len()).filter(|&index| is_outside[index]).collect();
    let prefix = if all.prefix.is_empty() { module.to_owned() } else { format!("{}.{module}", all.prefix) };
    let view = View { prefix, names: part, aside: all.aside.clone(), outside };
    let deeper = inner(view.clone());
    std::iter::once(view).chain(deeper).collect()
}

/// All tensors, without training's wrappers and leftovers.
fn bare(names: &[&str]) -> View {
    let is_counter = |name: &str| COUNTERS.contains(&name.rsplit('.').next().unwrap_or(name));
    let (aside, kept): (Vec<usize>, Vec<usize>) = (0..names.len()).partition(|&index| is_counter(names[index]));
    let bare = without_wrappers(&kept.iter().map(|&index| names[index]).collect::<Vec<_>>());
    let mut all = vec![None; names.len()];
    for (&index, name) in kept.iter().zip(bare) {
        all[index] = name;
    }
    View { prefix: String::new(), names: all, aside, outside: Vec::new() }
}

/// The views behind the modules that all tensors of a view have in common.
fn inner(mut view: View) -> Vec<View> {
    let mut views = Vec::new();
    while let Some(module) = strip_common(&mut view.names, &MODULES) {
        let seen: Vec<usize> = (0..view.names.len()).filter(|&index| view.names[index].is_some()).collect();
        let names: Vec<&str> = view.names.iter().flatten().map(String::as_str).collect();
        let bare = without_wrappers(&names);
        for (index, name) in seen.into_iter().zip(bare) {
            view.names[index] = name;
        }
        view.prefix = if view.prefix.is_empty() { module.to_owned() } else { format!("{}.{module}", view.prefix) };
        views.push(view.clone());
    }
    views
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(view: &View) -> Vec<&str> {
        view.names.iter().flatten().map(String::as_str).collect()
    }

    #[test]
    fn a_set_is_read_as_it_is_and_without_all_that_is_around_it() {
        let views = whole(&["conv.weight", "head.bias"]);
        assert_eq!(views.len(), 1, "{views:?}");
        let views = whole(&["model._orig_mod.net.conv.weight", "model._orig_mod.net.head.bias"]);
        let prefixes: Vec<&str> = views.iter().map(|view| view.prefix.as_str()).collect();
        assert_eq!(prefixes, ["", "", "model", "model.net"]);
        assert_eq!(seen(&views[3]), ["conv.weight", "head.bias"]);
        let views = whole(&["n_averaged", "module.conv.weight", "total_ops", "module.conv.total_params"]);
        assert_eq!(seen(views.last().unwrap()), ["conv.weight"]);
        assert_eq!(views.last().unwrap().aside, [2, 3]);
    }

    #[test]
    fn wrappers_inside_of_names_are_taken_out_where_that_leaves_all_names_different() {
        let names =
            ["_fsdp_wrapped_module.a._fsdp_wrapped_module.w", "_fsdp_wrapped_module.b._checkpoint_wrapped_module.w"];
        assert_eq!(seen(whole(&names).last().unwrap()), ["a.w", "b.w"]);
        assert_eq!(whole(&["a._orig_mod.w", "a.w"]).len(), 1, "two names would become one");
    }

    #[test]
    fn parts_are_the_prefixes_of_which_there_are_several() {
        let names = [
            "ema_model.a.w",
            "ema_model.b.w",
            "student.a.w",
            "student.b.w",
            "model.module.a.w",
            "model.module.b.w",
            "criterion.weight",
        ];
        let views = parts(&names);
        let prefixes: Vec<&str> = views.iter().map(|view| view.prefix.as_str()).collect();
        assert_eq!(prefixes, ["model", "ema_model", "student"]);
        assert_eq!(seen(&views[0]), ["a.w", "b.w"]);
        assert_eq!(views[0].outside, [0, 1, 2, 3, 6]);
        assert!(parts(&["module.a", "module.b", "a", "b"]).is_empty(), "some names have a wrapper");
        assert!(parts(&["a.w", "b.w"]).is_empty(), "one tensor is no part");
    }
}
