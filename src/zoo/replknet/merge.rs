//! The forms for inference: fewer operators, the same function.
//!
//! | form | what is left of the batch norms | names |
//! |---|---|---|
//! | training | all | `large_kernel.lkb_origin.{conv,bn}.*`, `large_kernel.small_conv.{conv,bn}.*` |
//! | merged | all but those of the large kernels | `large_kernel.lkb_reparam.{weight,bias}` |
//! | folded | the first of every block, and that before the classifier | as merged; `conv.{weight,bias}` without `bn` |
//!
//! The equations are those of [`FoldedConv`]. The official code calls the two steps `structural_reparam` and
//! `deep_fuse_BN`.

use super::RepLkNetConfig;
use crate::nn::FoldedConv;
use crate::weights::TensorMap;
use crate::{Error, Result};

/// Makes one convolution with a bias of every large kernel, the small one beside it and their norms (section 3.1 of the
/// paper, guideline 3): the configuration and the parameters of the merged network.
///
/// The norms are those of evaluation, so what is merged should be a trained network. In exact arithmetic its logits
/// stay the same.
///
/// # Errors
/// If the network is merged already, or a parameter is missing or has another shape.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use kernelscope::nn::BuildOptions;
/// use kernelscope::zoo::{ModelSpec, Network, replknet};
/// let network = Network::build(ModelSpec::named("nano-replk")?, BuildOptions::frozen())?;
/// let config: &replknet::RepLkNetConfig = network.spec().config.downcast_ref().expect("a network of this family");
/// let (config, tensors) = replknet::merge(config, &network.params().tensors())?;
/// let spec = ModelSpec { name: "nano-replk".into(), config: config.into() };
/// let weights = Some((tensors, "merged".into()));
/// let merged = Network::build(spec, BuildOptions { weights, ..BuildOptions::frozen() })?;
/// assert!(merged.params().count() < network.params().count());
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn merge(config: &RepLkNetConfig, tensors: &TensorMap) -> Result<(RepLkNetConfig, TensorMap)> {
    if config.merged {
        return Err(Error::argument("network", "one whose kernels are already merged", "the training form"));
    }
    let mut merged = TensorMap::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        if let Some(layer) = name.strip_suffix(".lkb_origin.conv.weight") {
            let branch =
                |name: &str| FoldedConv::new(tensors, &format!("{layer}.{name}.conv"), &format!("{layer}.{name}.bn"));
            let large = branch("lkb_origin")?;
            let whole = match config.small_kernel {
                Some(_) => large.plus(&branch("small_conv")?)?,
                None => large,
            };
            whole.insert_into(&mut merged, &format!("{layer}.lkb_reparam"))?;
        } else if !name.contains(".lkb_origin.") && !name.contains(".small_conv.") {
            merged.insert(name.clone(), tensor.clone());
        }
    }
    Ok((RepLkNetConfig { merged: true, ..config.clone() }, merged))
}

/// Folds every batch norm into the convolution before it, after [`merge`]: the configuration and the parameters of a
/// network whose stem, transitions and blocks have convolutions with biases instead. Norms that come first in a block,
/// and the one before the classifier, stay.
///
/// # Errors
/// If the large kernels are not merged, the norms are folded already, or a parameter is missing or has another shape.
pub fn fold(config: &RepLkNetConfig, tensors: &TensorMap) -> Result<(RepLkNetConfig, TensorMap)> {
    if !config.merged || config.folded {
        let given = if config.folded { "one whose norms are already folded" } else { "the training form" };
        return Err(Error::argument("network", given, "one whose kernels are merged and whose norms are not folded"));
    }
    let mut folded = TensorMap::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        if let Some(layer) = name.strip_suffix(".conv.weight") {
            let conv = format!("{layer}.conv");
            FoldedConv::new(tensors, &conv, &format!("{layer}.bn"))?.insert_into(&mut folded, &conv)?;
        } else if !name.contains(".bn.") {
            folded.insert(name.clone(), tensor.clone());
        }
    }
    Ok((RepLkNetConfig { folded: true, ..config.clone() }, folded))
}
