//! Drawing in figure pixels, the same way onto a bitmap and into an SVG.

use std::cell::RefCell;
use std::fmt::{Display, Write as _};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::element::{BitMapElement, Circle, PathElement, Polygon, Rectangle};
use plotters::prelude::DrawingBackend;
use plotters::style::{Color, FontDesc, FontFamily, FontStyle, FontTransform, RGBAColor, TextStyle};

use super::raster::{Raster, encode_png};
use super::{fonts, theme};
use crate::{Error, Result};

/// A point in figure pixels, x to the right and y down.
pub(super) type Point = (f64, f64);

/// First character of the texts that stand for a prepared SVG element; it is for private use, so no label has it.
pub(super) const PLACEHOLDER: char = '\u{E000}';

/// Which end of a text its anchor is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Align {
    /// The text starts at the anchor.
    Left,
    /// The text is centered on the anchor.
    Middle,
    /// The text ends at the anchor.
    Right,
}

/// How a text is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Type {
    em: f64,
    align: Align,
    upward: bool,
    bold: bool,
    color: RGBAColor,
}

impl Type {
    /// A label, anchored at the given end.
    pub(super) fn label(align: Align) -> Self {
        Self { em: theme::EM, align, upward: false, bold: false, color: theme::TEXT }
    }

    /// A figure's title.
    pub(super) fn title() -> Self {
        Self { em: theme::TITLE_EM, bold: true, ..Self::label(Align::Left) }
    }

    /// The same, reading upwards.
    pub(super) fn upward(self) -> Self {
        Self { upward: true, ..self }
    }

    /// The same in another color.
    pub(super) fn colored(self, color: RGBAColor) -> Self {
        Self { color, ..self }
    }

    /// The same, heavier.
    pub(super) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }
}

/// Color and width of a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stroke {
    /// Color.
    pub color: RGBAColor,
    /// Width in figure pixels.
    pub width: f64,
}

/// A drawing tool over a `plotters` area: it scales figure pixels to the area's and sets text with known metrics.
///
/// Figures get one in [`Figure::paint`](super::Figure::paint).
pub struct Pen<'a, DB: DrawingBackend> {
    area: &'a DrawingArea<DB, Shift>,
    scale: f64,
    inserts: Option<RefCell<Vec<String>>>,
}

fn failed(error: impl Display) -> Error {
    Error::Plot(error.to_string())
}

/// Escapes text for XML and replaces the control characters that XML forbids.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            other if other.is_control() || matches!(other, '\u{FFFE}' | '\u{FFFF}' | PLACEHOLDER) => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

