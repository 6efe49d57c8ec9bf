//! Axes, ticks and the frame of a diagram.

use plotters::prelude::DrawingBackend;

use super::pen::{Align, Pen, Point, Stroke, Type};
use super::{fonts, theme};
use crate::Result;

/// Length of a tick mark in figure pixels.
const TICK: f64 = 5.0;
/// Space between the parts of an axis in figure pixels.
const GAP: f64 = 6.0;

/// A value with about three significant digits.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { value.to_string() };
    }
    let exponent = value.abs().log10().floor();
    if !(-4.0..6.0).contains(&exponent) {
        return format!("{value:.2e}").replace('-', "−");
    }
    places_trimmed(value, (2.0 - exponent).max(0.0) as usize)
}

/// A value with at most the given number of decimals.
pub(super) fn places_trimmed(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.replace('-', "−") }
}

/// The round step, 1, 2, 2.5 or 5 times a power of ten, that divides `span` into at most `most` parts.
fn round_step(span: f64, most: usize) -> f64 {
    let least = span / most.max(1) as f64;
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|&step| step >= least * 0.999_999).unwrap_or(least)
}

/// An axis: its range, its ticks and what it shows.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// Value at the start.
    pub low: f64,
    /// Value at the end.
    pub high: f64,
    /// Values to mark, each with its text.
    pub ticks: Vec<(f64, String)>,
    /// Quantity and unit.
    pub label: String,
}

impl Axis {
    /// An axis over `low..=high` with round ticks, at most about `most` of them.
    pub(super) fn linear(low: f64, high: f64, most: usize, label: &str) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
        let step = round_step(high - low, most);
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        // As many decimals as the step needs; 2.5 needs one more than its power of ten.
        let scaled = step / 10_f64.powf(step.log10().floor());
        let extra = if (scaled - 2.5).abs() < 1e-6 { 1.0 } else { 0.0 };
        let places = (extra - (step.log10() + 1e-9).floor()).max(0.0) as usize;
        let largest = low.abs().max(high.abs());
        let ticks = (first..=last)
            .map(|i| {
                let value = i as f64 * step;
                let text = if places > 4 || largest >= 1e6 {
                    number(value)
                } else {
                    format!("{value:.places$}").replace('-', "−")
                };
                (value, text)
            })
            .collect();
        Self { low, high, ticks, label: label.to_owned() }
    }

    /// An axis whose range is widened to whole steps, so that it ends on ticks.
    pub(super) fn rounded(low: f64, high: f64, most: usize, label: &str) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
        let step = round_step(high - low, most);
        let (low, high) = ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step);
        Self::linear(low, high, most, label)
    }

    /// An axis of counts from 0: ticks are whole numbers.
    pub(super) fn counts(high: f64, most: usize, label: &str) -> Self {
        let high = high.max(1.0);
        let most = most.min(high.ceil() as usize);
        let mut axis = Self::rounded(0.0, high, most, label);
        // A step of 2.5 falls between the counts.
        axis.ticks.retain(|(value, _)| (value - value.round()).abs() < 1e-9);
        axis.ticks.iter_mut().for_each(|(value, text)| *text = format!("{value:.0}"));
        axis
    }

    /// Room that tick texts need beside a vertical axis, in figure pixels.
    fn widest(&self) -> f64 {
        self.ticks.iter().map(|(_, text)| fonts::measure(text, theme::EM)).fold(0.0, f64::max)
    }
}

/// A diagram's plotting rectangle with its two axes.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// Upper left corner of the plotting rectangle.
    pub upper_left: Point,
    /// Lower right corner of the plotting rectangle.
    pub lower_right: Point,
}

impl Panel {
    /// A panel that fills the rectangle between two corners, its labels included.
    pub(super) fn within(x: Axis, y: Axis, a: Point, b: Point) -> Self {
        let left = y.widest() + TICK + GAP + if y.label.is_empty() { 0.0 } else { theme::LINE };
        // The last tick text is centered on the end of the axis.
        let end = x.ticks.last().map_or(0.0, |(_, text)| fonts::measure(text, theme::EM) / 2.0);
        let below = TICK + theme::LINE + if x.label.is_empty() { 0.0 } else { theme::LINE };
        let (upper_left, lower_right) = ((a.0 + left, a.1 + theme::LINE / 2.0), (b.0 - end, b.1 - below));
        Self { x, y, upper_left, lower_right }
    }

