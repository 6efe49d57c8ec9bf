//! The forms for inference: fewer operators, the same function.
//!
//! | form | what is left of the batch norms | names of a depthwise convolution |
//! |---|---|---|
//! | training, two branches | all | `conv.j.0.lkb_origin.{conv,bn}.*`, `conv.j.0.small_conv.{conv,bn}.*` |
//! | training, plain | all | `conv.j.0.weight`, `conv.j.1.*` (torchvision's) |
//! | merged | all but those of the depthwise convolutions | `conv.j.0.lkb_reparam.{weight,bias}` |
//! | folded | none | as merged; the other convolutions have a bias in place of a norm |
//!
//! The equations are those of [`FoldedConv`].

use super::MobileNetV2Config;
use crate::nn::FoldedConv;
use crate::weights::TensorMap;
use crate::{Error, Result};

/// Makes one convolution with a bias of every depthwise kernel that the configuration is about, the small one beside it
/// if there is one, and their norms: the configuration and the parameters of the merged network.
///
/// The norms are those of evaluation, so what is merged should be a trained network. In exact arithmetic its logits
/// stay the same, at stride 2 too, since both kernels are padded by half their side.
///
/// # Errors
/// If the network is merged already, or a parameter is missing or has another shape.
pub fn merge(config: &MobileNetV2Config, tensors: &TensorMap) -> Result<(MobileNetV2Config, TensorMap)> {
    if config.merged {
        return Err(Error::argument("network", "one whose kernels are already merged", "the training form"));
    }
    let units = config.units();
    let layers: Vec<String> = units.iter().filter(|unit| unit.replaced).map(|unit| unit.depthwise()).collect();
    let mut merged = TensorMap::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let inside = |layer: &&String| name.strip_prefix(layer.as_str()).is_some_and(|rest| rest.starts_with('.'));
        let Some(layer) = layers.iter().find(inside) else {
            merged.insert(name.clone(), tensor.clone());
            continue;
        };
        let folded = |conv: &str, norm: &str| FoldedConv::with_eps(tensors, conv, norm, config.norm_eps);
        let branch = |name: &str| folded(&format!("{layer}.0.{name}.conv"), &format!("{layer}.0.{name}.bn"));
        let whole = match (name.strip_prefix(layer.as_str()), config.small_kernel) {
            (Some(".0.lkb_origin.conv.weight"), Some(_)) => branch("lkb_origin")?.plus(&branch("small_conv")?)?,
            (Some(".0.weight"), None) => folded(&format!("{layer}.0"), &format!("{layer}.1"))?,
            // What these take in.
            _ => continue,
        };
        whole.insert_into(&mut merged, &format!("{layer}.0.lkb_reparam"))?;
    }
    Ok((MobileNetV2Config { merged: true, ..config.clone() }, merged))
}

/// Folds every batch norm into the convolution before it, after [`merge`]: the configuration and the parameters of a
/// network of convolutions with biases.
///
/// # Errors
/// If the depthwise kernels are not merged, the norms are folded already, or a parameter is missing or has another
/// shape.
pub fn fold(config: &MobileNetV2Config, tensors: &TensorMap) -> Result<(MobileNetV2Config, TensorMap)> {
    if !config.merged || config.folded {
        let given = if config.folded { "one whose norms are already folded" } else { "the training form" };
        return Err(Error::argument("network", given, "one whose kernels are merged and whose norms are not folded"));
    }
    let mut folded = TensorMap::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let module = name.rsplit_once('.').map_or("", |(module, _)| module);
        // In torchvision's lists of modules the norm is the one after its convolution.
        let next = |module: &str| {
            let (list, index) = module.rsplit_once('.')?;
            Some(format!("{list}.{}", index.parse::<usize>().ok()? + 1))
        };
        if !name.starts_with("features.") || module.ends_with(".lkb_reparam") {
            folded.insert(name.clone(), tensor.clone());
        } else if tensor.rank() == 4
            && let Some(norm) = next(module)
        {
            FoldedConv::with_eps(tensors, module, &norm, config.norm_eps)?.insert_into(&mut folded, module)?;
        }
    }
    Ok((MobileNetV2Config { folded: true, ..config.clone() }, folded))
}
