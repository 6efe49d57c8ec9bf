//! What the values of a network's tensors must be, once they are found.

use super::list;
use crate::nn::{Kind, Param, Params};
use crate::text::short_name;
use crate::weights::{Checkpoint, TensorMap};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// What the file calls a tensor with this official name.
pub(super) type InFile<'a> = &'a dyn Fn(&str) -> String;

/// Adds the counters of batch norms that are missing.
pub(super) fn complete_counters(tensors: &mut TensorMap, params: &Params) -> Result<()> {
    let missing = |(name, param): &(&str, &Param)| param.kind == Kind::Counter && !tensors.contains_key(*name);
    let missing: Vec<(&str, _)> = params.iter().filter(missing).collect();
    for (name, param) in missing {
        tensors.insert(name.to_string(), Tensor::zeros(param.var.shape(), DType::F32, &Device::Cpu)?);
    }
    Ok(())
}

/// That all weights are floats: what an integer stands for depends on a scale that is not known.
pub(super) fn check_types(checkpoint: &Checkpoint, params: &Params, in_file: InFile<'_>) -> Result<()> {
    for (name, _) in params.iter().filter(|(_, param)| param.kind != Kind::Counter) {
        let stored = checkpoint.dtypes.get(name);
        let is_integer = checkpoint.tensors.get(name).is_some_and(|tensor| tensor.dtype().is_int());
        if is_integer || stored.is_some_and(|stored| !stored.is_float()) {
            let found = stored.map_or("an integer type".to_string(), |stored| format!("element type {stored}"));
            return Err(Error::file(
                &checkpoint.source,
                format!(
                    "tensor {} has {found}; weights must be floats, since the scale of integers is not known",
                    short_name(&in_file(name))
                ),
            ));
        }
    }
    Ok(())
}

/// Names the parameters with values that are not finite.
pub(super) fn not_finite(tensors: &TensorMap, params: &Params, in_file: InFile<'_>) -> Result<Option<String>> {
    let mut names = Vec::new();
    for (name, _) in params.iter().filter(|(_, param)| param.kind != Kind::Counter) {
        let Some(tensor) = tensors.get(name) else { continue };
        // One sum tells whether any value is not finite, except where large values overflow it.
        let sum = tensor.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
        if !sum.is_finite() {
            let values: Vec<f32> = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
            names.extend(values.iter().any(|value| !value.is_finite()).then(|| in_file(name)));
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok((!names.is_empty()).then(|| format!("values are not finite (NaN or infinite) in: {}", list(&names))))
}
