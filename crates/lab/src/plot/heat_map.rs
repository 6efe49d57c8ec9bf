//! A matrix of numbers as colored cells: a confusion matrix, a tensor.

use plotters::prelude::DrawingBackend;

use super::axis::number;
use super::colormap::{BAR_HEIGHT, ColorBar, Colormap, color_bar, ink};
use super::pen::{Align, Pen, Stroke, Type};
use super::raster::Raster;
use super::{Figure, check, fonts, theme};
use crate::Result;

/// Longest side of the colored cells in figure pixels.
const LONGEST: f64 = 560.0;
/// Cells at least this large have their value written in them, if the figure asks for it.
const WRITTEN: f64 = 40.0;
/// Most width that names take in figure pixels.
const MOST_NAME: f64 = 240.0;
/// Most rows or columns.
const MOST: usize = 4096;

/// Colored cells, row by row. Values that are not finite are gray.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// Title.
    pub title: String,
    /// Quantity and unit of the values, for the color bar.
    pub quantity: String,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values, row-major: `height * width` of them.
    pub values: Vec<f64>,
    /// Names of the rows; none at all, or one for each.
    pub rows: Vec<String>,
    /// Names of the columns; none at all, or one for each.
    pub columns: Vec<String>,
    /// What rows and columns are, for the axes; empty texts are left out.
    pub axes: (String, String),
    /// Whether zero is in the middle of the colors (blue below, red above) or the smallest value at their dark end.
    pub signed: bool,
    /// Whether large cells have their value written in them.
    pub written: bool,
}

impl HeatMap {
    /// Side of a cell in figure pixels.
    fn cell(&self) -> f64 {
        let most = if self.named() { 64.0 } else { 24.0 };
        (LONGEST / self.height.max(self.width).max(1) as f64).min(most)
    }

    fn named(&self) -> bool {
        !(self.rows.is_empty() && self.columns.is_empty())
    }

    /// Width of the row names.
    fn left(&self) -> f64 {
        let names = self.rows.iter().map(|name| fonts::measure(name, theme::EM)).fold(0.0, f64::max).min(MOST_NAME);
        let axis = if self.axes.0.is_empty() { 0.0 } else { theme::LINE };
        names + axis + if names > 0.0 { 10.0 } else { 0.0 }
    }

    /// Height of the column names, which read upwards.
    fn above(&self) -> f64 {
        let names = self.columns.iter().map(|name| fonts::measure(name, theme::EM)).fold(0.0, f64::max).min(MOST_NAME);
        let axis = if self.axes.1.is_empty() { 0.0 } else { theme::LINE };
        names + axis + if names > 0.0 { 10.0 } else { 0.0 }
    }

    fn range(&self) -> (f64, f64) {
        let finite = || self.values.iter().copied().filter(|v| v.is_finite());
        if self.signed {
            let limit = finite().fold(0.0, |limit: f64, value| limit.max(value.abs()));
            let limit = if limit > 0.0 { limit } else { 1.0 };
            return (-limit, limit);
        }
        let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low < high { (low, high) } else { (low.min(0.0).min(high), high.max(low + 1.0).max(1.0)) }
    }

    fn map(&self) -> Colormap {
        if self.signed { Colormap::Diverging } else { Colormap::Viridis }
    }

    fn check(&self) -> Result<()> {
        check::count("HeatMap.height", self.height, 1, MOST)?;
        check::count("HeatMap.width", self.width, 1, MOST)?;
        check::length("HeatMap.values", self.values.len(), self.height * self.width)?;
        for (name, list, wanted) in
            [("HeatMap.rows", &self.rows, self.height), ("HeatMap.columns", &self.columns, self.width)]
        {
            if !list.is_empty() {
                check::length(name, list.len(), wanted)?;
            }
        }
        Ok(())
    }
}

impl Figure for HeatMap {
    fn size(&self) -> (u32, u32) {
        let cells = self.cell() * self.height as f64;
        theme::size(2.0 * theme::MARGIN + theme::TITLE_HEIGHT + self.above() + cells + 14.0 + BAR_HEIGHT)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        self.check()?;
        let room = theme::WIDTH - 2.0 * theme::MARGIN;
        let title = fonts::shorten(&self.title, theme::TITLE_EM, room - 10.0);
        pen.text(&title, (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;
        let (cell, (low, high), map) = (self.cell(), self.range(), self.map());
        let (width, height) = (cell * self.width as f64, cell * self.height as f64);
        let corner = (theme::MARGIN + self.left(), theme::MARGIN + theme::TITLE_HEIGHT + self.above());
        let opposite = (corner.0 + width, corner.1 + height);
        let color = |&value: &f64| if value.is_finite() { map.of(value, low, high) } else { theme::NO_TAP };
        pen.image(&Raster::new(self.width, self.height, self.values.iter().map(color))?, corner, opposite)?;
        pen.frame(corner, opposite, Stroke { color: theme::AXIS, width: 1.0 })?;
        for (index, name) in self.rows.iter().enumerate() {
            let at = (corner.0 - 8.0, corner.1 + (index as f64 + 0.5) * cell);
            pen.text(&fonts::shorten(name, theme::EM, MOST_NAME), at, Type::label(Align::Right))?;
        }
        for (index, name) in self.columns.iter().enumerate() {
            let at = (corner.0 + (index as f64 + 0.5) * cell, corner.1 - 8.0);
            pen.text(&fonts::shorten(name, theme::EM, MOST_NAME), at, Type::label(Align::Left).upward())?;
        }
        let middle = ((corner.0 + opposite.0) / 2.0, (corner.1 + opposite.1) / 2.0);
        if !self.axes.0.is_empty() {
            pen.text(&self.axes.0, (theme::MARGIN + 8.0, middle.1), Type::label(Align::Middle).upward())?;
        }
        if !self.axes.1.is_empty() {
            let y = theme::MARGIN + theme::TITLE_HEIGHT + theme::LINE / 2.0;
            pen.text(&self.axes.1, (middle.0, y), Type::label(Align::Middle))?;
        }
        if self.written && cell >= WRITTEN {
            self.write(pen, corner, cell)?;
        }
        let bar = ColorBar { map, low, high, label: self.quantity.clone() };
        color_bar(pen, &bar, (corner.0, opposite.1 + 14.0), width.clamp(280.0, room - self.left()))
    }
}

impl HeatMap {
    /// Writes every value into its cell, in black or white, whichever is legible.
    fn write<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, corner: (f64, f64), cell: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let ((low, high), map) = (self.range(), self.map());
        for (index, &value) in self.values.iter().enumerate().filter(|(_, value)| value.is_finite()) {
            let (row, column) = (index / self.width, index % self.width);
            let at = (corner.0 + (column as f64 + 0.5) * cell, corner.1 + (row as f64 + 0.5) * cell);
            let [r, g, b] = map.of(value, low, high).map(f64::from);
            // Relative luminance, as sRGB weighs its parts.
            let light = 0.2126 * r + 0.7152 * g + 0.0722 * b > 120.0;
            let color = if light { [0, 0, 0] } else { [255, 255, 255] };
            pen.text(&number(value), at, Type::label(Align::Middle).colored(ink(color)))?;
        }
        Ok(())
    }
}
