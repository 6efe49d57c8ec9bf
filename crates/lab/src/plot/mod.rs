//! The figures: every one draws plain values from [`analysis::report`](kernelscope::analysis::report), nothing is computed
//! from images or weights here.
//!
//! A figure is a struct with public fields. It is turned into an SVG document by [`svg`], into a PNG file by [`png()`],
//! or into both on disk by [`save`]. All figures share one look: a white background, dark gray text and a thin grid.
//! They are 960 pixels wide, and their text stays readable when they are shown 800 pixels wide. The
//! fonts are embedded in the crate, so that figures look the same on every machine.
//!
//! Values that make no sense together (an empty list, a buffer of the wrong length, a value that is not finite) are
//! refused with [`Error::Argument`](crate::Error::Argument), which names the field.

pub mod ablation;
mod axis;
pub mod bars;
mod check;
pub mod colormap;
pub mod curves;
pub mod erf;
mod erf_difference;
mod fonts;
pub mod groups;
mod heat_map;
pub mod images;
pub mod kernels;
mod legend;
pub mod masks;
pub mod orientation;
mod output;
mod pen;
mod polar;
mod raster;
mod recipe;
mod reliability;
pub mod shape_bias;
pub mod sparsity;
mod taps;
#[cfg(test)]
mod tests;
mod theme;

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::prelude::DrawingBackend;

pub use ablation::{AblationLines, AblationPoint, AblationRows, AblationSeries};
pub use bars::CostBars;
pub use colormap::{Colormap, Rgb};
pub use curves::LossCurves;
pub use erf::{ErfFigure, ErfScale};
pub use erf_difference::ErfDifference;
pub use groups::{GroupMaps, ShiftMaps};
pub use heat_map::HeatMap;
pub use images::{ImageSheet, SheetImage};
pub use kernels::{KernelGrid, OrientedTaps, TapPattern};
pub use masks::{MaskCurves, TapShares};
pub use orientation::{OrientationHistogram, PolarOrientation};
pub use output::{png, save, svg};
pub use pen::Pen;
pub use raster::pool;
pub use recipe::{Recipe, Table, Tabular, export};
pub use reliability::ReliabilityFigure;
pub use shape_bias::ShapeBiasFigure;
pub use sparsity::{DensityBars, KeptGroupHistograms};

use crate::Result;

/// Something that can be drawn.
pub trait Figure {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);

    /// Draws the figure with a pen whose unit is one pixel of [`size`](Self::size).
    ///
    /// # Errors
    /// If the values do not fit together or the backend fails.
    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static;

    /// Draws the figure onto an area of [`size`](Self::size) pixels. A larger area gets the largest whole multiple of
    /// that size that fits. For an SVG use [`svg`], which embeds images whole; `plotters` itself would write every
    /// pixel of an image as a rectangle.
    ///
    /// # Errors
    /// If the area is too small, the values do not fit together or the backend fails.
    fn draw<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        self.paint(&Pen::new(root, self.size())?)
    }
}
