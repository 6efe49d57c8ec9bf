//! Orientations of kernels as histograms.

use plotters::prelude::DrawingBackend;

use super::axis::{Axis, Panel};
use super::colormap::{Rgb, ink};
use super::legend::{Key, Legend};
use super::pen::{Align, Pen, Point, Stroke, Type};
use super::{Figure, check, fonts, theme};
use crate::Result;
use kernelscope::analysis::orientation::Bins;
use kernelscope::analysis::report::{ChannelOrientation, LayerOrientation};

pub use super::polar::PolarOrientation;

/// Layers that are drawn.
const MOST_LAYERS: usize = 12;
/// Height of one diagram with its heading in figure pixels.
const CELL_HEIGHT: f64 = 236.0;
/// Space between diagrams.
const GAP: f64 = 18.0;
/// Most bins.
pub(super) const MOST_BINS: usize = 180;
/// Color of learned orientations.
pub(super) const LEARNED: Rgb = [86, 180, 233];
/// Color of built angles.
pub(super) const BUILT: Rgb = [213, 94, 0];

/// Histograms of kernel orientation, one diagram per layer.
///
/// Bins are centered on multiples of their width, the first one on 0°, which is also 180°.
#[derive(Debug, Clone, PartialEq)]
pub struct OrientationHistogram {
    /// The layers; the first twelve are drawn.
    pub layers: Vec<LayerOrientation>,
    /// Number of bins over 180 degrees.
    pub bins: usize,
}

/// Refuses channels with impossible values.
pub(super) fn check_channels(channels: &[ChannelOrientation]) -> Result<()> {
    check::not_empty("LayerOrientation.channels", channels)?;
    for channel in channels {
        check::range("ChannelOrientation.anisotropy", channel.anisotropy, 0.0, 1.0 + 1e-6)?;
        for (name, angle) in [("built", channel.built), ("dominant", channel.dominant)] {
            if let Some(angle) = angle {
                check::finite(&format!("ChannelOrientation.{name}"), angle)?;
            }
        }
    }
    Ok(())
}

/// The legend of both kinds of orientation diagram; `built` is the key of built angles, if there are any.
pub(super) fn legend(built: Option<Key>) -> Legend {
    let mut entries = vec![(Key::Patch(LEARNED), "learned orientation, weighted by anisotropy".to_owned())];
    entries.extend(built.map(|key| (key, "angle the layer was built with".to_owned())));
    Legend::new(entries, theme::WIDTH - 2.0 * theme::MARGIN)
}

impl OrientationHistogram {
    fn shown(&self) -> &[LayerOrientation] {
        self.layers.get(..MOST_LAYERS).unwrap_or(&self.layers)
    }

    fn columns(&self) -> usize {
        match self.shown().len() {
            0 | 1 => 1,
            2 | 4 => 2,
            _ => 3,
        }
    }

    fn legend(&self) -> Legend {
        let built = self.shown().iter().flat_map(|layer| &layer.channels).any(|channel| channel.built.is_some());
        legend(built.then_some(Key::Outline(BUILT)))
    }

    fn title(&self) -> String {
        let (shown, all) = (self.shown().len(), self.layers.len());
        if shown == all {
            "Kernel orientation".to_owned()
        } else {
            format!("Kernel orientation, first {shown} of {all} layers")
        }
    }

    fn diagram<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, layer: &LayerOrientation, a: Point, b: Point) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let bins = Bins::new(&layer.channels, self.bins);
        let mut x = Axis::linear(0.0, 180.0, 4, "orientation (degrees)");
        x.ticks = [0, 45, 90, 135, 180].map(|degrees| (f64::from(degrees), degrees.to_string())).to_vec();
        let y = Axis::counts(bins.peak(), 4, "channels");
        let panel = Panel::within(x, y, (a.0, a.1 + theme::LINE), b);
        let heading = fonts::shorten(&layer.path, theme::EM, b.0 - panel.upper_left.0 - 6.0);
        pen.text(&heading, (panel.upper_left.0, a.1 + theme::LINE / 2.0), Type::label(Align::Left).bold())?;
        panel.draw(pen)?;
        let width = 180.0 / self.bins as f64;
        // The bin around 0° also begins the curve's end at 180°.
        let spans: Vec<(usize, f64, f64)> = (0..=self.bins)
            .map(|i| {
                let center = i as f64 * width;
                (i % self.bins, (center - width / 2.0).max(0.0), (center + width / 2.0).min(180.0))
            })
            .collect();
        let inset = if width / 180.0 * (panel.lower_right.0 - panel.upper_left.0) > 6.0 { 0.5 } else { 0.0 };
        for &(bin, from, to) in &spans {
            let value = bins.learned.get(bin).copied().unwrap_or(0.0);
            if value > 0.0 {
                let ((x0, y0), (x1, y1)) = (panel.at(from, value), panel.at(to, 0.0));
                pen.rect((x0 + inset, y0), (x1 - inset, y1), ink(LEARNED))?;
            }
        }
        if bins.built.iter().any(|&count| count > 0.0) {
            let level = |bin: usize| bins.built.get(bin).copied().unwrap_or(0.0);
            let steps = spans.iter().flat_map(|&(bin, from, to)| [(from, level(bin)), (to, level(bin))]);
            let outline: Vec<Point> = steps.map(|(x, y)| panel.at(x, y)).collect();
            pen.polyline(&outline, Stroke { color: ink(BUILT), width: 2.0 })?;
        }
        panel.draw_axes(pen)
    }
}

impl Figure for OrientationHistogram {
    fn size(&self) -> (u32, u32) {
        let rows = self.shown().len().div_ceil(self.columns()) as f64;
        let top = 2.0 * theme::MARGIN + theme::TITLE_HEIGHT + self.legend().height + 12.0;
        theme::size(top + rows * CELL_HEIGHT + (rows - 1.0).max(0.0) * GAP)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        check::not_empty("OrientationHistogram.layers", &self.layers)?;
        check::count("OrientationHistogram.bins", self.bins, 2, MOST_BINS)?;
        self.layers.iter().try_for_each(|layer| check_channels(&layer.channels))?;
        pen.text(&self.title(), (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;
        let legend = self.legend();
        let mut top = theme::MARGIN + theme::TITLE_HEIGHT;
        legend.draw(pen, (theme::MARGIN, top))?;
        top += legend.height + 12.0;
        let columns = self.columns();
        let cell = (theme::WIDTH - 2.0 * theme::MARGIN - GAP * (columns - 1) as f64) / columns as f64;
        for (index, layer) in self.shown().iter().enumerate() {
            let x = theme::MARGIN + (index % columns) as f64 * (cell + GAP);
            let y = top + (index / columns) as f64 * (CELL_HEIGHT + GAP);
            self.diagram(pen, layer, (x, y), (x + cell, y + CELL_HEIGHT))?;
        }
        Ok(())
    }
}
