//! kernelscope's figures, and the results that are shown as one.

use super::tables::{Table, percent};
use super::{Show, Shown, beside};
use kernelscope::analysis::confusion::Confusion;
use kernelscope::analysis::erf::{THRESHOLDS, area_ratios};
use kernelscope::analysis::report::{
    AreaRatio, ErfMap, KernelLayer, KernelShape, LayerOrientation, MaskHistory, RunHistory, ShapeBiasReport,
    SparsityReport,
};
use kernelscope::analysis::shape_bias::HUMAN;
use kernelscope::analysis::sparsity::stage_means;
use kernelscope_lab::plot::{
    AblationLines, AblationRows, CostBars, DensityBars, ErfFigure, ErfScale, GroupMaps, HeatMap, ImageSheet,
    KeptGroupHistograms, KernelGrid, LossCurves, MaskCurves, OrientationHistogram, OrientedTaps, PolarOrientation,
    ShapeBiasFigure, ShiftMaps, TapShares,
};
use kernelscope_lab::report::{Inspection, kernel_grid, oriented_taps};

/// Figures show themselves; the text says what they are of.
macro_rules! figures {
    ($($figure:ty => $words:expr;)*) => {
        $(
            impl Show for $figure {
                fn shown(&self) -> Shown {
                    let words: fn(&$figure) -> String = $words;
                    Shown::figure(self, words(self))
                }
            }
        )*
    };
}

figures! {
    LossCurves => |f| f.runs.iter().map(history_text).collect::<Vec<_>>().join("\n\n");
    ErfFigure => |f| f.maps.iter().map(|(map, areas)| erf_text(map, areas)).collect::<Vec<_>>().join("\n");
    KernelGrid => |f| format!("{} kernels of {}", f.kernels.len(), f.layer.path);
    OrientedTaps => |f| format!("taps of {} oriented layers", f.layers.len());
    OrientationHistogram => |f| format!("orientations of the kernels of {} layers", f.layers.len());
    PolarOrientation => |f| format!("orientations of {} kernels", f.channels.len());
    ShapeBiasFigure => |f| f.reports.iter().map(bias_text).collect::<Vec<_>>().join("\n");
    TapShares => |f| format!("{}: {} layers", f.title, f.layers.len());
    MaskCurves => |f| format!("masks of {} runs over training", f.curves.len());
    GroupMaps => |f| format!("{}: kept groups of {} layers", f.title, f.layers.len());
    ShiftMaps => |f| format!("{}: kept shifts of {} layers", f.title, f.layers.len());
    DensityBars => |f| format!("densities of the layers of {}", f.report.model);
    KeptGroupHistograms => |f| format!("kept groups per channel, {} histograms", f.histograms.len());
    CostBars => |f| bars_text(&f.title, &f.unit, &f.rows);
    AblationRows => |f| rows_text(f);
    AblationLines => |f| format!("{}: {} over {}, {} lines", f.title, f.y, f.x, f.series.len());
    ImageSheet => |f| format!("{} images", f.images.len());
    HeatMap => |f| format!("{}: {} x {} values", f.title, f.height, f.width);
}

fn bars_text(title: &str, unit: &str, rows: &[(String, f64)]) -> String {
    let mut table = Table::new(title, &["", unit]);
    table.rows = rows.iter().map(|(name, value)| vec![name.clone(), format!("{value:.3}")]).collect();
    table.text()
}

fn rows_text(figure: &AblationRows) -> String {
    let mut table = Table::new(&figure.title, &["variant", "runs", &figure.quantity]);
    table.rows = figure
        .rows
        .iter()
        .map(|(name, point)| {
            let spread = point.std.map_or(String::new(), |std| format!(" ± {std:.1}"));
            vec![name.clone(), point.values.len().to_string(), format!("{:.1}{spread}", point.mean)]
        })
        .collect();
    table.text()
}

/// The epochs of a run as a table.
pub(crate) fn history_table(run: &RunHistory) -> Table {
    let mut table = Table::new(&run.label, &["epoch", "training loss", "validation loss", "accuracy"]);
    let number = |value: Option<f64>| value.map_or("–".into(), |v| format!("{v:.3}"));
    table.rows = run
        .points
        .iter()
        .map(|p| {
            vec![format!("{:.0}", p.epoch), format!("{:.3}", p.train_loss), number(p.val_loss), percent(p.val_accuracy)]
        })
        .collect();
    table
}

fn history_text(run: &RunHistory) -> String {
    history_table(run).text()
}

fn erf_text(map: &ErfMap, areas: &[AreaRatio]) -> String {
    let areas: Vec<String> = areas.iter().map(area_text).collect();
    format!(
        "{}, stage {}, {} images of {}x{}: {}",
        map.model,
        map.stage,
        map.images,
        map.height,
        map.width,
        areas.join(", ")
    )
}

fn area_text(area: &AreaRatio) -> String {
    let side = area.side.map_or("not reached".into(), |side| format!("{side} px ({})", percent(area.ratio)));
    format!("{:.0} % within {side}", 100.0 * area.threshold)
}

fn bias_text(report: &ShapeBiasReport) -> String {
    let bias = report.shape_bias.map_or("–".into(), |bias| format!("{bias:.3}"));
    let (shape, texture) = (percent(Some(report.fraction_shape)), percent(Some(report.fraction_texture)));
    format!("{}: shape bias {bias} (shape {shape}, texture {texture} of {} images)", report.model, report.images)
}

