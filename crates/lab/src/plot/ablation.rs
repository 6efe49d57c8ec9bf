//! What the variants of an ablation reach: in rows, or over a numeric setting.

use plotters::prelude::DrawingBackend;

use super::axis::{Axis, Panel, number};
use super::colormap::{OKABE_ITO, Rgb, ink, series};
use super::legend::{DASH, Key, Legend, marker};
use super::pen::{Align, Pen, Point, Stroke, Type};
use super::{Figure, check, fonts, theme};
use crate::Result;

/// Height of a row in figure pixels.
const ROW: f64 = 42.0;
/// Most width that names take in figure pixels.
const MOST_NAME: f64 = 380.0;
/// Height of the line plot in figure pixels.
const PANEL_HEIGHT: f64 = 440.0;
/// Radius of the dot of a single run.
const DOT: f64 = 4.0;
/// Most distance between lines at one value of the setting.
const MOST_APART: f64 = 17.0;
/// Index of the marker of means: a diamond.
const DIAMOND: usize = 3;
/// Color of what belongs to no series.
const NEUTRAL: Rgb = [90, 90, 90];

/// What one variant reached.
#[derive(Debug, Clone, PartialEq)]
pub struct AblationPoint {
    /// Value of the numeric setting; of no meaning in [`AblationRows`].
    pub x: f64,
    /// Value of every run.
    pub values: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation; `None` for a single run.
    pub std: Option<f64>,
}

impl AblationPoint {
    fn check(&self) -> Result<()> {
        check::finite("AblationPoint.x", self.x)?;
        check::not_empty("AblationPoint.values", &self.values)?;
        self.extent().try_for_each(|value| check::finite("AblationPoint", value))
    }

    /// Everything that is drawn of it.
    fn extent(&self) -> impl Iterator<Item = f64> + '_ {
        let std = self.std.unwrap_or(0.0);
        self.values.iter().copied().chain([self.mean - std, self.mean + std])
    }

    /// `mean ± deviation`, for people.
    fn text(&self) -> String {
        let fixed = |value: f64| format!("{value:.1}").replace('-', "−");
        self.std.map_or(fixed(self.mean), |std| format!("{} ± {}", fixed(self.mean), fixed(std)))
    }
}

/// A round axis around all values; it stays within 0 and 100 if they do.
fn axis(values: impl Iterator<Item = f64>, label: &str) -> Axis {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    // Equal values still get a scale that a reader can judge.
    let room = (high - low).max(1.0) * 0.06;
    let axis = Axis::rounded(low - room, high + room, 7, label);
    match (axis.low < 0.0 && low >= 0.0, axis.high > 100.0 && high <= 100.0) {
        (false, false) => axis,
        (below, above) => {
            let (low, high) = (if below { 0.0 } else { axis.low }, if above { 100.0 } else { axis.high });
            Axis::linear(low, high, 7, label)
        }
    }
}

/// The least distance between neighbors; infinite for a single value.
fn least_gap(values: &[f64]) -> f64 {
    values.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min)
}

/// The variants in rows: every run as a dot, and mean and standard deviation as a diamond with a bar.
#[derive(Debug, Clone, PartialEq)]
pub struct AblationRows {
    /// Title.
    pub title: String,
    /// Quantity and unit of the values.
    pub quantity: String,
    /// Names and values.
    pub rows: Vec<(String, AblationPoint)>,
    /// Mean of the variant that the others are compared with.
    pub baseline: Option<f64>,
}

impl AblationRows {
    fn legend(&self) -> Legend {
        let [color, ..] = OKABE_ITO;
        let mut keys = vec![(Key::Marker(0, color), "one seed".to_owned())];
        keys.push((Key::Marker(DIAMOND, NEUTRAL), "mean ± standard deviation".to_owned()));
        keys.extend(self.baseline.map(|_| (Key::Dashes(NEUTRAL), "mean of the baseline".to_owned())));
        Legend::new(keys, theme::WIDTH - 2.0 * theme::MARGIN)
    }

    fn top(&self) -> f64 {
        theme::MARGIN + theme::TITLE_HEIGHT + self.legend().height + 10.0
    }

