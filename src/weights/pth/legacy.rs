//! The format of `torch.save` from before zip files (torch 0.1.10 to 1.5).
//!
//! Five pickles follow each other without separators, then the values:
//!
//! | part | content |
//! |---|---|
//! | 1 | a magic number |
//! | 2 | 1001, the version |
//! | 3 | what the machine was like, which does not matter |
//! | 4 | the object that was saved |
//! | 5 | the keys of all storages, sorted as texts |
//! | values | of each storage, in this order: the number of elements in 8 bytes, and the elements; all little-endian |
//!
//! The object says how many elements of which type a storage has, so that the values can be skipped over, and nothing is
//! believed that the file itself contradicts.

use std::collections::{HashMap, HashSet};

use super::object::{Node, Pickle, Value, text_at};
use super::pickle::{Halt, MAX_VALUES, Parsed, parse_at};
use super::{LegacyPlaces, MAX_PICKLE};
use crate::Result;
use crate::text::short_name;
use crate::weights::source::Source;

/// The version that all these files have.
const VERSION: i64 = 1001;
/// Most values in a pickle that should have a few.
const FEW: usize = 64;
/// How much is read at first: most descriptions are shorter.
const FIRST: u64 = 1 << 20;
const TRUNCATED: &str = "is truncated; fetch it or save it again";

/// Whether a file starts with the magic number. Protocols 4 and 5 may announce its length in a frame.
pub(in crate::weights) fn is_legacy(head: &[u8]) -> bool {
    const MAGIC: [u8; 12] = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
    let [0x80, _, rest @ ..] = head else { return false };
    let framed = rest.strip_prefix(b"\x95").and_then(|rest| rest.get(8..));
    framed.unwrap_or(rest).starts_with(&MAGIC)
}

/// The object, and the places of all storages.
pub(super) fn read(source: &mut Source) -> Result<(Pickle, LegacyPlaces)> {
    let most = source.len().min(MAX_PICKLE);
    let mut size = most.min(FIRST);
    loop {
        let bytes = source.read_at(0, size)?;
        match Front::parse(&bytes) {
            Ok(front) => {
                let pickle = Pickle { bytes, nodes: front.object.nodes, root: front.object.root };
                let places = {
                    let kinds = kinds(&pickle).map_err(|message| source.fault(message))?;
                    places(source, front.end as u64, &front.keys, &kinds)?
                };
                return Ok((pickle, places));
            }
            Err((_, Halt::End)) if size < most => size = size.saturating_mul(2).min(most),
            Err((_, Halt::End)) if most == source.len() => return Err(source.fault(TRUNCATED)),
            Err((_, Halt::End)) => {
                return Err(source.fault(format!("describes its objects in more than {MAX_PICKLE} bytes")));
            }
            Err((at, Halt::Fault(message))) => {
                return Err(source.fault(format!("has a damaged or unsupported pickle: {message} at byte {at}")));
            }
        }
    }
}

/// What stands before the values.
struct Front {
    object: Parsed,
    keys: Vec<String>,
    end: usize,
}

impl Front {
    fn parse(bytes: &[u8]) -> Result<Self, (usize, Halt)> {
        let magic = parse_at(bytes, 0, FEW)?;
        let version = parse_at(bytes, magic.end, FEW)?;
        if version.root != Value::Int(VERSION) {
            return Err((magic.end, format!("another version than {VERSION}").into()));
        }
        let machine = parse_at(bytes, version.end, FEW)?;
        let object = parse_at(bytes, machine.end, MAX_VALUES)?;
        let keys = parse_at(bytes, object.end, MAX_VALUES)?;
        let names = texts(bytes, &keys).ok_or((object.end, Halt::from("keys of storages that are not texts")))?;
        Ok(Front { object, keys: names, end: keys.end })
    }
}