    /// Where a pair of values lies, in figure pixels.
    pub(super) fn at(&self, x: f64, y: f64) -> Point {
        let share = |axis: &Axis, value: f64| (value - axis.low) / (axis.high - axis.low);
        let (a, b) = (self.upper_left, self.lower_right);
        (a.0 + share(&self.x, x) * (b.0 - a.0), b.1 - share(&self.y, y) * (b.1 - a.1))
    }

    /// Draws grid, axes, ticks and labels.
    pub(super) fn draw<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let (a, b) = (self.upper_left, self.lower_right);
        let grid = Stroke { color: theme::GRID, width: 1.0 };
        for (value, _) in &self.y.ticks {
            let y = self.at(self.x.low, *value).1;
            pen.line((a.0, y), (b.0, y), grid)?;
        }
        for (value, _) in &self.x.ticks {
            let x = self.at(*value, self.y.low).0;
            pen.line((x, a.1), (x, b.1), grid)?;
        }
        self.draw_axes(pen)
    }

    /// Draws axes, ticks and labels, but no grid.
    pub(super) fn draw_axes<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let (a, b) = (self.upper_left, self.lower_right);
        let axis = Stroke { color: theme::AXIS, width: 1.0 };
        pen.line((a.0, a.1), (a.0, b.1), axis)?;
        pen.line((a.0, b.1), (b.0, b.1), axis)?;
        for (value, text) in &self.y.ticks {
            let y = self.at(self.x.low, *value).1;
            pen.line((a.0 - TICK, y), (a.0, y), axis)?;
            pen.text(text, (a.0 - TICK - GAP / 2.0, y), Type::label(Align::Right))?;
        }
        for (value, text) in &self.x.ticks {
            let x = self.at(*value, self.y.low).0;
            pen.line((x, b.1), (x, b.1 + TICK), axis)?;
            pen.text(text, (x, b.1 + TICK + theme::LINE / 2.0), Type::label(Align::Middle))?;
        }
        let below = b.1 + TICK + 1.5 * theme::LINE;
        pen.text(&self.x.label, ((a.0 + b.0) / 2.0, below), Type::label(Align::Middle))?;
        let beside = a.0 - TICK - GAP - self.y.widest() - theme::LINE / 2.0;
        pen.text(&self.y.label, (beside, (a.1 + b.1) / 2.0), Type::label(Align::Middle).upward())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(texts(&Axis::linear(0.0, 1.0, 5, "")), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(&Axis::linear(-2.0, 2.0, 4, "")), ["−2", "−1", "0", "1", "2"]);
        assert_eq!(texts(&Axis::linear(0.0, 10.0, 4, "")), ["0.0", "2.5", "5.0", "7.5", "10.0"]);
        assert_eq!(texts(&Axis::counts(3.0, 6, "")), ["0", "1", "2", "3"]);
        let axis = Axis::rounded(0.13, 0.88, 5, "");
        assert!(axis.low <= 0.13 && axis.high >= 0.88);
        assert_eq!(axis.ticks.first().unwrap().0, axis.low);
    }

    #[test]
    fn an_empty_range_still_has_an_axis() {
        let axis = Axis::linear(3.0, 3.0, 5, "");
        assert!(axis.high > axis.low && axis.ticks.len() > 1);
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(number(12.0), "12");
        assert_eq!(number(-0.012_345), "−0.0123");
        assert_eq!(number(1234.5), "1234");
        assert_eq!(number(2.5e-7), "2.50e−7");
    }

    #[test]
    fn a_panel_maps_its_corners() {
        let panel =
            Panel::within(Axis::linear(0.0, 4.0, 4, "x"), Axis::linear(0.0, 1.0, 4, "y"), (0.0, 0.0), (200.0, 100.0));
        assert_eq!(panel.at(0.0, 1.0), panel.upper_left);
        assert_eq!(panel.at(4.0, 0.0), panel.lower_right);
        assert!(panel.upper_left.0 > 20.0 && panel.lower_right.1 < 60.0);
    }
}
