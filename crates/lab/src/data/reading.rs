//! Reading image files: one reader for everything that looks at one.
//!
//! | what is in the file | what is read |
//! |---|---|
//! | PNG, JPEG, BMP, WebP, TIFF, GIF | told apart by the content; the name does not matter |
//! | gray, palettes, 1 bit | the same as RGB |
//! | transparency | left out: the color below it is read |
//! | CMYK and YCCK JPEG | RGB as Pillow makes it, inks stored as Adobe stores them |
//! | 16 bits | scaled to 8, rounded |
//! | floats | scaled from the first of 0 to 1, 0 to 255, and 0 to 65535 that holds all, or else from their least to their largest |
//! | an animation | its first frame |
//! | an EXIF orientation | ignored, as torchvision does, unless [`Reading::exif`] is set |
//! | a JPEG that is cut off | refused, as Pillow does |

use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Image, deep_tiff, jpeg};
use crate::{Error, Result};

/// Formats that are read, for messages.
const KNOWN: &str = "PNG, JPEG, BMP, WebP, TIFF, GIF";

/// Memory for decoding beyond the image itself, in bytes.
const SPARE: u64 = 512 << 20;

/// How image files are read, and what happens with those that cannot be.
///
/// ```
/// use kernelscope_lab::data::{Image, Reading};
/// # fn main() -> kernelscope::Result<()> {
/// # let folder = tempfile::tempdir().map_err(kernelscope::Error::io("create", "folder"))?;
/// let path = folder.path().join("gray.png");
/// Image::filled(20, 30, [90; 3]).save_png(&path)?;
/// assert_eq!(Reading::default().open(&path)?, Image::filled(20, 30, [90; 3]));
/// let strict = Reading { max_pixels: 500, ..Reading::default() };
/// assert!(strict.open(&path).is_err(), "20 x 30 pixels are more than 500");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reading {
    /// Turns and mirrors images as their EXIF orientation says. Without it they are read as they are stored.
    pub exif: bool,
    /// Most pixels of an image. Larger ones are refused before they are decoded.
    pub max_pixels: u64,
    /// Leaves out images that cannot be read. Without it, the first of them is an error.
    pub skip_broken: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Reading { exif: false, max_pixels: Reading::DEFAULT_MAX_PIXELS, skip_broken: false }
    }
}

/// An image that cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The file.
    pub path: String,
    /// The error's message, which names the file.
    pub reason: String,
}

impl Broken {
    /// From the error of reading a file.
    pub fn new(path: &Path, error: &Error) -> Self {
        Broken { path: path.display().to_string(), reason: error.to_string().replace('\n', " ") }
    }
}

impl Reading {
    /// Most pixels of an image if nothing else is said: what Pillow accepts.
    pub const DEFAULT_MAX_PIXELS: u64 = 178_956_970;

    /// Checks the range of all fields.
    ///
    /// # Errors
    /// If no pixel is allowed.
    pub fn check(&self) -> Result<()> {
        match (1..=i64::MAX as u64).contains(&self.max_pixels) {
            true => Ok(()),
            false => Err(Error::argument("max_pixels", self.max_pixels, format!("1 to {}", i64::MAX))),
        }
    }

