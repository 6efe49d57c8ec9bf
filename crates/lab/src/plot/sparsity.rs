//! How much is left of a pruned network: densities, and kept groups per channel.

use plotters::prelude::DrawingBackend;

use super::axis::{Axis, Panel};
use super::colormap::{OKABE_ITO, Rgb, ink};
use super::legend::{Key, Legend, marker};
use super::pen::{Align, Pen, Point, Type};
use super::{Figure, check, fonts, theme};
use crate::Result;
use kernelscope::analysis::report::{Granularity, GroupHistogram, SparsityReport};

/// Height of a bar's row in figure pixels.
const ROW: f64 = 21.0;
/// Most width that names take in figure pixels.
const MOST_NAME: f64 = 430.0;
/// The longest text beside a bar.
const WIDEST: &str = "100.0 / 100.0 %";
/// Most layers in a figure.
const MOST_LAYERS: usize = 1000;
/// Size of a histogram's panel, its labels included.
const PANEL: Point = (448.0, 290.0);

const ENTRIES: Rgb = OKABE_ITO[0];
const GROUPS: Rgb = OKABE_ITO[2];
const SUM: Rgb = OKABE_ITO[1];

/// The density of every layer as a bar, with a mark, and a second number, for that of the sum of parallel kernels.
#[derive(Debug, Clone, PartialEq)]
pub struct DensityBars {
    /// The report; at most 1000 layers.
    pub report: SparsityReport,
}

/// A share as percent.
fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

impl DensityBars {
    fn legend(&self) -> Legend {
        let has = |granularity| self.report.layers.iter().any(|layer| layer.granularity == granularity);
        let mut entries = Vec::new();
        if has(Granularity::Entries) {
            entries.push((Key::Patch(ENTRIES), "weights".to_owned()));
        }
        if has(Granularity::Groups) {
            entries.push((Key::Patch(GROUPS), "groups (n × n kernels)".to_owned()));
        }
        if self.report.merged.iter().any(|sum| sum.paths.len() > 1) {
            entries.push((Key::Marker(3, SUM), "sum of the parallel kernels".to_owned()));
        }
        Legend::new(entries, theme::WIDTH - 2.0 * theme::MARGIN)
    }

    fn check(&self) -> Result<()> {
        check::not_empty("SparsityReport.layers", &self.report.layers)?;
        check::count("SparsityReport.layers.len()", self.report.layers.len(), 1, MOST_LAYERS)?;
        for layer in &self.report.layers {
            check::range("LayerSparsity.density", layer.density, 0.0, 1.0)?;
        }
        for sum in &self.report.merged {
            check::range("MergedKernel.density", sum.density, 0.0, 1.0)?;
        }
        Ok(())
    }
}

