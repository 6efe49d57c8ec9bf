//! From descriptions to tensors.

use std::borrow::Cow;

use candle_core::Tensor;
use indexmap::IndexMap;

use super::TensorMap;
use super::element::element_count;
use super::record::{Record, Storage};
use super::source::Source;
use super::zip::Archive;
use crate::Result;
use crate::text::short_name;

/// Reads the described tensors. Each storage is read once, however many tensors are views of it, and let go before the
/// next, so memory holds the result and one storage.
pub(super) fn read(source: &mut Source, archive: Option<&Archive>, records: &[Record]) -> Result<TensorMap> {
    let mut budget = Budget::of(source);
    let mut by_storage: IndexMap<&Storage, Vec<usize>> = IndexMap::new();
    for (index, record) in records.iter().enumerate() {
        let count = check_layout(record)
            .map_err(|message| source.fault(format!("tensor {} {message}", short_name(&record.name))))?;
        // Everything but a byte or a 16-bit integer has four bytes or more once it is loaded.
        budget.spend_result(source, count.saturating_mul(record.dtype.size().max(4)))?;
        by_storage.entry(&record.storage).or_default().push(index);
    }
    let mut tensors: Vec<Option<Tensor>> = records.iter().map(|_| None).collect();
    for (storage, indices) in by_storage {
        // A storage without elements may have no entry.
        let empty = indices.iter().all(|&i| records[i].numel == 0);
        let bytes = bytes(source, archive, storage, empty, &mut budget)?;
        for index in indices {
            let record = &records[index];
            let item = record.dtype.size();
            if record.numel.checked_mul(item).is_none_or(|needed| needed > bytes.len()) {
                return Err(source.fault(format!(
                    "is damaged: {storage} has {} bytes, but tensor {} needs {} elements of {item} bytes there",
                    bytes.len(),
                    short_name(&record.name),
                    record.numel
                )));
            }
            let dense = match contiguous_range(record) {
                Some((start, end)) => bytes.get(start * item..end * item).map(Cow::Borrowed),
                None => gather(&bytes, item, record).map(Cow::Owned),
            };
            let dense = dense.ok_or_else(|| source.fault(format!("{storage} is shorter than its tensors need")))?;
            tensors[index] = Some(record.dtype.tensor(&dense, &record.size)?);
        }
    }
    Ok(records.iter().zip(tensors).filter_map(|(record, tensor)| Some((record.name.clone(), tensor?))).collect())
}

/// The bytes of a storage.
fn bytes(
    source: &mut Source,
    archive: Option<&Archive>,
    storage: &Storage,
    empty: bool,
    budget: &mut Budget,
) -> Result<Vec<u8>> {
    match (storage, archive) {
        (Storage::Bytes { at, len }, _) => {
            budget.spend_storage(source, *len)?;
            source.read_at(*at, *len)
        }
        (Storage::Entry(name), Some(archive)) => match archive.get(name) {
            None if empty => Ok(Vec::new()),
            entry => {
                budget.spend_storage(source, entry.map_or(0, |entry| entry.size))?;
                archive.read(source, name)
            }
        },
        (Storage::Entry(_), None) => Err(source.fault("is damaged: it has values in a zip file, but is none")),
    }
}

/// Bounds on what a file may ask for. A few bytes can describe a tensor that repeats one element a billion times, or
/// name one storage under a thousand entries; sound files share storages too, but not to such an extent.
struct Budget {
    result: u64,
    storage: u64,
}

impl Budget {
    fn of(source: &Source) -> Self {
        Self { result: source.len().saturating_mul(4).saturating_add(64 << 20), storage: source.len() }
    }

    fn spend_result(&mut self, source: &Source, bytes: usize) -> Result<()> {
        self.result = self
            .result
            .checked_sub(bytes as u64)
            .ok_or_else(|| source.fault("is damaged: its tensors add up to far more bytes than the file has"))?;
        Ok(())
    }

    fn spend_storage(&mut self, source: &Source, bytes: u64) -> Result<()> {
        self.storage =
            self.storage.checked_sub(bytes).ok_or_else(|| source.fault("is damaged: its storages overlap"))?;
        Ok(())
    }
}

/// Number of elements of a tensor that lies within its storage.
fn check_layout(record: &Record) -> Result<usize, String> {
    let Record { size, stride, offset, numel, .. } = record;
    if size.len() != stride.len() {
        return Err(format!("has {} dimensions, but {} strides", size.len(), stride.len()));
    }
    let count = element_count(size).ok_or_else(|| format!("has an impossible shape {size:?}"))?;
    if count > 0 {
        let last = size.iter().zip(stride).try_fold(*offset, |at, (&d, &s)| at.checked_add((d - 1).checked_mul(s)?));
        if last.is_none_or(|last| last >= *numel) {
            return Err(format!(
                "extends past its storage: shape {size:?}, strides {stride:?}, offset {offset}, {numel} elements"
            ));
        }
    }
    Ok(count)
}

/// First and last element, where the elements stand in row-major order without gaps.
fn contiguous_range(record: &Record) -> Option<(usize, usize)> {
    if record.size.contains(&0) {
        return Some((0, 0));
    }
    let mut expected = 1;
    for (&d, &s) in record.size.iter().zip(&record.stride).rev() {
        // The stride of a dimension of one element is never used, and may be anything.
        if d > 1 && s != expected {
            return None;
        }
        expected *= d;
    }
    Some((record.offset, record.offset + expected))
}

/// The elements of a strided view in row-major order. The layout has been checked, and has no empty dimension.
fn gather(bytes: &[u8], item: usize, record: &Record) -> Option<Vec<u8>> {
    // Dimensions of one element do not move, whatever their stride says; so no sum below exceeds twice the storage.
    let axes: Vec<(usize, usize)> =
        record.size.iter().zip(&record.stride).filter(|(d, _)| **d > 1).map(|(&d, &s)| (d, s)).collect();
    let mut index = vec![0; axes.len()];
    let mut at = record.offset;
    let mut dense = Vec::with_capacity(element_count(&record.size)?.checked_mul(item)?);
    loop {
        dense.extend_from_slice(bytes.get(at * item..(at + 1) * item)?);
        let mut axis = axes.len();
        loop {
            if axis == 0 {
                return Some(dense);
            }
            axis -= 1;
            let (size, stride) = axes[axis];
            index[axis] += 1;
            at += stride;
            if index[axis] < size {
                break;
            }
            at -= stride * size;
            index[axis] = 0;
        }
    }
}
