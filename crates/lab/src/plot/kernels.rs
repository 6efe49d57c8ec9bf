//! Learned kernels as a grid of small images.

use plotters::prelude::DrawingBackend;

use super::colormap::{BAR_HEIGHT, ColorBar, Colormap, color_bar, signed};
use super::legend::{Key, Legend};
use super::pen::{Align, Pen, Stroke, Type};
use super::raster::Raster;
use super::{Figure, check, fonts, theme};
use crate::Result;
use kernelscope::analysis::report::{KernelLayer, KernelShape, PixelKernel};

pub use super::taps::{OrientedTaps, TapPattern};

/// Space between cells in figure pixels.
const GAP: f64 = 12.0;

/// The kernels of one depthwise layer, blue for negative and red for positive weights, one color range for all.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelGrid {
    /// The layer.
    pub layer: KernelLayer,
    /// Channels and their kernels on the pixel grid: all of the layer's or a part of them ([`KernelGrid::spread`]).
    pub kernels: Vec<(usize, PixelKernel)>,
}

/// Most kernels in a grid.
const MOST: usize = 4096;

impl KernelGrid {
    /// At most `most` of `channels` channels, evenly spaced: neighbors share their angle, so the first ones alone would
    /// show few of a layer's directions.
    ///
    /// ```
    /// use kernelscope_lab::plot::KernelGrid;
    /// assert_eq!(KernelGrid::spread(10, 4), [0, 2, 5, 7]);
    /// assert_eq!(KernelGrid::spread(3, 4), [0, 1, 2]);
    /// ```
    pub fn spread(channels: usize, most: usize) -> Vec<usize> {
        let count = channels.min(most);
        (0..count).map(|i| (i as u128 * channels as u128 / count as u128) as usize).collect()
    }

    fn shown(&self) -> impl Iterator<Item = &PixelKernel> {
        self.kernels.iter().map(|(_, kernel)| kernel)
    }

    fn columns(&self) -> usize {
        let count = self.kernels.len();
        let square = (((count as f64) * 1.5).sqrt().ceil() as usize).clamp(4, 12);
        // A nearby number that fills the last row looks better.
        let near = [square, square + 1, square.saturating_sub(1), square + 2, square.saturating_sub(2)];
        near.into_iter().find(|&columns| (4..=12).contains(&columns) && count.is_multiple_of(columns)).unwrap_or(square)
    }

    /// Side of a cell's image in figure pixels.
    fn side(&self) -> f64 {
        let columns = self.columns() as f64;
        (theme::WIDTH - 2.0 * theme::MARGIN - GAP * (columns - 1.0)) / columns
    }

    /// Largest height of a kernel relative to the longer side of the largest one.
    fn tallest(&self) -> f64 {
        let side = self.longest();
        self.shown().map(|kernel| kernel.height as f64 / side).fold(0.0, f64::max)
    }

    fn longest(&self) -> f64 {
        self.shown().map(|kernel| kernel.height.max(kernel.width)).max().unwrap_or(1).max(1) as f64
    }

    fn row_height(&self) -> f64 {
        theme::LINE + self.side() * self.tallest() + GAP
    }

    fn limit(&self) -> f64 {
        let values = self.shown().flat_map(|kernel| kernel.values.iter());
        values.fold(0.0, |limit, value| limit.max(f64::from(value.abs())))
    }

    fn has_gaps(&self) -> bool {
        self.shown().any(|kernel| kernel.tapped.iter().any(|tapped| !tapped))
    }

