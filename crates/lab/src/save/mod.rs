//! Results of analyses as files: tensors as safetensors, tables as CSV.

use crate::Result;
use candle_core::{Device, Tensor};
use kernelscope::analysis::cost::CostReport;
use kernelscope::analysis::report::{AreaRatio, CategoryBias, ErfMap, LayerOrientation, ShapeBiasReport};
use kernelscope::weights::{self, TensorMap};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

mod sparsity;
mod table;

pub use sparsity::save as sparsity;
pub use table::table;

/// Writes `STEM.safetensors` (tensor `contribution`, (H, W)) and `STEM.csv` (area ratios).
///
/// # Errors
/// If a file cannot be written.
pub fn erf(stem: &Path, map: &ErfMap, ratios: &[AreaRatio]) -> Result<()> {
    let contribution = Tensor::from_slice(&map.contribution, (map.height, map.width), &Device::Cpu)?;
    let metadata = BTreeMap::from([
        ("model".to_string(), map.model.clone()),
        ("stage".to_string(), map.stage.to_string()),
        ("position".to_string(), format!("{},{}", map.position.0, map.position.1)),
        ("images".to_string(), map.images.to_string()),
    ]);
    let tensors = TensorMap::from_iter([("contribution".to_string(), contribution)]);
    weights::save(&stem.with_extension("safetensors"), &tensors, &metadata)?;
    table(&stem.with_extension("csv"), ratios)
}

/// One row per channel.
#[derive(Serialize)]
struct OrientationRow<'a> {
    layer: &'a str,
    channel: usize,
    built_degrees: Option<f64>,
    dominant_degrees: Option<f64>,
    anisotropy: f64,
    energy: f64,
}

/// Writes a table of every channel's orientation.
///
/// # Errors
/// If the file cannot be written.
pub fn orientations(path: &Path, layers: &[LayerOrientation]) -> Result<()> {
    let rows: Vec<OrientationRow> = layers
        .iter()
        .flat_map(|layer| {
            layer.channels.iter().enumerate().map(|(channel, c)| OrientationRow {
                layer: &layer.path,
                channel,
                built_degrees: c.built,
                dominant_degrees: c.dominant,
                anisotropy: c.anisotropy,
                energy: c.energy,
            })
        })
        .collect();
    table(path, &rows)
}

/// Writes a table of shape bias per category, the pooled value last.
///
/// # Errors
/// If the file cannot be written.
pub fn shape_bias(path: &Path, report: &ShapeBiasReport) -> Result<()> {
    let mut rows = report.categories.clone();
    rows.push(CategoryBias {
        category: "all".into(),
        conflicts: report.conflicts,
        shape_decisions: report.categories.iter().map(|c| c.shape_decisions).sum(),
        texture_decisions: report.categories.iter().map(|c| c.texture_decisions).sum(),
        shape_bias: report.shape_bias,
    });
    table(path, &rows)
}

/// One row per layer.
#[derive(Serialize)]
struct CostRow<'a> {
    layer: &'a str,
    kind: &'a str,
    channels: usize,
    height: usize,
    width: usize,
    params: usize,
    macs: u64,
    activation_bytes: u64,
}

/// Writes a table of costs per layer.
///
/// # Errors
/// If the file cannot be written.
pub fn costs(path: &Path, report: &CostReport) -> Result<()> {
    let rows: Vec<CostRow> = report
        .layers
        .iter()
        .map(|l| CostRow {
            layer: &l.path,
            kind: &l.kind,
            channels: l.output.channels,
            height: l.output.height,
            width: l.output.width,
            params: l.params,
            macs: l.macs,
            activation_bytes: l.activation_bytes,
        })
        .collect();
    table(path, &rows)
}
