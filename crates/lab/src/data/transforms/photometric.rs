//! Operations that change colors but not positions, as defined by Pillow's `ImageOps` and `ImageEnhance`.

use crate::data::Image;

/// Pillow's luma of a color (ITU-R 601-2), in fixed point as there.
fn luma(pixel: &[u8]) -> u8 {
    match pixel {
        &[r, g, b] => ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8,
        _ => 0,
    }
}

/// Applies one table to every channel.
fn map(image: &Image, table: impl Fn(u8) -> u8) -> Image {
    let table: [u8; 256] = std::array::from_fn(|v| table(v as u8));
    Image { pixels: image.pixels.iter().map(|&v| table[usize::from(v)]).collect(), ..*image }
}

/// Applies one table per channel.
fn map_channels(image: &Image, tables: [[u8; 256]; 3]) -> Image {
    let mut out = image.clone();
    for pixel in out.pixels.chunks_exact_mut(3) {
        for (value, table) in pixel.iter_mut().zip(&tables) {
            *value = table[usize::from(*value)];
        }
    }
    out
}

fn histogram(image: &Image, channel: usize) -> [usize; 256] {
    let mut counts = [0; 256];
    for pixel in image.pixels.chunks_exact(3) {
        counts[usize::from(pixel[channel])] += 1;
    }
    counts
}

/// Stretches every channel to the full range.
pub(super) fn auto_contrast(image: &Image) -> Image {
    let tables = std::array::from_fn(|channel| {
        let counts = histogram(image, channel);
        let low = counts.iter().position(|&c| c > 0).unwrap_or(0);
        let high = counts.iter().rposition(|&c| c > 0).unwrap_or(0);
        std::array::from_fn(|v| match high > low {
            true => ((v as f64 - low as f64) * 255.0 / (high - low) as f64).clamp(0.0, 255.0) as u8,
            false => v as u8,
        })
    });
    map_channels(image, tables)
}

/// Flattens the histogram of every channel.
pub(super) fn equalize(image: &Image) -> Image {
    let tables = std::array::from_fn(|channel| {
        let counts = histogram(image, channel);
        let last = counts.iter().rev().find(|&&c| c > 0).copied().unwrap_or(0);
        let step = (counts.iter().sum::<usize>() - last) / 255;
        let mut sum = step / 2;
        std::array::from_fn(|v| {
            let level = sum.checked_div(step).map_or(v, |level| level.min(255));
            sum += counts[v];
            level as u8
        })
    });
    map_channels(image, tables)
}

/// The negative.
pub(super) fn invert(image: &Image) -> Image {
    map(image, |v| 255 - v)
}

/// Keeps the `bits` highest bits; all of them from 8 on.
pub(super) fn posterize(image: &Image, bits: u32) -> Image {
    map(image, |v| v & 0xFFu8.checked_shl(8u32.saturating_sub(bits)).unwrap_or(0))
}

/// Inverts the values from `threshold` on.
pub(super) fn solarize(image: &Image, threshold: u32) -> Image {
    map(image, |v| if u32::from(v) < threshold { v } else { 255 - v })
}

/// Adds `amount` to the values below 128.
pub(super) fn solarize_add(image: &Image, amount: u8) -> Image {
    map(image, |v| if v < 128 { v.saturating_add(amount) } else { v })
}

/// `base + factor * (value - base)`, within 0 to 255.
fn mix(base: u8, value: u8, factor: f32) -> u8 {
    let base = f32::from(base);
    (base + factor * (f32::from(value) - base)).clamp(0.0, 255.0) as u8
}

/// Scales the distance from black: 1 changes nothing.
pub(super) fn brightness(image: &Image, factor: f32) -> Image {
    map(image, |v| mix(0, v, factor))
}

/// Scales the distance from the mean gray: 1 changes nothing.
pub(super) fn contrast(image: &Image, factor: f32) -> Image {
    let pixels = image.pixels.chunks_exact(3);
    let count = pixels.len().max(1) as f64;
    let mean = pixels.map(|p| u64::from(luma(p))).sum::<u64>() as f64 / count;
    let mean = (mean + 0.5) as u8;
    map(image, |v| mix(mean, v, factor))
}

/// Scales the distance of every pixel from its gray: 1 changes nothing, 0 is a gray image.
pub(super) fn saturation(image: &Image, factor: f32) -> Image {
    let mut out = image.clone();
    for pixel in out.pixels.chunks_exact_mut(3) {
        let gray = luma(pixel);
        for value in pixel {
            *value = mix(gray, *value, factor);
        }
    }
    out
}

