//! Kernels on the pixel grid.

use super::{Textures, color};
use crate::state::EntryId;
use eframe::egui::{self, Color32, ColorImage, Pos2, Rect, TextureOptions, pos2};
use kernelscope::analysis::report::{KernelLayer, PixelKernel};
use kernelscope_lab::plot::colormap::signed;

/// All kernels of a layer in one picture, each in its own cell: one texture for hundreds of kernels.
pub struct KernelPicture {
    /// The picture.
    pub texture: egui::TextureHandle,
    /// Rows of a kernel.
    pub height: usize,
    /// Columns of a kernel.
    pub width: usize,
    columns: usize,
    rows: usize,
}

/// Color of values that are not finite.
const NOT_FINITE: Color32 = Color32::from_rgb(255, 0, 255);

/// The color of a tap.
fn tap_color(value: f32, limit: f64) -> Color32 {
    if value.is_finite() { color(signed(f64::from(value), limit)) } else { NOT_FINITE }
}

/// The color range of kernels: the largest finite weight.
pub fn limit<'a>(values: impl Iterator<Item = &'a f32>) -> f64 {
    values.filter(|v| v.is_finite()).fold(0.0, |limit: f64, v| limit.max(f64::from(v.abs())))
}

/// What determines the picture of a layer's kernels, besides the layer's path.
#[derive(Debug, Clone, Copy, Hash)]
pub struct PictureKey {
    /// Whose kernels they are.
    pub entry: EntryId,
    /// Which weights of the entry.
    pub generation: u64,
    /// Whether they are those of the form for inference.
    pub merged: bool,
    /// Whether each kernel has its own color range.
    pub own_range: bool,
    /// Whether the background is dark.
    pub dark: bool,
}

/// The picture of all kernels of a layer.
pub fn kernel_picture(
    ctx: &egui::Context,
    textures: &mut Textures,
    layer: &KernelLayer,
    key: PictureKey,
) -> KernelPicture {
    let first = layer.pixels(0);
    let (height, width) = (first.height, first.width);
    // The side of a texture is limited, so layers with many channels become a square of kernels.
    let columns = (layer.channels as f64 * height as f64 / width.max(1) as f64).sqrt().ceil().max(1.0) as usize;
    let rows = layer.channels.div_ceil(columns);
    let shared = limit(layer.weights.iter());
    let empty = if key.dark { Color32::from_gray(48) } else { Color32::from_gray(228) };
    let texture = textures.get(ctx, (key, &layer.path), TextureOptions::NEAREST, || {
        let mut image = ColorImage::filled([columns * width, rows * height], empty);
        for channel in 0..layer.channels {
            let kernel = layer.pixels(channel);
            let range = if key.own_range { limit(kernel.values.iter()) } else { shared };
            let (top, left) = (channel / columns * height, channel % columns * width);
            for (index, (&value, &tapped)) in kernel.values.iter().zip(&kernel.tapped).enumerate() {
                let at = (top + index / width) * columns * width + left + index % width;
                if let Some(pixel) = image.pixels.get_mut(at).filter(|_| tapped) {
                    *pixel = tap_color(value, range);
                }
            }
        }
        image
    });
    KernelPicture { texture, height, width, columns, rows }
}

/// Paints one kernel of a picture.
pub fn kernel_tile(painter: &egui::Painter, picture: &KernelPicture, channel: usize, rect: Rect) {
    let (columns, rows) = (picture.columns as f32, picture.rows as f32);
    let (x, y) = ((channel % picture.columns) as f32, (channel / picture.columns) as f32);
    let uv = Rect::from_min_max(pos2(x / columns, y / rows), pos2((x + 1.0) / columns, (y + 1.0) / rows));
    painter.image(picture.texture.id(), rect, uv, Color32::WHITE);
}

/// A place of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tap {
    /// Its row.
    pub row: usize,
    /// Its column.
    pub column: usize,
    /// Its weight; `None` where there is no tap.
    pub weight: Option<f32>,
}

impl std::fmt::Display for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row {}, column {}: ", self.row, self.column)?;
        match self.weight {
            Some(weight) => write!(f, "{weight}"),
            None => write!(f, "no tap"),
        }
    }
}

/// The tap under a point.
pub fn tap_at(kernel: &PixelKernel, rect: Rect, point: Pos2) -> Option<Tap> {
    if !rect.contains(point) {
        return None;
    }
    let share = (point - rect.min) / rect.size();
    let row = ((share.y * kernel.height as f32) as usize).min(kernel.height.saturating_sub(1));
    let column = ((share.x * kernel.width as f32) as usize).min(kernel.width.saturating_sub(1));
    let index = row * kernel.width + column;
    let weight = kernel.values.get(index).copied().filter(|_| kernel.tapped.get(index) == Some(&true));
    Some(Tap { row, column, weight })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_reaches_the_largest_weight_of_either_sign() {
        assert_eq!(limit([-3.0, 1.0, f32::NAN].iter()), 3.0);
        assert_eq!(limit([-1.0, 2.0, f32::INFINITY].iter()), 2.0);
        assert_eq!(limit([].iter()), 0.0);
        let side = |value: f32| tap_color(value, 2.0);
        assert_eq!(side(-2.0), color(kernelscope_lab::plot::Colormap::Diverging.at(0.0)));
        assert_eq!(side(2.0), color(kernelscope_lab::plot::Colormap::Diverging.at(1.0)));
        assert_eq!(side(f32::NAN), NOT_FINITE);
    }
}
