//! The networks: against values from the official code, in every form; counts; checkpoints; what does not fit.

mod checkpoints;
mod forms;
mod golden;

use crate::common::{fill_u, spec};
use candle_core::{DType, Device, Tensor};
use kernelscope::weights::TensorMap;
use kernelscope::zoo::Network;
use kernelscope::zoo::shiftwise::ShiftWiseConfig;

fn config(network: &Network) -> ShiftWiseConfig {
    let config: &ShiftWiseConfig = network.spec().config.downcast_ref().unwrap();
    config.clone()
}

/// 1 where a small kernel is kept, by the mask of the golden files: one for all paths of a block.
fn mask(layer: &str, count: usize, density: f64) -> Tensor {
    let kept = fill_u(&format!("mask:{layer}.LoRAs.0.weight"), count);
    let kept: Vec<f32> = kept.iter().map(|&u| f32::from(u8::from(f64::from(u) < density))).collect();
    Tensor::from_vec(kept, (count, 1, 1, 1), &Device::Cpu).unwrap()
}

/// The weights with small kernels pruned in all paths.
fn pruned(tensors: &TensorMap, density: f64) -> TensorMap {
    let prune = |(name, tensor): (&String, &Tensor)| {
        let tensor = match name.split_once(".LoRAs.") {
            Some((layer, _)) => {
                let mask = mask(layer, tensor.dims()[0], density).to_dtype(tensor.dtype()).unwrap();
                tensor.broadcast_mul(&mask).unwrap()
            }
            None => tensor.clone(),
        };
        (name.clone(), tensor)
    };
    tensors.iter().map(prune).collect()
}

const SMALL: [&str; 4] = ["depths=1,1,2,1", "dims=16,24,32,40", "classes=10", "drop_path=0"];

/// A network whose values follow from the parameters' names.
fn filled(name: &str, overrides: &[&str], dtype: DType) -> Network {
    crate::common::filled(spec(name, overrides), dtype)
}