/// Scales the distance from a smoothed copy: 1 changes nothing. The outermost pixels stay as they are.
pub(super) fn sharpness(image: &Image, factor: f32) -> Image {
    let mut out = image.clone();
    let stride = image.width * 3;
    for y in 1..image.height.saturating_sub(1) {
        for i in y * stride + 3..(y + 1) * stride - 3 {
            let at = |offset: usize| u32::from(image.pixels[offset]);
            let row = |center: usize| at(center - 3) + at(center) + at(center + 3);
            let sum = row(i - stride) + row(i) + row(i + stride) + 4 * at(i);
            out.pixels[i] = mix(((f64::from(sum) / 13.0) + 0.5) as u8, image.pixels[i], factor);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise() -> Image {
        let pixels = (0..9 * 7 * 3u64).map(|i| kernelscope::rng::mix(i) as u8).collect();
        Image::new(9, 7, pixels).unwrap()
    }

    #[test]
    fn neutral_arguments_change_nothing() {
        let image = noise();
        for (name, op) in [
            ("brightness", brightness as fn(&Image, f32) -> Image),
            ("contrast", contrast),
            ("saturation", saturation),
            ("sharpness", sharpness),
        ] {
            assert_eq!(op(&image, 1.0), image, "{name}");
            assert_ne!(op(&image, 0.5), image, "{name}");
        }
        assert_eq!(posterize(&image, 8), image);
        assert_eq!(solarize(&image, 256), image);
        assert_eq!(solarize_add(&image, 0), image);
        assert_eq!(invert(&invert(&image)), image);
    }

    #[test]
    fn values_are_those_of_the_definitions() {
        let image = Image::new(1, 2, vec![200, 100, 40, 10, 127, 128]).unwrap();
        assert_eq!(posterize(&image, 1).pixels, [128, 0, 0, 0, 0, 128]);
        assert_eq!(posterize(&image, 0).pixels, [0; 6]);
        assert_eq!(solarize(&image, 128).pixels, [55, 100, 40, 10, 127, 127]);
        assert_eq!(solarize_add(&image, 20).pixels, [200, 120, 60, 30, 147, 128]);
        assert_eq!(invert(&image).pixels, [55, 155, 215, 245, 128, 127]);
        assert_eq!(brightness(&image, 1.5).pixels, [255, 150, 60, 15, 190, 192]);
        // 0.299 * 200 + 0.587 * 100 + 0.114 * 40 = 123.06
        assert_eq!(saturation(&image, 0.0).pixels[..3], [123; 3]);
        let gray = contrast(&image, 0.0).pixels;
        assert!(gray.iter().all(|&v| v == gray[0]), "{gray:?}");
    }

    #[test]
    fn auto_contrast_fills_the_range_per_channel() {
        let image = Image::new(1, 3, vec![50, 7, 0, 75, 7, 200, 100, 7, 255]).unwrap();
        assert_eq!(auto_contrast(&image).pixels, [0, 7, 0, 127, 7, 200, 255, 7, 255]);
    }

    #[test]
    fn equalize_flattens_a_narrow_histogram() {
        let pixels = (0..64 * 64usize).flat_map(|i| [(100 + i % 16) as u8; 3]).collect();
        let flat = equalize(&Image::new(64, 64, pixels).unwrap());
        let (low, high) = (flat.pixels.iter().min().unwrap(), flat.pixels.iter().max().unwrap());
        assert!(*low <= 1 && *high >= 254, "{low} {high}");
        let constant = Image::filled(4, 4, [9, 80, 200]);
        assert_eq!(equalize(&constant), constant);
    }

    #[test]
    fn sharpness_zero_smooths_the_inside_only() {
        let mut image = Image::filled(5, 5, [0; 3]);
        image.pixels[(2 * 5 + 2) * 3] = 130;
        let smooth = sharpness(&image, 0.0);
        assert_eq!(smooth.pixel(2, 2)[0], 50);
        assert_eq!(smooth.pixel(1, 3)[0], 10);
        let mut edge = Image::filled(5, 5, [0; 3]);
        edge.pixels[0] = 130;
        assert_eq!(sharpness(&edge, 0.0).pixel(0, 0)[0], 130);
        assert_eq!(sharpness(&Image::filled(1, 1, [3; 3]), 0.0), Image::filled(1, 1, [3; 3]));
    }
}
