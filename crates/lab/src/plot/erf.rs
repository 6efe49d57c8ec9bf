//! Effective receptive fields as heat maps.

use plotters::prelude::DrawingBackend;
use plotters::style::RGBAColor;

use super::axis::{Axis, Panel, number};
use super::colormap::{BAR_HEIGHT, ColorBar, Colormap, Rgb, color_bar, ink};
use super::pen::{Align, Pen, Point, Stroke, Type};
use super::raster::{Raster, pool};
use super::{Figure, check, fonts, theme};
use crate::Result;
use kernelscope::analysis::erf::contour;
use kernelscope::analysis::report::{AreaRatio, ErfMap};

/// Largest side of an embedded heat map; larger maps are averaged down.
pub(super) const RASTER_LIMIT: usize = 1024;
/// Most maps in one figure.
pub const MOST_MAPS: usize = 12;
/// Longest side of the averaged map in which contours are searched: in a finer one they would follow single pixels.
pub const CONTOUR_SIDE: usize = 48;
/// Space between cells in figure pixels.
const GAP: f64 = 16.0;
/// Colors of the squares, light enough for the dark end of the color map.
const SQUARES: [Rgb; 6] =
    [[86, 180, 233], [0, 200, 150], [240, 228, 66], [255, 255, 255], [255, 150, 60], [230, 160, 200]];

/// Rim of the squares.
const RIM: RGBAColor = RGBAColor(20, 14, 54, 0.55);

/// How contributions become colors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ErfScale {
    /// `log10(A + 1)`, relative to its maximum.
    Log,
    /// `A`, relative to its maximum.
    Linear,
    /// `A` relative to its maximum, raised to this exponent, which is positive; below 1 it lifts small contributions.
    Power(f64),
}

impl ErfScale {
    /// What the colors mean.
    pub fn label(self) -> String {
        match self {
            Self::Log => "contribution, log10(A + 1), relative to maximum".to_owned(),
            Self::Linear => "contribution A, relative to maximum".to_owned(),
            Self::Power(gamma) => format!("contribution A relative to maximum, to the power of {}", number(gamma)),
        }
    }

    /// The largest transferred contribution, by which [`ErfScale::apply`] divides; 0 if nothing contributes.
    pub fn peak(self, contribution: &[f32]) -> f64 {
        contribution.iter().map(|&value| self.logged(value)).fold(0.0, f64::max)
    }

    /// The values between 0 and 1 that are colored, relative to a peak: the map's own ([`ErfScale::peak`]), or one that
    /// several maps share so that their colors compare.
    pub fn apply(self, contribution: &[f32], peak: f64) -> Vec<f64> {
        let exponent = if let Self::Power(gamma) = self { gamma } else { 1.0 };
        let relative = |value| if peak > 0.0 { self.logged(value) / peak } else { 0.0 };
        contribution.iter().map(|&value| relative(value).powf(exponent)).collect()
    }

    fn logged(self, value: f32) -> f64 {
        if self == Self::Log { f64::from(value).ln_1p() } else { f64::from(value) }
    }
}

/// Effective receptive fields side by side, three to a row, with the centered squares that hold given shares of the
/// contribution.
#[derive(Debug, Clone, PartialEq)]
pub struct ErfFigure {
    /// One to [`MOST_MAPS`] maps, each with the squares to outline and list below it.
    pub maps: Vec<(ErfMap, Vec<AreaRatio>)>,
    /// How contributions become colors.
    pub scale: ErfScale,
    /// Whether colors are relative to the largest contribution of all maps; otherwise each map has its own maximum.
    pub shared_range: bool,
    /// Colors, between 0 and 1, along which contours are drawn.
    pub contours: Vec<f64>,
}

/// Where the parts of the figure lie.
struct Layout {
    columns: usize,
    cell: (f64, f64),
    map: f64,
    rows: usize,
}

/// The line below a map for one threshold.
fn caption(ratio: &AreaRatio) -> String {
    let threshold = format!("t = {} %", number(ratio.threshold * 100.0));
    match (ratio.side, ratio.ratio) {
        (None, _) => format!("{threshold}: not reached"),
        (Some(side), None) => format!("{threshold}: {side} px"),
        (Some(side), Some(ratio)) => format!("{threshold}: {side} px, r = {:.1} %", ratio * 100.0),
    }
}

