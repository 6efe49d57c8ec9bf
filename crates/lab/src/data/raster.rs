//! An 8-bit RGB image: reading, writing, cropping and resizing.

use std::path::Path;

use fast_image_resize::images::{Image as FirImage, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The interpolation of [`Image::resized`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Cubic convolution with a = -0.5, widened on downsampling so that it does not alias, as Pillow does.
    #[default]
    Bicubic,
    /// Triangle filter, widened on downsampling as well.
    Bilinear,
    /// The nearest source pixel.
    Nearest,
}

impl Filter {
    fn algorithm(self) -> ResizeAlg {
        match self {
            Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
            Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
            Filter::Nearest => ResizeAlg::Nearest,
        }
    }
}

/// An RGB image with 8 bits per channel.
///
/// The constructors guarantee that `pixels` holds `height * width * 3` bytes. An image assembled by hand can be
/// checked with [`Image::check`]; the infallible operations treat one that fails the check as black.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
    /// Row-major pixels, three bytes (red, green, blue) each: `pixels[(y * width + x) * 3 + channel]`.
    pub pixels: Vec<u8>,
}

impl Image {
    /// An image from row-major RGB bytes.
    ///
    /// # Errors
    /// If the number of bytes does not fit the size.
    pub fn new(height: usize, width: usize, pixels: Vec<u8>) -> Result<Self> {
        let image = Image { height, width, pixels };
        image.check()?;
        Ok(image)
    }

    /// An image of one color.
    pub fn filled(height: usize, width: usize, color: [u8; 3]) -> Self {
        Image { height, width, pixels: color.repeat(height * width) }
    }

    /// Reads an image file as [`Reading::open`](super::Reading::open) does by default.
    ///
    /// # Errors
    /// If the file cannot be read or is no image of a known format.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        super::Reading::default().open(path)
    }

    /// Writes the image as a PNG file, replacing an existing one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.check()?;
        let (width, height) = (dimension(self.width)?, dimension(self.height)?);
        image::save_buffer_with_format(
            path,
            &self.pixels,
            width,
            height,
            image::ExtendedColorType::Rgb8,
            image::ImageFormat::Png,
        )
        .map_err(|e| {
            let source = match e {
                image::ImageError::IoError(source) => source,
                other => std::io::Error::other(other.to_string()),
            };
            Error::io("write", path)(source)
        })
    }

    /// Checks that both sides are at least 1 and that the buffer has the length they call for.
    ///
    /// # Errors
    /// If a side is 0 or too long.
    pub fn check(&self) -> Result<()> {
        if self.is_valid() {
            return Ok(());
        }
        let given = format!("{}x{} with {} bytes", self.height, self.width, self.pixels.len());
        Err(Error::argument("image", given, "sides of at least 1 and height * width * 3 bytes"))
    }

    fn is_valid(&self) -> bool {
        let bytes = self.height.checked_mul(self.width).and_then(|area| area.checked_mul(3));
        self.height > 0 && self.width > 0 && bytes == Some(self.pixels.len())
    }

    /// The color at row `y` and column `x`; black outside the image.
    pub fn pixel(&self, y: usize, x: usize) -> [u8; 3] {
        if x >= self.width {
            return [0; 3];
        }
        let start = (y * self.width + x) * 3;
        match self.pixels.get(start..start + 3) {
            Some(&[r, g, b]) => [r, g, b],
            _ => [0; 3],
        }
    }

    /// The image resized to `height` x `width` pixels.
    pub fn resized(&self, height: usize, width: usize, filter: Filter) -> Image {
        if (height, width) == (self.height, self.width) && self.is_valid() {
            return self.clone();
        }
        self.try_resize(height, width, filter).unwrap_or_else(|e| {
            tracing::warn!("resizing to {height}x{width} failed, using black instead: {e}");
            Image::filled(height, width, [0; 3])
        })
    }

    fn try_resize(&self, height: usize, width: usize, filter: Filter) -> Result<Image> {
        self.check()?;
        let source = ImageRef::new(dimension(self.width)?, dimension(self.height)?, &self.pixels, PixelType::U8x3)
            .map_err(|e| Error::argument("image", e, "a buffer of the image's size"))?;
        let mut target = FirImage::new(dimension(width)?, dimension(height)?, PixelType::U8x3);
        let options = ResizeOptions::new().resize_alg(filter.algorithm());
        Resizer::new()
            .resize(&source, &mut target, &options)
            .map_err(|e| Error::argument("image size", e, "sides that can be resized"))?;
        Image::new(height, width, target.into_vec())
    }

    /// The `height` x `width` window whose upper left corner is at row `top` and column `left`. Positions outside the
    /// image are black.
    pub fn cropped(&self, top: usize, left: usize, height: usize, width: usize) -> Image {
        if (top, left, height, width) == (0, 0, self.height, self.width) {
            return self.clone();
        }
        let mut out = Image::filled(height, width, [0; 3]);
        if !self.is_valid() || left >= self.width || width == 0 {
            return out;
        }
        let bytes = width.min(self.width - left) * 3;
        let rows = self.pixels.chunks_exact(self.width * 3).skip(top);
        for (to, from) in out.pixels.chunks_exact_mut(width * 3).zip(rows) {
            to[..bytes].copy_from_slice(&from[left * 3..left * 3 + bytes]);
        }
        out
    }

    /// The pixels as floats between 0 and 1 in CHW order, length `3 * height * width`.
    pub fn to_chw(&self) -> Vec<f32> {
        let plane = self.height * self.width;
        let mut out = vec![0.0; 3 * plane];
        for (i, pixel) in self.pixels.chunks_exact(3).take(plane).enumerate() {
            for (channel, &value) in pixel.iter().enumerate() {
                out[channel * plane + i] = f32::from(value) / 255.0;
            }
        }
        out
    }
}