    /// Reads an image file.
    ///
    /// # Errors
    /// If the file cannot be read, is no image of a known format, is damaged, or has too many pixels.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Image> {
        let path = path.as_ref();
        let bytes = bytes_of(path)?;
        let reader = ImageReader::new(Cursor::new(bytes.as_slice())).with_guessed_format();
        let reader = reader.map_err(Error::io("read", path))?;
        let format = match reader.format() {
            Some(format) if format.reading_enabled() => format,
            Some(other) => {
                return Err(Error::file(path, format!("is an image of the format {other:?} (known formats: {KNOWN})")));
            }
            None => return Err(Error::file(path, format!("not an image (known formats: {KNOWN})"))),
        };
        if format == ImageFormat::Jpeg && !jpeg::has_end(&bytes) {
            return Err(undecodable(path, "it is cut off: there is no end marker"));
        }
        let decoded = match self.decode(reader, path)? {
            Some(decoded) => decoded,
            None => deep_tiff::decode(&bytes, self, path)?,
        };
        rgb(decoded).map_err(|reason| undecodable(path, reason))
    }

    /// Decodes what the `image` crate knows; `None` for kinds of TIFF that it does not.
    fn decode(&self, reader: ImageReader<Cursor<&[u8]>>, path: &Path) -> Result<Option<DynamicImage>> {
        let is_tiff = reader.format() == Some(ImageFormat::Tiff);
        let mut decoder = match reader.into_decoder() {
            Err(ImageError::Unsupported(_)) if is_tiff => return Ok(None),
            other => other.map_err(|e| undecodable(path, e))?,
        };
        self.check_size(path, decoder.dimensions())?;
        // An orientation that cannot be read is none.
        let orientation = if self.exif { decoder.orientation().ok() } else { None };
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(decoder.total_bytes().saturating_add(SPARE));
        decoder.set_limits(limits).map_err(|e| undecodable(path, e))?;
        let mut decoded = DynamicImage::from_decoder(decoder).map_err(|e| undecodable(path, e))?;
        decoded.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
        Ok(Some(decoded))
    }

    /// Refuses an image with too many pixels.
    pub(super) fn check_size(&self, path: &Path, (width, height): (u32, u32)) -> Result<()> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels <= self.max_pixels {
            return Ok(());
        }
        let allowed = format!("at least {pixels}, because {} has {width}x{height} pixels", path.display());
        Err(Error::argument("max_pixels", self.max_pixels, allowed))
    }

    /// Reads every file once, so that broken ones are known before long work. With [`Reading::skip_broken`], they are
    /// taken out of the list and returned beside it; the order stays.
    ///
    /// # Errors
    /// The first file that cannot be read, if broken ones are not left out; and if none can be read.
    pub fn sift<T, F>(&self, items: Vec<T>, path: F) -> Result<(Vec<T>, Vec<Broken>)>
    where
        T: Sync,
        F: Fn(&T) -> &Path + Sync,
    {
        let errors: Vec<Option<Error>> = items.par_iter().map(|item| self.open(path(item)).err()).collect();
        let (mut kept, mut broken, mut first) = (Vec::with_capacity(items.len()), Vec::new(), None);
        for (item, error) in items.into_iter().zip(errors) {
            match error {
                None => kept.push(item),
                Some(error) if self.skip_broken => {
                    broken.push(Broken::new(path(&item), &error));
                    first.get_or_insert(error);
                }
                Some(error) => return Err(error),
            }
        }
        match first {
            Some(error) if kept.is_empty() => Err(error),
            _ => Ok((kept, broken)),
        }
    }
}

/// The content of a file that is not empty.
fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    // Asked before opening, because opening a named pipe would wait for a writer.
    let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "is a folder, not an image" } else { "is not a regular file" };
        return Err(Error::file(path, what));
    }
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    if bytes.is_empty() {
        return Err(Error::file(path, "is empty, not an image"));
    }
    Ok(bytes)
}

/// The error for a file that is damaged, or of a kind that is not known.
pub(super) fn undecodable(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::file(path, format!("cannot decode the image: {reason}"))
}

/// Any decoded image with 8 bits per color.
fn rgb(decoded: DynamicImage) -> std::result::Result<Image, String> {
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let pixels = match decoded {
        DynamicImage::ImageRgb32F(image) => scaled(image.as_raw().as_chunks::<3>().0.iter().copied())?,
        DynamicImage::ImageRgba32F(image) => {
            scaled(image.as_raw().as_chunks::<4>().0.iter().map(|&[r, g, b, _]| [r, g, b]))?
        }
        other => other.into_rgb8().into_raw(),
    };
    Image::new(height, width, pixels).map_err(|e| e.to_string())
}

/// Floats as bytes, from the range that holds all of them.
fn scaled(pixels: impl Iterator<Item = [f32; 3]> + Clone) -> std::result::Result<Vec<u8>, String> {
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    for value in pixels.clone().flatten() {
        if !value.is_finite() {
            return Err(format!("it has a value that is not finite ({value})"));
        }
        (low, high) = (low.min(value), high.max(value));
    }
    let usual = [1.0, 255.0, 65_535.0].into_iter().find(|&most| low >= 0.0 && high <= most);
    let (low, high) = usual.map_or((f64::from(low), f64::from(high)), |most| (0.0, f64::from(most)));
    let span = if high > low { high - low } else { 1.0 };
    // In double precision the difference of any two floats is finite.
    Ok(pixels.flatten().map(|value| (255.0 * (f64::from(value) - low) / span).round() as u8).collect())
}
