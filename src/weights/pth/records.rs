//! Finding the tensors among the objects of a checkpoint.

use candle_core::DType;
use indexmap::IndexMap;

use super::object::{Pickle, Value};
use crate::text::short_name;

/// Entries that usually hold the tensors, the preferred first.
const USUAL: [&str; 4] = ["model", "state_dict", "model_ema", "module"];
/// More dimensions than any tensor has.
const MAX_RANK: usize = 32;

/// A tensor as the pickle describes it: a strided view of a storage.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) name: String,
    /// Name of the storage's entry below `data/`.
    pub(super) storage: String,
    pub(super) dtype: DType,
    /// Elements in the storage.
    pub(super) numel: usize,
    pub(super) offset: usize,
    pub(super) size: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

/// The tensors of the entry `key`, or of the first usual entry that has some, or of the top level. The error is a
/// message without the file's name.
pub(super) fn select(pickle: &Pickle<'_>, key: Option<&str>) -> Result<Vec<Record>, String> {
    let Some(top) = named(pickle, pickle.root) else {
        return Err(format!(
            "contains {} instead of a dictionary of tensors; save the state_dict() of the model",
            short_name(&pickle.describe(pickle.root))
        ));
    };
    let present = || {
        const SHOWN: usize = 12;
        let mut names: Vec<String> = top.keys().take(SHOWN).map(|name| short_name(name)).collect();
        if top.len() > SHOWN {
            names.push(format!("... {} more", top.len() - SHOWN));
        }
        names.join(", ")
    };
    if let Some(key) = key {
        let value = *top.get(key).ok_or_else(|| {
            format!("has no entry {} at the top level, which contains: {}", short_name(key), present())
        })?;
        let inner = named(pickle, value).filter(|inner| holds_tensors(pickle, inner));
        return records(pickle, &inner.ok_or_else(|| format!("its entry {} contains no tensors", short_name(key)))?);
    }
    for key in USUAL {
        let inner = top.get(key).and_then(|&value| named(pickle, value));
        if let Some(inner) = inner.filter(|inner| holds_tensors(pickle, inner)) {
            return records(pickle, &inner);
        }
    }
    if holds_tensors(pickle, &top) {
        return records(pickle, &top);
    }
    Err(format!(
        "contains no tensors at the top level or under {}; the top level contains: {}",
        USUAL.join(", "),
        present()
    ))
}

/// The entries of a dictionary that have a name, the last of each name.
fn named<'a>(pickle: &'a Pickle<'_>, value: Value) -> Option<IndexMap<&'a str, Value>> {
    let entries = pickle.entries(value)?.iter();
    Some(entries.filter_map(|&(key, value)| Some((pickle.text(key)?, value))).collect())
}

fn holds_tensors(pickle: &Pickle<'_>, entries: &IndexMap<&str, Value>) -> bool {
    entries.values().any(|&value| !matches!(view_args(pickle, value), Ok(None)))
}

fn records(pickle: &Pickle<'_>, entries: &IndexMap<&str, Value>) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    for (&name, &value) in entries {
        let record = view_args(pickle, value).and_then(|args| args.map(|args| record(pickle, name, args)).transpose());
        // Other values of a state dict, such as version numbers, are no weights.
        records.extend(record.map_err(|message| format!("tensor {}: {message}", short_name(name)))?);
    }
    Ok(records)
}

/// The arguments that make a view of a storage, without the wrappers of parameters and tensor subclasses; `None` for
/// what is no tensor.
fn view_args<'a>(pickle: &'a Pickle<'_>, value: Value) -> Result<Option<&'a [Value]>, String> {
    const SHORT: &str = "its description is incomplete";
    let Some((mut callable, mut args)) = pickle.call(value) else { return Ok(None) };
    // A pickle can wrap an object into itself, so this has to end.
    for _ in 0..4 {
        match pickle.global(callable) {
            Some(("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2")) => return Ok(Some(args)),
            Some(("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")) => {
                let data = *args.first().ok_or(SHORT)?;
                (callable, args) = pickle.call(data).ok_or(SHORT)?;
            }
            Some(("torch._tensor", "_rebuild_from_type_v2")) => {
                let [function, _, inner, ..] = args else { return Err(SHORT.to_owned()) };
                (callable, args) = (*function, pickle.sequence(*inner).ok_or(SHORT)?);
            }
            Some(("torch._utils", kind)) if kind.starts_with("_rebuild") => {
                return Err(format!(
                    "made by torch._utils.{}, which is not supported (sparse, quantized, or of a new element type)",
                    short_name(kind)
                ));
            }
            _ => return Ok(None),
        }
    }
    Err("wrapped too deeply".to_owned())
}

fn record(pickle: &Pickle<'_>, name: &str, args: &[Value]) -> Result<Record, String> {
    const DAMAGED: &str = "its description is damaged";
    let [storage, offset, size, stride, ..] = args else { return Err(DAMAGED.to_owned()) };
    let id = pickle.persistent(*storage).ok_or(DAMAGED)?;
    let [kind, class, key, _, numel, ..] = id else { return Err(DAMAGED.to_owned()) };
    let key = pickle.text(*key).ok_or(DAMAGED)?;
    let (_, class) = pickle.global(*class).ok_or(DAMAGED)?;
    if pickle.text(*kind) != Some("storage") {
        return Err(DAMAGED.to_owned());
    }
    let number = |value: &Value| match value {
        Value::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    };
    let numbers = |value: Value| -> Option<Vec<usize>> {
        pickle.sequence(value).filter(|values| values.len() <= MAX_RANK)?.iter().map(number).collect()
    };
    Ok(Record {
        name: name.to_owned(),
        storage: key.to_owned(),
        dtype: element_type(class)?,
        numel: number(numel).ok_or(DAMAGED)?,
        offset: number(offset).ok_or(DAMAGED)?,
        size: numbers(*size).ok_or(DAMAGED)?,
        stride: numbers(*stride).ok_or(DAMAGED)?,
    })
}

fn element_type(class: &str) -> Result<DType, String> {
    match class {
        "FloatStorage" => Ok(DType::F32),
        "HalfStorage" => Ok(DType::F16),
        "BFloat16Storage" => Ok(DType::BF16),
        "DoubleStorage" => Ok(DType::F64),
        "LongStorage" => Ok(DType::I64),
        "IntStorage" => Ok(DType::I32),
        "ShortStorage" => Ok(DType::I16),
        "ByteStorage" | "BoolStorage" => Ok(DType::U8),
        other => Err(format!(
            "element type {} is not supported, allowed: float32, float16, bfloat16, float64, int64, int32, int16, \
             uint8, bool",
            short_name(other.strip_suffix("Storage").unwrap_or(other))
        )),
    }
}