impl<'a, DB: DrawingBackend> Pen<'a, DB>
where
    DB::ErrorType: 'static,
{
    /// A pen over an area of `size` figure pixels, or an integer multiple of it.
    pub(super) fn new(area: &'a DrawingArea<DB, Shift>, size: (u32, u32)) -> Result<Self> {
        let (width, height) = area.dim_in_pixel();
        let scale = (width / size.0.max(1)).min(height / size.1.max(1));
        if scale == 0 {
            let allowed = format!("at least {} x {} pixels", size.0, size.1);
            return Err(Error::argument("drawing area", format!("{width} x {height}"), allowed));
        }
        Ok(Self { area, scale: f64::from(scale), inserts: None })
    }

    /// The same pen for an SVG: text and images become prepared elements, each marked by a placeholder.
    pub(super) fn for_svg(self) -> Self {
        Self { inserts: Some(RefCell::new(Vec::new())), ..self }
    }

    /// The prepared SVG elements, in the order of their placeholders.
    pub(super) fn into_inserts(self) -> Vec<String> {
        self.inserts.map(RefCell::into_inner).unwrap_or_default()
    }

    fn device(&self, value: f64) -> i32 {
        (value * self.scale).round() as i32
    }

    fn point(&self, at: Point) -> (i32, i32) {
        (self.device(at.0), self.device(at.1))
    }

    /// Fills the rectangle between two corners.
    pub(super) fn rect(&self, a: Point, b: Point, color: RGBAColor) -> Result<()> {
        let corners = [self.point((a.0.min(b.0), a.1.min(b.1))), self.point((a.0.max(b.0), a.1.max(b.1)))];
        self.area.draw(&Rectangle::new(corners, color.filled())).map_err(failed)
    }

    /// Draws the border of a rectangle, its middle on the edges.
    pub(super) fn frame(&self, a: Point, b: Point, stroke: Stroke) -> Result<()> {
        let half = stroke.width / 2.0;
        for y in [a.1, b.1] {
            self.line((a.0 - half, y), (b.0 + half, y), stroke)?;
        }
        [a.0, b.0].into_iter().try_for_each(|x| self.line((x, a.1), (x, b.1), stroke))
    }

    /// Draws a straight line.
    pub(super) fn line(&self, a: Point, b: Point, stroke: Stroke) -> Result<()> {
        let half = stroke.width / 2.0;
        if self.point(a) == self.point(b) {
            return Ok(());
        }
        // Axis-parallel lines are drawn as rectangles, which keep their exact width on a bitmap.
        if self.device(a.1) == self.device(b.1) {
            return self.rect((a.0, a.1 - half), (b.0, a.1 + half), stroke.color);
        }
        if self.device(a.0) == self.device(b.0) {
            return self.rect((a.0 - half, a.1), (a.0 + half, b.1), stroke.color);
        }
        let style = stroke.color.stroke_width(self.device(stroke.width).max(1) as u32);
        self.area.draw(&PathElement::new(vec![self.point(a), self.point(b)], style)).map_err(failed)
    }

    /// Draws a line through points.
    pub(super) fn polyline(&self, points: &[Point], stroke: Stroke) -> Result<()> {
        if self.inserts.is_some() && points.len() > 1 {
            let style = stroke.color.stroke_width(self.device(stroke.width).max(1) as u32);
            let path: Vec<_> = points.iter().map(|&at| self.point(at)).collect();
            return self.area.draw(&PathElement::new(path, style)).map_err(failed);
        }
        // Segment by segment with round joints: the outline of a jagged thick line crosses itself and leaves holes.
        for pair in points.windows(2) {
            if let [a, b] = *pair {
                self.line(a, b, stroke)?;
            }
        }
        // A disc also covers its middle pixel, so a radius of half the width would stick out.
        let radius = (stroke.width - 1.5 / self.scale) / 2.0;
        points.iter().try_for_each(|&at| self.disc(at, radius, stroke.color))
    }

    /// Draws a dashed line through points; `on` and `off` are lengths in figure pixels.
    pub(super) fn dashed(&self, points: &[Point], stroke: Stroke, (on, off): (f64, f64)) -> Result<()> {
        let mut traveled = 0.0;
        let mut dash: Vec<Point> = Vec::new();
        for pair in points.windows(2) {
            let [a, b] = *pair else { continue };
            let length = (b.0 - a.0).hypot(b.1 - a.1);
            let mut done = 0.0;
            while done < length {
                let drawing = traveled % (on + off) < on;
                let left = if drawing { on } else { on + off } - traveled % (on + off);
                let step = left.max(0.01).min(length - done);
                let at = |d: f64| (a.0 + (b.0 - a.0) * d / length, a.1 + (b.1 - a.1) * d / length);
                if drawing {
                    if dash.is_empty() {
                        dash.push(at(done));
                    }
                    dash.push(at(done + step));
                    if step >= left {
                        self.polyline(&std::mem::take(&mut dash), stroke)?;
                    }
                }
                done += step;
                traveled += step;
            }
        }
        self.polyline(&dash, stroke)
    }

    /// Fills a polygon.
    pub(super) fn polygon(&self, points: &[Point], color: RGBAColor) -> Result<()> {
        let corners: Vec<_> = points.iter().map(|&at| self.point(at)).collect();
        self.area.draw(&Polygon::new(corners, color)).map_err(failed)
    }

    /// Fills a circle.
    pub(super) fn disc(&self, center: Point, radius: f64, color: RGBAColor) -> Result<()> {
        let radius = self.device(radius).max(1) as u32;
        self.area.draw(&Circle::new(self.point(center), radius, color.filled())).map_err(failed)
    }

    /// Writes text whose capitals are centered on the height of `at`.
    pub(super) fn text(&self, text: &str, at: Point, set: Type) -> Result<()> {
        let width = fonts::measure(text, set.em);
        let back = match set.align {
            Align::Left => 0.0,
            Align::Middle => width / 2.0,
            Align::Right => width,
        };
        // Capitals are about 0.7 em high.
        let drop = 0.35 * set.em;
        let start = if set.upward { (at.0 + drop, at.1 + back) } else { (at.0 - back, at.1 + drop) };
        if self.inserts.is_some() {
            return self.insert(self.svg_text(text, start, width, set));
        }
        let mut traveled = 0.0;
        for character in text.chars() {
            let glyph = fonts::glyph(character);
            self.glyph(character, &glyph, (start, traveled * set.em), set)?;
            traveled += glyph.advance;
        }
        Ok(())
    }

    /// Sets one glyph on a bitmap, `along` pixels down the baseline from `start`.
    fn glyph(&self, character: char, glyph: &fonts::Glyph, (start, along): (Point, f64), set: Type) -> Result<()> {
        let em = set.em * self.scale;
        let size = em * glyph.size_per_em;
        let font = FontDesc::new(FontFamily::Name(glyph.font), size, FontStyle::Normal);
        let font = if set.upward { font.transform(FontTransform::Rotate270) } else { font };
        let style = TextStyle::from(font).color(&set.color);
        let x = (along * self.scale).round() + (glyph.bearing * em).floor();
        // The rasterizer puts the baseline half a size below the top.
        let rise = (size / 2.0).floor();
        // The embedded font is a light one; printing it twice, a third of a pixel apart, gives a regular weight.
        let strokes = if set.bold { self.scale } else { (self.scale - 1.0).max(1.0) } as i32;
        for stroke in 0..strokes {
            let (dx, dy) = (x + f64::from(stroke), -rise);
            let (dx, dy) = if set.upward { (dy, -dx) } else { (dx, dy) };
            let at = (self.device(start.0) + dx as i32, self.device(start.1) + dy as i32);
            self.area.draw_text(character.encode_utf8(&mut [0; 4]), &style, at).map_err(failed)?;
        }
        Ok(())
    }

    fn svg_text(&self, text: &str, start: Point, width: f64, set: Type) -> String {
        let (x, y) = self.point(start);
        let RGBAColor(r, g, b, _) = set.color;
        let mut out =
            format!("<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" fill=\"#{r:02x}{g:02x}{b:02x}\"", self.device(set.em));
        if set.bold {
            out.push_str(" font-weight=\"bold\"");
        }
        if set.upward {
            // Writing to a string cannot fail.
            let _ = write!(out, " transform=\"rotate(-90 {x} {y})\"");
        }
        // The length is fixed so that another font on the reader's side cannot make labels collide.
        let length = self.device(width);
        let _ = write!(out, " textLength=\"{length}\" lengthAdjust=\"spacingAndGlyphs\">{}</text>", escape(text));
        out
    }

    fn insert(&self, element: String) -> Result<()> {
        let Some(inserts) = &self.inserts else { return Ok(()) };
        let index = inserts.borrow().len();
        inserts.borrow_mut().push(element);
        let style = TextStyle::from(FontDesc::new(FontFamily::SansSerif, 1.0, FontStyle::Normal));
        self.area.draw_text(&format!("{PLACEHOLDER}{index}"), &style, (0, 0)).map_err(failed)
    }

    /// Places an image, stretched over the rectangle between two corners.
    pub(super) fn image(&self, raster: &Raster, a: Point, b: Point) -> Result<()> {
        let ((x0, y0), (x1, y1)) = (self.point(a), self.point(b));
        let (width, height) = ((x1 - x0).max(1) as u32, (y1 - y0).max(1) as u32);
        if self.inserts.is_some() {
            let data = BASE64_STANDARD.encode(encode_png(raster.width, raster.height, &raster.rgb)?);
            let enlarged = f64::from(width) >= f64::from(raster.width) * self.scale;
            let style = if enlarged { " style=\"image-rendering:pixelated\"" } else { "" };
            return self.insert(format!(
                "<image x=\"{x0}\" y=\"{y0}\" width=\"{width}\" height=\"{height}\" \
                 preserveAspectRatio=\"none\"{style} href=\"data:image/png;base64,{data}\"/>"
            ));
        }
        let pixels = raster.stretched(width, height).rgb;
        let element: BitMapElement<_> = BitMapElement::with_owned_buffer((x0, y0), (width, height), pixels)
            .ok_or_else(|| Error::Plot("an image buffer has the wrong length".to_owned()))?;
        self.area.draw(&element).map_err(failed)
    }
}