/// A pickled list of texts.
fn texts(bytes: &[u8], list: &Parsed) -> Option<Vec<String>> {
    let node = |value: &Value| match value {
        Value::Node(index) => list.nodes.get(*index as usize),
        _ => None,
    };
    let Node::Sequence(values) = node(&list.root)? else { return None };
    let text = |value: &Value| match node(value)? {
        Node::Text(span) => text_at(bytes, *span).map(str::to_owned),
        _ => None,
    };
    values.iter().map(text).collect()
}

/// What the object says of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind<'a> {
    class: &'a str,
    numel: u64,
}

/// The storages that the object refers to, by their keys. They are taken from all references in the pickle: some stand
/// in attributes of objects, which are not kept.
fn kinds(pickle: &Pickle) -> Result<HashMap<&str, Kind<'_>>, String> {
    const DAMAGED: &str = "is damaged: a storage is not described as one";
    let mut kinds = HashMap::new();
    for id in pickle.persistent_ids() {
        let [kind, class, key, _, numel, ..] = id else { continue };
        // The other kind is the class of a pickled module, which has no values.
        if pickle.text(*kind) != Some("storage") {
            continue;
        }
        let (_, class) = pickle.global(*class).ok_or(DAMAGED)?;
        let key = pickle.text(*key).ok_or(DAMAGED)?;
        let numel = match numel {
            Value::Int(numel) => u64::try_from(*numel).map_err(|_| DAMAGED)?,
            _ => return Err(DAMAGED.to_owned()),
        };
        let kind = Kind { class, numel };
        if *kinds.entry(key).or_insert(kind) != kind {
            return Err(format!("is damaged: it describes the storage {} in two ways", short_name(key)));
        }
    }
    Ok(kinds)
}

/// Bytes of one element of a storage, also of types that cannot be loaded: their values are skipped over.
fn item(class: &str) -> Option<u64> {
    Some(match class {
        "ComplexDoubleStorage" => 16,
        "DoubleStorage" | "LongStorage" | "ComplexFloatStorage" => 8,
        "FloatStorage" | "IntStorage" | "QInt32Storage" => 4,
        "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
        "CharStorage" | "ByteStorage" | "BoolStorage" | "QInt8Storage" | "QUInt8Storage" | "UntypedStorage" => 1,
        _ => return None,
    })
}

/// The places of the values, which start at byte `at`, found by reading the number of elements before each storage.
fn places(source: &mut Source, mut at: u64, keys: &[String], kinds: &HashMap<&str, Kind<'_>>) -> Result<LegacyPlaces> {
    let named: HashSet<&str> = keys.iter().map(String::as_str).collect();
    if named.len() != keys.len() || named.len() != kinds.len() || named.iter().any(|key| !kinds.contains_key(key)) {
        return Err(source.fault("is damaged: it lists other storages than its tensors have, or one of them twice"));
    }
    let mut places = HashMap::with_capacity(keys.len());
    for key in keys {
        let Some(Kind { class, numel }) = kinds.get(key.as_str()) else { continue };
        let Some(item) = item(class) else {
            return Err(source.fault(format!("has a storage of the unknown type {}", short_name(class))));
        };
        if source.len().saturating_sub(at) < 8 {
            return Err(source.fault(TRUNCATED));
        }
        let count = source.read_at(at, 8)?.iter().rev().fold(0, |n, &byte| (n << 8) | u64::from(byte));
        if count != *numel {
            let signed = count as i64;
            let shown = short_name(key);
            return Err(source.fault(format!("is damaged: the storage {shown} of {numel} elements claims {signed}")));
        }
        at += 8;
        let len = count.checked_mul(item).filter(|len| *len <= source.len() - at);
        let len = len.ok_or_else(|| source.fault(TRUNCATED))?;
        places.insert(key.clone(), (at, len));
        at += len;
    }
    if at < source.len() {
        tracing::debug!("{}: {} bytes follow the last storage", source.path().display(), source.len() - at);
    }
    Ok(places)
}
