//! Orientations of kernels as a rose.

use plotters::prelude::DrawingBackend;
use plotters::style::RGBAColor;

use super::axis::{Axis, places_trimmed};
use super::colormap::ink;
use super::legend::{Key, Legend};
use super::orientation::{BUILT, LEARNED, MOST_BINS, check_channels, legend};
use super::pen::{Align, Pen, Point, Stroke, Type};
use super::{Figure, check, fonts, theme};
use crate::Result;
use kernelscope::analysis::orientation::Bins;
use kernelscope::analysis::report::ChannelOrientation;

/// Radius of the rose in figure pixels.
const RADIUS: f64 = 270.0;

/// Angle of the ring texts in degrees: between the spokes and off the commonest built angles.
const RING_TEXT: f64 = 78.0;
/// Ground of the ring texts.
const PALE: RGBAColor = RGBAColor(255, 255, 255, 0.8);

/// A rose of kernel orientation: the length of a petal is the number of channels. An orientation has no direction, so
/// the lower half mirrors the upper one.
#[derive(Debug, Clone, PartialEq)]
pub struct PolarOrientation {
    /// Title.
    pub title: String,
    /// The channels, of one layer or pooled over several.
    pub channels: Vec<ChannelOrientation>,
    /// Number of bins over 180 degrees, centered on multiples of their width.
    pub bins: usize,
}

/// The point at an angle in degrees, counter-clockwise from the right.
fn around(center: Point, radius: f64, degrees: f64) -> Point {
    let (sin, cos) = degrees.to_radians().sin_cos();
    (center.0 + radius * cos, center.1 - radius * sin)
}

/// Points along an arc, about one every two degrees.
fn arc(center: Point, radius: f64, from: f64, to: f64) -> Vec<Point> {
    let steps = ((to - from).abs() / 2.0).ceil().max(1.0) as usize;
    (0..=steps).map(|i| around(center, radius, from + (to - from) * i as f64 / steps as f64)).collect()
}

impl PolarOrientation {
    fn top(&self) -> f64 {
        theme::MARGIN + theme::TITLE_HEIGHT + self.legend().height + 10.0
    }

    fn legend(&self) -> Legend {
        legend(self.channels.iter().any(|channel| channel.built.is_some()).then_some(Key::Line(BUILT)))
    }

    fn web<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, center: Point, axis: &Axis) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let thin = Stroke { color: theme::GRID, width: 1.0 };
        for (value, _) in axis.ticks.iter().filter(|(value, _)| *value > 0.0) {
            pen.polyline(&arc(center, value / axis.high * RADIUS, 0.0, 360.0), thin)?;
        }
        for step in 0..8 {
            let degrees = f64::from(step) * 45.0;
            pen.line(center, around(center, RADIUS, degrees), thin)?;
            let align = match step {
                2 | 6 => Align::Middle,
                0 | 1 | 7 => Align::Left,
                _ => Align::Right,
            };
            let text = format!("{}°", step * 45 % 180);
            pen.text(&text, around(center, RADIUS + 14.0, degrees), Type::label(align))?;
        }
        Ok(())
    }

    fn petals<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, center: Point, axis: &Axis) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let bins = Bins::new(&self.channels, self.bins);
        let width = 180.0 / self.bins as f64;
        let border = Stroke { color: ink([255; 3]), width: 1.0 };
        for half in [0.0, 180.0] {
            for (index, &value) in bins.learned.iter().enumerate().filter(|(_, value)| **value > 0.0) {
                let middle = half + index as f64 * width;
                let mut petal = arc(center, value / axis.high * RADIUS, middle - width / 2.0, middle + width / 2.0);
                petal.push(center);
                pen.polygon(&petal, ink(LEARNED))?;
                petal.extend(petal.first().copied());
                pen.polyline(&petal, border)?;
            }
        }
        // Only the outer arcs of the built angles: their sides would all meet in the center and cover the petals.
        for half in [0.0, 180.0] {
            for (index, &value) in bins.built.iter().enumerate().filter(|(_, value)| **value > 0.0) {
                let middle = half + index as f64 * width;
                let rim = arc(center, value / axis.high * RADIUS, middle - width / 2.0, middle + width / 2.0);
                pen.polyline(&rim, Stroke { color: ink(BUILT), width: 3.0 })?;
            }
        }
        Ok(())
    }
}

impl Figure for PolarOrientation {
    fn size(&self) -> (u32, u32) {
        theme::size(self.top() + 2.0 * (RADIUS + 30.0) + theme::LINE + theme::MARGIN)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        check::count("PolarOrientation.bins", self.bins, 2, MOST_BINS)?;
        check_channels(&self.channels)?;
        let room = theme::WIDTH - 2.0 * theme::MARGIN - 10.0;
        let title = fonts::shorten(&self.title, theme::TITLE_EM, room);
        pen.text(&title, (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;
        self.legend().draw(pen, (theme::MARGIN, theme::MARGIN + theme::TITLE_HEIGHT))?;
        let axis = Axis::counts(Bins::new(&self.channels, self.bins).peak(), 4, "");
        let center = (theme::WIDTH / 2.0, self.top() + RADIUS + 30.0);
        self.web(pen, center, &axis)?;
        self.petals(pen, center, &axis)?;
        // Ring texts between two spokes, on a pale ground because petals may lie below them.
        for (value, text) in axis.ticks.iter().filter(|(value, _)| *value > 0.0) {
            let at = around(center, value / axis.high * RADIUS, RING_TEXT);
            let half = fonts::measure(text, theme::EM) / 2.0 + 3.0;
            pen.rect((at.0 - half, at.1 - 9.0), (at.0 + half, at.1 + 9.0), PALE)?;
            pen.text(text, at, Type::label(Align::Middle))?;
        }
        let below = (center.0, center.1 + RADIUS + 30.0 + theme::LINE / 2.0);
        let text = format!("radius: channels per bin of {}°", places_trimmed(180.0 / self.bins as f64, 2));
        pen.text(&text, below, Type::label(Align::Middle))
    }
}
