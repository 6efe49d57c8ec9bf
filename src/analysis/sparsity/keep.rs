//! Which weights are kept: those that a mask keeps, or else those that are not 0.

use crate::weights::{Checkpoint, TensorMap};
use crate::{Error, Result};
use candle_core::{DType, Tensor};

/// Whether a parameter is the weight of a convolution or linear map, which training may prune.
pub fn is_prunable(name: &str, tensor: &Tensor) -> bool {
    name.ends_with(".weight") && matches!(tensor.dims().len(), 2 | 4) && tensor.elem_count() > 0
}

/// Checks the masks of a network: unsigned bytes, 0 for pruned and 1 for kept, named and shaped as its weights. A coarse
/// mask has shape (out, 1, 1, 1), one value per kernel.
///
/// # Errors
/// If a mask has another name, shape, type or value.
pub fn check_masks(masks: &Checkpoint, tensors: &TensorMap) -> Result<()> {
    let fault = |name: &str, what: String| Error::file(&masks.source, format!("mask {name} {what}"));
    if masks.tensors.is_empty() {
        return Err(Error::file(&masks.source, "contains no mask"));
    }
    for (name, mask) in &masks.tensors {
        let Some(weight) = tensors.get(name).filter(|weight| is_prunable(name, weight)) else {
            return Err(fault(name, "belongs to no convolution or linear map of the network".into()));
        };
        if mask.dtype() != DType::U8 {
            return Err(fault(name, format!("has type {:?}, allowed: U8", mask.dtype())));
        }
        let (shape, full) = (mask.dims(), weight.dims());
        let coarse = matches!((shape, full), (&[a, 1, 1, 1], &[b, ..]) if a == b);
        if shape != full && !coarse {
            let allowed = format!("allowed: {full:?}, or one value per output channel");
            return Err(fault(name, format!("has shape {shape:?}, {allowed}")));
        }
        if let Some(bad) = mask.flatten_all()?.to_vec1::<u8>()?.iter().find(|&&value| value > 1) {
            return Err(fault(name, format!("has the value {bad}, allowed: 0 and 1")));
        }
    }
    Ok(())
}

/// The weights of one parameter.
pub(super) struct Kept {
    /// For every weight, row-major, whether it is kept.
    pub keep: Vec<bool>,
    /// Whether a mask says so.
    pub masked: bool,
    /// Weights that are not 0 although the mask prunes them.
    pub outside: usize,
}

/// Which weights of a parameter are kept.
///
/// # Errors
/// If a weight is not finite.
pub(super) fn kept(name: &str, weight: &Tensor, masks: Option<&TensorMap>) -> Result<Kept> {
    let values: Vec<f32> = weight.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        let value = values.get(index).copied().map_or(f64::NAN, f64::from);
        return Err(Error::NonFinite { what: format!("a weight of {name}"), value, place: format!("index {index}") });
    }
    let Some(mask) = masks.and_then(|masks| masks.get(name)) else {
        return Ok(Kept { keep: values.iter().map(|&value| value != 0.0).collect(), masked: false, outside: 0 });
    };
    let mask: Vec<u8> = mask.flatten_all()?.to_vec1()?;
    // One value for every weight, or one for every kernel.
    let each = values.len() / mask.len().max(1);
    let keep: Vec<bool> = mask.iter().flat_map(|&bit| std::iter::repeat_n(bit != 0, each)).collect();
    let outside = keep.iter().zip(&values).filter(|(keep, value)| !**keep && **value != 0.0).count();
    Ok(Kept { keep, masked: true, outside })
}