/// The heat map as an image, at most `limit` pixels on a side.
pub(super) fn heat(map: &ErfMap, scale: ErfScale, peak: f64, limit: usize) -> Result<Raster> {
    let values = scale.apply(&map.contribution, peak);
    let (width, height, pooled) = pool(&values, map.width, map.height, limit);
    Raster::new(width, height, pooled.into_iter().map(|value| Colormap::Magma.at(value)))
}

impl ErfFigure {
    /// Maps with their squares, each in colors of its own range, without contours.
    pub fn new(maps: Vec<(ErfMap, Vec<AreaRatio>)>, scale: ErfScale) -> Self {
        ErfFigure { maps, scale, shared_range: false, contours: Vec::new() }
    }

    /// The contribution that has the brightest color of a map.
    fn peak(&self, map: &ErfMap) -> f64 {
        let of = |map: &ErfMap| self.scale.peak(&map.contribution);
        if self.shared_range { self.maps.iter().map(|(map, _)| of(map)).fold(0.0, f64::max) } else { of(map) }
    }

    /// Lines along which the colors cross the levels, in shares of the map.
    fn contour_lines(&self, map: &ErfMap) -> Vec<(usize, [(f32, f32); 2])> {
        let values = self.scale.apply(&map.contribution, self.peak(map));
        let (width, height, pooled) = pool(&values, map.width, map.height, CONTOUR_SIDE);
        let share = |(x, y): (f32, f32)| (x / width as f32, y / height as f32);
        let levels = self.contours.iter().enumerate();
        let lines =
            |(order, level)| contour(&pooled, width, level).into_iter().map(move |line| (order, line.map(share)));
        levels.map(|(order, &level)| (order, level)).flat_map(lines).collect()
    }

    fn layout(&self) -> Layout {
        let columns = self.maps.len().clamp(1, 3);
        let rows = self.maps.len().div_ceil(columns);
        let cell = (theme::WIDTH - 2.0 * theme::MARGIN - GAP * (columns - 1) as f64) / columns as f64;
        let tallest = self.maps.iter().map(|(map, _)| map.height as f64 / map.width.max(1) as f64).fold(0.1, f64::max);
        // Tick texts, axis label and the overhang of the last tick beside the map; one or two maps need not be huge.
        let map = (cell - 92.0).min(480.0).min(560.0 / tallest);
        let lines = self.maps.iter().map(|(_, ratios)| ratios.len()).max().unwrap_or(0);
        let height =
            2.0 * theme::LINE + 11.0 + map * tallest + 5.0 + 2.0 * theme::LINE + 6.0 + lines as f64 * theme::LINE;
        Layout { columns, cell: (cell, height + 14.0), map, rows }
    }

    fn check(&self) -> Result<()> {
        check::not_empty("ErfFigure.maps", &self.maps)?;
        check::count("ErfFigure.maps.len()", self.maps.len(), 1, MOST_MAPS)?;
        if let ErfScale::Power(gamma) = self.scale {
            check::range("ErfFigure.scale", gamma, f64::MIN_POSITIVE, 100.0)?;
        }
        for &level in &self.contours {
            check::range("ErfFigure.contours", level, 0.0, 1.0)?;
        }
        for (map, ratios) in &self.maps {
            check::count("ErfMap.height", map.height, 1, 65_536)?;
            check::count("ErfMap.width", map.width, 1, 65_536)?;
            check::length("ErfMap.contribution", map.contribution.len(), map.height * map.width)?;
            for &value in &map.contribution {
                check::range("ErfMap.contribution", f64::from(value), 0.0, f64::from(f32::MAX))?;
            }
            for ratio in ratios {
                check::range("AreaRatio.threshold", ratio.threshold, 0.0, 1.0)?;
            }
        }
        Ok(())
    }

