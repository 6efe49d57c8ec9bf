//! The forms for inference: fewer operators, the same function.
//!
//! | form | large kernels | names |
//! |---|---|---|
//! | training | several paths of small kernels, three branches with norms, the identity | `large_kernel.LoRAs.*.weight`, `large_kernel.bn_*.*` |
//! | `merged = paths` | one path; the official code's `reparameterize` | `large_kernel.LoRA.weight`, `large_kernel.bn_*.*` |
//! | `merged = cross` | one cross-shaped kernel with a bias, on the channels that have large kernels | `large_kernel.cross.{weight,bias}` |
//!
//! The weights of a cross are those of all its taps (see [`Cross`]), with zeros where every small kernel that would
//! stand there is pruned. Such taps are left out when the network is built: what is pruned takes no time.

use super::config::{Merged, ShiftWiseConfig};
use super::large_kernel::NORMS;
use crate::nn::FoldedConv;
use crate::ops::shiftwise::{Cross, Padding, ShiftWise};
use crate::weights::TensorMap;
use crate::{Error, Result};
use candle_core::{DType, Tensor};

/// Adds up the weights of all paths: the configuration and the parameters of the official code's form for inference.
///
/// # Errors
/// If the paths are merged already, or a parameter is missing or has another shape.
///
/// ```
/// use kernelscope::nn::BuildOptions;
/// use kernelscope::zoo::{ModelSpec, Network, shiftwise};
/// let network = Network::build(ModelSpec::named("nano-sw")?, BuildOptions::frozen())?;
/// let config: &shiftwise::ShiftWiseConfig = network.spec().config.downcast_ref().expect("a network of this family");
/// let (_, tensors) = shiftwise::merge_paths(config, &network.params().tensors())?;
/// assert!(tensors.contains_key("stages.0.0.large_kernel.LoRA.weight"));
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn merge_paths(config: &ShiftWiseConfig, tensors: &TensorMap) -> Result<(ShiftWiseConfig, TensorMap)> {
    if config.merged != Merged::None {
        return Err(Error::argument("network", "one whose paths are already merged", "the training form"));
    }
    let mut merged = TensorMap::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        if let Some(layer) = name.strip_suffix(".LoRAs.0.weight") {
            merged.insert(format!("{layer}.LoRA.weight"), path_sum(config, tensors, layer)?.to_dtype(tensor.dtype())?);
        } else if !name.contains(".large_kernel.LoRAs.") {
            merged.insert(name.clone(), tensor.clone());
        }
    }
    Ok((ShiftWiseConfig { merged: Merged::Paths, ..config.clone() }, merged))
}