/// An image side as the 32-bit number that the codecs want.
fn dimension(side: usize) -> Result<u32> {
    u32::try_from(side)
        .ok()
        .filter(|&s| s > 0)
        .ok_or_else(|| Error::argument("image side", side, format!("1 to {}", u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(height: usize, width: usize) -> Image {
        let pixels = (0..height * width)
            .flat_map(|i| {
                let (y, x) = (i / width, i % width);
                [(x * 255 / (width - 1).max(1)) as u8, (y * 255 / (height - 1).max(1)) as u8, 7]
            })
            .collect();
        Image::new(height, width, pixels).unwrap()
    }

    #[test]
    fn png_round_trip_keeps_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let image = ramp(5, 9);
        image.save_png(&path).unwrap();
        assert_eq!(Image::open(&path).unwrap(), image);
    }

    #[test]
    fn gray_alpha_and_16_bit_become_rgb() {
        let dir = tempfile::tempdir().unwrap();
        let gray = dir.path().join("gray.png");
        image::GrayImage::from_pixel(3, 2, image::Luma([90])).save(&gray).unwrap();
        assert_eq!(Image::open(&gray).unwrap(), Image::filled(2, 3, [90; 3]));
        let alpha = dir.path().join("alpha.png");
        image::RgbaImage::from_pixel(3, 2, image::Rgba([1, 2, 3, 10])).save(&alpha).unwrap();
        assert_eq!(Image::open(&alpha).unwrap(), Image::filled(2, 3, [1, 2, 3]));
        let deep = dir.path().join("deep.png");
        image::ImageBuffer::<image::Rgb<u16>, _>::from_pixel(3, 2, image::Rgb([0xFFFFu16, 0, 0x8080]))
            .save(&deep)
            .unwrap();
        assert_eq!(Image::open(&deep).unwrap(), Image::filled(2, 3, [255, 0, 128]));
    }

    #[test]
    fn files_that_are_not_images_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("note.png");
        std::fs::write(&text, "hello").unwrap();
        let message = Image::open(&text).unwrap_err().to_string();
        assert!(message.contains("note.png") && message.contains("not an image"), "{message}");
        let cut = dir.path().join("cut.png");
        ramp(20, 20).save_png(&cut).unwrap();
        let bytes = std::fs::read(&cut).unwrap();
        std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
        let message = Image::open(&cut).unwrap_err().to_string();
        assert!(message.contains("cut.png") && message.contains("decode"), "{message}");
        let message = Image::open(dir.path().join("absent.png")).unwrap_err().to_string();
        assert!(message.contains("cannot read") && message.contains("absent.png"), "{message}");
    }

    #[test]
    fn resizing_keeps_a_constant_and_a_ramp() {
        let flat = Image::filled(13, 7, [10, 200, 30]);
        for filter in [Filter::Bicubic, Filter::Bilinear, Filter::Nearest] {
            assert_eq!(flat.resized(5, 21, filter), Image::filled(5, 21, [10, 200, 30]));
        }
        let small = ramp(64, 64).resized(16, 32, Filter::Bicubic);
        assert_eq!((small.height, small.width), (16, 32));
        for x in 1..31 {
            let expected = ((x as f32 + 0.5) * 2.0 - 0.5) * 255.0 / 63.0;
            assert!((f32::from(small.pixel(8, x)[0]) - expected).abs() < 2.0, "column {x}");
        }
    }

    #[test]
    fn bicubic_is_cubic_convolution_with_a_half() {
        // Upsampling an impulse by 2 samples the kernel at quarter steps: k(0.25) and k(1.25), with a = -0.5.
        let mut impulse = Image::filled(1, 9, [100; 3]);
        impulse.pixels[4 * 3] = 200;
        let up = impulse.resized(1, 18, Filter::Bicubic);
        let near = 1.5f64 * 0.25f64.powi(3) - 2.5 * 0.25f64.powi(2) + 1.0;
        let far = -0.5 * 1.25f64.powi(3) + 2.5 * 1.25f64.powi(2) - 4.0 * 1.25 + 2.0;
        assert!((f64::from(up.pixel(0, 8)[0]) - (100.0 + 100.0 * near)).abs() <= 1.0);
        assert!((f64::from(up.pixel(0, 11)[0]) - (100.0 + 100.0 * far)).abs() <= 1.0);
        assert!(up.pixel(0, 11)[0] < 100, "the kernel has a negative lobe");
    }

    #[test]
    fn cropping_takes_the_named_window() {
        let image = ramp(6, 8);
        let crop = image.cropped(2, 3, 3, 4);
        assert_eq!(crop.pixel(0, 0), image.pixel(2, 3));
        assert_eq!(crop.pixel(2, 3), image.pixel(4, 6));
        let over = image.cropped(5, 7, 2, 2);
        assert_eq!(over.pixel(0, 0), image.pixel(5, 7));
        assert_eq!(over.pixel(1, 1), [0; 3]);
    }

    #[test]
    fn wrong_buffers_are_refused_and_resize_to_black() {
        assert!(Image::new(2, 2, vec![0; 11]).is_err());
        assert!(Image::new(0, 2, Vec::new()).is_err());
        let broken = Image { height: 4, width: 4, pixels: vec![255; 5] };
        assert_eq!(broken.resized(2, 2, Filter::Bicubic), Image::filled(2, 2, [0; 3]));
    }
}
