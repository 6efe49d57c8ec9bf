//! Tensors, networks and their costs.

use super::tables::{Table, grouped, percent, summary_table};
use super::{Show, Shown};
use candle_core::{DType, Tensor, Var};
use kernelscope::analysis::cost::{CostReport, costs};
use kernelscope::zoo::{ModelSpec, Network};
use kernelscope_lab::ablate::Summary;
use kernelscope_lab::plot::HeatMap;
use kernelscope_lab::train::{EpochReport, Evaluation};

/// Longest side of a tensor's picture in cells; longer sides are shown in steps.
const MOST_CELLS: usize = 96;
/// Tensors of at most this many values are written out.
const WRITTEN: usize = 16;

/// Smallest, mean and largest value and standard deviation; `None` without finite values.
fn statistics(values: &[f64]) -> Option<[f64; 4]> {
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let n = finite.len() as f64;
    if finite.is_empty() {
        return None;
    }
    let mean = finite.iter().sum::<f64>() / n;
    let variance = finite.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let (low, high) = finite.iter().fold((f64::MAX, f64::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    Some([low, mean, high, variance.sqrt()])
}

/// What a tensor is, in a line.
fn heading(tensor: &Tensor, values: &[f64]) -> String {
    let mut text = format!("Tensor {:?}, {}", tensor.dims(), tensor.dtype().as_str());
    if let Some([low, mean, high, deviation]) = statistics(values) {
        text += &format!(", min {low:.4}, mean {mean:.4}, max {high:.4}, deviation {deviation:.4}");
    }
    let bad = values.iter().filter(|v| !v.is_finite()).count();
    if bad > 0 {
        text += &format!(", {bad} not finite");
    }
    text
}

/// Number of values in the last two dimensions.
fn dims_of_plane(tensor: &Tensor) -> usize {
    tensor.dims().iter().rev().take(2).product()
}

/// The matrix of the last two dimensions, at the beginning of all others, in steps where it is large.
fn matrix(tensor: &Tensor, values: &[f64]) -> (usize, usize, Vec<f64>) {
    let dims = tensor.dims();
    let width = dims.last().copied().unwrap_or(1);
    let height = if dims.len() > 1 { dims[dims.len() - 2] } else { 1 };
    let step = |side: usize| side.div_ceil(MOST_CELLS).max(1);
    let (down, right) = (step(height), step(width));
    let rows = (0..height).step_by(down);
    let cells = rows.flat_map(|r| (0..width).step_by(right).map(move |c| r * width + c));
    let cells = cells.map(|i| values.get(i).copied().unwrap_or(f64::NAN)).collect();
    (height.div_ceil(down), width.div_ceil(right), cells)
}

impl Show for Tensor {
    fn shown(&self) -> Shown {
        let values = self.to_dtype(DType::F64).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1::<f64>());
        let values = match values {
            Ok(values) => values,
            Err(error) => return Shown::text(format!("Tensor {:?}: {error}", self.dims())),
        };
        let heading = heading(self, &values);
        if values.len() <= WRITTEN {
            return Shown::text(format!("{heading}\n{values:?}"));
        }
        let (height, width, cells) = matrix(self, &values);
        let planes = values.len() / dims_of_plane(self).max(1);
        let figure = HeatMap {
            title: heading.clone(),
            quantity: if planes > 1 { format!("value, first of {planes} planes") } else { "value".into() },
            height,
            width,
            signed: cells.iter().any(|&v| v < 0.0),
            values: cells,
            rows: Vec::new(),
            columns: Vec::new(),
            axes: Default::default(),
            written: false,
        };
        Shown::figure(&figure, heading)
    }
}

impl Show for Var {
    fn shown(&self) -> Shown {
        self.as_tensor().shown()
    }
}

/// Millions, or thousands of small numbers.
fn count(number: u64) -> String {
    if number >= 10_000_000 { format!("{:.2} M", number as f64 / 1e6) } else { grouped(number) }
}

impl Show for CostReport {
    fn shown(&self) -> Shown {
        let (height, width) = self.size;
        let title = format!(
            "{}: {} parameters, {} multiply-adds at {height}x{width}",
            self.model,
            grouped(self.params as u64),
            count(self.macs)
        );
        let mut table = Table::new(title, &["layer", "kind", "output", "parameters", "multiply-adds", "share"]);
        table.rows = self
            .layers
            .iter()
            .map(|layer| {
                let output = &layer.output;
                vec![
                    layer.path.clone(),
                    layer.kind.clone(),
                    format!("{} x {} x {}", output.channels, output.height, output.width),
                    grouped(layer.params as u64),
                    grouped(layer.macs),
                    percent(Some(layer.macs as f64 / self.macs.max(1) as f64)),
                ]
            })
            .collect();
        table.shown()
    }
}

impl Show for Network {
    fn shown(&self) -> Shown {
        let size = self.spec().preprocessing().size;
        match costs(self, size, size) {
            Ok(report) => report.shown(),
            Err(error) => Shown::text(format!("{}: {error}", self.spec().name)),
        }
    }
}

impl Show for ModelSpec {
    fn shown(&self) -> Shown {
        Shown::text(format!("{}\n{}", self.name, toml::to_string(&self.config).unwrap_or_default()))
    }
}

impl Show for Evaluation {
    fn shown(&self) -> Shown {
        let accuracy = percent(Some(self.accuracy));
        Shown::text(format!("accuracy {accuracy}, loss {:.4}, over {} images", self.loss, self.images))
    }
}

impl Show for EpochReport {
    fn shown(&self) -> Shown {
        let validation = self.validation.shown().plain;
        Shown::text(format!("epoch {}: training loss {:.4}; validation: {validation}", self.epoch, self.train_loss))
    }
}

impl Show for Vec<Summary> {
    fn shown(&self) -> Shown {
        summary_table("", self).shown()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn small_tensors_are_written_and_large_ones_drawn() {
        let small = Tensor::new(&[[1f32, 2.0], [3.0, -4.0]], &Device::Cpu).unwrap().shown();
        assert!(small.plain.contains("[2, 2]") && small.plain.contains("[1.0, 2.0, 3.0, -4.0]"), "{}", small.plain);
        let large = Tensor::arange(0f32, 2.0 * 3.0 * 200.0, &Device::Cpu).unwrap().reshape((2, 3, 200)).unwrap();
        let shown = large.shown();
        assert!(shown.plain.contains("mean 599.5"), "{}", shown.plain);
        let svg = shown.svg.unwrap();
        assert!(svg.contains("first of") && svg.contains("width=\"768\""), "{}", &svg[..200]);
        let values: Vec<f64> = (0..1200).map(f64::from).collect();
        let (height, width, cells) = matrix(&large, &values);
        assert_eq!((height, width, cells[1], cells[67]), (3, 67, 3.0, 200.0));
    }

    #[test]
    fn values_that_are_not_finite_are_counted() {
        let bad = Tensor::new(&[f32::NAN, 1.0], &Device::Cpu).unwrap().shown();
        assert!(bad.plain.contains("1 not finite"), "{}", bad.plain);
    }
}
