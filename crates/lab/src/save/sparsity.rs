//! The report as CSV files.

use super::table::table;
use crate::Result;
use kernelscope::analysis::report::{Direction, Granularity, KeptShifts, SparsityReport};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct LayerLine<'a> {
    layer: &'a str,
    stage: Option<usize>,
    shape: String,
    granularity: Granularity,
    masked: bool,
    units: usize,
    kept: usize,
    density: f64,
    weights: usize,
    kept_weights: usize,
    macs: Option<u64>,
    effective_macs: Option<u64>,
}

#[derive(Serialize)]
struct MergedLine<'a> {
    layer: &'a str,
    stage: Option<usize>,
    paths: usize,
    granularity: Granularity,
    units: usize,
    kept: usize,
    density: f64,
}

#[derive(Serialize)]
struct HistogramLine {
    stage: Option<usize>,
    groups: usize,
    kept: usize,
    channels: u64,
    share: f64,
}

#[derive(Serialize)]
struct ShiftLine<'a> {
    layer: &'a str,
    stage: Option<usize>,
    direction: Direction,
    offset: i32,
    kept: u64,
    of: u64,
    share: f64,
}

/// Writes `sparsity.csv` (layers) and `sparsity-totals.csv` into a folder and, where there are parallel kernels,
/// `sparsity-merged.csv`, with shift-wise layers `sparsity-groups.csv` (histograms of kept groups), and where their shifts
/// are known `sparsity-shifts.csv` (how many of all channels' places at each shift are kept).
///
/// # Errors
/// If a file cannot be written.
pub fn save(folder: &Path, report: &SparsityReport) -> Result<()> {
    let layers: Vec<LayerLine> = report
        .layers
        .iter()
        .map(|l| LayerLine {
            layer: &l.name,
            stage: l.stage,
            shape: l.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x"),
            granularity: l.granularity,
            masked: l.masked,
            units: l.units,
            kept: l.kept,
            density: l.density,
            weights: l.weights,
            kept_weights: l.kept_weights,
            macs: l.macs,
            effective_macs: l.effective_macs,
        })
        .collect();
    table(&folder.join("sparsity.csv"), &layers)?;
    table(&folder.join("sparsity-totals.csv"), &report.totals)?;
    let merged: Vec<MergedLine> = report
        .merged
        .iter()
        .map(|m| MergedLine {
            layer: &m.path,
            stage: m.stage,
            paths: m.paths.len(),
            granularity: m.granularity,
            units: m.units,
            kept: m.kept,
            density: m.density,
        })
        .collect();
    if !merged.is_empty() {
        table(&folder.join("sparsity-merged.csv"), &merged)?;
    }
    let histograms: Vec<HistogramLine> = report
        .histograms
        .iter()
        .flat_map(|h| {
            let all: u64 = h.channels.iter().sum();
            h.channels.iter().enumerate().map(move |(kept, &channels)| HistogramLine {
                stage: h.stage,
                groups: h.groups,
                kept,
                channels,
                share: channels as f64 / all.max(1) as f64,
            })
        })
        .collect();
    if !histograms.is_empty() {
        table(&folder.join("sparsity-groups.csv"), &histograms)?;
    }
    let shifts: Vec<ShiftLine> = report.shifts.iter().flat_map(shift_lines).collect();
    if !shifts.is_empty() {
        table(&folder.join("sparsity-shifts.csv"), &shifts)?;
    }
    Ok(())
}

fn shift_lines(layer: &KeptShifts) -> impl Iterator<Item = ShiftLine<'_>> {
    let of = (layer.channels * layer.shuffles) as u64;
    layer.offsets.iter().enumerate().map(move |(place, &offset)| {
        let kept = layer.kept.iter().skip(place).step_by(layer.offsets.len()).map(|&kept| u64::from(kept)).sum();
        let share = kept as f64 / of.max(1) as f64;
        ShiftLine { layer: &layer.path, stage: layer.stage, direction: layer.direction, offset, kept, of, share }
    })
}
