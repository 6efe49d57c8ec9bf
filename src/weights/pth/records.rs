//! From the objects of a pickle to descriptions of tensors.

use indexmap::IndexMap;

use super::LegacyPlaces;
use super::object::{Pickle, Value};
use crate::text::short_name;
use crate::weights::element::ElementType;
use crate::weights::keys;
use crate::weights::record::{Fault, Record, Set, Storage};

/// More dimensions than any tensor has.
const MAX_RANK: usize = 32;
const DAMAGED: &str = "its description is damaged";

/// Where storages are, by their keys.
#[derive(Debug)]
pub(super) enum Places {
    /// In entries of the zip file, below this folder.
    Zip { root: String },
    /// In the file itself.
    Legacy(LegacyPlaces),
}

impl Places {
    fn storage(&self, key: &str) -> Option<Storage> {
        match self {
            Places::Zip { root } => Some(Storage::Entry(format!("{root}data/{key}"))),
            Places::Legacy(places) => places.get(key).map(|&(at, len)| Storage::Bytes { at, len }),
        }
    }
}

/// The tensors among the entries of a dictionary, under names without what wrappers add.
pub(super) fn set(pickle: &Pickle, places: &Places, path: String, entries: &IndexMap<&str, Value>) -> Set {
    let mut set = Set { path, ..Set::default() };
    for (&name, &value) in entries {
        let made =
            Made::by(pickle, value).and_then(|made| made.map(|made| made.record(pickle, places, name)).transpose());
        match made {
            Ok(record) => set.records.extend(record),
            Err(message) => {
                let message = format!("tensor {}: {message}", short_name(name));
                set.faults.push(Fault { name: name.to_owned(), message });
            }
        }
    }
    let names: Vec<&str> = set.records.iter().map(|record| record.name.as_str()).collect();
    let bare = keys::without_wrappers(&names);
    let named = |(record, name): (Record, Option<String>)| name.map(|name| Record { name, ..record });
    set.records = set.records.into_iter().zip(bare).filter_map(named).collect();
    set
}

/// Whether a value is a tensor, also one that cannot be read.
pub(super) fn is_tensor(pickle: &Pickle, value: Value) -> bool {
    !matches!(Made::by(pickle, value), Ok(None))
}

/// The call that makes a tensor, without the wrappers of parameters and tensor subclasses.
struct Made<'a> {
    args: &'a [Value],
    /// Whether the element type is given beside the storage, whose own elements are bytes.
    typed: bool,
}

impl<'a> Made<'a> {
    /// How a value is made; `None` for what is no tensor.
    fn by(pickle: &'a Pickle, value: Value) -> Result<Option<Self>, String> {
        const SHORT: &str = "its description is incomplete";
        let Some((mut callable, mut args)) = pickle.call(value) else { return Ok(None) };
        // A pickle can wrap an object into itself, so this has to end.
        for _ in 0..4 {
            match pickle.global(callable) {
                Some(("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2")) => {
                    return Ok(Some(Made { args, typed: false }));
                }
                Some(("torch._utils", "_rebuild_tensor_v3")) => return Ok(Some(Made { args, typed: true })),
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
                        "made by torch._utils.{}, which is not supported (sparse, quantized, or without values)",
                        short_name(kind)
                    ));
                }
                _ => return Ok(None),
            }
        }
        Err("wrapped too deeply".to_owned())
    }

    fn record(&self, pickle: &Pickle, places: &Places, name: &str) -> Result<Record, String> {
        let [storage, offset, size, stride, rest @ ..] = self.args else { return Err(DAMAGED.to_owned()) };
        let id = pickle.persistent(*storage).ok_or(DAMAGED)?;
        let [kind, class, key, _, numel, view @ ..] = id else { return Err(DAMAGED.to_owned()) };
        if pickle.text(*kind) != Some("storage") {
            return Err(DAMAGED.to_owned());
        }
        let (_, class) = pickle.global(*class).ok_or(DAMAGED)?;
        let mut numel = number(*numel).ok_or(DAMAGED)?;
        let dtype = if self.typed {
            let dtype = rest.get(2).and_then(|dtype| pickle.global(*dtype)).ok_or(DAMAGED)?;
            ElementType::of_torch(dtype.1)?
        } else {
            ElementType::of_storage(class)?
        };
        if class == "UntypedStorage" {
            numel /= dtype.size();
        }
        let numbers = |value: Value| -> Option<Vec<usize>> {
            pickle
                .sequence(value)
                .filter(|values| values.len() <= MAX_RANK)?
                .iter()
                .map(|value| number(*value))
                .collect()
        };
        let offset = number(*offset).ok_or(DAMAGED)?.checked_add(view_offset(pickle, view).ok_or(DAMAGED)?);
        Ok(Record {
            name: name.to_owned(),
            storage: pickle.text(*key).and_then(|key| places.storage(key)).ok_or(DAMAGED)?,
            dtype,
            numel,
            offset: offset.ok_or(DAMAGED)?,
            size: numbers(*size).ok_or(DAMAGED)?,
            stride: numbers(*stride).ok_or(DAMAGED)?,
        })
    }
}

fn number(value: Value) -> Option<usize> {
    match value {
        Value::Int(number) => usize::try_from(number).ok(),
        _ => None,
    }
}

/// Where a part of a storage starts, which only files of the oldest versions describe: nothing, or its key, offset, and
/// number of elements.
fn view_offset(pickle: &Pickle, view: &[Value]) -> Option<usize> {
    match view.first() {
        None | Some(Value::Opaque) => Some(0),
        Some(view) => match pickle.sequence(*view)? {
            [_, offset, _] => number(*offset),
            _ => None,
        },
    }
}
