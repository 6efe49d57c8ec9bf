//! The masks of a run over its training, by stage.

use super::stage_of;
use crate::analysis::report::{MaskHistory, MaskPoint};
use std::collections::BTreeMap;

/// Mean over the layers of each stage, one curve per stage, those of layers outside the stages last. Every layer counts
/// the same, whatever its size.
pub fn stage_means(history: &MaskHistory) -> Vec<MaskHistory> {
    let mut stages: BTreeMap<usize, BTreeMap<u64, Vec<&MaskPoint>>> = BTreeMap::new();
    for point in &history.points {
        let stage = stage_of(&point.layer).unwrap_or(usize::MAX);
        stages.entry(stage).or_default().entry(point.step).or_default().push(point);
    }
    let name = |stage| if stage == usize::MAX { super::OUTSIDE.to_string() } else { format!("stage {stage}") };
    stages
        .into_iter()
        .map(|(stage, steps)| {
            let label = name(stage);
            let point = |(step, points): (u64, Vec<&MaskPoint>)| MaskPoint {
                step,
                layer: label.clone(),
                density: mean(points.iter().map(|p| p.density)).unwrap_or(0.0),
                merged_density: mean(points.iter().filter_map(|p| p.merged_density)),
                explored: mean(points.iter().filter_map(|p| p.explored)),
            };
            MaskHistory { points: steps.into_iter().map(point).collect(), label }
        })
        .collect()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| (sum / count as f64).min(1.0))
}
