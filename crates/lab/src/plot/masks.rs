//! Masks: which taps are kept, and how masks change over training.

use plotters::prelude::DrawingBackend;

use super::axis::{Axis, Panel};
use super::colormap::{BAR_HEIGHT, ColorBar, Colormap, Rgb, color_bar, ink, series};
use super::legend::{DASH, Key, Legend};
use super::pen::{Align, Pen, Point, Stroke, Type};
use super::raster::Raster;
use super::{Figure, check, fonts, theme};
use crate::Result;
use kernelscope::analysis::report::{KeptTaps, MaskHistory, MaskPoint};

/// Most layers in a figure.
const MOST_LAYERS: usize = 64;
/// Taps: panels per row, the space between them, and the largest side.
const COLUMNS: usize = 4;
const GAP: f64 = 18.0;
const MOST_SIDE: usize = 4096;
/// Height of the diagrams of [`MaskCurves`].
const PANEL_HEIGHT: f64 = 380.0;
/// Color of the legend's keys for line styles.
const NEUTRAL: Rgb = [90, 90, 90];

/// Which taps of large kernels are kept, averaged over the channels, one map per layer.
#[derive(Debug, Clone, PartialEq)]
pub struct TapShares {
    /// Title.
    pub title: String,
    /// One to 64 layers.
    pub layers: Vec<KeptTaps>,
}

impl TapShares {
    fn cell() -> f64 {
        (theme::WIDTH - 2.0 * theme::MARGIN - GAP * (COLUMNS - 1) as f64) / COLUMNS as f64
    }

    fn row_height() -> f64 {
        2.0 * theme::LINE + Self::cell() + 12.0
    }

    fn check(&self) -> Result<()> {
        check::not_empty("TapShares.layers", &self.layers)?;
        check::count("TapShares.layers.len()", self.layers.len(), 1, MOST_LAYERS)?;
        for layer in &self.layers {
            check::count("KeptTaps.height", layer.height, 1, MOST_SIDE)?;
            check::count("KeptTaps.width", layer.width, 1, MOST_SIDE)?;
            check::length("KeptTaps.share", layer.share.len(), layer.height * layer.width)?;
            for share in layer.share.iter().flatten() {
                check::range("KeptTaps.share", f64::from(*share), 0.0, 1.0)?;
            }
        }
        Ok(())
    }
}

impl Figure for TapShares {
    fn size(&self) -> (u32, u32) {
        let rows = self.layers.len().div_ceil(COLUMNS) as f64;
        theme::size(2.0 * theme::MARGIN + theme::TITLE_HEIGHT + rows * Self::row_height() + BAR_HEIGHT)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        self.check()?;
        let (cell, top) = (Self::cell(), theme::MARGIN + theme::TITLE_HEIGHT);
        let title = fonts::shorten(&self.title, theme::TITLE_EM, theme::WIDTH - 2.0 * theme::MARGIN - 10.0);
        pen.text(&title, (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;
        for (index, layer) in self.layers.iter().enumerate() {
            let x = theme::MARGIN + (index % COLUMNS) as f64 * (cell + GAP);
            let y = top + (index / COLUMNS) as f64 * Self::row_height();
            let name = fonts::shorten(layer.path.trim_end_matches(".large_kernel"), theme::EM, cell);
            pen.text(&name, (x, y + theme::LINE / 2.0), Type::label(Align::Left))?;
            let shares: Vec<f64> = layer.share.iter().flatten().map(|share| f64::from(*share)).collect();
            let mean = 100.0 * shares.iter().sum::<f64>() / shares.len().max(1) as f64;
            let size = format!("{} × {}, {mean:.1} % kept", layer.height, layer.width);
            pen.text(&size, (x, y + 1.5 * theme::LINE), Type::label(Align::Left))?;
            let color = |share: &Option<f32>| share.map_or(theme::NO_TAP, |s| Colormap::Viridis.at(f64::from(s)));
            let raster = Raster::new(layer.width, layer.height, layer.share.iter().map(color))?;
            let pixel = cell / layer.height.max(layer.width) as f64;
            let (width, height) = (pixel * layer.width as f64, pixel * layer.height as f64);
            let corner = (x + (cell - width) / 2.0, y + 2.0 * theme::LINE + (cell - height) / 2.0);
            let opposite = (corner.0 + width, corner.1 + height);
            pen.image(&raster, corner, opposite)?;
            pen.frame(corner, opposite, Stroke { color: theme::AXIS, width: 0.7 })?;
        }
        let y = top + self.layers.len().div_ceil(COLUMNS) as f64 * Self::row_height();
        let label = "share of the channels that keep the tap".to_owned();
        let width = 440.0;
        let left = (theme::WIDTH - width) / 2.0;
        color_bar(pen, &ColorBar { map: Colormap::Viridis, low: 0.0, high: 1.0, label }, (left, y), width)?;
        if self.layers.iter().any(|layer| layer.share.contains(&None)) {
            let legend = Legend::new([(Key::Patch(theme::NO_TAP), "no tap".to_owned())], 140.0);
            legend.draw(pen, (left + width + 40.0, y - 2.0))?;
        }
        Ok(())
    }
}

/// Density, density of the sum of the paths, and share of the units that were kept at least once, in percent over the
/// steps of training; one color per curve.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskCurves {
    /// One to 14 curves, each with at least one point; usually one per stage.
    pub curves: Vec<MaskHistory>,
}

type Getter = fn(&MaskPoint) -> Option<f64>;

const DENSITY: Getter = |point| Some(point.density);
const MERGED: Getter = |point| point.merged_density;
const EXPLORED: Getter = |point| point.explored;

fn pairs(curve: &MaskHistory, get: Getter) -> Vec<Point> {
    curve.points.iter().filter_map(|point| Some((point.step as f64, 100.0 * get(point)?))).collect()
}

impl MaskCurves {
    fn has(&self, get: Getter) -> bool {
        self.curves.iter().any(|curve| !pairs(curve, get).is_empty())
    }