impl Figure for DensityBars {
    fn size(&self) -> (u32, u32) {
        let bars = ROW * self.report.layers.len() as f64;
        theme::size(2.0 * theme::MARGIN + theme::TITLE_HEIGHT + self.legend().height + 10.0 + bars + 2.0 * theme::LINE)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        self.check()?;
        let room = theme::WIDTH - 2.0 * theme::MARGIN;
        let overall = self.report.totals.last().map_or(String::new(), |t| format!(", {} in all", percent(t.density)));
        let title = fonts::shorten(&format!("Density of {}{overall}", self.report.model), theme::TITLE_EM, room - 10.0);
        pen.text(&title, (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;
        let legend = self.legend();
        let top = theme::MARGIN + theme::TITLE_HEIGHT;
        legend.draw(pen, (theme::MARGIN, top))?;
        let top = top + legend.height + 10.0;

        let short = |name: &str| name.strip_suffix(".weight").unwrap_or(name).to_owned();
        let width = |text: &str| fonts::measure(text, theme::EM);
        let layers = &self.report.layers;
        let names = layers.iter().map(|layer| width(&short(&layer.name))).fold(0.0, f64::max).min(MOST_NAME);
        let panel = Panel {
            x: Axis::linear(0.0, 100.0, 5, "kept (%)"),
            y: Axis { low: 0.0, high: 1.0, ticks: Vec::new(), label: String::new() },
            upper_left: (theme::MARGIN + names + 12.0, top),
            lower_right: (theme::WIDTH - theme::MARGIN - width(WIDEST) - 12.0, top + ROW * layers.len() as f64),
        };
        panel.draw(pen)?;
        for (index, layer) in layers.iter().enumerate() {
            let y = top + (index as f64 + 0.5) * ROW;
            let name = fonts::shorten(&short(&layer.name), theme::EM, names + 0.5);
            pen.text(&name, (panel.upper_left.0 - 9.0, y), Type::label(Align::Right))?;
            let color = if layer.granularity == Granularity::Groups { GROUPS } else { ENTRIES };
            let end = panel.at(100.0 * layer.density, 0.0).0;
            pen.rect((panel.upper_left.0, y - ROW * 0.34), (end, y + ROW * 0.34), ink(color))?;
            let sum = self.report.merged.iter().find(|sum| sum.paths.len() > 1 && sum.paths.contains(&layer.name));
            let mut text = percent(layer.density);
            if let Some(sum) = sum {
                marker(pen, 3, (panel.at(100.0 * sum.density, 0.0).0, y), 5.5, SUM)?;
                text = format!("{:.1} / {}", 100.0 * layer.density, percent(sum.density));
            }
            pen.text(&text, (theme::WIDTH - theme::MARGIN, y), Type::label(Align::Right))?;
        }
        panel.draw_axes(pen)
    }
}

/// Histograms of how many of a channel's groups are kept by at least one path, one per stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptGroupHistograms {
    /// One to eight histograms.
    pub histograms: Vec<GroupHistogram>,
}

impl KeptGroupHistograms {
    fn check(&self) -> Result<()> {
        check::not_empty("KeptGroupHistograms.histograms", &self.histograms)?;
        check::count("KeptGroupHistograms.histograms.len()", self.histograms.len(), 1, 8)?;
        for histogram in &self.histograms {
            check::length("GroupHistogram.channels", histogram.channels.len(), histogram.groups + 1)?;
        }
        Ok(())
    }
}

/// Name of a stage.
pub(super) fn stage_name(stage: Option<usize>) -> String {
    stage.map_or("outside the stages".to_owned(), |stage| format!("stage {stage}"))
}

impl Figure for KeptGroupHistograms {
    fn size(&self) -> (u32, u32) {
        let rows = self.histograms.len().div_ceil(2) as f64;
        theme::size(2.0 * theme::MARGIN + theme::TITLE_HEIGHT + rows * (PANEL.1 + theme::LINE + 10.0))
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        self.check()?;
        pen.text("Kept groups per channel", (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;
        for (index, histogram) in self.histograms.iter().enumerate() {
            let left = theme::MARGIN + (index % 2) as f64 * (PANEL.0 + 24.0);
            let y = theme::MARGIN + theme::TITLE_HEIGHT + (index / 2) as f64 * (PANEL.1 + theme::LINE + 10.0);
            let layers = if histogram.layers == 1 { "layer" } else { "layers" };
            let all = histogram.channels.iter().sum::<u64>();
            let title = format!(
                "{}: {} groups, {all} channels in {} {layers}",
                stage_name(histogram.stage),
                histogram.groups,
                histogram.layers
            );
            let at = (left, y + theme::LINE / 2.0);
            pen.text(&fonts::shorten(&title, theme::EM, PANEL.0), at, Type::label(Align::Left).bold())?;
            let shares: Vec<f64> = histogram.channels.iter().map(|&n| 100.0 * n as f64 / all.max(1) as f64).collect();
            let highest = shares.iter().copied().fold(1.0, f64::max);
            let step = histogram.groups.div_ceil(12).max(1);
            let ticks = (0..=histogram.groups).step_by(step).map(|n| (n as f64, n.to_string())).collect();
            let x = Axis { low: -0.6, high: histogram.groups as f64 + 0.6, ticks, label: "kept groups".to_owned() };
            let upper = (left, y + theme::LINE);
            let lower = (left + PANEL.0, y + theme::LINE + PANEL.1);
            let panel = Panel::within(x, Axis::rounded(0.0, highest, 5, "channels (%)"), upper, lower);
            panel.draw(pen)?;
            for (kept, &share) in shares.iter().enumerate() {
                let (a, b) = (panel.at(kept as f64 - 0.38, share), panel.at(kept as f64 + 0.38, 0.0));
                if share > 0.0 {
                    pen.rect(a, b, ink(ENTRIES))?;
                }
            }
            panel.draw_axes(pen)?;
        }
        Ok(())
    }
}