/// Makes one cross-shaped convolution with a bias of every large kernel, the norms of its branches and the identity: the
/// configuration and the parameters. Works on the training form and on that of [`merge_paths`].
///
/// The norms are those of evaluation, so what is merged should be a trained network. In exact arithmetic its logits
/// stay the same.
///
/// # Errors
/// If this is done already, the padding is half (so that the branches are no convolutions), or a parameter is missing or
/// has another shape.
///
/// ```
/// use kernelscope::nn::BuildOptions;
/// use kernelscope::zoo::{Merge, ModelSpec, Network};
/// let network = Network::build(ModelSpec::named("nano-sw")?, BuildOptions::frozen())?;
/// let merged = network.merged(Merge::Norms)?;
/// // A row and a column of 3 x 15 pixels that meet in 3 x 3, for 24 of 32 channels.
/// let weight = merged.params().get("stages.0.0.large_kernel.cross.weight").map(|p| p.var.dims().to_vec());
/// assert_eq!(weight, Some(vec![24, 2 * 45 - 9]));
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn merge_cross(config: &ShiftWiseConfig, tensors: &TensorMap) -> Result<(ShiftWiseConfig, TensorMap)> {
    config.validate()?;
    if config.merged == Merged::Cross {
        return Err(Error::argument("network", "one whose branches are already merged", "one with branches"));
    }
    if config.padding == Padding::Half {
        let allowed =
            "padding = full; with padding = half, windows are lost at the border, so no single kernel is equivalent";
        return Err(Error::argument("padding", "half", allowed));
    }
    let mut merged = TensorMap::with_capacity(tensors.len());
    for stage in 0..4 {
        let window = config.window(stage)?;
        let op = ShiftWise::new(config.rep_channels(stage), window, config.reps)?;
        let cross = Cross::new(&window)?;
        for block in 0..config.depths.stage(stage) {
            let layer = format!("stages.{stage}.{block}.large_kernel");
            let (weight, dtype) = match config.merged {
                Merged::None => {
                    (path_sum(config, tensors, &layer)?, dtype(tensors, &format!("{layer}.LoRAs.0.weight"))?)
                }
                _ => {
                    let name = format!("{layer}.LoRA.weight");
                    (get(tensors, &name)?.to_dtype(DType::F64)?, dtype(tensors, &name)?)
                }
            };
            let (weight, bias) = fold(tensors, &layer, op.kernels(&weight)?, &cross)?;
            merged.insert(format!("{layer}.cross.weight"), weight.to_dtype(dtype)?);
            merged.insert(format!("{layer}.cross.bias"), bias.to_dtype(dtype)?);
        }
    }
    let others = tensors.iter().filter(|(name, _)| !name.contains(".large_kernel."));
    merged.extend(others.map(|(name, tensor)| (name.clone(), tensor.clone())));
    Ok((ShiftWiseConfig { merged: Merged::Cross, ..config.clone() }, merged))
}

/// Weights and bias of the cross of one layer, in f64.
fn fold(tensors: &TensorMap, layer: &str, kernels: [Tensor; 3], cross: &Cross) -> Result<(Tensor, Tensor)> {
    let mut folded = TensorMap::new();
    for (name, kernel) in NORMS.into_iter().zip(kernels) {
        let norm = format!("{layer}.{name}");
        let leaves = ["weight", "bias", "running_mean", "running_var"].map(|leaf| format!("{norm}.{leaf}"));
        let mut branch = TensorMap::from_iter([(format!("{name}.weight"), kernel)]);
        for leaf in leaves {
            let tensor = get(tensors, &leaf)?.clone();
            branch.insert(leaf, tensor);
        }
        FoldedConv::new(&branch, name, &norm)?.insert_into(&mut folded, name)?;
    }
    let part = |name: &str, leaf: &str| get(&folded, &format!("{name}.{leaf}"));
    let [h, v, i] = NORMS;
    let weight = cross.sum([part(h, "weight")?, part(v, "weight")?, part(i, "weight")?])?;
    let bias = ((part(h, "bias")? + part(v, "bias")?)? + part(i, "bias")?)?;
    Ok((weight, bias))
}

/// The sum of the weights of all paths of a layer, in f64.
fn path_sum(config: &ShiftWiseConfig, tensors: &TensorMap, layer: &str) -> Result<Tensor> {
    let path = |i: usize| Ok::<_, Error>(get(tensors, &format!("{layer}.LoRAs.{i}.weight"))?.to_dtype(DType::F64)?);
    let first = path(0)?;
    (1..config.paths).try_fold(first, |sum, i| {
        let next = path(i)?;
        if next.dims() != sum.dims() {
            let allowed = format!("{:?}, the shape of the first path", sum.dims());
            return Err(Error::shape(format!("{layer}.LoRAs.{i}.weight"), next.dims(), allowed));
        }
        Ok((sum + next)?)
    })
}

fn get<'a>(tensors: &'a TensorMap, name: &str) -> Result<&'a Tensor> {
    tensors.get(name).ok_or_else(|| Error::argument("weights", format!("none named {name}"), "one"))
}

fn dtype(tensors: &TensorMap, name: &str) -> Result<DType> {
    Ok(get(tensors, name)?.dtype())
}
