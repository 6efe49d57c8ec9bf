//! The fixed transformation of validation and inference.

use serde::{Deserialize, Serialize};

use super::normalize::Normalize;
use crate::data::{Filter, Image, check_side};
use crate::{Error, Result};

/// From this side on, images are resized whole instead of cropped, as the ConvNeXt evaluation does.
const WHOLE_FROM: usize = 384;

/// Of strips longer than this many times their width only the middle is resized: the ends cannot be seen in the crop,
/// but a line of pixels enlarged to the size of a picture would not fit into memory.
const MAX_ASPECT: usize = 16;

/// Resizing, center crop and normalization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalTransform {
    /// Side of the square result in pixels.
    pub size: usize,
    /// Share of the shorter side that the crop keeps, 0 to 1; without effect from `size` 384 on.
    pub crop_pct: f32,
    /// Normalization of the result.
    pub normalize: Normalize,
    /// Interpolation.
    pub filter: Filter,
}

impl Default for EvalTransform {
    fn default() -> Self {
        EvalTransform::new(224)
    }
}

impl EvalTransform {
    /// The ImageNet evaluation at `size`: bicubic, crop share 224/256, ImageNet statistics.
    pub fn new(size: usize) -> Self {
        EvalTransform { size, crop_pct: 224.0 / 256.0, normalize: Normalize::IMAGENET, filter: Filter::Bicubic }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        check_side("size", self.size)?;
        if !(self.crop_pct > 0.0 && self.crop_pct <= 1.0) {
            return Err(Error::argument("crop_pct", self.crop_pct, "greater than 0 and at most 1"));
        }
        self.normalize.check()
    }

    /// The transformed image in CHW order, length `3 * size * size`.
    pub fn apply(&self, image: &Image) -> Vec<f32> {
        self.normalize.apply(&self.geometry(image))
    }

    /// The 8-bit picture that is normalized: what the network gets to see, `size` x `size`.
    ///
    /// Below 384 pixels the shorter side is resized to `round(size / crop_pct)` and the center is cut out; from 384 on
    /// the whole picture is squeezed into the square.
    pub fn geometry(&self, image: &Image) -> Image {
        if self.size >= WHOLE_FROM {
            return image.resized(self.size, self.size, self.filter);
        }
        let pct = if self.crop_pct > 0.0 && self.crop_pct <= 1.0 { self.crop_pct } else { 1.0 };
        let shorter = ((self.size as f64 / f64::from(pct)).round() as usize).max(self.size);
        let resized = resize_shorter(image, shorter, self.filter);
        let (top, left) = (half_to_even(resized.height - self.size), half_to_even(resized.width - self.size));
        resized.cropped(top, left, self.size, self.size)
    }
}

/// Half of `value`, rounded to the even neighbor, which is where torchvision's center crop begins.
fn half_to_even(value: usize) -> usize {
    let half = value / 2;
    half + (value & half & 1)
}

/// Resizes so that the shorter side is `shorter`, keeping the aspect ratio.
fn resize_shorter(image: &Image, shorter: usize, filter: Filter) -> Image {
    let least = image.height.min(image.width).max(1);
    let most = least.saturating_mul(MAX_ASPECT);
    if image.height.max(image.width) > most {
        let (height, width) = (image.height.min(most), image.width.min(most));
        let middle = image.cropped((image.height - height) / 2, (image.width - width) / 2, height, width);
        return resize_shorter(&middle, shorter, filter);
    }
    // The longer side is rounded down, as torchvision does.
    let scale = |side: usize| (shorter as u128 * side as u128 / least as u128).max(shorter as u128) as usize;
    image.resized(scale(image.height), scale(image.width), filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coordinates(height: usize, width: usize) -> Image {
        let pixels = (0..height * width).flat_map(|i| [(i % width) as u8, (i / width) as u8, 0]).collect();
        Image::new(height, width, pixels).unwrap()
    }

    #[test]
    fn the_crop_is_the_center_at_the_given_share() {
        // 56 / (224 / 256) = 64: the shorter side keeps its 64 pixels, so nothing is interpolated.
        let image = coordinates(64, 100);
        let seen = EvalTransform::new(56).geometry(&image);
        assert_eq!((seen.height, seen.width), (56, 56));
        assert_eq!(seen.pixel(0, 0), [22, 4, 0]);
        assert_eq!(seen.pixel(55, 55), [77, 59, 0]);
        let tall = EvalTransform::new(56).geometry(&coordinates(100, 64));
        assert_eq!(tall.pixel(0, 0), [4, 22, 0]);
    }

    #[test]
    fn nothing_happens_to_an_image_of_the_right_size() {
        let image = coordinates(48, 48);
        let transform = EvalTransform { crop_pct: 1.0, ..EvalTransform::new(48) };
        assert_eq!(transform.geometry(&image), image);
        let values = transform.apply(&image);
        assert_eq!(values.len(), 3 * 48 * 48);
        assert!((values[5] - (5.0 / 255.0 - 0.485) / 0.229).abs() < 1e-6);
    }

    #[test]
    fn large_sizes_show_the_whole_image() {
        let mut image = Image::filled(40, 80, [0; 3]);
        for y in 0..40 {
            image.pixels[y * 80 * 3] = 255;
        }
        let whole = EvalTransform { filter: Filter::Nearest, ..EvalTransform::new(384) }.geometry(&image);
        assert_eq!((whole.height, whole.width), (384, 384));
        assert_eq!(whole.pixel(200, 0)[0], 255, "the left edge is still there");
        let cut = EvalTransform { filter: Filter::Nearest, ..EvalTransform::new(383) }.geometry(&image);
        assert!(cut.pixels.iter().all(|&v| v == 0), "the left edge is cropped away");
    }

    #[test]
    fn any_aspect_gives_a_square() {
        for (h, w) in [(1, 1), (1, 300), (299, 2), (37, 53), (1, 200_000)] {
            let seen = EvalTransform::new(32).geometry(&Image::filled(h, w, [9; 3]));
            assert_eq!(seen, Image::filled(32, 32, [9; 3]), "{h}x{w}");
        }
    }

    #[test]
    fn the_middle_of_a_strip_is_what_is_seen() {
        let mut strip = Image::filled(2, 400, [0; 3]);
        for y in 0..2 {
            strip.pixels[(y * 400 + 200) * 3] = 255;
            strip.pixels[y * 400 * 3 + 1] = 255;
        }
        let seen = EvalTransform { crop_pct: 1.0, ..EvalTransform::new(32) }.geometry(&strip);
        assert!(seen.pixel(16, 24)[0] > 200 && seen.pixel(16, 4)[0] < 20);
        assert!(seen.pixels.chunks_exact(3).all(|p| p[1] == 0), "the end is not in the picture");
    }

    #[test]
    fn odd_margins_round_to_even() {
        assert_eq!([0, 1, 2, 3, 4, 5, 7].map(half_to_even), [0, 0, 1, 2, 2, 2, 4]);
    }

    #[test]
    fn settings_are_checked() {
        for size in [0, usize::MAX] {
            assert!(EvalTransform::new(size).check().unwrap_err().to_string().contains("1 to 16384"), "{size}");
        }
        for crop_pct in [0.0, -1.0, 1.01, f32::NAN] {
            assert!(EvalTransform { crop_pct, ..EvalTransform::new(32) }.check().is_err(), "{crop_pct}");
        }
        assert!(EvalTransform::default().check().is_ok());
    }
}
