//! Shape bias per category.

use plotters::prelude::DrawingBackend;

use super::colormap::{Rgb, ink, series};
use super::legend::{Key, Legend, marker};
use super::pen::{Align, Pen, Point, Stroke, Type};
use super::{Figure, check, fonts, theme};
use crate::Result;
use kernelscope::analysis::report::ShapeBiasReport;

/// Color of the human reference.
const HUMAN: Rgb = [90, 90, 90];
/// Dash and gap of the human reference.
const HUMAN_DASH: (f64, f64) = (4.0, 4.0);

/// Shape decisions against texture decisions, one row per category, one marker per network, as cue-conflict
/// experiments are usually shown: shape to the left, texture to the right. Without any decision the frame says so.
#[derive(Debug, Clone, PartialEq)]
pub struct ShapeBiasFigure {
    /// One report per network, over the same categories.
    pub reports: Vec<ShapeBiasReport>,
    /// Mean shape bias of people between 0 and 1, for comparison.
    pub human: Option<f64>,
}

/// The plotting rectangle and its rows.
struct Layout {
    upper_left: Point,
    lower_right: Point,
    row: f64,
}

impl Layout {
    /// Where a shape bias lies along the x axis.
    fn x(&self, bias: f64) -> f64 {
        self.upper_left.0 + (1.0 - bias) * (self.lower_right.0 - self.upper_left.0)
    }
}

impl ShapeBiasFigure {
    /// Categories with at least one decision, in the order in which they first appear.
    fn categories(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let decided = self.reports.iter().flat_map(|report| &report.categories).filter(|c| c.shape_bias.is_some());
        for category in decided {
            if !names.contains(&category.category.as_str()) {
                names.push(&category.category);
            }
        }
        names
    }

    fn legend(&self) -> Legend {
        let network = |(index, report): (usize, &ShapeBiasReport)| {
            let bias = report.shape_bias.map_or("no decision".to_owned(), |bias| format!("{bias:.2}"));
            (Key::Marker(index, series(index)), format!("{} ({bias})", report.model))
        };
        let human = self.human.map(|bias| (Key::Dashes(HUMAN), format!("human ({bias:.2})")));
        Legend::new(self.reports.iter().enumerate().map(network).chain(human), theme::WIDTH - 2.0 * theme::MARGIN)
    }

    fn layout(&self) -> Layout {
        let names = self.categories();
        let widest = names.iter().map(|name| fonts::measure(name, theme::EM)).fold(0.0, f64::max).min(260.0);
        let row = (18.0 + 7.0 * self.reports.len() as f64).clamp(30.0, 64.0);
        let left = theme::MARGIN + widest + 14.0;
        let top = theme::MARGIN + theme::TITLE_HEIGHT + self.legend().height + 14.0 + 2.0 * theme::LINE + 6.0;
        Layout {
            upper_left: (left, top),
            lower_right: (theme::WIDTH - theme::MARGIN - 10.0, top + row * names.len().max(1) as f64),
            row,
        }
    }

    fn check(&self) -> Result<()> {
        check::not_empty("ShapeBiasFigure.reports", &self.reports)?;
        if let Some(human) = self.human {
            check::range("ShapeBiasFigure.human", human, 0.0, 1.0)?;
        }
        for report in &self.reports {
            let biases = report.categories.iter().filter_map(|category| category.shape_bias).chain(report.shape_bias);
            for bias in biases {
                check::range("ShapeBiasReport.shape_bias", bias, 0.0, 1.0)?;
            }
        }
        Ok(())
    }

    fn axes<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, layout: &Layout) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let (a, b) = (layout.upper_left, layout.lower_right);
        let axis = Stroke { color: theme::AXIS, width: 1.0 };
        let grid = Stroke { color: theme::GRID, width: 1.0 };
        for step in 0..=10_u32 {
            let texture = f64::from(step) / 10.0;
            let x = layout.x(1.0 - texture);
            pen.line((x, a.1), (x, b.1), grid)?;
            pen.line((x, a.1 - 5.0), (x, a.1), axis)?;
            pen.line((x, b.1), (x, b.1 + 5.0), axis)?;
            let middle = Type::label(Align::Middle);
            pen.text(&format!("{texture:.1}"), (x, a.1 - 6.0 - theme::LINE / 2.0), middle)?;
            pen.text(&format!("{:.1}", 1.0 - texture), (x, b.1 + 6.0 + theme::LINE / 2.0), middle)?;
        }
        pen.frame(a, b, axis)?;
        let center = (a.0 + b.0) / 2.0;
        let middle = Type::label(Align::Middle);
        pen.text("fraction of texture decisions", (center, a.1 - 6.0 - 1.5 * theme::LINE), middle)?;
        pen.text("fraction of shape decisions", (center, b.1 + 6.0 + 1.5 * theme::LINE), middle)?;
        for (index, name) in self.categories().into_iter().enumerate() {
            let y = a.1 + (index as f64 + 0.5) * layout.row;
            if index > 0 {
                pen.line((a.0, y - layout.row / 2.0), (b.0, y - layout.row / 2.0), grid)?;
            }
            let name = fonts::shorten(name, theme::EM, a.0 - theme::MARGIN - 10.0);
            pen.text(&name, (a.0 - 10.0, y), Type::label(Align::Right))?;
        }
        Ok(())
    }
}

impl Figure for ShapeBiasFigure {
    fn size(&self) -> (u32, u32) {
        theme::size(self.layout().lower_right.1 + 6.0 + 2.0 * theme::LINE + theme::MARGIN)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        self.check()?;
        pen.text("Shape bias", (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;
        self.legend().draw(pen, (theme::MARGIN, theme::MARGIN + theme::TITLE_HEIGHT))?;
        let layout = self.layout();
        self.axes(pen, &layout)?;
        let (top, bottom) = (layout.upper_left.1, layout.lower_right.1);
        if let Some(human) = self.human {
            let x = layout.x(human);
            pen.dashed(&[(x, top), (x, bottom)], Stroke { color: ink(HUMAN), width: 2.0 }, HUMAN_DASH)?;
        }
        let categories = self.categories();
        if categories.is_empty() {
            let center = ((layout.upper_left.0 + layout.lower_right.0) / 2.0, (top + bottom) / 2.0);
            pen.text("no decisions for shape or texture", center, Type::label(Align::Middle))?;
        }
        for (index, report) in self.reports.iter().enumerate() {
            let color = series(index);
            if let Some(bias) = report.shape_bias {
                let x = layout.x(bias);
                pen.line((x, top), (x, bottom), Stroke { color: ink(color), width: 2.0 })?;
            }
            // Networks are spread over the height of a row, so that equal values do not hide each other.
            let share = (index as f64 + 0.5) / self.reports.len() as f64 - 0.5;
            let shift = share * (layout.row - 16.0);
            for category in &report.categories {
                let row = categories.iter().position(|name| *name == category.category);
                if let (Some(row), Some(bias)) = (row, category.shape_bias) {
                    let at = (layout.x(bias), top + (row as f64 + 0.5) * layout.row + shift);
                    marker(pen, index, at, 7.4, [255; 3])?;
                    marker(pen, index, at, 6.5, color)?;
                }
            }
        }
        Ok(())
    }
}
