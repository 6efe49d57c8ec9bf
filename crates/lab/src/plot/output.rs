//! Figures as SVG text, PNG bytes and files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use plotters::backend::{BitMapBackend, RGBPixel, SVGBackend};
use plotters::drawing::IntoDrawingArea;

use super::pen::{PLACEHOLDER, Pen};
use super::raster::{encode_png, shrink};
use super::{Figure, Recipe};
use crate::{Error, Result};
use kernelscope::files::write_atomically;

/// Units of the SVG's coordinates per pixel: the backend writes whole numbers, which are too coarse for curves.
const SVG_UNITS: u32 = 8;
/// Bitmaps are drawn this many times too large and averaged, which smooths every edge.
const OVERSAMPLING: u32 = 3;
/// Most pixels of a figure that is still smoothed.
const SMOOTHED_PIXELS: u64 = 12_000_000;
/// Longest side of a figure in pixels.
const LONGEST_SIDE: u32 = 30_000;

fn checked_size(figure: &impl Figure) -> Result<(u32, u32)> {
    let (width, height) = figure.size();
    if width == 0 || height == 0 || width > LONGEST_SIDE || height > LONGEST_SIDE {
        let allowed = format!("sides from 1 to {LONGEST_SIDE} pixels; show fewer parts");
        return Err(Error::argument("figure size", format!("{width} x {height}"), allowed));
    }
    Ok((width, height))
}

/// The figure as an SVG document. Heat maps and photographs are embedded as PNG, everything else is vectors.
///
/// # Errors
/// If the figure's values do not fit together.
pub fn svg(figure: &impl Figure) -> Result<String> {
    let (width, height) = checked_size(figure)?;
    let mut drawn = String::new();
    let inserts = {
        let units = (width * SVG_UNITS, height * SVG_UNITS);
        let root = SVGBackend::with_string(&mut drawn, units).into_drawing_area();
        let pen = Pen::new(&root, (width, height))?.for_svg();
        background(&pen, (width, height))?;
        figure.paint(&pen)?;
        root.present().map_err(|error| Error::Plot(error.to_string()))?;
        pen.into_inserts()
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {} {}\" \
         font-family=\"Ubuntu, 'Helvetica Neue', Arial, sans-serif\" stroke-linejoin=\"round\">\n",
        width * SVG_UNITS,
        height * SVG_UNITS
    );
    // The first line is the backend's own opening tag. A placeholder is a text element of three lines.
    let mut lines = drawn.lines().skip(1).peekable();
    while let Some(line) = lines.next() {
        let index = lines.peek().and_then(|next| next.strip_prefix(PLACEHOLDER)).and_then(|index| index.parse().ok());
        match index.and_then(|index: usize| inserts.get(index)) {
            Some(element) => {
                out.push_str(element);
                lines.next();
                lines.next();
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    Ok(out)
}

/// The figure as the bytes of a PNG file of [`Figure::size`] pixels.
///
/// # Errors
/// If the figure's values do not fit together.
pub fn png(figure: &impl Figure) -> Result<Vec<u8>> {
    let (width, height, pixels) = pixels(figure)?;
    encode_png(width, height, &pixels)
}

/// [`png()`] with a recipe in text chunks.
pub(super) fn png_with(figure: &impl Figure, recipe: &Recipe) -> Result<Vec<u8>> {
    let (width, height, pixels) = pixels(figure)?;
    let fault = |error: png::EncodingError| Error::Plot(error.to_string());
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    for (name, value) in &recipe.entries {
        encoder.add_itxt_chunk(name.clone(), value.clone()).map_err(fault)?;
    }
    let mut writer = encoder.write_header().map_err(fault)?;
    writer.write_image_data(&pixels).map_err(fault)?;
    writer.finish().map_err(fault)?;
    Ok(bytes)
}

/// The figure as an RGB buffer: width, height and three bytes per pixel.
fn pixels(figure: &impl Figure) -> Result<(u32, u32, Vec<u8>)> {
    let (width, height) = checked_size(figure)?;
    let factor = if u64::from(width) * u64::from(height) <= SMOOTHED_PIXELS { OVERSAMPLING } else { 1 };
    let (wide, high) = (width * factor, height * factor);
    let mut buffer = vec![255; 3 * wide as usize * high as usize];
    {
        let backend = BitMapBackend::<RGBPixel>::with_buffer_and_format(&mut buffer, (wide, high))
            .map_err(|error| Error::Plot(error.to_string()))?;
        let root = backend.into_drawing_area();
        let pen = Pen::new(&root, (width, height))?;
        background(&pen, (width, height))?;
        figure.paint(&pen)?;
        root.present().map_err(|error| Error::Plot(error.to_string()))?;
    }
    Ok((width, height, shrink(&buffer, width as usize, factor as usize)))
}

fn background<DB: plotters::prelude::DrawingBackend>(pen: &Pen<'_, DB>, (width, height): (u32, u32)) -> Result<()>
where
    DB::ErrorType: 'static,
{
    pen.rect((0.0, 0.0), (f64::from(width), f64::from(height)), super::theme::PAPER)
}

/// Writes the figure to `stem.svg` and `stem.png`. Each file is complete or not there: it is written beside its final
/// name and then renamed. The folder must exist.
///
/// # Errors
/// If the figure's values do not fit together or a file cannot be written.
pub fn save(figure: &impl Figure, stem: &Path) -> Result<()> {
    if stem.file_name().is_none() {
        return Err(Error::argument("stem", stem.display(), "a path that ends in a file name"));
    }
    let (vectors, pixels) = (svg(figure)?, png(figure)?);
    write_atomically(&with_ending(stem, ".svg"), |file| file.write_all(vectors.as_bytes()))?;
    write_atomically(&with_ending(stem, ".png"), |file| file.write_all(&pixels))
}

/// Appends an ending; `with_extension` would cut `stage.2` to `stage`.
fn with_ending(stem: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = stem.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
