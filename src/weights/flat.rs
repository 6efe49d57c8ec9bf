//! Safetensors files.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use indexmap::IndexMap;
use safetensors::View;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Serialize;

use super::TensorMap;
use super::element::{ElementType, element_count};
use super::record::{Fault, Record, Set, Storage};
use super::source::Source;
use crate::files::write_atomically;
use crate::text::short_name;
use crate::{Error, Result};

/// Bytes before the header: its length.
const PREFIX: u64 = 8;
/// The format's own bound on the header.
const MAX_HEADER: u64 = 100_000_000;

/// The tensors of the file, and its metadata.
pub(super) fn describe(source: &mut Source) -> Result<(Set, BTreeMap<String, String>)> {
    let (start, header) = read_header(source)?;
    let mut infos: Vec<(String, &TensorInfo)> = header.tensors().into_iter().collect();
    // Empty tensors share an offset, and the map they come from has no order.
    infos.sort_by(|(a, left), (b, right)| (left.data_offsets, a).cmp(&(right.data_offsets, b)));
    let mut set = Set::default();
    for (name, info) in infos {
        match record(start, &name, info) {
            Ok(record) => set.records.push(record),
            Err(message) => {
                let message = format!("tensor {} {message}", short_name(&name));
                set.faults.push(Fault { name, message });
            }
        }
    }
    let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok((set, metadata))
}

/// A tensor of the header; its values start behind `start`.
fn record(start: u64, name: &str, info: &TensorInfo) -> Result<Record, String> {
    let dtype = ElementType::of_safetensors(info.dtype)?;
    let impossible = || format!("has an impossible shape {:?}", info.shape);
    let numel = element_count(&info.shape).ok_or_else(impossible)?;
    let mut stride = vec![1; info.shape.len()];
    for axis in (1..info.shape.len()).rev() {
        stride[axis - 1] = stride[axis] * info.shape[axis];
    }
    let (from, to) = info.data_offsets;
    let storage = Storage::Bytes { at: start + from as u64, len: (to - from) as u64 };
    Ok(Record { name: name.to_owned(), storage, dtype, numel, offset: 0, size: info.shape.clone(), stride })
}

/// The checked header, and where the tensors' bytes start.
fn read_header(source: &mut Source) -> Result<(u64, Metadata)> {
    let len = source.len();
    if len < PREFIX {
        return Err(source.fault(format!("is truncated: {len} bytes are too few for a safetensors file")));
    }
    let prefix = source.read_at(0, PREFIX)?;
    let header_len = prefix.iter().rev().fold(0, |n, &b| (n << 8) | u64::from(b));
    if header_len > MAX_HEADER {
        return Err(source.fault(format!(
            "is not a safetensors file, or is damaged: its header length is {header_len}, allowed: up to {MAX_HEADER}"
        )));
    }
    let start = PREFIX + header_len;
    if start > len {
        return Err(
            source.fault(format!("is truncated: its header ends at byte {start}, but the file has {len} bytes"))
        );
    }
    let header = source.read_at(PREFIX, header_len)?;
    // This also checks that the tensors' byte ranges fit their shapes and neither overlap nor leave gaps.
    let header: Metadata = serde_json::from_slice(&header)
        .map_err(|e| source.fault(format!("has a damaged safetensors header: {}", short_name(&e.to_string()))))?;
    match start.checked_add(header.data_len() as u64) {
        Some(end) if end == len => Ok((start, header)),
        Some(end) if end < len => Err(source.fault(format!("is damaged: {} bytes follow the last tensor", len - end))),
        _ => Err(source.fault(format!(
            "is truncated: its tensors need {} bytes after byte {start}, but the file has {len} bytes in total",
            header.data_len()
        ))),
    }
}

/// What can be saved.
const SAVED: &str = "F32, F16, BF16, F64, I64, I32, I16, U32, U8";

fn can_be_saved(dtype: DType) -> bool {
    use DType::{BF16, F16, F32, F64, I16, I32, I64, U8, U32};
    matches!(dtype, F32 | F16 | BF16 | F64 | I64 | I32 | I16 | U32 | U8)
}

/// One entry of a header that is being written.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Metadata(&'a BTreeMap<String, String>),
    Tensor(TensorInfo),
}

/// Writes a safetensors file: all of it or, on an error, nothing ([`write_atomically`]).
///
/// The bytes depend on the names, tensors and metadata alone, not on the order of the map: wider element types come
/// first, so that every tensor is aligned, and names decide among equals.
///
/// # Errors
/// A tensor of an element type that [`load`](super::load) cannot read back, or a file that cannot be written.
pub fn save(path: &Path, tensors: &TensorMap, metadata: &BTreeMap<String, String>) -> Result<()> {
    let mut order: Vec<(&str, &Tensor, Dtype)> = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        if name == "__metadata__" {
            return Err(Error::argument("tensor name", name, "any other name; the format reserves this one"));
        }
        let dtype = Dtype::from(tensor.dtype());
        if !can_be_saved(tensor.dtype()) {
            return Err(Error::argument(format!("element type of {}", short_name(name)), dtype, SAVED));
        }
        order.push((name, tensor, dtype));
    }
    order.sort_by(|a, b| b.2.cmp(&a.2).then(a.0.cmp(b.0)));

    let mut header: IndexMap<&str, Entry<'_>> = IndexMap::with_capacity(order.len() + 1);
    if !metadata.is_empty() {
        header.insert("__metadata__", Entry::Metadata(metadata));
    }
    let mut end = 0;
    for &(name, tensor, dtype) in &order {
        let start = end;
        end += tensor.elem_count() * tensor.dtype().size_in_bytes();
        let info = TensorInfo { dtype, shape: tensor.dims().to_vec(), data_offsets: (start, end) };
        header.insert(name, Entry::Tensor(info));
    }
    let mut header =
        serde_json::to_vec(&header).map_err(|e| Error::file(path, format!("cannot write the header: {e}")))?;
    header.resize(header.len().next_multiple_of(8), b' ');

    write_atomically(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for &(_, tensor, _) in &order {
            // Made dense and moved to the CPU here, where a failure is an error: `data` would panic on it.
            let dense = tensor.to_device(&Device::Cpu).and_then(|t| t.contiguous()).map_err(std::io::Error::other)?;
            out.write_all(&View::data(&dense))?;
        }
        Ok(())
    })
}