    fn check(&self) -> Result<()> {
        check::not_empty("KernelGrid.kernels", &self.kernels)?;
        check::count("KernelGrid.kernels.len()", self.kernels.len(), 1, self.layer.channels.min(MOST))?;
        for (channel, kernel) in &self.kernels {
            check::count("KernelGrid.kernels.0", *channel, 0, self.layer.channels - 1)?;
            check::count("PixelKernel.height", kernel.height, 1, 4096)?;
            check::count("PixelKernel.width", kernel.width, 1, 4096)?;
            check::length("PixelKernel.values", kernel.values.len(), kernel.height * kernel.width)?;
            check::length("PixelKernel.tapped", kernel.tapped.len(), kernel.height * kernel.width)?;
            kernel.values.iter().try_for_each(|&value| check::finite("PixelKernel.values", f64::from(value)))?;
        }
        Ok(())
    }

    fn subtitle(&self) -> String {
        let shape = match &self.layer.shape {
            KernelShape::Oriented { taps, .. } => format!("oriented lines of {taps} taps"),
            KernelShape::Dense { height, width } => format!("dense {height} × {width}"),
        };
        let (shown, all) = (self.kernels.len(), self.layer.channels);
        if shown == all {
            return format!("{shape}; all {all} channels, numbered from 0");
        }
        let channels = self.kernels.iter().map(|(channel, _)| *channel);
        let spacing = if channels.eq(Self::spread(all, shown)) { ", evenly spaced" } else { "" };
        format!("{shape}; {shown} of {all} channels{spacing}, numbered from 0")
    }
}

impl Figure for KernelGrid {
    fn size(&self) -> (u32, u32) {
        let rows = self.kernels.len().div_ceil(self.columns()) as f64;
        let top = theme::TITLE_HEIGHT + theme::LINE + 8.0;
        theme::size(2.0 * theme::MARGIN + top + rows * self.row_height() + 6.0 + BAR_HEIGHT)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        self.check()?;
        let room = theme::WIDTH - 2.0 * theme::MARGIN;
        let title = fonts::shorten(&self.layer.path, theme::TITLE_EM, room - 10.0);
        pen.text(&title, (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;
        let mut top = theme::MARGIN + theme::TITLE_HEIGHT;
        pen.text(&self.subtitle(), (theme::MARGIN, top + theme::LINE / 2.0), Type::label(Align::Left))?;
        top += theme::LINE + 8.0;

        let (columns, limit) = (self.columns(), self.limit());
        let pixel = self.side() / self.longest();
        for (index, (channel, kernel)) in self.kernels.iter().enumerate() {
            let x = theme::MARGIN + (index % columns) as f64 * (self.side() + GAP);
            let y = top + (index / columns) as f64 * self.row_height();
            let label = (x + self.side() / 2.0, y + theme::LINE / 2.0);
            pen.text(&channel.to_string(), label, Type::label(Align::Middle))?;
            let color = |(&value, &tapped)| if tapped { signed(f64::from(value), limit) } else { theme::NO_TAP };
            let pixels = kernel.values.iter().zip(&kernel.tapped).map(color);
            let raster = Raster::new(kernel.width, kernel.height, pixels)?;
            let (width, height) = (pixel * kernel.width as f64, pixel * kernel.height as f64);
            let corner = (x + (self.side() - width) / 2.0, y + theme::LINE);
            let opposite = (corner.0 + width, corner.1 + height);
            pen.image(&raster, corner, opposite)?;
            pen.frame(corner, opposite, Stroke { color: theme::AXIS, width: 0.7 })?;
        }

        let rows = self.kernels.len().div_ceil(columns) as f64;
        let y = top + rows * self.row_height() + 6.0;
        // A layer whose weights are all zero still needs a range.
        let high = if limit > 0.0 { limit } else { 1.0 };
        let bar = ColorBar { map: Colormap::Diverging, low: -high, high, label: "weight".to_owned() };
        let width = 440.0;
        color_bar(pen, &bar, ((theme::WIDTH - width) / 2.0, y), width)?;
        if self.has_gaps() {
            let legend = Legend::new([(Key::Patch(theme::NO_TAP), "no tap".to_owned())], 140.0);
            legend.draw(pen, (theme::WIDTH / 2.0 + width / 2.0 + 40.0, y - 2.0))?;
        }
        Ok(())
    }
}
