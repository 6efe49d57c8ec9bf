//! The difference of two effective receptive fields.

use plotters::prelude::DrawingBackend;

use super::axis::{Axis, Panel, number};
use super::colormap::{BAR_HEIGHT, ColorBar, Colormap, color_bar, signed};
use super::erf::{ErfScale, RASTER_LIMIT};
use super::pen::{Align, Pen, Type};
use super::raster::{Raster, pool};
use super::{Figure, check, fonts, theme};
use crate::Result;
use kernelscope::analysis::erf::difference;
use kernelscope::analysis::report::ErfMap;

/// Longest side of the map in figure pixels.
const SIDE: f64 = 520.0;

/// One receptive field minus another: their transferred contributions, both relative to their common maximum.
#[derive(Debug, Clone, PartialEq)]
pub struct ErfDifference {
    /// The two maps, of one size.
    pub maps: [ErfMap; 2],
    /// How contributions become values between 0 and 1.
    pub scale: ErfScale,
}

impl ErfDifference {
    /// The difference, row by row.
    ///
    /// # Errors
    /// If the maps have different sizes.
    pub fn values(&self) -> Result<Vec<f64>> {
        let [a, b] = &self.maps;
        check::count("ErfDifference.maps[1].width", b.width, a.width, a.width)?;
        check::count("ErfDifference.maps[1].height", b.height, a.height, a.height)?;
        let peak = self.maps.iter().map(|map| self.scale.peak(&map.contribution)).fold(0.0, f64::max);
        let [a, b] = [a, b].map(|map| self.scale.apply(&map.contribution, peak));
        difference(&a, &b)
    }

    /// Width and height of the map on the page.
    fn shown(&self) -> (f64, f64) {
        let (w, h) = (self.maps[0].width.max(1) as f64, self.maps[0].height.max(1) as f64);
        (SIDE * (w / h).min(1.0), SIDE * (h / w).min(1.0))
    }
}

impl Figure for ErfDifference {
    fn size(&self) -> (u32, u32) {
        let axis = 2.5 * theme::LINE + 16.0;
        theme::size(2.0 * theme::MARGIN + theme::TITLE_HEIGHT + theme::LINE + 11.0 + self.shown().1 + axis + BAR_HEIGHT)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let [a, b] = &self.maps;
        check::count("ErfMap.height", a.height, 1, 65_536)?;
        check::count("ErfMap.width", a.width, 1, 65_536)?;
        let values = self.values()?;
        check::length("ErfMap.contribution", values.len(), a.height * a.width)?;
        let limit = values.iter().fold(0.0, |limit: f64, value| limit.max(value.abs()));
        pen.text("Difference of receptive fields", (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;
        let (width, height) = self.shown();
        let (left, mut top) = ((theme::WIDTH - width) / 2.0, theme::MARGIN + theme::TITLE_HEIGHT);
        let text = format!("{} \u{2212} {}", a.model, b.model);
        let text = fonts::shorten(&text, theme::EM, theme::WIDTH - 2.0 * theme::MARGIN);
        pen.text(&text, (theme::WIDTH / 2.0, top + theme::LINE / 2.0), Type::label(Align::Middle).bold())?;
        top += theme::LINE + 11.0;
        let mut vertical = Axis::linear(0.0, a.height as f64, 4, "y (pixels)");
        // Rows count downwards.
        (vertical.low, vertical.high) = (a.height as f64, 0.0);
        let panel = Panel {
            x: Axis::linear(0.0, a.width as f64, 4, "x (pixels)"),
            y: vertical,
            upper_left: (left, top),
            lower_right: (left + width, top + height),
        };
        let (columns, rows, pooled) = pool(&values, a.width, a.height, RASTER_LIMIT);
        let raster = Raster::new(columns, rows, pooled.into_iter().map(|value| signed(value, limit)))?;
        pen.image(&raster, panel.upper_left, panel.lower_right)?;
        panel.draw_axes(pen)?;
        let label = match self.scale {
            ErfScale::Log => "difference of log10(A + 1), relative to the common maximum".to_owned(),
            ErfScale::Linear => "difference of A, relative to the common maximum".to_owned(),
            ErfScale::Power(gamma) => {
                format!("difference of A relative to the common maximum, to the power of {}", number(gamma))
            }
        };
        let bar = ColorBar { map: Colormap::Diverging, low: -limit, high: limit, label };
        color_bar(pen, &bar, ((theme::WIDTH - 440.0) / 2.0, panel.lower_right.1 + 2.5 * theme::LINE + 16.0), 440.0)
    }
}
