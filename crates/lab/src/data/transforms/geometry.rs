//! Operations that move pixels: flips and affine maps.

use crate::data::Image;

/// Mirrors left and right.
pub(super) fn flip(image: &Image) -> Image {
    let mut out = image.clone();
    for row in out.pixels.chunks_exact_mut((image.width * 3).max(1)) {
        let (mut left, mut right) = (0, image.width.saturating_sub(1));
        while left < right {
            for channel in 0..3 {
                row.swap(left * 3 + channel, right * 3 + channel);
            }
            left += 1;
            right -= 1;
        }
    }
    out
}

/// Takes the pixel with center (x, y) from (`m[0] x + m[1] y + m[2]`, `m[3] x + m[4] y + m[5]`), bilinearly. Points
/// outside the image become `fill`.
fn affine(image: &Image, m: [f32; 6], fill: [u8; 3]) -> Image {
    let (height, width) = (image.height, image.width);
    let mut out = Image::filled(height, width, fill);
    for (i, pixel) in out.pixels.chunks_exact_mut(3).enumerate() {
        let (x, y) = ((i % width) as f32 + 0.5, (i / width) as f32 + 0.5);
        let (sx, sy) = (m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]);
        if !(sx >= 0.0 && sx < width as f32 && sy >= 0.0 && sy < height as f32) {
            continue;
        }
        let (fx, fy) = ((sx - 0.5).max(0.0), (sy - 0.5).max(0.0));
        let (x0, y0) = (fx as usize, fy as usize);
        let (x1, y1) = ((x0 + 1).min(width - 1), (y0 + 1).min(height - 1));
        let (a, b) = (fx - x0 as f32, fy - y0 as f32);
        let corners = [(y0, x0), (y0, x1), (y1, x0), (y1, x1)].map(|(y, x)| image.pixel(y, x));
        for (channel, value) in pixel.iter_mut().enumerate() {
            let [p, q, r, s] = corners.map(|c| f32::from(c[channel]));
            let (top, bottom) = (p + (q - p) * a, r + (s - r) * a);
            *value = (top + (bottom - top) * b).round() as u8;
        }
    }
    out
}

/// Turns counter-clockwise about the center.
pub(super) fn rotate(image: &Image, degrees: f32, fill: [u8; 3]) -> Image {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (cx, cy) = (image.width as f32 / 2.0, image.height as f32 / 2.0);
    affine(image, [cos, -sin, cx - cos * cx + sin * cy, sin, cos, cy - sin * cx - cos * cy], fill)
}

/// Shifts every row to the left by `factor` times its distance from the upper edge.
pub(super) fn shear_x(image: &Image, factor: f32, fill: [u8; 3]) -> Image {
    affine(image, [1.0, factor, 0.0, 0.0, 1.0, 0.0], fill)
}

/// Shifts every column up by `factor` times its distance from the left edge.
pub(super) fn shear_y(image: &Image, factor: f32, fill: [u8; 3]) -> Image {
    affine(image, [1.0, 0.0, 0.0, factor, 1.0, 0.0], fill)
}

/// Shifts to the left by `share` of the width.
pub(super) fn translate_x(image: &Image, share: f32, fill: [u8; 3]) -> Image {
    affine(image, [1.0, 0.0, share * image.width as f32, 0.0, 1.0, 0.0], fill)
}

/// Shifts up by `share` of the height.
pub(super) fn translate_y(image: &Image, share: f32, fill: [u8; 3]) -> Image {
    affine(image, [1.0, 0.0, 0.0, 0.0, 1.0, share * image.height as f32], fill)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILL: [u8; 3] = [1, 2, 3];

    fn noise(height: usize, width: usize) -> Image {
        let pixels = (0..(height * width * 3) as u64).map(|i| kernelscope::rng::mix(i) as u8).collect();
        Image::new(height, width, pixels).unwrap()
    }

    #[test]
    fn zero_moves_nothing() {
        let image = noise(8, 11);
        for op in [rotate, shear_x, shear_y, translate_x, translate_y] {
            assert_eq!(op(&image, 0.0, FILL), image);
            assert_ne!(op(&image, 0.25, FILL), image);
        }
    }

    #[test]
    fn flipping_mirrors_and_undoes_itself() {
        for width in [1, 4, 5] {
            let image = noise(3, width);
            let mirrored = flip(&image);
            assert_eq!(mirrored.pixel(1, 0), image.pixel(1, width - 1));
            assert_eq!(flip(&mirrored), image);
        }
    }

    #[test]
    fn a_quarter_turn_is_exact() {
        let image = noise(6, 6);
        let turned = rotate(&image, 90.0, FILL);
        for y in 0..6 {
            for x in 0..6 {
                assert_eq!(turned.pixel(y, x), image.pixel(x, 5 - y), "counter-clockwise");
            }
        }
    }

    #[test]
    fn whole_pixel_shifts_are_exact_and_filled() {
        let image = noise(4, 8);
        let left = translate_x(&image, 0.25, FILL);
        assert_eq!(left.pixel(2, 0), image.pixel(2, 2));
        assert_eq!(left.pixel(2, 6), FILL);
        let down = translate_y(&image, -0.5, FILL);
        assert_eq!(down.pixel(2, 5), image.pixel(0, 5));
        assert_eq!(down.pixel(1, 5), FILL);
    }

    #[test]
    fn shearing_moves_far_rows_further() {
        let mut image = Image::filled(21, 21, [0; 3]);
        for y in 0..21 {
            image.pixels[(y * 21 + 10) * 3] = 200;
        }
        let sheared = shear_x(&image, 0.2, [0; 3]);
        let column = |y: usize| (0..21).max_by_key(|&x| sheared.pixel(y, x)[0]).unwrap();
        assert_eq!((column(0), column(20)), (10, 6));
    }
}
