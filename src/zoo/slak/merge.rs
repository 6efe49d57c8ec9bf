//! The forms for inference: fewer operators, the same function.
//!
//! | form | convolutions of a large kernel | names below `large_kernel` |
//! |---|---|---|
//! | training, decomposed | K x s, s x K and s x s, each with a batch norm | `{LoRA1,LoRA2,small_conv}.{conv,bn}.*` |
//! | training, undivided | K x K and s x s, each with a batch norm | `{lkb_origin,small_conv}.{conv,bn}.*` |
//! | rectangles | K x s with a bias, and s x K | `LoRA1.{weight,bias}`, `LoRA2.weight` |
//! | cross, square | K x K with a bias | `lkb_reparam.{weight,bias}` |
//!
//! The equations are those of [`FoldedConv`]. The small square is added to the center of the first kernel. The official
//! code merges undivided kernels only. Its class with `small_kernel_merged` loads every square, those that are a cross
//! included; `rectangles` is a form of this crate.

use super::{MergeForm, SlakConfig};
use crate::nn::FoldedConv;
use crate::weights::TensorMap;
use crate::{Error, Result};

/// Makes convolutions with one bias of the branches of every large kernel and their norms: the configuration and the
/// parameters of the merged network. What decomposed kernels become is the configuration's
/// [`merge_form`](SlakConfig::merge_form).
///
/// The norms are those of evaluation, so what is merged should be a trained network. In exact arithmetic its logits
/// stay the same.
///
/// # Errors
/// If the network is merged already, or a parameter is missing or has another shape.
///
/// ```
/// use kernelscope::nn::BuildOptions;
/// use kernelscope::zoo::slak::{self, MergeForm, SlakConfig};
/// use kernelscope::zoo::{ModelSpec, Network};
/// let network = Network::build(ModelSpec::named("nano-slak")?, BuildOptions::frozen())?;
/// let config = SlakConfig { merge_form: MergeForm::Cross, ..SlakConfig::nano() };
/// let (config, tensors) = slak::merge(&config, &network.params().tensors())?;
/// assert_eq!(tensors["stages.0.0.large_kernel.lkb_reparam.weight"].dims(), [32, 1, 15, 15]);
/// let spec = ModelSpec { name: "nano-slak".into(), config: config.into() };
/// let weights = Some((tensors, "merged".into()));
/// let merged = Network::build(spec, BuildOptions { weights, ..BuildOptions::frozen() })?;
/// assert!(merged.spec().config.is_merged());
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn merge(config: &SlakConfig, tensors: &TensorMap) -> Result<(SlakConfig, TensorMap)> {
    if config.merged {
        return Err(Error::argument("network", "one whose kernels are already merged", "the training form"));
    }
    let first = if config.decompose { "LoRA1" } else { "lkb_origin" };
    let mut merged = TensorMap::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        match name.split_once(".large_kernel.") {
            Some((block, rest)) if rest == format!("{first}.conv.weight") => {
                let side = tensor.dims().get(2).copied().unwrap_or_default();
                merge_kernel(config, side, &format!("{block}.large_kernel"), tensors, &mut merged)?;
            }
            Some(_) => {}
            None => {
                merged.insert(name.clone(), tensor.clone());
            }
        }
    }
    Ok((SlakConfig { merged: true, ..config.clone() }, merged))
}

/// Adds the merged parameters of the large kernel at the path `layer`, whose long side is `side`.
fn merge_kernel(
    config: &SlakConfig,
    side: usize,
    layer: &str,
    tensors: &TensorMap,
    merged: &mut TensorMap,
) -> Result<()> {
    let branch = |name: &str| FoldedConv::new(tensors, &format!("{layer}.{name}.conv"), &format!("{layer}.{name}.bn"));
    let with_small = |large: FoldedConv| match config.small_kernel {
        Some(small) if small < side => large.plus(&branch("small_conv")?),
        _ => Ok(large),
    };
    let square = format!("{layer}.lkb_reparam");
    if !config.decompose {
        return with_small(branch("lkb_origin")?)?.insert_into(merged, &square);
    }
    let (rows, cols) = (with_small(branch("LoRA1")?)?, branch("LoRA2")?);
    match config.merge_form {
        MergeForm::Cross => rows.padded_to(side, side)?.plus(&cols)?.insert_into(merged, &square),
        MergeForm::Rectangles => {
            rows.plus_bias_of(&cols)?.insert_into(merged, &format!("{layer}.LoRA1"))?;
            cols.insert_weight_into(merged, &format!("{layer}.LoRA2"))
        }
    }
}