/// Receptive fields side by side, with their area ratios.
pub(crate) fn erf_figure(maps: &[ErfMap]) -> ErfFigure {
    let maps = maps.iter().map(|map| (map.clone(), area_ratios(map, &THRESHOLDS))).collect();
    ErfFigure::new(maps, ErfScale::Log)
}

impl Show for ErfMap {
    fn shown(&self) -> Shown {
        erf_figure(std::slice::from_ref(self)).shown()
    }
}

impl Show for Vec<ErfMap> {
    fn shown(&self) -> Shown {
        erf_figure(self).shown()
    }
}

impl Show for Vec<AreaRatio> {
    fn shown(&self) -> Shown {
        let mut table = Table::new("Area ratios", &["share of the contribution", "side / px", "r"]);
        table.rows = self
            .iter()
            .map(|area| {
                let side = area.side.map_or("–".into(), |side| side.to_string());
                vec![format!("{:.0} %", 100.0 * area.threshold), side, percent(area.ratio)]
            })
            .collect();
        table.shown()
    }
}

impl Show for RunHistory {
    fn shown(&self) -> Shown {
        LossCurves { runs: vec![self.clone()] }.shown()
    }
}

impl Show for Vec<RunHistory> {
    fn shown(&self) -> Shown {
        LossCurves { runs: self.clone() }.shown()
    }
}

impl Show for KernelLayer {
    fn shown(&self) -> Shown {
        kernel_grid(self).shown()
    }
}

impl Show for Vec<KernelLayer> {
    fn shown(&self) -> Shown {
        let mut table = Table::new("Depthwise kernels", &["layer", "channels", "kernel", "taps"]);
        table.rows = self
            .iter()
            .map(|layer| {
                let kernel = match &layer.shape {
                    KernelShape::Oriented { taps, theta } => {
                        let mut angles: Vec<f32> = theta.clone();
                        angles.sort_by(f32::total_cmp);
                        angles.dedup();
                        format!("oriented {taps}, {} directions", angles.len())
                    }
                    KernelShape::Dense { height, width } => format!("{height}x{width}"),
                };
                vec![layer.path.clone(), layer.channels.to_string(), kernel, layer.taps().to_string()]
            })
            .collect();
        let table = table.shown();
        match oriented_taps(self) {
            Some(taps) => beside(&[&table, &taps]),
            None => table,
        }
    }
}

impl Show for LayerOrientation {
    fn shown(&self) -> Shown {
        PolarOrientation { title: self.path.clone(), channels: self.channels.clone(), bins: BINS }.shown()
    }
}

/// Bins of 11.25 degrees, as in reports.
const BINS: usize = 16;

impl Show for Vec<LayerOrientation> {
    fn shown(&self) -> Shown {
        OrientationHistogram { layers: self.clone(), bins: BINS }.shown()
    }
}

impl Show for ShapeBiasReport {
    fn shown(&self) -> Shown {
        vec![self.clone()].shown()
    }
}

impl Show for Vec<ShapeBiasReport> {
    fn shown(&self) -> Shown {
        ShapeBiasFigure { reports: self.clone(), human: Some(HUMAN) }.shown()
    }
}

impl Show for MaskHistory {
    fn shown(&self) -> Shown {
        // One line per stage: the history has a point per layer.
        MaskCurves { curves: stage_means(self) }.shown()
    }
}

impl Show for SparsityReport {
    fn shown(&self) -> Shown {
        let mut table =
            Table::new(&self.model, &["part", "weights", "density", "parameters", "effective", "effective MACs"]);
        table.rows = self
            .totals
            .iter()
            .map(|total| {
                let number = super::tables::grouped;
                vec![
                    total.name.clone(),
                    number(total.weights),
                    percent(Some(total.density)),
                    number(total.parameters),
                    number(total.effective_parameters),
                    total.effective_macs.map_or("–".into(), number),
                ]
            })
            .collect();
        let table = table.shown();
        beside(&[&table, &DensityBars { report: self.clone() }])
    }
}

impl Show for Confusion {
    fn shown(&self) -> Shown {
        let n = self.classes.len();
        let figure = HeatMap {
            title: format!("Confusion matrix, {} correct", percent(self.accuracy())),
            quantity: "images".into(),
            height: n,
            width: n,
            values: self.counts.iter().map(|&count| count as f64).collect(),
            rows: self.classes.clone(),
            columns: self.classes.clone(),
            axes: ("label".into(), "answer".into()),
            signed: false,
            written: true,
        };
        let header: Vec<&str> =
            std::iter::once("label \\ answer").chain(self.classes.iter().map(String::as_str)).collect();
        let mut table = Table::new(&figure.title, &header);
        table.rows = (0..n)
            .map(|label| {
                let counts = (0..n).map(|answer| self.count(label, answer).to_string());
                std::iter::once(self.classes[label].clone()).chain(counts).collect()
            })
            .collect();
        Shown::figure(&figure, table.text())
    }
}

impl Show for Inspection {
    fn shown(&self) -> Shown {
        let erf = erf_figure(std::slice::from_ref(&self.erf));
        let histogram = OrientationHistogram { layers: self.orientations.clone(), bins: BINS };
        match &self.shape_bias {
            Some(bias) => beside(&[&self.costs, &erf, &histogram, bias]),
            None => beside(&[&self.costs, &erf, &histogram]),
        }
    }
}