    fn row<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, panel: &Panel, index: usize) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let Some((name, point)) = self.rows.get(index) else { return Ok(()) };
        let [color, ..] = OKABE_ITO;
        let y = panel.upper_left.1 + (index as f64 + 0.5) * ROW;
        let x = |value: f64| panel.at(value, 0.0).0;
        let room = panel.upper_left.0 - theme::MARGIN - 9.0;
        pen.text(&fonts::shorten(name, theme::EM, room), (panel.upper_left.0 - 9.0, y), Type::label(Align::Right))?;
        // Dots lie above the bar, one below the other, so that equal values do not hide each other.
        for (place, &value) in point.values.iter().enumerate() {
            let lower = (place % 3) as f64 * 5.0;
            pen.disc((x(value), y - 14.0 + lower), DOT, ink(color))?;
        }
        let (y, stroke) = (y + 9.0, Stroke { color: ink(NEUTRAL), width: 2.0 });
        if let Some(std) = point.std {
            let ends = (x(point.mean - std), x(point.mean + std));
            pen.line((ends.0, y), (ends.1, y), stroke)?;
            for end in [ends.0, ends.1] {
                pen.line((end, y - 5.0), (end, y + 5.0), stroke)?;
            }
        }
        marker(pen, DIAMOND, (x(point.mean), y), 6.0, NEUTRAL)?;
        let text = (theme::WIDTH - theme::MARGIN, panel.upper_left.1 + (index as f64 + 0.5) * ROW);
        pen.text(&point.text(), text, Type::label(Align::Right))
    }
}

