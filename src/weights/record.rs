//! What a file says of its tensors: names, shapes, and places of values.

use std::fmt;

use super::element::ElementType;
use crate::text::short_name;

/// A tensor of a file, without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its element type in the file.
    pub dtype: ElementType,
}

/// A set of named tensors in a file, without their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is: the names of the dictionaries around it, joined by dots (`ema.module`); empty for the top level.
    pub path: String,
    /// Its tensors, in the order of the file.
    pub tensors: Vec<TensorInfo>,
}

/// A place of values in a file, which several tensors may share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Storage {
    /// Bytes of the file itself.
    Bytes { at: u64, len: u64 },
    /// An entry of the zip file.
    Entry(String),
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Storage::Bytes { at, .. } => write!(f, "the storage at byte {at}"),
            Storage::Entry(name) => f.write_str(&short_name(name)),
        }
    }
}

/// A tensor as a file describes it: a strided view of a storage.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) storage: Storage,
    pub(super) dtype: ElementType,
    /// Elements in the storage.
    pub(super) numel: usize,
    pub(super) offset: usize,
    pub(super) size: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

/// A tensor that cannot be read. It counts only if its set is wanted.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) name: String,
    pub(super) message: String,
}

/// A set of named tensors, and where their values are.
#[derive(Debug, Default)]
pub(super) struct Set {
    /// See [`Entry::path`].
    pub(super) path: String,
    pub(super) records: Vec<Record>,
    pub(super) faults: Vec<Fault>,
}

impl Set {
    pub(super) fn entry(&self) -> Entry {
        let info =
            |record: &Record| TensorInfo { name: record.name.clone(), shape: record.size.clone(), dtype: record.dtype };
        Entry { path: self.path.clone(), tensors: self.records.iter().map(info).collect() }
    }
}
