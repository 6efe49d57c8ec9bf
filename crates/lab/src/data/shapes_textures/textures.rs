//! The eight textures: functions of the plane that say how much of the second ink is at a point.

use kernelscope::rng::mix;

/// A texture, in class order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Texture {
    Stripes,
    Checks,
    Dots,
    Zigzag,
    Bricks,
    Blobs,
    Grain,
    Rings,
}

/// Where on the plane of a texture an image lies, and how fine its pixels are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Length of one period in pixels.
    pub(super) period: f32,
    /// Rotation in radians.
    pub(super) angle: f32,
    /// Shift in periods.
    pub(super) shift: [f32; 2],
    /// Seed of the noise textures.
    pub(super) seed: u64,
}

impl Texture {
    /// The texture of a class; classes repeat after the last.
    pub(super) fn from_class(class: usize) -> Self {
        use Texture::{Blobs, Bricks, Checks, Dots, Grain, Rings, Stripes, Zigzag};
        [Stripes, Checks, Dots, Zigzag, Bricks, Blobs, Grain, Rings][class % 8]
    }

    /// Share of the second ink at the pixel (`x`, `y`), from 0 to 1, with edges about one pixel wide.
    pub(super) fn ink(self, x: f32, y: f32, frame: &Frame) -> f32 {
        let (sin, cos) = frame.angle.sin_cos();
        let u = (cos * x + sin * y) / frame.period + frame.shift[0];
        let v = (cos * y - sin * x) / frame.period + frame.shift[1];
        // Distances below are in periods; `edge` turns them into pixels.
        let edge = |distance: f32| (0.5 - distance * frame.period).clamp(0.0, 1.0);
        match self {
            Texture::Stripes => edge(triangle(u) - 0.25),
            Texture::Checks => edge(checks(u, v)),
            Texture::Dots => edge(dot(u, v) - 0.27),
            Texture::Zigzag => edge(zigzag(u, v)),
            Texture::Bricks => edge(bricks(u, v)),
            Texture::Blobs => edge((value_noise(u * 1.6, v * 1.6, frame.seed) - 0.5) * 1.5),
            Texture::Grain => grain(x, y, frame),
            Texture::Rings => edge((dot(u * 0.8, v * 0.8) - 0.3).abs() / 0.8 - 0.16),
        }
    }
}

/// Distance to the nearest integer: 0 to 0.5.
fn triangle(t: f32) -> f32 {
    (t - t.round()).abs()
}

/// Squares of half a period; negative on one of the two colors.
fn checks(u: f32, v: f32) -> f32 {
    let (a, b) = (0.25 - triangle(u), 0.25 - triangle(v));
    let size = a.abs().min(b.abs());
    if (a > 0.0) == (b > 0.0) { -size } else { size }
}

/// Distance to the nearest point of a hexagonal lattice with spacing 1.
fn dot(u: f32, v: f32) -> f32 {
    let height = 3f32.sqrt();
    let to = |du: f32, dv: f32| {
        let (x, y) = (u - du, (v - dv) / height);
        (x - x.round()).hypot((y - y.round()) * height)
    };
    to(0.0, 0.0).min(to(0.5, 0.5 * height))
}

/// Bands bent at right angles.
fn zigzag(u: f32, v: f32) -> f32 {
    let wave = 2.0 * triangle(u * 0.5);
    (triangle(v - wave) - 0.25) * std::f32::consts::FRAC_1_SQRT_2
}

/// Mortar lines around bricks twice as long as high, every other row shifted by half a brick.
fn bricks(u: f32, v: f32) -> f32 {
    let row = v.floor();
    let across = triangle(v);
    let shift = if row.rem_euclid(2.0) < 1.0 { 0.0 } else { 0.5 };
    let along = triangle(u / 2.2 + shift) * 2.2;
    across.min(along) - 0.12
}

/// Smooth noise between 0 and 1: random values on a unit lattice, blended.
fn value_noise(u: f32, v: f32, seed: u64) -> f32 {
    let (cu, cv) = (u.floor(), v.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (a, b) = (ease(u - cu), ease(v - cv));
    let corner = |du: i64, dv: i64| lattice(cu as i64 + du, cv as i64 + dv, seed);
    let top = corner(0, 0) * (1.0 - a) + corner(1, 0) * a;
    let bottom = corner(0, 1) * (1.0 - a) + corner(1, 1) * a;
    top * (1.0 - b) + bottom * b
}

/// Independent values on squares of a fifth of a period: finer than every other texture.
fn grain(x: f32, y: f32, frame: &Frame) -> f32 {
    let cell = (frame.period * 0.2).max(1.0);
    let value = lattice((x / cell).floor() as i64, (y / cell).floor() as i64, frame.seed);
    ((value - 0.5) * 1.5 + 0.5).clamp(0.0, 1.0)
}

/// A uniform value that is a fixed function of the lattice point and the seed.
fn lattice(i: i64, j: i64, seed: u64) -> f32 {
    let bits = mix(mix(seed ^ i as u64).rotate_left(23) ^ j as u64);
    (bits >> 40) as f32 / (1u64 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(angle: f32) -> Frame {
        Frame { period: 8.0, angle, shift: [0.3, 0.7], seed: 9 }
    }

    fn render(texture: Texture, frame: &Frame) -> Vec<f32> {
        (0..96 * 96).map(|i| texture.ink((i % 96) as f32, (i / 96) as f32, frame)).collect()
    }

    #[test]
    fn every_texture_uses_both_inks() {
        for class in 0..8 {
            let ink = render(Texture::from_class(class), &frame(0.4));
            let mean = ink.iter().sum::<f32>() / ink.len() as f32;
            assert!((0.2..0.7).contains(&mean), "{class}: {mean}");
            let spread = ink.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / ink.len() as f32;
            assert!(spread > 0.06, "{class}: {spread}");
            assert!(ink.iter().all(|v| (0.0..=1.0).contains(v)));
        }
    }

    #[test]
    fn periodic_textures_repeat_along_their_axes() {
        let frame = Frame { period: 8.0, angle: 0.0, shift: [0.0, 0.0], seed: 9 };
        for (texture, du, dv) in [
            (Texture::Stripes, 8.0, 3.0),
            (Texture::Checks, 8.0, 8.0),
            (Texture::Zigzag, 16.0, 8.0),
            (Texture::Bricks, 17.6, 16.0),
            (Texture::Dots, 8.0, 0.0),
            (Texture::Rings, 10.0, 0.0),
        ] {
            for i in 0..200 {
                let (x, y) = (i as f32 * 0.37, i as f32 * 0.21);
                let (a, b) = (texture.ink(x, y, &frame), texture.ink(x + du, y + dv, &frame));
                assert!((a - b).abs() < 1e-2, "{texture:?} at {x},{y}: {a} {b}");
            }
        }
    }

    #[test]
    fn noise_depends_on_the_seed_and_the_others_on_the_angle() {
        let other = Frame { seed: 10, ..frame(0.4) };
        for texture in [Texture::Blobs, Texture::Grain] {
            assert_ne!(render(texture, &frame(0.4)), render(texture, &other));
        }
        for texture in [Texture::Stripes, Texture::Checks, Texture::Zigzag, Texture::Bricks] {
            assert_eq!(render(texture, &frame(0.4)), render(texture, &other));
            assert_ne!(render(texture, &frame(0.4)), render(texture, &frame(0.6)));
        }
    }
}