impl Figure for AblationRows {
    fn size(&self) -> (u32, u32) {
        theme::size(self.top() + ROW * self.rows.len() as f64 + 2.0 * theme::LINE + 12.0 + theme::MARGIN)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        check::not_empty("AblationRows.rows", &self.rows)?;
        self.rows.iter().try_for_each(|(_, point)| point.check())?;
        self.baseline.map_or(Ok(()), |mean| check::finite("AblationRows.baseline", mean))?;
        let room = theme::WIDTH - 2.0 * theme::MARGIN;
        let title = fonts::shorten(&self.title, theme::TITLE_EM, room - 10.0);
        pen.text(&title, (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;
        self.legend().draw(pen, (theme::MARGIN, theme::MARGIN + theme::TITLE_HEIGHT))?;
        let widest = |texts: &mut dyn Iterator<Item = String>| {
            texts.map(|text| fonts::measure(&text, theme::EM)).fold(0.0, f64::max)
        };
        let names = widest(&mut self.rows.iter().map(|(name, _)| name.clone())).min(MOST_NAME);
        let texts = widest(&mut self.rows.iter().map(|(_, point)| point.text()));
        let values = self.rows.iter().flat_map(|(_, point)| point.extent()).chain(self.baseline);
        let top = self.top();
        let panel = Panel {
            x: axis(values, &self.quantity),
            y: Axis { low: 0.0, high: 1.0, ticks: Vec::new(), label: String::new() },
            upper_left: (theme::MARGIN + names + 12.0, top),
            lower_right: (theme::WIDTH - theme::MARGIN - texts - 16.0, top + ROW * self.rows.len() as f64),
        };
        panel.draw(pen)?;
        for index in 1..self.rows.len() {
            let y = top + index as f64 * ROW;
            let ends = ((panel.upper_left.0, y), (panel.lower_right.0, y));
            pen.line(ends.0, ends.1, Stroke { color: theme::GRID, width: 1.0 })?;
        }
        if let Some(mean) = self.baseline {
            let x = panel.at(mean, 0.0).0;
            let ends = [(x, panel.upper_left.1), (x, panel.lower_right.1)];
            pen.dashed(&ends, Stroke { color: ink(NEUTRAL), width: 1.5 }, DASH)?;
        }
        (0..self.rows.len()).try_for_each(|index| self.row(pen, &panel, index))?;
        panel.draw_axes(pen)
    }
}

/// One line of a line plot.
#[derive(Debug, Clone, PartialEq)]
pub struct AblationSeries {
    /// Name; empty for the only line.
    pub label: String,
    /// Its points, in any order.
    pub points: Vec<AblationPoint>,
}

/// What the variants reached over a numeric setting: means with standard deviations, joined by lines, and every run.
#[derive(Debug, Clone, PartialEq)]
pub struct AblationLines {
    /// Title.
    pub title: String,
    /// The setting.
    pub x: String,
    /// Quantity and unit of the values.
    pub y: String,
    /// The lines.
    pub series: Vec<AblationSeries>,
}

impl AblationLines {
    fn legend(&self) -> Legend {
        let named = self.series.iter().enumerate().filter(|(_, line)| !line.label.is_empty());
        let mut keys: Vec<_> = named.map(|(i, line)| (Key::Line(series(i)), line.label.clone())).collect();
        keys.push((Key::Marker(0, NEUTRAL), "one seed".to_owned()));
        keys.push((Key::Marker(DIAMOND, NEUTRAL), "mean ± standard deviation".to_owned()));
        Legend::new(keys, theme::WIDTH - 2.0 * theme::MARGIN)
    }

    /// All values of the setting, in order.
    fn places(&self) -> Vec<f64> {
        let mut values: Vec<f64> = self.series.iter().flat_map(|line| &line.points).map(|point| point.x).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        values
    }

    /// The axis of the setting: its values are marked, unless they are too close.
    fn setting(&self) -> Axis {
        let values = self.places();
        let (low, high) = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(1.0));
        let room = if high > low { (high - low) * 0.07 } else { 0.5 };
        let mut axis = Axis::linear(low - room, high + room, 8, &self.x);
        if least_gap(&values) >= (high - low) * 0.05 {
            axis.ticks = values.into_iter().map(|value| (value, number(value))).collect();
        }
        axis
    }

    fn line<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, panel: &Panel, index: usize) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let Some(line) = self.series.get(index) else { return Ok(()) };
        let (color, stroke) = (series(index), Stroke { color: ink(series(index)), width: 2.0 });
        // Lines are set apart, so that their bars and dots do not hide each other, but less than the values are.
        let (count, gap) = (self.series.len() as f64, least_gap(&self.places()));
        let room = panel.at(panel.x.low + gap, 0.0).0 - panel.upper_left.0;
        let apart = (0.8 * room / count).min(MOST_APART);
        let shift = (index as f64 - (count - 1.0) / 2.0) * apart;
        let at = |x: f64, y: f64| {
            let (px, py) = panel.at(x, y);
            (px + shift, py)
        };
        let mut points: Vec<&AblationPoint> = line.points.iter().collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        let means: Vec<Point> = points.iter().map(|point| at(point.x, point.mean)).collect();
        pen.polyline(&means, stroke)?;
        for point in points {
            if let Some(std) = point.std {
                let (low, high) = (at(point.x, point.mean - std), at(point.x, point.mean + std));
                pen.line(low, high, stroke)?;
                for end in [low, high] {
                    pen.line((end.0 - 5.0, end.1), (end.0 + 5.0, end.1), stroke)?;
                }
            }
            marker(pen, DIAMOND, at(point.x, point.mean), 6.0, color)?;
            for &value in &point.values {
                let (x, y) = at(point.x, value);
                pen.disc((x + 0.42 * apart, y), DOT - 1.0, ink(color))?;
            }
        }
        Ok(())
    }
}

impl Figure for AblationLines {
    fn size(&self) -> (u32, u32) {
        theme::size(2.0 * theme::MARGIN + theme::TITLE_HEIGHT + self.legend().height + 10.0 + PANEL_HEIGHT)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        check::not_empty("AblationLines.series", &self.series)?;
        for line in &self.series {
            check::not_empty("AblationSeries.points", &line.points)?;
            line.points.iter().try_for_each(AblationPoint::check)?;
        }
        let (left, right) = (theme::MARGIN, theme::WIDTH - theme::MARGIN);
        let title = fonts::shorten(&self.title, theme::TITLE_EM, right - left - 10.0);
        pen.text(&title, (left, theme::MARGIN + 10.0), Type::title())?;
        let (legend, legend_top) = (self.legend(), theme::MARGIN + theme::TITLE_HEIGHT);
        legend.draw(pen, (left, legend_top))?;
        let top = legend_top + legend.height + 10.0;
        let y = axis(self.series.iter().flat_map(|line| &line.points).flat_map(AblationPoint::extent), &self.y);
        let panel = Panel::within(self.setting(), y, (left, top), (right, top + PANEL_HEIGHT));
        panel.draw(pen)?;
        (0..self.series.len()).try_for_each(|index| self.line(pen, &panel, index))
    }
}
