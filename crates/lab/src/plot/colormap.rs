//! Color maps for values and colors for series.

use plotters::prelude::DrawingBackend;
use plotters::style::RGBAColor;

use super::axis::{Axis, number};
use super::pen::{Align, Pen, Point, Stroke, Type};
use super::raster::Raster;
use super::{fonts, theme};
use crate::Result;

/// A color, 8 bits each of red, green and blue.
pub type Rgb = [u8; 3];

/// A map from numbers to colors whose lightness changes evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colormap {
    /// Dark blue over green to yellow, for values from low to high.
    Viridis,
    /// Black over purple to pale yellow, for values from low to high.
    Magma,
    /// Blue over near-white to red, for signed values; the middle is neutral.
    Diverging,
}

impl Colormap {
    /// The color at `t` between 0 and 1; values outside take the end's color, NaN that of 0.
    pub fn at(self, t: f64) -> Rgb {
        let t = if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) };
        let color = match self {
            Self::Viridis => colorous::VIRIDIS.eval_continuous(t),
            Self::Magma => colorous::MAGMA.eval_continuous(t),
            Self::Diverging => colorous::RED_BLUE.eval_continuous(1.0 - t),
        };
        [color.r, color.g, color.b]
    }

    /// The color of a value in the range `low..=high`. An empty range maps to its middle.
    pub fn of(self, value: f64, low: f64, high: f64) -> Rgb {
        let span = high - low;
        self.at(if span > 0.0 { (value - low) / span } else { 0.5 })
    }
}

/// The diverging color of a signed value in the symmetric range from `-limit` to `limit`; zero is neutral.
pub fn signed(value: f64, limit: f64) -> Rgb {
    Colormap::Diverging.of(value, -limit, limit)
}

/// The colors of Okabe and Ito, which stay apart for the color-blind; the yellow, faint on white, comes late.
pub const OKABE_ITO: [Rgb; 8] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [86, 180, 233],
    [230, 159, 0],
    [0, 0, 0],
    [240, 228, 66],
];

/// The color of the series with the given index. Past the eighth, the colors come again, darker.
pub fn series(index: usize) -> Rgb {
    let dim = 0.6_f64.powi(i32::try_from(index / OKABE_ITO.len()).unwrap_or(i32::MAX));
    let color = OKABE_ITO.get(index % OKABE_ITO.len()).copied().unwrap_or_default();
    color.map(|part| (f64::from(part) * dim).round() as u8)
}

/// An opaque color for drawing.
pub(super) fn ink([r, g, b]: Rgb) -> RGBAColor {
    RGBAColor(r, g, b, 1.0)
}

/// Height that [`color_bar`] takes, in figure pixels.
pub(super) const BAR_HEIGHT: f64 = 18.0 + 6.0 + 2.0 * theme::LINE;

/// A horizontal color bar.
#[derive(Debug, Clone)]
pub(super) struct ColorBar {
    /// Colors.
    pub map: Colormap,
    /// Value at the left end.
    pub low: f64,
    /// Value at the right end.
    pub high: f64,
    /// What the values are, with their unit.
    pub label: String,
}

/// Draws a color bar with ticks and label below, `at` its upper left corner and `width` pixels wide.
pub(super) fn color_bar<DB: DrawingBackend>(pen: &Pen<'_, DB>, bar: &ColorBar, at: Point, width: f64) -> Result<()>
where
    DB::ErrorType: 'static,
{
    let (x0, y0) = at;
    let (x1, y1) = (x0 + width, y0 + 18.0);
    let strip = Raster::new(256, 1, (0..256).map(|i| bar.map.at(f64::from(i) / 255.0)))?;
    pen.image(&strip, (x0, y0), (x1, y1))?;
    let stroke = Stroke { color: theme::AXIS, width: 1.0 };
    pen.frame((x0, y0), (x1, y1), stroke)?;
    let ticks = if bar.map == Colormap::Diverging && bar.low == -bar.high {
        // The ends matter most for a symmetric range: they say how large the weights are.
        [-1.0, -0.5, 0.0, 0.5, 1.0].map(|t| (t * bar.high, number(t * bar.high))).to_vec()
    } else {
        Axis::linear(bar.low, bar.high, 6, "").ticks
    };
    for (value, text) in ticks {
        let span = if bar.high > bar.low { bar.high - bar.low } else { 1.0 };
        let x = x0 + (value - bar.low) / span * width;
        pen.line((x, y1), (x, y1 + 5.0), stroke)?;
        pen.text(&text, (x, y1 + 6.0 + theme::LINE / 2.0), Type::label(Align::Middle))?;
    }
    let label = fonts::shorten(&bar.label, theme::EM, theme::WIDTH - 2.0 * theme::MARGIN);
    pen.text(&label, ((x0 + x1) / 2.0, y1 + 6.0 + 1.5 * theme::LINE), Type::label(Align::Middle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_neutral_in_a_symmetric_range() {
        let neutral = Colormap::Diverging.at(0.5);
        for limit in [1e-3, 1.0, 40.0] {
            assert_eq!(signed(0.0, limit), neutral);
        }
        assert_eq!(signed(0.0, 0.0), neutral);
        let spread = neutral.iter().max().unwrap() - neutral.iter().min().unwrap();
        assert!(spread < 8, "{neutral:?} has a hue");
        let ([r, _, b], [r2, _, b2]) = (signed(1.0, 1.0), signed(-1.0, 1.0));
        assert!(r > b && b2 > r2, "positive must be red, negative blue");
    }

    #[test]
    fn sequential_maps_get_lighter() {
        for map in [Colormap::Viridis, Colormap::Magma] {
            let light: Vec<f64> = (0..=10)
                .map(|i| {
                    let [r, g, b] = map.at(f64::from(i) / 10.0).map(f64::from);
                    0.2126 * r + 0.7152 * g + 0.0722 * b
                })
                .collect();
            assert!(light.windows(2).all(|pair| pair[0] < pair[1]), "{map:?} {light:?}");
        }
    }

    #[test]
    fn series_colors_differ() {
        let colors: std::collections::HashSet<Rgb> = (0..14).map(series).collect();
        assert_eq!(colors.len(), 14);
    }
}
