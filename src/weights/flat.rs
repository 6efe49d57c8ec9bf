//! Safetensors files.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use indexmap::IndexMap;
use safetensors::View;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Serialize;

use super::TensorMap;
use super::source::{Source, element_count, tensor_from_bytes};
use crate::files::write_atomically;
use crate::text::short_name;
use crate::{Error, Result};

/// Bytes before the header: its length.
const PREFIX: u64 = 8;
/// The format's own bound on the header.
const MAX_HEADER: u64 = 100_000_000;

/// Reads all tensors and the metadata. Tensors are read one by one, so memory holds the result and one tensor more.
pub(super) fn read(source: &mut Source) -> Result<(TensorMap, BTreeMap<String, String>)> {
    let (start, header) = read_header(source)?;
    let mut infos: Vec<(String, &TensorInfo)> = header.tensors().into_iter().collect();
    // Empty tensors share an offset, and the map they come from has no order.
    infos.sort_by(|(a, left), (b, right)| (left.data_offsets, a).cmp(&(right.data_offsets, b)));
    let mut tensors = TensorMap::with_capacity(infos.len());
    for (name, info) in infos {
        let dtype = element_type(info.dtype).map_err(|dtype| {
            source.fault(format!("tensor {} has element type {dtype}, {ALLOWED}", short_name(&name)))
        })?;
        if element_count(&info.shape).is_none() {
            return Err(source.fault(format!("tensor {} has an impossible shape {:?}", short_name(&name), info.shape)));
        }
        let (from, to) = info.data_offsets;
        let bytes = source.read_at(start + from as u64, (to - from) as u64)?;
        tensors.insert(name, tensor_from_bytes(&bytes, dtype, &info.shape)?);
    }
    let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok((tensors, metadata))
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

/// What an unsupported element type is told.
const ALLOWED: &str = "allowed: F32, F16, BF16, F64, I64, I32, I16, U32, U8, BOOL";

fn element_type(dtype: Dtype) -> Result<DType, Dtype> {
    match dtype {
        Dtype::F32 => Ok(DType::F32),
        Dtype::F16 => Ok(DType::F16),
        Dtype::BF16 => Ok(DType::BF16),
        Dtype::F64 => Ok(DType::F64),
        Dtype::I64 => Ok(DType::I64),
        Dtype::I32 => Ok(DType::I32),
        Dtype::I16 => Ok(DType::I16),
        Dtype::U32 => Ok(DType::U32),
        Dtype::U8 | Dtype::BOOL => Ok(DType::U8),
        other => Err(other),
    }
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
        element_type(dtype)
            .map_err(|dtype| Error::argument(format!("element type of {}", short_name(name)), dtype, ALLOWED))?;
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