    fn cell<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, index: usize, at: Point, layout: &Layout) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let Some((map, ratios)) = self.maps.get(index) else { return Ok(()) };
        let (left, mut y) = (at.0 + (layout.cell.0 - layout.map - 92.0) / 2.0 + 68.0, at.1);
        let room = layout.cell.0 - 68.0;
        for (line, bold) in [(map.model.clone(), true), (where_probed(map), false)] {
            let set = Type::label(Align::Left);
            let text = fonts::shorten(&line, theme::EM, room - if bold { 24.0 } else { 0.0 });
            pen.text(&text, (left, y + theme::LINE / 2.0), if bold { set.bold() } else { set })?;
            y += theme::LINE;
        }
        let (width, height) = (map.width as f64, map.height as f64);
        let shown = layout.map * height / width;
        let mut vertical = Axis::linear(0.0, height, 4, "y (pixels)");
        // Rows count downwards.
        (vertical.low, vertical.high) = (height, 0.0);
        let panel = Panel {
            x: Axis::linear(0.0, width, 4, "x (pixels)"),
            y: vertical,
            upper_left: (left, y + 11.0),
            lower_right: (left + layout.map, y + 11.0 + shown),
        };
        // More than two pixels per figure pixel would only make the file larger.
        let limit = RASTER_LIMIT.min((2.0 * layout.map.max(shown)) as usize);
        pen.image(&heat(map, self.scale, self.peak(map), limit)?, panel.upper_left, panel.lower_right)?;
        for (order, line) in self.contour_lines(map) {
            let color = SQUARES.get(order % SQUARES.len()).copied().unwrap_or_default();
            let [a, b] = line.map(|(x, y)| panel.at(f64::from(x) * width, f64::from(y) * height));
            pen.line(a, b, Stroke { color: ink(color), width: 1.0 })?;
        }
        panel.draw_axes(pen)?;
        let mut line = panel.lower_right.1 + 5.0 + 2.5 * theme::LINE + 6.0;
        for (order, ratio) in ratios.iter().enumerate() {
            let color = SQUARES.get(order % SQUARES.len()).copied().unwrap_or_default();
            let stroke = Stroke { color: ink(color), width: 1.5 };
            if let Some(side) = ratio.side.filter(|&side| side <= map.width.max(map.height)) {
                // The square's middle is the pixel just past the middle of an even image.
                let start = |length: usize| (length / 2) as f64 - side.saturating_sub(1) as f64 / 2.0;
                let (column, row) = (start(map.width).max(0.0).floor(), start(map.height).max(0.0).floor());
                let end = ((column + side as f64).min(width), (row + side as f64).min(height));
                let (a, b) = (panel.at(column, row), panel.at(end.0, end.1));
                // A dark rim keeps the line visible on the bright end of the color map.
                pen.frame(a, b, Stroke { color: RIM, width: 3.0 })?;
                pen.frame(a, b, stroke)?;
            }
            let key = (left, line - 8.0);
            pen.rect(key, (key.0 + 16.0, key.1 + 16.0), ink(Colormap::Magma.at(0.12)))?;
            pen.frame((key.0 + 4.0, key.1 + 4.0), (key.0 + 12.0, key.1 + 12.0), stroke)?;
            let text = fonts::shorten(&caption(ratio), theme::EM, room - 24.0);
            pen.text(&text, (left + 24.0, line), Type::label(Align::Left))?;
            line += theme::LINE;
        }
        Ok(())
    }
}

/// Second line above a map.
fn where_probed(map: &ErfMap) -> String {
    let images = if map.images == 1 { "image" } else { "images" };
    format!("stage {}, {} {images}", map.stage, map.images)
}

impl Figure for ErfFigure {
    fn size(&self) -> (u32, u32) {
        let layout = self.layout();
        theme::size(2.0 * theme::MARGIN + theme::TITLE_HEIGHT + layout.rows as f64 * layout.cell.1 + BAR_HEIGHT)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        self.check()?;
        let layout = self.layout();
        pen.text("Effective receptive field", (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;
        let top = theme::MARGIN + theme::TITLE_HEIGHT;
        for index in 0..self.maps.len() {
            let x = theme::MARGIN + (index % layout.columns) as f64 * (layout.cell.0 + GAP);
            let y = top + (index / layout.columns) as f64 * layout.cell.1;
            self.cell(pen, index, (x, y), &layout)?;
        }
        let bar = ColorBar { map: Colormap::Magma, low: 0.0, high: 1.0, label: self.scale.label() };
        let width = 440.0;
        let at = ((theme::WIDTH - width) / 2.0, top + layout.rows as f64 * layout.cell.1);
        color_bar(pen, &bar, at, width)
    }
}
