//! Photographs in a grid.

use plotters::prelude::DrawingBackend;

use super::pen::{Align, Pen, Stroke, Type};
use super::raster::{Raster, shrink};
use super::{Figure, check, fonts, theme};
use crate::Result;

/// Space between cells in figure pixels.
const GAP: f64 = 16.0;
/// Most lines of a caption.
const CAPTION_LINES: usize = 3;
/// Images are shown at least this large, in figure pixels.
const LEGIBLE: f64 = 96.0;

/// An RGB image with a caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetImage {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `3 * height * width` bytes: red, green, blue, row by row.
    pub pixels: Vec<u8>,
    /// Text below the image; broken at spaces into at most three lines.
    pub caption: String,
}

/// A contact sheet. Images smaller than their cell are enlarged by a whole factor, with their pixels kept sharp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSheet {
    /// The images, row by row.
    pub images: Vec<SheetImage>,
    /// Images per row, 1 to 12; fewer are drawn if small images would not be legible in such narrow cells.
    pub columns: usize,
}

impl SheetImage {
    /// The narrowest cell in which a small image is legible; larger images fit any.
    fn least_cell(&self) -> f64 {
        let longest = self.height.max(self.width).max(1) as f64;
        if longest < LEGIBLE { longest * (LEGIBLE / longest).ceil() } else { 0.0 }
    }

    /// Size on the sheet in a cell `cell` pixels wide, with the proportions kept.
    fn shown(&self, cell: f64) -> (f64, f64) {
        let longest = self.height.max(self.width).max(1) as f64;
        // Whole multiples keep all pixels the same size.
        let factor = if longest < cell { (cell / longest).floor() } else { cell / longest };
        (self.width as f64 * factor, self.height as f64 * factor)
    }

    fn raster(&self, cell: f64) -> Result<Raster> {
        let pixels = self.pixels.as_chunks::<3>().0.iter().copied();
        let raster = Raster::new(self.width, self.height, pixels)?;
        // A photograph is averaged down to about three pixels per figure pixel; more is never seen.
        let factor = (self.height.max(self.width) as f64 / (3.0 * cell)).floor() as usize;
        if factor < 2 {
            return Ok(raster);
        }
        let (width, height) = (self.width / factor, self.height / factor);
        if width == 0 || height == 0 {
            return Ok(raster);
        }
        let cropped: Vec<u8> = self
            .pixels
            .chunks_exact(3 * self.width)
            .take(height * factor)
            .flat_map(|row| row.iter().take(3 * width * factor))
            .copied()
            .collect();
        let averaged = shrink(&cropped, width, factor);
        Raster::new(width, height, averaged.as_chunks::<3>().0.iter().copied())
    }
}

impl ImageSheet {
    /// Images per row.
    fn per_row(&self) -> usize {
        let least = self.images.iter().map(SheetImage::least_cell).fold(0.0, f64::max);
        let room = ((theme::WIDTH - 2.0 * theme::MARGIN + GAP) / (least + GAP)).floor() as usize;
        self.columns.min(room).clamp(1, 12)
    }

    fn cell(&self) -> f64 {
        let columns = self.per_row() as f64;
        (theme::WIDTH - 2.0 * theme::MARGIN - GAP * (columns - 1.0)) / columns
    }

    /// Height of the images and number of caption lines of every row.
    fn rows(&self) -> Vec<(f64, usize)> {
        let cell = self.cell();
        let row = |images: &[SheetImage]| {
            let height = images.iter().map(|image| image.shown(cell).1).fold(0.0, f64::max);
            let lines = |image: &SheetImage| fonts::wrap(&image.caption, theme::EM, cell, CAPTION_LINES).len();
            (height, images.iter().map(lines).max().unwrap_or(0))
        };
        self.images.chunks(self.per_row()).map(row).collect()
    }

    fn check(&self) -> Result<()> {
        check::not_empty("ImageSheet.images", &self.images)?;
        check::count("ImageSheet.columns", self.columns, 1, 12)?;
        for image in &self.images {
            check::count("SheetImage.height", image.height, 1, 65_536)?;
            check::count("SheetImage.width", image.width, 1, 65_536)?;
            check::length("SheetImage.pixels", image.pixels.len(), 3 * image.height * image.width)?;
        }
        Ok(())
    }
}

fn row_height((height, lines): (f64, usize)) -> f64 {
    height + 4.0 + lines as f64 * theme::LINE + GAP
}

impl Figure for ImageSheet {
    fn size(&self) -> (u32, u32) {
        theme::size(2.0 * theme::MARGIN - GAP + self.rows().into_iter().map(row_height).sum::<f64>())
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        self.check()?;
        let cell = self.cell();
        let mut y = theme::MARGIN;
        for (images, row) in self.images.chunks(self.per_row()).zip(self.rows()) {
            for (column, image) in images.iter().enumerate() {
                let x = theme::MARGIN + column as f64 * (cell + GAP);
                let (width, height) = image.shown(cell);
                let corner = (x + (cell - width) / 2.0, y + row.0 - height);
                let opposite = (corner.0 + width, corner.1 + height);
                pen.image(&image.raster(cell)?, corner, opposite)?;
                pen.frame(corner, opposite, Stroke { color: theme::GRID, width: 1.0 })?;
                for (line, text) in fonts::wrap(&image.caption, theme::EM, cell, CAPTION_LINES).iter().enumerate() {
                    let at = (x + cell / 2.0, y + row.0 + 4.0 + (line as f64 + 0.5) * theme::LINE);
                    pen.text(text, at, Type::label(Align::Middle))?;
                }
            }
            y += row_height(row);
        }
        Ok(())
    }
}
