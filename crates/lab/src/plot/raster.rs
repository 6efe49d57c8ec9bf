//! Small images: color-mapped values, nearest-neighbor enlargement, PNG.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::{Error, Result};

/// An RGB image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Raster {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `3 * width * height` bytes, row by row.
    pub rgb: Vec<u8>,
}

impl Raster {
    /// An image from one color per pixel, row by row.
    pub(super) fn new(width: usize, height: usize, pixels: impl Iterator<Item = [u8; 3]>) -> Result<Self> {
        let rgb: Vec<u8> = pixels.take(width.saturating_mul(height)).flatten().collect();
        let side = |length: usize| u32::try_from(length).ok().filter(|&length| length > 0);
        match (side(width), side(height)) {
            (Some(w), Some(h)) if rgb.len() == 3 * width * height => Ok(Self { width: w, height: h, rgb }),
            _ => Err(Error::argument("image", format!("{} bytes for {width} x {height}", rgb.len()), "3 per pixel")),
        }
    }

    /// The image in another size, every pixel taken from the nearest one.
    pub(super) fn stretched(&self, width: u32, height: u32) -> Self {
        let columns: Vec<usize> = (0..width).map(|x| nearest(x, width, self.width)).collect();
        let mut rgb = Vec::with_capacity(3 * columns.len() * height as usize);
        for y in 0..height {
            let row = nearest(y, height, self.height) * self.width as usize;
            for &column in &columns {
                let at = 3 * (row + column);
                rgb.extend_from_slice(self.rgb.get(at..at + 3).unwrap_or(&[0; 3]));
            }
        }
        Self { width, height, rgb }
    }
}

fn nearest(index: u32, from: u32, to: u32) -> usize {
    let position = (2 * u64::from(index) + 1) * u64::from(to) / (2 * u64::from(from.max(1)));
    position.min(u64::from(to.saturating_sub(1))) as usize
}

/// Averages blocks of `factor` x `factor` pixels of an RGB buffer that is `factor * width` pixels wide.
pub(super) fn shrink(rgb: &[u8], width: usize, factor: usize) -> Vec<u8> {
    if factor <= 1 {
        return rgb.to_vec();
    }
    let area = (factor * factor) as u32;
    let mut out = Vec::with_capacity(rgb.len() / (factor * factor));
    for rows in rgb.chunks_exact(3 * width * factor * factor) {
        let mut sums = vec![0_u32; 3 * width];
        for row in rows.chunks_exact(3 * width * factor) {
            for (block, sum) in row.chunks_exact(3 * factor).zip(sums.chunks_exact_mut(3)) {
                for pixel in block.chunks_exact(3) {
                    sum.iter_mut().zip(pixel).for_each(|(s, &value)| *s += u32::from(value));
                }
            }
        }
        out.extend(sums.into_iter().map(|sum| ((sum + area / 2) / area) as u8));
    }
    out
}

/// Averages blocks of a map of values so that neither side is above `limit`; returns width, height and values.
pub fn pool(values: &[f64], width: usize, height: usize, limit: usize) -> (usize, usize, Vec<f64>) {
    let factor = width.max(height).div_ceil(limit.max(1)).max(1);
    if factor == 1 {
        return (width, height, values.to_vec());
    }
    let (w, h) = (width.div_ceil(factor), height.div_ceil(factor));
    let mut sums = vec![(0.0, 0_usize); w * h];
    for (index, &value) in values.iter().enumerate() {
        if let Some((sum, count)) = sums.get_mut(index / width / factor * w + index % width / factor) {
            *sum += value;
            *count += 1;
        }
    }
    (w, h, sums.into_iter().map(|(sum, count)| sum / count.max(1) as f64).collect())
}

/// Encodes an RGB buffer as PNG.
pub(super) fn encode_png(width: u32, height: u32, rgb: &[u8]) -> Result<Vec<u8>> {
    // The encoder panics on a buffer of the wrong length.
    if rgb.len() as u64 != 3 * u64::from(width) * u64::from(height) {
        return Err(Error::Plot(format!("an image of {width} x {height} has {} bytes", rgb.len())));
    }
    let mut out = Vec::new();
    PngEncoder::new_with_quality(&mut out, CompressionType::Default, FilterType::Adaptive)
        .write_image(rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(|error| Error::Plot(error.to_string()))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretching_repeats_pixels() {
        let raster = Raster::new(2, 1, [[1, 1, 1], [9, 9, 9]].into_iter()).unwrap();
        let large = raster.stretched(4, 2);
        assert_eq!(large.rgb.iter().step_by(3).copied().collect::<Vec<_>>(), [1, 1, 9, 9, 1, 1, 9, 9]);
        assert!(Raster::new(2, 2, [[0; 3]; 3].into_iter()).is_err());
    }

    #[test]
    fn shrinking_averages_blocks() {
        let gray = [0, 30, 100, 100, 60, 30, 100, 101];
        let rgb: Vec<u8> = gray.iter().flat_map(|&v| [v; 3]).collect();
        assert_eq!(shrink(&rgb, 2, 2), [30, 30, 30, 100, 100, 100]);
    }

    #[test]
    fn pooling_keeps_the_mean_and_the_limit() {
        let values: Vec<f64> = (0..36).map(f64::from).collect();
        let (w, h, pooled) = pool(&values, 6, 6, 3);
        assert_eq!((w, h), (3, 3));
        assert_eq!(pooled.first(), Some(&3.5));
        assert!((pooled.iter().sum::<f64>() / 9.0 - 17.5).abs() < 1e-12);
    }
}
