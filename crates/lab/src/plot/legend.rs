//! A legend above a diagram: keys and names in rows.

use plotters::prelude::DrawingBackend;

use super::colormap::{Rgb, ink};
use super::pen::{Align, Pen, Point, Stroke, Type};
use super::{fonts, theme};
use crate::Result;

/// Space between key and name.
const GAP: f64 = 8.0;
/// Space between entries.
const BETWEEN: f64 = 26.0;

/// What stands before a name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key {
    /// A solid line.
    Line(Rgb),
    /// A dashed line.
    Dashes(Rgb),
    /// A filled square.
    Patch(Rgb),
    /// An empty square.
    Outline(Rgb),
    /// The marker of the series with this index.
    Marker(usize, Rgb),
}

impl Key {
    /// Width in figure pixels.
    fn width(self) -> f64 {
        match self {
            Self::Line(_) | Self::Dashes(_) => 32.0,
            Self::Patch(_) | Self::Outline(_) | Self::Marker(..) => 16.0,
        }
    }
}

/// Lengths of dash and gap of dashed lines.
pub(super) const DASH: (f64, f64) = (7.0, 4.0);

/// Draws the marker with the given index: disc, square, triangle, diamond, inverted triangle, then again.
pub(super) fn marker<DB: DrawingBackend>(pen: &Pen<'_, DB>, index: usize, at: Point, r: f64, color: Rgb) -> Result<()>
where
    DB::ErrorType: 'static,
{
    let (x, y) = at;
    let corners: &[Point] = match index % 5 {
        0 => return pen.disc(at, r, ink(color)),
        1 => &[(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
        2 => &[(0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)],
        3 => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
        _ => &[(0.0, 1.15), (1.1, -0.85), (-1.1, -0.85)],
    };
    let placed: Vec<Point> = corners.iter().map(|(dx, dy)| (x + dx * r, y + dy * r)).collect();
    pen.polygon(&placed, ink(color))
}

/// Entries laid out in rows.
#[derive(Debug, Clone)]
pub(super) struct Legend {
    entries: Vec<(Key, String, Point)>,
    /// Height in figure pixels.
    pub height: f64,
}

impl Legend {
    /// Lays out entries in rows of `room` pixels; names too long for a row are shortened.
    pub(super) fn new(entries: impl IntoIterator<Item = (Key, String)>, room: f64) -> Self {
        let (mut x, mut row, mut placed) = (0.0, 0.0, Vec::new());
        for (key, name) in entries {
            let name = fonts::shorten(&name, theme::EM, room - key.width() - GAP);
            let width = key.width() + GAP + fonts::measure(&name, theme::EM);
            if x > 0.0 && x + width > room {
                (x, row) = (0.0, row + 1.0);
            }
            placed.push((key, name, (x, (row + 0.5) * theme::LINE)));
            x += width + BETWEEN;
        }
        let height = if placed.is_empty() { 0.0 } else { (row + 1.0) * theme::LINE };
        Self { entries: placed, height }
    }

    /// Draws the legend with its upper left corner at `origin`.
    pub(super) fn draw<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, origin: Point) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        for (key, name, (dx, dy)) in &self.entries {
            let (x, y) = (origin.0 + dx, origin.1 + dy);
            let end = x + key.width();
            let square = ((x, y - 8.0), (end, y + 8.0));
            let stroke = |color| Stroke { color: ink(color), width: 2.0 };
            match *key {
                Key::Line(color) => pen.line((x, y), (end, y), stroke(color))?,
                Key::Dashes(color) => pen.dashed(&[(x, y), (end, y)], stroke(color), DASH)?,
                Key::Patch(color) => pen.rect(square.0, square.1, ink(color))?,
                Key::Outline(color) => pen.frame((x + 1.0, y - 7.0), (end - 1.0, y + 7.0), stroke(color))?,
                Key::Marker(index, color) => marker(pen, index, (x + 8.0, y), 6.5, color)?,
            }
            pen.text(name, (end + GAP, y), Type::label(Align::Left))?;
        }
        Ok(())
    }
}
