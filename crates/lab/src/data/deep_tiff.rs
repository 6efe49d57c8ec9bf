//! Kinds of TIFF that the `image` crate does not decode: gray floats, and numbers of more than 16 bits.

use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, Rgb32FImage};
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;

use super::Reading;
use super::reading::undecodable;
use crate::Result;

/// Memory for tables and compressed data, in bytes.
const SPARE: usize = 64 << 20;

/// The image as floats: whole numbers are divided by the largest one, floats are left as they are.
pub(super) fn decode(bytes: &[u8], reading: &Reading, path: &Path) -> Result<DynamicImage> {
    let failed = |e: tiff::TiffError| undecodable(path, e);
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(failed)?;
    let (width, height) = decoder.dimensions().map_err(failed)?;
    reading.check_size(path, (width, height))?;
    let color = decoder.colortype().map_err(failed)?;
    let (channels, bits) = match color {
        ColorType::Gray(bits) => (1, bits),
        ColorType::GrayA(bits) => (2, bits),
        ColorType::RGB(bits) => (3, bits),
        ColorType::RGBA(bits) => (4, bits),
        other => return Err(undecodable(path, format!("its colors ({other:?}) are not supported"))),
    };
    // Smaller numbers are packed, and common ones are decoded elsewhere.
    if ![8, 16, 32, 64].contains(&bits) {
        return Err(undecodable(path, format!("{bits} bits per value are not supported")));
    }
    let orientation = if reading.exif { orientation(&mut decoder) } else { Orientation::NoTransforms };
    let pixels = width as usize * height as usize;
    let mut limits = Limits::default();
    limits.decoding_buffer_size = pixels.saturating_mul(channels * usize::from(bits) / 8);
    limits.intermediate_buffer_size = limits.decoding_buffer_size.saturating_add(SPARE);
    limits.ifd_value_size = SPARE;
    let values = floats(decoder.with_limits(limits).read_image().map_err(failed)?);
    let alpha = usize::from(channels % 2 == 0);
    if values.len() != pixels * channels {
        return Err(undecodable(path, "its planes are stored one after the other, which is not supported"));
    }
    let colors = values.chunks_exact(channels).flat_map(|pixel| match pixel.get(..channels - alpha) {
        Some(&[r, g, b]) => [r, g, b],
        Some(&[gray]) => [gray; 3],
        _ => [0.0; 3],
    });
    let image = Rgb32FImage::from_raw(width, height, colors.collect());
    let image = image.ok_or_else(|| undecodable(path, "it has another number of pixels than it says"))?;
    let mut image = DynamicImage::ImageRgb32F(image);
    image.apply_orientation(orientation);
    Ok(image)
}

fn orientation(decoder: &mut Decoder<Cursor<&[u8]>>) -> Orientation {
    let value = decoder.find_tag(Tag::Orientation).ok().flatten().and_then(|value| value.into_u16().ok());
    value.and_then(|value| Orientation::from_exif(u8::try_from(value).ok()?)).unwrap_or(Orientation::NoTransforms)
}

fn floats(values: DecodingResult) -> Vec<f32> {
    fn of<T: Copy + Into<f64>>(values: &[T], largest: f64) -> Vec<f32> {
        values.iter().map(|&value| (value.into() / largest) as f32).collect()
    }
    match values {
        DecodingResult::U8(values) => of(&values, f64::from(u8::MAX)),
        DecodingResult::U16(values) => of(&values, f64::from(u16::MAX)),
        DecodingResult::U32(values) => of(&values, f64::from(u32::MAX)),
        DecodingResult::U64(values) => values.iter().map(|&value| (value as f64 / u64::MAX as f64) as f32).collect(),
        DecodingResult::I8(values) => of(&values, f64::from(i8::MAX)),
        DecodingResult::I16(values) => of(&values, f64::from(i16::MAX)),
        DecodingResult::I32(values) => of(&values, f64::from(i32::MAX)),
        DecodingResult::I64(values) => values.iter().map(|&value| (value as f64 / i64::MAX as f64) as f32).collect(),
        DecodingResult::F16(values) => values.iter().map(|value| value.to_f32()).collect(),
        DecodingResult::F32(values) => values,
        DecodingResult::F64(values) => values.iter().map(|&value| value as f32).collect(),
    }
}
