//! Dictionaries of tensors among the objects of a checkpoint.

use std::collections::{HashMap, VecDeque};

use indexmap::IndexMap;

use super::object::{Pickle, Value};
use super::records::{self, Places};
use crate::text::short_name;
use crate::weights::record::Set;
use crate::weights::sets::{Rank, USUAL, is_state};

/// How deep dictionaries of tensors may be: `a.b.c` is 3.
const DEPTH: usize = 3;
/// Most entries of dictionaries that are looked at, most dictionaries that wait for it, and most sets that are described.
/// Dictionaries may share others, so that few bytes make many paths.
const MAX_LOOKED: usize = 1 << 20;
const MAX_WAITING: usize = 1 << 16;
const MAX_SETS: usize = 256;
/// Longest name of a dictionary that is looked into.
const MAX_NAME: usize = 128;

type Entries<'a> = IndexMap<&'a str, Value>;

/// The entries of a dictionary that have a name, the last of each name.
fn named(pickle: &Pickle, value: Value) -> Option<Entries<'_>> {
    let entries = pickle.entries(value)?.iter();
    Some(entries.filter_map(|&(key, value)| Some((pickle.text(key)?, value))).collect())
}

/// A dictionary that has tensors.
struct Found<'a> {
    path: String,
    entries: Entries<'a>,
}

/// All sets of tensors that may be weights of a network, the preferred first. The error is a message without the file's
/// name.
pub(super) fn find(pickle: &Pickle, places: &Places) -> Result<Vec<Set>, String> {
    let top = named(pickle, pickle.root).ok_or_else(|| {
        let what = short_name(&pickle.describe(pickle.root));
        format!("contains {what} instead of a dictionary of tensors; save the state_dict() of the model")
    })?;
    let found = search(pickle);
    if found.is_empty() {
        return Err(without_tensors(pickle, &top));
    }
    let set = |found: Found<'_>| records::set(pickle, places, found.path, &found.entries);
    let mut sets: Vec<Set> = found.into_iter().map(set).collect();
    if top.contains_key("param_shapes") && sets.iter().any(|set| set.records.iter().any(|record| record.size == [0])) {
        return Err("is a part of a DeepSpeed ZeRO checkpoint, whose weights are in several files; collect them with \
                    `python zero_to_fp32.py FOLDER OUT`, which is in its folder"
            .to_owned());
    }
    // Tensors beside a network, such as a loss, do not make the top level one.
    let most = sets.iter().map(|set| set.records.len()).max().unwrap_or(0);
    let stray = |set: &Set| set.path.is_empty() && set.records.len() < most;
    sets.sort_by_cached_key(|set| {
        let rank = Rank::of(&set.path);
        // Of sets without a known name the largest goes first.
        let size = if rank == Rank::Unnamed { most - set.records.len() } else { 0 };
        (stray(set), rank, size)
    });
    Ok(sets)
}

/// All dictionaries of tensors that are not state of something else than a network.
fn search(pickle: &Pickle) -> Vec<Found<'_>> {
    let mut found: Vec<Found<'_>> = Vec::new();
    let mut seen: HashMap<Value, Option<usize>> = HashMap::new();
    let mut queue = VecDeque::from([(String::new(), pickle.root, 0)]);
    let mut looked = 0;
    while let Some((path, value, depth)) = queue.pop_front() {
        // The same dictionary under a second name has no second set, but may have a better name.
        if let Some(index) = seen.get(&value) {
            if let Some(known) = index.and_then(|index| found.get_mut(index))
                && Rank::of(&path) < Rank::of(&known.path)
            {
                known.path = path;
            }
            continue;
        }
        let Some(entries) = named(pickle, value) else { continue };
        looked += entries.len();
        if looked > MAX_LOOKED || found.len() >= MAX_SETS {
            break;
        }
        for (&name, &inner) in entries.iter().filter(|_| depth < DEPTH) {
            let is_read = name.len() <= MAX_NAME && !is_state(name) && queue.len() < MAX_WAITING;
            if is_read && pickle.entries(inner).is_some() {
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                queue.push_back((path, inner, depth + 1));
            }
        }
        let tensors = entries.values().any(|&value| records::is_tensor(pickle, value));
        seen.insert(value, tensors.then_some(found.len()));
        if tensors {
            found.push(Found { path, entries });
        }
    }
    found
}

/// Why there is nothing to load.
fn without_tensors(pickle: &Pickle, top: &Entries<'_>) -> String {
    let wanted = |name: &&str| !is_state(name) && Rank::of(name) != Rank::Unnamed;
    let object = top.iter().find(|(name, value)| wanted(name) && pickle.call(**value).is_some());
    if let Some((name, &value)) = object {
        let what = short_name(&pickle.describe(value));
        return format!("its entry {name} is {what} instead of a dictionary of tensors; save its state_dict()");
    }
    let array = |value: Value| {
        let function = pickle.call(value).and_then(|(callable, _)| pickle.global(callable));
        function.is_some_and(|(module, name)| module.starts_with("numpy") && name == "_reconstruct")
    };
    let inner = top.values().filter_map(|&value| named(pickle, value));
    if top.values().any(|&value| array(value)) || inner.flat_map(|inner| inner.into_values()).any(array) {
        return "contains NumPy arrays instead of tensors; save them as tensors: torch.from_numpy(array)".to_owned();
    }
    let usual = USUAL.join(", ");
    format!(
        "contains no tensors of a network at the top level or in an entry such as {usual}; the top level contains: {}",
        list(top)
    )
}

/// The first names of a dictionary.
fn list(entries: &Entries<'_>) -> String {
    const SHOWN: usize = 12;
    let mut names: Vec<String> = entries.keys().take(SHOWN).map(|name| short_name(name)).collect();
    if entries.len() > SHOWN {
        names.push(format!("... {} more", entries.len() - SHOWN));
    }
    names.join(", ")
}

/// The set at a dotted path, and what is left of the path where it leads to no dictionary. The error is a message without
/// the file's name.
pub(super) fn at(pickle: &Pickle, places: &Places, path: &str) -> Result<(Set, String), String> {
    let mut entries = named(pickle, pickle.root).unwrap_or_default();
    let (mut walked, mut left) = (String::new(), path);
    while !left.is_empty() {
        // Names may have dots themselves, so the longest that fits counts.
        let fits = |name: &str| left == name || left.strip_prefix(name).is_some_and(|left| left.starts_with('.'));
        let next = entries.iter().filter(|(name, _)| fits(name)).max_by_key(|(name, _)| name.len());
        let Some((&name, &value)) = next else { break };
        let Some(inner) = named(pickle, value) else {
            return Err(format!("its entry {} contains no tensors", short_name(path)));
        };
        walked = if walked.is_empty() { name.to_owned() } else { format!("{walked}.{name}") };
        left = left[name.len()..].trim_start_matches('.');
        entries = inner;
    }
    let set = records::set(pickle, places, walked, &entries);
    if left.is_empty() && set.records.is_empty() && set.faults.is_empty() {
        return Err(format!("its entry {} contains no tensors", short_name(path)));
    }
    Ok((set, left.to_owned()))
}

/// That there is no such entry, and which there are.
pub(super) fn absent(pickle: &Pickle, key: &str) -> String {
    let present = named(pickle, pickle.root).unwrap_or_default();
    format!("has no entry {} at the top level, which contains: {}", short_name(key), list(&present))
}
