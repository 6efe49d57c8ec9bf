//! Quantities as horizontal bars.

use plotters::prelude::DrawingBackend;

use super::axis::{Axis, Panel, number};
use super::colormap::{OKABE_ITO, ink};
use super::pen::{Align, Pen, Type};
use super::{Figure, check, fonts, theme};
use crate::Result;

/// Height of a row in figure pixels.
const ROW: f64 = 34.0;
/// Most width that names take in figure pixels.
const MOST_NAME: f64 = 360.0;

/// One horizontal bar per row, with its value: parameters, operations, time.
#[derive(Debug, Clone, PartialEq)]
pub struct CostBars {
    /// Names and values; values are finite and not negative.
    pub rows: Vec<(String, f64)>,
    /// Quantity and unit of the values, for the axis.
    pub unit: String,
    /// Title.
    pub title: String,
}

impl Figure for CostBars {
    fn size(&self) -> (u32, u32) {
        let bars = ROW * self.rows.len() as f64;
        theme::size(2.0 * theme::MARGIN + theme::TITLE_HEIGHT + bars + 2.0 * theme::LINE + 12.0)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        check::not_empty("CostBars.rows", &self.rows)?;
        for (_, value) in &self.rows {
            check::range("CostBars.rows.1", *value, 0.0, f64::MAX)?;
        }
        let room = theme::WIDTH - 2.0 * theme::MARGIN;
        let title = fonts::shorten(&self.title, theme::TITLE_EM, room - 10.0);
        pen.text(&title, (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;

        let width = |text: &str| fonts::measure(text, theme::EM);
        let names = self.rows.iter().map(|(name, _)| width(name)).fold(0.0, f64::max).min(MOST_NAME);
        let values = self.rows.iter().map(|(_, value)| width(&number(*value))).fold(0.0, f64::max);
        let highest = self.rows.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let highest = if highest > 0.0 { highest } else { 1.0 };
        let top = theme::MARGIN + theme::TITLE_HEIGHT;
        let panel = Panel {
            x: Axis::linear(0.0, highest, 6, &fonts::shorten(&self.unit, theme::EM, room - names - values - 30.0)),
            y: Axis { low: 0.0, high: 1.0, ticks: Vec::new(), label: String::new() },
            upper_left: (theme::MARGIN + names + 12.0, top),
            lower_right: (theme::WIDTH - theme::MARGIN - values - 10.0, top + ROW * self.rows.len() as f64),
        };
        panel.draw(pen)?;
        let [color, ..] = OKABE_ITO;
        for (index, (name, value)) in self.rows.iter().enumerate() {
            let y = top + (index as f64 + 0.5) * ROW;
            let end = panel.at(*value, 0.0).0;
            let name = fonts::shorten(name, theme::EM, names + 0.5);
            pen.text(&name, (panel.upper_left.0 - 9.0, y), Type::label(Align::Right))?;
            pen.rect((panel.upper_left.0, y - ROW * 0.34), (end, y + ROW * 0.34), ink(color))?;
            pen.text(&number(*value), (end + 7.0, y), Type::label(Align::Left))?;
        }
        panel.draw_axes(pen)
    }
}
