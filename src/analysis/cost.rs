//! Costs per layer: parameters, multiply-adds and activation memory; and the papers' tables of costs.

pub mod tables;

use crate::Result;
use crate::nn::{FeatureShape, Params};
use crate::zoo::Network;
use serde::Serialize;
use std::collections::HashMap;

/// Costs of one layer for one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerCost {
    /// Module path.
    pub path: String,
    /// Kind of layer.
    pub kind: String,
    /// Output shape.
    pub output: FeatureShape,
    /// Parameters, angles included.
    pub params: usize,
    /// Multiply-adds, every tap counted at every output.
    pub macs: u64,
    /// Bytes of the output in single precision.
    pub activation_bytes: u64,
}

/// Costs of a whole network for one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CostReport {
    /// Name of the network.
    pub model: String,
    /// Height and width of the image.
    pub size: (usize, usize),
    /// Layers in order of execution.
    pub layers: Vec<LayerCost>,
    /// Parameters, angles included.
    pub params: usize,
    /// Angles among the parameters.
    pub theta: usize,
    /// Multiply-adds.
    pub macs: u64,
    /// Bytes of all outputs together: what training keeps.
    pub activation_bytes: u64,
}

/// Computes the costs of a network at an image size, without running it.
///
/// # Errors
/// If the size does not fit the network.
pub fn costs(network: &Network, height: usize, width: usize) -> Result<CostReport> {
    let trace = network.trace(height, width)?;
    let params = params_per_module(network.params());
    let layers: Vec<LayerCost> = trace
        .layers
        .into_iter()
        .map(|layer| LayerCost {
            params: params.get(&layer.path).copied().unwrap_or(0),
            activation_bytes: layer.output.values() * 4,
            path: layer.path,
            kind: layer.kind,
            output: layer.output,
            macs: layer.macs,
        })
        .collect();
    Ok(CostReport {
        model: network.spec().name.clone(),
        size: (height, width),
        params: network.params().count(),
        theta: network.params().count_theta(),
        macs: layers.iter().map(|l| l.macs).sum(),
        activation_bytes: layers.iter().map(|l| l.activation_bytes).sum(),
        layers,
    })
}

/// Number of parameters directly in each module.
fn params_per_module(params: &Params) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for (name, param) in params.iter().filter(|(_, p)| p.kind.counted()) {
        let module = name.rsplit_once('.').map_or("", |(module, _)| module);
        *counts.entry(module.to_string()).or_insert(0) += param.var.elem_count();
    }
    counts
}