    /// Whether the sum of the paths ever differs from a path: where there is one path, it never does.
    fn has_sums(&self) -> bool {
        let differs = |point: &MaskPoint| point.merged_density.is_some_and(|sum| (sum - point.density).abs() > 1e-9);
        self.curves.iter().flat_map(|curve| &curve.points).any(differs)
    }

    fn legend(&self) -> Legend {
        let curves = self.curves.iter().enumerate().map(|(i, curve)| (Key::Patch(series(i)), curve.label.clone()));
        let mut entries: Vec<_> = curves.collect();
        if self.has_sums() {
            entries.push((Key::Line(NEUTRAL), "each path".to_owned()));
            entries.push((Key::Dashes(NEUTRAL), "sum of the paths".to_owned()));
        }
        Legend::new(entries, theme::WIDTH - 2.0 * theme::MARGIN)
    }

    fn check(&self) -> Result<()> {
        check::not_empty("MaskCurves.curves", &self.curves)?;
        check::count("MaskCurves.curves.len()", self.curves.len(), 1, 14)?;
        for curve in &self.curves {
            check::not_empty("MaskHistory.points", &curve.points)?;
            for point in &curve.points {
                for share in [DENSITY(point), MERGED(point), EXPLORED(point)].into_iter().flatten() {
                    check::range("MaskPoint", share, 0.0, 1.0)?;
                }
            }
        }
        Ok(())
    }

    /// Axes around the values of these getters.
    fn panel(&self, getters: &[Getter], label: &str, (a, b): (Point, Point)) -> Panel {
        let points = || self.curves.iter().flat_map(|curve| getters.iter().flat_map(|get| pairs(curve, *get)));
        let last = points().map(|p| p.0).fold(1.0, f64::max);
        let (low, high) = points().map(|p| p.1).fold((100.0, 0.0), |(l, h): (f64, f64), y| (l.min(y), h.max(y)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 100.0) };
        let y = Axis::rounded(low, high, 6, label);
        let y = Axis::linear(y.low.max(0.0), y.high.min(100.0), 6, label);
        Panel::within(Axis::counts(last, 5, "optimizer steps"), y, a, b)
    }

    fn draw_series<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, panel: &Panel, get: Getter, dashed: bool) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        for (index, curve) in self.curves.iter().enumerate() {
            let points: Vec<Point> = pairs(curve, get).iter().map(|p| panel.at(p.0, p.1)).collect();
            let stroke = Stroke { color: ink(series(index)), width: 2.0 };
            match (points.as_slice(), dashed) {
                (&[only], _) => pen.disc(only, 3.5, stroke.color)?,
                (many, true) => pen.dashed(many, stroke, DASH)?,
                (many, false) => pen.polyline(many, stroke)?,
            }
        }
        Ok(())
    }
}

impl Figure for MaskCurves {
    fn size(&self) -> (u32, u32) {
        theme::size(2.0 * theme::MARGIN + theme::TITLE_HEIGHT + self.legend().height + 10.0 + PANEL_HEIGHT)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        self.check()?;
        let (left, right) = (theme::MARGIN, theme::WIDTH - theme::MARGIN);
        pen.text("Masks over training", (left, theme::MARGIN + 10.0), Type::title())?;
        let legend = self.legend();
        let top = theme::MARGIN + theme::TITLE_HEIGHT;
        legend.draw(pen, (left, top))?;
        let (top, middle) = (top + legend.height + 10.0, (left + right) / 2.0);
        let bottom = top + PANEL_HEIGHT;
        let panel = self.panel(&[DENSITY, MERGED], "kept (%)", ((left, top), (middle - 14.0, bottom)));
        panel.draw(pen)?;
        self.draw_series(pen, &panel, DENSITY, false)?;
        if self.has_sums() {
            self.draw_series(pen, &panel, MERGED, true)?;
        }
        let panel = self.panel(&[EXPLORED], "kept at least once (%)", ((middle + 14.0, top), (right, bottom)));
        panel.draw(pen)?;
        if self.has(EXPLORED) {
            return self.draw_series(pen, &panel, EXPLORED, false);
        }
        let (a, b) = (panel.upper_left, panel.lower_right);
        let at = ((a.0 + b.0) / 2.0, (a.1 + b.1) / 2.0);
        pen.rect((at.0 - 70.0, at.1 - 16.0), (at.0 + 70.0, at.1 + 16.0), theme::PAPER)?;
        pen.text("not recorded", at, Type::label(Align::Middle))
    }
}
